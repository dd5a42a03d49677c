//! Segments, for both accesses on both file systems.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lsm_fs::{Chore, Fs, MemFs, OsFs, Segment, SegmentAccess};
use quickcheck::{Gen, QuickCheck};

const ACCESSES: [SegmentAccess; 2] = [SegmentAccess::Mapped, SegmentAccess::Positioned];

/// Runs `test` in an empty directory of each file system.
fn check(test: impl Fn(Arc<dyn Fs>, &Path, SegmentAccess)) {
    for access in ACCESSES {
        let directory = tempfile::tempdir().unwrap();
        test(Arc::new(OsFs), directory.path(), access);
        test(Arc::new(MemFs::new()), Path::new("/"), access);
    }
}

fn append(segment: &mut dyn Segment, bytes: &[u8]) {
    segment.reserve(bytes.len()).unwrap().copy_from_slice(bytes);
    segment.commit(bytes.len());
}

fn contents(fs: &dyn Fs, path: &Path) -> Vec<u8> {
    let file = fs.open(path).unwrap();
    let mut bytes = vec![0; file.size().unwrap() as usize];
    file.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn committed_bytes_are_in_the_file_once_delivered() {
    check(|fs, root, access| {
        let path = root.join("log");
        let mut segment = fs.create_segment(&path, 100, access).unwrap();
        let handle = segment.handle();
        assert_eq!((segment.len(), handle.len(), handle.deliver().unwrap()), (0, 0, 0));
        assert!(segment.is_empty() && handle.is_empty());
        append(&mut *segment, b"one ");
        append(&mut *segment, b"two");
        assert_eq!(handle.deliver().unwrap(), 7);
        let found = contents(&*fs, &path);
        assert_eq!(&found[..7], b"one two");
        assert!(found[7..].iter().all(|&byte| byte == 0), "fresh room is zero");
    });
}

#[test]
fn a_reservation_may_be_given_up_or_committed_in_part() {
    check(|fs, root, access| {
        let path = root.join("log");
        let mut segment = fs.create_segment(&path, 100, access).unwrap();
        segment.reserve(50).unwrap().fill(b'x');
        segment.reserve(3).unwrap().copy_from_slice(b"abc");
        segment.commit(2);
        append(&mut *segment, b"d");
        segment.finish().unwrap();
        assert_eq!(contents(&*fs, &path), b"abd");
    });
}

#[test]
fn a_segment_grows_past_its_room_and_ends_at_its_length() {
    check(|fs, root, access| {
        let path = root.join("log");
        let mut segment = fs.create_segment(&path, 64, access).unwrap();
        let mut expected = Vec::new();
        for round in 0..200_u32 {
            let record = vec![round as u8; (round * round % 3000) as usize];
            append(&mut *segment, &record);
            expected.extend(record);
        }
        append(&mut *segment, b"");
        segment.finish().unwrap();
        assert_eq!(segment.len(), expected.len() as u64);
        assert_eq!(contents(&*fs, &path), expected);
        append(&mut *segment, b"after the end");
        segment.finish().unwrap();
        expected.extend(b"after the end");
        assert_eq!(contents(&*fs, &path), expected);
    });
}

#[test]
fn a_long_segment_keeps_its_bytes_but_not_in_this_process() {
    check(|fs, root, access| {
        let path = root.join("log");
        let mut segment = fs.create_segment(&path, 16 << 20, access).unwrap();
        let records: Vec<Vec<u8>> = (0..150_u8).map(|number| vec![number; 70_001]).collect();
        records.iter().for_each(|record| append(&mut *segment, record));
        if access == SegmentAccess::Mapped
            && let Some(resident) = resident_bytes(&path)
        {
            assert!(resident < 3 << 20, "{resident} bytes of 10 MiB are resident");
        }
        segment.finish().unwrap();
        assert!(contents(&*fs, &path) == records.concat());
    });
}

/// Chores are done on other threads while the segment is written, late, or never.
#[test]
fn chores_change_nothing_but_the_time_it_takes() {
    check(|fs, root, access| {
        let path = root.join("log");
        let mut segment = fs.create_segment(&path, 4 << 20, access).unwrap();
        let records: Vec<Vec<u8>> = (0..250_u8).map(|number| vec![number; 40_001]).collect();
        let mut late: Vec<Chore> = Vec::new();
        std::thread::scope(|scope| {
            let mut helpers = Vec::new();
            for (number, record) in records.iter().enumerate() {
                append(&mut *segment, record);
                match segment.chore() {
                    Some(chore) if number % 3 == 0 => late.push(chore),
                    Some(chore) if number % 3 == 1 => helpers.push(scope.spawn(chore)),
                    _ => {}
                }
            }
            // ThreadSanitizer does not see that a scope waits.
            helpers.into_iter().for_each(|helper| helper.join().unwrap());
        });
        let is_mapped = access == SegmentAccess::Mapped && root != Path::new("/");
        assert_eq!(late.is_empty(), !is_mapped, "one for each MiB that is mapped, of which a third is late");
        segment.cut(segment.len() - 1).unwrap();
        late.drain(..).for_each(|chore| chore());
        segment.finish().unwrap();
        assert_eq!(segment.len(), 250 * 40_001 - 1);
        assert!(contents(&*fs, &path) == records.concat()[..250 * 40_001 - 1]);
    });
}

/// Covers M4: a chore that comes late finds the file to be another segment's.
#[test]
fn chores_of_a_segment_end_with_it() {
    check(|fs, root, access| {
        let (old, new) = (root.join("old"), root.join("new"));
        let mut segment = fs.create_segment(&old, 4 << 20, access).unwrap();
        let mut late: Vec<Chore> = Vec::new();
        append(&mut *segment, &[1; 10_000]);
        late.extend(segment.chore());
        drop(segment);
        let mut segment = fs.recycle_segment(&old, &new, access).unwrap().unwrap();
        let record = vec![2; 900_000];
        append(&mut *segment, &record);
        late.drain(..).for_each(|chore| chore());
        append(&mut *segment, &record);
        segment.finish().unwrap();
        assert!(contents(&*fs, &new) == [&record[..], &record].concat());
    });
}

/// Records of any length, syncs, cuts and late chores in any order, against a plain vector. A sync changes how the next
/// records are written, for some 64 of them.
fn segments_are_vectors(steps: Vec<(u8, u16)>) -> bool {
    check(|fs, root, access| {
        let path = root.join("log");
        let mut segment = fs.create_segment(&path, 4096, access).unwrap();
        let (mut expected, mut late) = (Vec::new(), Vec::<Chore>::new());
        for &(step, size) in &steps {
            let size = usize::from(size);
            match step % 16 {
                0 => {
                    assert_eq!(segment.handle().sync().unwrap(), expected.len() as u64);
                    assert_begins(&*fs, &path, &expected);
                }
                1 if size % 5 == 0 => {
                    expected.truncate(expected.len().saturating_sub(size));
                    segment.cut(expected.len() as u64).unwrap();
                }
                1 => late.drain(..).for_each(|chore| chore()),
                2 => {
                    segment.reserve(size).unwrap().fill(0xee);
                }
                3 => {
                    let record = vec![step; size * 3];
                    append(&mut *segment, &record);
                    expected.extend(record);
                }
                _ => {
                    // Only a part of what is reserved.
                    let record = vec![step; size % 300];
                    segment.reserve(record.len() + 7).unwrap()[..record.len()].copy_from_slice(&record);
                    segment.commit(record.len());
                    expected.extend(record);
                }
            }
            late.extend(segment.chore());
        }
        segment.handle().deliver().unwrap();
        assert_begins(&*fs, &path, &expected);
        segment.finish().unwrap();
        assert!(contents(&*fs, &path) == expected);
    });
    true
}

fn assert_begins(fs: &dyn Fs, path: &Path, expected: &[u8]) {
    assert!(contents(fs, path).starts_with(expected), "{} bytes", expected.len());
}

#[test]
fn a_segment_is_a_vector_whatever_happens_in_between() {
    QuickCheck::new().rng(Gen::new(300)).tests(60).quickcheck(segments_are_vectors as fn(Vec<(u8, u16)>) -> bool);
}

#[test]
fn a_log_that_is_synced_has_no_chores() {
    check(|fs, root, access| {
        let mut segment = fs.create_segment(&root.join("log"), 4 << 20, access).unwrap();
        segment.handle().sync().unwrap();
        for _ in 0..30 {
            append(&mut *segment, &[1; 100_000]);
            assert!(segment.chore().is_none());
        }
    });
}

#[test]
fn a_sealed_segment_takes_no_memory_and_can_be_synced_and_cut() {
    check(|fs, root, access| {
        let path = root.join("log");
        let mut segment = fs.create_segment(&path, 4 << 20, access).unwrap();
        append(&mut *segment, &[1; 300_000]);
        if access == SegmentAccess::Mapped && root != Path::new("/") {
            assert!(resident_bytes(&path).unwrap() >= 300_000);
        }
        segment.seal().into_iter().for_each(|chore| chore());
        assert_eq!(resident_bytes(&path), None);
        assert!(segment.seal().is_none() && segment.chore().is_none());
        assert_eq!(segment.handle().sync().unwrap(), 300_000);
        segment.cut(200_000).unwrap();
        segment.finish().unwrap();
        assert!(contents(&*fs, &path) == [1; 200_000]);
    });
}

/// How much of the mapping of this file is in the memory of this process; `None` if none is mapped.
fn resident_bytes(path: &Path) -> Option<usize> {
    let maps = std::fs::read_to_string("/proc/self/smaps").ok()?;
    let mut lines = maps.lines().skip_while(|line| !line.ends_with(path.to_str().unwrap()));
    let resident = lines.find_map(|line| line.strip_prefix("Rss:"))?;
    Some(resident.trim().strip_suffix(" kB")?.parse::<usize>().ok()? << 10)
}

#[test]
fn a_segment_without_room_is_fine() {
    check(|fs, root, access| {
        let mut segment = fs.create_segment(&root.join("log"), 0, access).unwrap();
        assert!(segment.reserve(0).unwrap().is_empty());
        segment.commit(0);
        segment.finish().unwrap();
        append(&mut *segment, b"x");
        segment.finish().unwrap();
        assert_eq!(contents(&*fs, &root.join("log")), b"x");
    });
}

#[test]
fn what_is_cut_is_gone() {
    check(|fs, root, access| {
        let path = root.join("log");
        let mut segment = fs.create_segment(&path, 64, access).unwrap();
        append(&mut *segment, b"good");
        assert_eq!(segment.handle().sync().unwrap(), 4);
        append(&mut *segment, b" and bad");
        segment.cut(4).unwrap();
        assert_eq!(contents(&*fs, &path), b"good");
        assert_eq!(segment.handle().deliver().unwrap(), 4);
        append(&mut *segment, b" again");
        assert_eq!(segment.handle().sync().unwrap(), 10);
        segment.finish().unwrap();
        assert_eq!(contents(&*fs, &path), b"good again");
    });
}

#[test]
fn a_recycled_segment_starts_empty_over_the_old_bytes() {
    check(|fs, root, access| {
        let (old, new) = (root.join("old"), root.join("new"));
        let mut segment = fs.create_segment(&old, 8, access).unwrap();
        append(&mut *segment, b"old bytes");
        segment.handle().deliver().unwrap();
        drop(segment);
        let mut segment = fs.recycle_segment(&old, &new, access).unwrap().unwrap();
        assert_eq!(segment.len(), 0);
        assert_eq!(fs.metadata(&old).unwrap_err().kind(), ErrorKind::NotFound);
        append(&mut *segment, b"new");
        segment.handle().sync().unwrap();
        assert_eq!(&contents(&*fs, &new)[..9], b"new bytes");
        segment.finish().unwrap();
        assert_eq!(contents(&*fs, &new), b"new");
    });
}

#[test]
fn what_cannot_be_recycled_is_left_alone() {
    check(|fs, root, access| {
        let at = |name: &str| -> PathBuf { root.join(name) };
        fs.create_segment(&at("log"), 8, access).unwrap();
        fs.create(&at("there")).unwrap();
        fs.create_dir(&at("directory")).unwrap();
        let kind = |from: &str, to: &str| fs.recycle_segment(&at(from), &at(to), access).err().map(|e| e.kind());
        assert_eq!(kind("missing", "new"), Some(ErrorKind::NotFound));
        assert_eq!(kind("log", "there"), Some(ErrorKind::AlreadyExists));
        assert!(fs.recycle_segment(&at("directory"), &at("new"), access).unwrap().is_none());
        fs.hard_link(&at("log"), &at("checkpoint")).unwrap();
        assert!(fs.recycle_segment(&at("log"), &at("new"), access).unwrap().is_none());
        fs.remove(&at("checkpoint")).unwrap();
        assert!(fs.recycle_segment(&at("log"), &at("new"), access).unwrap().is_some());
    });
}

#[test]
fn a_full_disk_shows_at_the_reservation_and_passes() {
    for access in ACCESSES {
        let fs = MemFs::new();
        fs.set_capacity(Some(150));
        let mut segment = fs.create_segment(Path::new("log"), 64, access).unwrap();
        append(&mut *segment, &[1; 64]);
        // Doubling would take 128 bytes, then 256; what is needed is given when there is no more.
        append(&mut *segment, &[2; 80]);
        assert_eq!(segment.reserve(80).unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(segment.handle().sync().unwrap(), 144);
        fs.set_capacity(None);
        append(&mut *segment, &[3; 80]);
        assert_eq!(segment.handle().sync().unwrap(), 224);
        fs.set_capacity(Some(300));
        let full = fs.create_segment(Path::new("other"), 100, access);
        assert_eq!(full.err().unwrap().kind(), ErrorKind::StorageFull);
        assert_eq!(fs.read_dir(Path::new("/")).unwrap(), ["log"]);
    }
}

#[test]
fn more_than_was_reserved_cannot_be_committed() {
    check(|fs, root, access| {
        let mut segment = fs.create_segment(&root.join("log"), 64, access).unwrap();
        segment.reserve(3).unwrap();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| segment.commit(4)));
        let message = *result.unwrap_err().downcast::<String>().unwrap();
        assert_eq!(message, "commit of 4 bytes, reserved 3");
    });
}

// Covers G1, G3: many callers deliver and sync while one commits, and each finds its own bytes done.
#[test]
fn concurrent_callers_find_their_bytes_done() {
    check(|fs, root, access| {
        let path = root.join("log");
        let mut segment = fs.create_segment(&path, 64, access).unwrap();
        let reader = fs.open(&path).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..3)
                .map(|worker| {
                    let (handle, reader, done) = (segment.handle(), &reader, &done);
                    scope.spawn(move || {
                        while !done.load(Ordering::Relaxed) {
                            let wanted = handle.len();
                            let reached = if worker == 0 { handle.sync() } else { handle.deliver() }.unwrap();
                            assert!(reached >= wanted, "{reached} {wanted}");
                            let mut bytes = vec![0; wanted as usize];
                            reader.read_exact_at(0, &mut bytes).unwrap();
                            assert!(bytes.chunks(4).enumerate().all(|(i, chunk)| chunk == (i as u32).to_le_bytes()));
                        }
                    })
                })
                .collect();
            for number in 0..20_000_u32 {
                append(&mut *segment, &number.to_le_bytes());
            }
            done.store(true, Ordering::Relaxed);
            // ThreadSanitizer sees that threads were joined, but not that a scope waited for them.
            workers.into_iter().for_each(|worker| worker.join().unwrap());
        });
        segment.finish().unwrap();
        assert_eq!(contents(&*fs, &path).len(), 80_000);
    });
}
