//! The faulty file system fails the call it was told to, and no other.

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use lsm_fs::{Crash, Fs, MemFs, SegmentAccess};
use lsm_testkit::faults::Repeat;
use lsm_testkit::{Failure, Fault, FaultFs};

/// One call of each kind there is; returns how each ended.
fn scenario(fs: &dyn Fs) -> Vec<(&'static str, io::Result<()>)> {
    let path = Path::new;
    let mut ends = Vec::new();
    let mut note = |name, end: io::Result<()>| ends.push((name, end));
    note("create_dir", fs.create_dir(path("/d")));
    note("lock", fs.lock(path("/LOCK")).map(drop));
    match fs.create(path("/a")) {
        Err(error) => note("create", Err(error)),
        Ok(mut file) => {
            note("create", Ok(()));
            note("write", file.write_all(b"0123456789"));
            note("sync", file.sync());
            note("sync again", file.sync());
        }
    }
    for access in [SegmentAccess::Mapped, SegmentAccess::Positioned] {
        match fs.create_segment(path("/log"), 16, access) {
            Err(error) => note("create_segment", Err(error)),
            Ok(mut segment) => {
                note("create_segment", Ok(()));
                note("reserve", segment.reserve(3).map(|room| room.fill(1)));
                note("deliver", segment.handle().deliver().map(drop));
                note("sync segment", segment.handle().sync().map(drop));
                note("cut", segment.cut(0));
                note("finish", segment.finish());
            }
        }
        note("recycle", fs.recycle_segment(path("/log"), path("/log2"), access).map(drop));
        let _ = (fs.remove(path("/log")), fs.remove(path("/log2")));
    }
    note("open", fs.open(path("/a")).and_then(|file| file.size()).map(drop));
    note("read", fs.open(path("/a")).and_then(|file| file.read_exact_at(0, &mut [0])));
    note("rename", fs.rename(path("/a"), path("/b")));
    note("hard_link", fs.hard_link(path("/b"), path("/c")));
    note("metadata", fs.metadata(path("/b")).map(drop));
    note("read_dir", fs.read_dir(path("/")).map(drop));
    note("free_space", fs.free_space(path("/")).map(drop));
    note("sync_dir", fs.sync_dir(path("/")));
    note("remove", fs.remove(path("/b")));
    note("remove_dir", fs.remove_dir(path("/d")));
    ends
}

fn count(failure: Failure) -> u64 {
    let fs = FaultFs::new(MemFs::new());
    for (name, end) in scenario(&fs) {
        if let Err(error) = end {
            assert_eq!((name, error.kind()), ("recycle", ErrorKind::NotFound), "nothing fails without a fault");
        }
    }
    assert_eq!((fs.struck(), fs.first_struck()), (0, None));
    fs.count(failure)
}

#[test]
fn every_call_can_be_made_to_fail_once() {
    for (failure, number) in [
        (Failure::Io, 5),
        (Failure::NoSpace, 28),
        (Failure::TooManyFiles, 24),
        (Failure::TornWrite, 5),
        (Failure::Sync, 5),
    ] {
        let calls = count(failure);
        assert!(calls >= 2, "{failure:?}: {calls}");
        for at in 0..calls {
            let fs = FaultFs::new(MemFs::new());
            fs.inject(Fault::once(at, failure));
            let ends = scenario(&fs);
            assert_eq!(fs.struck(), 1);
            let mut errors = ends.iter().filter_map(|(_, end)| end.as_ref().err());
            let hit = errors.find(|error| error.raw_os_error() == Some(number));
            // The scenario drops the results of two removals.
            assert!(hit.is_some() || fs.first_struck().unwrap().starts_with("remove /log"), "{at}: {ends:?}");
        }
    }
}

#[test]
fn a_sticky_failure_stays_until_it_is_healed() {
    let fs = FaultFs::new(MemFs::new());
    fs.inject(Fault { at: 1, failure: Failure::Io, repeat: Repeat::Sticky });
    fs.create_dir(Path::new("/a")).unwrap();
    fs.create_dir(Path::new("/b")).unwrap_err();
    fs.read_dir(Path::new("/")).unwrap_err();
    assert_eq!((fs.struck(), fs.first_struck().unwrap().as_str()), (2, "create directory /b"));
    fs.heal();
    assert_eq!(fs.read_dir(Path::new("/")).unwrap(), ["a"]);
    assert_eq!(fs.count(Failure::Io), 4);
    assert_eq!(fs.count(Failure::NoSpace), 2);
}

#[test]
fn short_writes_go_on_and_torn_ones_fail_half_way() {
    let memory = MemFs::new();
    let fs = FaultFs::new(memory.clone());
    fs.inject(Fault::sticky(0, Failure::ShortWrite));
    let mut file = fs.create(Path::new("/a")).unwrap();
    file.write_all(b"0123456789").unwrap();
    assert_eq!(fs.struck(), 4, "5, 3, 1 and 1 bytes");
    fs.inject(Fault::once(fs.count(Failure::TornWrite), Failure::TornWrite));
    assert_eq!(file.write_all(b"abcdef").unwrap_err().raw_os_error(), Some(5));
    assert_eq!(memory.metadata(Path::new("/a")).unwrap().bytes, 13);
}

#[test]
fn short_reads_and_interruptions_are_the_callers_to_go_on_with() {
    let fs = FaultFs::new(MemFs::new());
    fs.inject(Fault::sticky(0, Failure::ShortRead));
    fs.inject_too(Fault::once(0, Failure::Interrupted));
    fs.create(Path::new("/a")).unwrap().write_all(b"0123456789").unwrap();
    assert_eq!(fs.struck(), 1);
    let mut bytes = [0; 10];
    fs.open(Path::new("/a")).unwrap().read_exact_at(0, &mut bytes).unwrap();
    assert_eq!((&bytes, fs.struck()), (b"0123456789", 5), "5, 3, 1 and 1 bytes");
}

// Covers X3: what the observer sees is the world before the call, and it may look at it in peace.
#[test]
fn an_observer_sees_every_change_before_it_happens() {
    let memory = MemFs::new();
    let fs = FaultFs::new(memory.clone());
    let seen: Arc<Mutex<Vec<(u64, String, usize)>>> = Arc::default();
    let (world, notes) = (memory.clone(), Arc::clone(&seen));
    fs.observe(Arc::new(move |moment| {
        let left = FaultFs::new(world.crash(Crash::KeepAll));
        let names = left.read_dir(Path::new("/")).unwrap().len();
        notes.lock().unwrap().push((moment.number, format!("{} {}", moment.name, moment.path.display()), names));
    }));
    let mut file = fs.create(Path::new("/a")).unwrap();
    file.write_all(b"x").unwrap();
    fs.metadata(Path::new("/a")).unwrap();
    fs.remove(Path::new("/a")).unwrap();
    fs.unobserve();
    fs.sync_dir(Path::new("/")).unwrap();
    let expected = [(0, "create /a", 0), (1, "write /a", 1), (2, "remove /a", 1)];
    assert_eq!(*seen.lock().unwrap(), expected.map(|(number, what, names)| (number, what.to_owned(), names)));
}

// Covers X2: the next handle's sync works, and the bytes are gone nonetheless.
#[test]
fn a_failed_sync_over_memory_loses_what_it_covered() {
    let memory = MemFs::new();
    let fs = FaultFs::over(memory.clone());
    let mut segment = fs.create_segment(Path::new("/log"), 512, SegmentAccess::Mapped).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    segment.reserve(3).unwrap().copy_from_slice(b"abc");
    segment.commit(3);
    fs.inject(Fault::once(fs.count(Failure::Sync), Failure::Sync));
    assert_eq!(segment.handle().sync().unwrap_err().raw_os_error(), Some(5));
    assert_eq!((fs.failed_syncs(), fs.retried_syncs()), (vec!["/log".into()], 0));
    segment.handle().sync().unwrap_err();
    assert_eq!(fs.retried_syncs(), 1);
    memory.open(Path::new("/log")).unwrap().read_exact_at(0, &mut [0; 3]).unwrap();
    assert_eq!(memory.crash(Crash::Subset(u64::MAX)).metadata(Path::new("/log")).unwrap().bytes, 0);
}

// Covers X2.
#[test]
fn a_handle_whose_sync_failed_never_syncs_again() {
    let memory = MemFs::new();
    let fs = FaultFs::new(memory.clone());
    let mut file = fs.create(Path::new("/a")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    file.write_all(b"x").unwrap();
    fs.inject(Fault::once(1, Failure::Sync));
    for _ in 0..2 {
        assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(5));
    }
    assert_eq!(fs.struck(), 1);
    let sizes =
        [Crash::DropUnsynced, Crash::KeepAll].map(|crash| memory.crash(crash).metadata(Path::new("/a")).unwrap().bytes);
    assert_eq!(sizes, [0, 1]);
}
