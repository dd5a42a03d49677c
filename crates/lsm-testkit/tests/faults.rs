//! The faulty file system fails the call it was told to, and no other.

use std::io::{self, ErrorKind, Write};
use std::path::Path;

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
    for (failure, kind) in
        [(Failure::Io, None), (Failure::NoSpace, Some(ErrorKind::StorageFull)), (Failure::Sync, None)]
    {
        let calls = count(failure);
        assert!(calls >= 7, "{failure:?}: {calls}");
        for at in 0..calls {
            let fs = FaultFs::new(MemFs::new());
            fs.inject(Fault::once(at, failure));
            let ends = scenario(&fs);
            assert_eq!(fs.struck(), 1);
            let hit = ends.iter().filter_map(|(_, end)| end.as_ref().err()).find(|error| match kind {
                Some(kind) => error.kind() == kind,
                None => error.raw_os_error() == Some(5),
            });
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
