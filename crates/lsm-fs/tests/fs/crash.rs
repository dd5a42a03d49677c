//! What the in-memory file system leaves after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write};
use std::path::Path;

use lsm_fs::{Crash, FileWriter, Fs, MemFs, SegmentAccess};
use quickcheck::{Arbitrary, Gen, quickcheck};

fn contents(fs: &MemFs, path: &str) -> Option<Vec<u8>> {
    let file = match fs.open(Path::new(path)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        other => other.unwrap(),
    };
    let mut bytes = vec![0; file.size().unwrap() as usize];
    file.read_exact_at(0, &mut bytes).unwrap();
    Some(bytes)
}

fn create(fs: &MemFs, path: &str, bytes: &[u8]) -> Box<dyn FileWriter> {
    let mut file = fs.create(Path::new(path)).unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn create_durable(fs: &MemFs, path: &str, bytes: &[u8]) -> Box<dyn FileWriter> {
    let mut file = create(fs, path, bytes);
    file.sync().unwrap();
    fs.sync_dir(Path::new(path).parent().unwrap()).unwrap();
    file
}

fn rename(fs: &MemFs, from: &str, to: &str) {
    fs.rename(Path::new(from), Path::new(to)).unwrap();
}

/// What `look` finds after every possible power cut.
fn all_outcomes<T: Ord>(fs: &MemFs, look: impl Fn(&MemFs) -> T) -> BTreeSet<T> {
    let changes = fs.unsynced();
    assert!(changes <= 16, "{changes} changes are too many to try all subsets");
    (0..1_u64 << changes).map(|bits| look(&fs.crash(Crash::Subset(bits)))).collect()
}

#[test]
fn nothing_unsynced_means_one_outcome() {
    let fs = MemFs::new();
    let _file = create_durable(&fs, "/a", b"hello");
    assert_eq!(fs.unsynced(), 0);
    assert_eq!(contents(&fs.crash(Crash::DropUnsynced), "/a").unwrap(), b"hello");
}

// Covers V2, C2.
#[test]
fn a_power_cut_leaves_any_subset_of_unsynced_sectors() {
    let fs = MemFs::new();
    let mut file = create_durable(&fs, "/a", b"old.");
    file.write_all(&[b'x'; 1020]).unwrap();
    let shapes = all_outcomes(&fs, |after| {
        let bytes = contents(after, "/a").unwrap();
        assert_eq!(&bytes[..4], b"old.", "synced bytes survive although their sector is written again");
        let shape = |range: std::ops::Range<usize>| bytes.get(range).map(|part| part.iter().all(|&byte| byte == b'x'));
        (bytes.len(), shape(4..512), shape(512..1024))
    });
    let grown = |first, second| (1024, Some(first), Some(second));
    // The length may be ahead of the bytes, and a later sector may be there without an earlier one.
    let expected = [(4, None, None), grown(false, false), grown(false, true), grown(true, false), grown(true, true)];
    assert_eq!(shapes, BTreeSet::from(expected));
}

#[test]
fn successive_writes_to_a_sector_reach_the_disk_in_order() {
    let fs = MemFs::new();
    let mut file = create_durable(&fs, "/a", b"");
    for byte in [b"1", b"2", b"3"] {
        file.write_all(byte).unwrap();
    }
    let found = all_outcomes(&fs, |after| contents(after, "/a").unwrap());
    let text =
        |bytes: &Vec<u8>| bytes.iter().map(|&byte| if byte == 0 { '-' } else { byte as char }).collect::<String>();
    let found: BTreeSet<String> = found.iter().map(text).collect();
    let expected = ["", "-", "1", "--", "1-", "12", "---", "1--", "12-", "123"];
    assert_eq!(found, expected.map(String::from).into());
}

// Covers F2, N1.
#[test]
fn a_rename_is_done_or_undone() {
    let fs = MemFs::new();
    let _old = create_durable(&fs, "/CURRENT", b"old");
    let mut new = create(&fs, "/tmp", b"new");
    new.sync().unwrap();
    rename(&fs, "/tmp", "/CURRENT");
    let found = all_outcomes(&fs, |after| (contents(after, "/CURRENT").unwrap(), contents(after, "/tmp")));
    let (old, new) = (b"old".to_vec(), b"new".to_vec());
    assert_eq!(found, BTreeSet::from([(old.clone(), None), (old, Some(new.clone())), (new, None)]));

    fs.sync_dir(Path::new("/")).unwrap();
    assert_eq!(contents(&fs.crash(Crash::DropUnsynced), "/CURRENT").unwrap(), b"new");
    assert_eq!(fs.unsynced(), 0);
}

// Covers N2.
#[test]
fn a_file_that_moves_on_is_never_in_two_places() {
    let fs = MemFs::new();
    fs.create_dir(Path::new("/d")).unwrap();
    fs.create_dir(Path::new("/e")).unwrap();
    let _file = create_durable(&fs, "/d/a", b"x");
    rename(&fs, "/d/a", "/d/b");
    rename(&fs, "/d/b", "/e/c");
    let places = |after: &MemFs| ["/d/a", "/d/b", "/e/c"].map(|path| contents(after, path).is_some());
    let all = [[true, false, false], [false, true, false], [false, false, true]];
    assert_eq!(all_outcomes(&fs, places), all.into());
    // A sync of the second directory brings the first rename, which the second one stands on, with it.
    fs.sync_dir(Path::new("/e")).unwrap();
    assert_eq!(all_outcomes(&fs, places), [all[2]].into());
}

#[test]
fn independent_names_come_and_go_independently() {
    let fs = MemFs::new();
    let _durable = create_durable(&fs, "/gone", b"x");
    fs.remove(Path::new("/gone")).unwrap();
    create(&fs, "/new", b"");
    fs.hard_link(Path::new("/new"), Path::new("/link")).unwrap();
    let found = all_outcomes(&fs, |after| ["/gone", "/new", "/link"].map(|path| contents(after, path).is_some()));
    let expected = [
        [true, false, false],
        [true, true, false],
        [true, true, true],
        [false, false, false],
        [false, true, false],
        [false, true, true],
    ];
    assert_eq!(found, expected.into());
}

#[test]
fn created_directories_are_durable_and_removed_ones_may_be_back() {
    let fs = MemFs::new();
    fs.create_dir(Path::new("/a/b")).unwrap();
    assert_eq!(fs.crash(Crash::DropUnsynced).read_dir(Path::new("/a")).unwrap(), ["b"]);
    fs.remove_dir(Path::new("/a/b")).unwrap();
    assert_eq!(fs.crash(Crash::DropUnsynced).read_dir(Path::new("/a")).unwrap(), ["b"]);
    assert!(fs.crash(Crash::KeepAll).read_dir(Path::new("/a")).unwrap().is_empty());
}

#[test]
fn a_removed_file_is_readable_where_it_is_open_and_back_after_a_power_cut() {
    let fs = MemFs::new();
    let _file = create_durable(&fs, "/a", b"x");
    let open = fs.open(Path::new("/a")).unwrap();
    fs.remove(Path::new("/a")).unwrap();
    assert_eq!(open.size().unwrap(), 1);
    assert_eq!(contents(&fs.crash(Crash::DropUnsynced), "/a").unwrap(), b"x");
    fs.sync_dir(Path::new("/")).unwrap();
    assert_eq!(contents(&fs.crash(Crash::DropUnsynced), "/a"), None);
    assert_eq!(open.size().unwrap(), 1);
}

// Covers V1.
#[test]
fn handles_from_before_the_crash_stay_in_their_own_world() {
    let fs = MemFs::new();
    let mut file = create_durable(&fs, "/a", b"one");
    let lock = fs.lock(Path::new("/LOCK")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    let after = fs.crash(Crash::KeepAll);
    let again = after.lock(Path::new("/LOCK")).unwrap();
    file.write_all(b" two").unwrap();
    file.sync().unwrap();
    drop(lock);
    create(&fs, "/b", b"");
    assert_eq!(contents(&after, "/a").unwrap(), b"one");
    assert_eq!(contents(&fs, "/a").unwrap(), b"one two");
    assert_eq!(contents(&after, "/b"), None);
    assert_eq!(after.lock(Path::new("/LOCK")).err().unwrap().kind(), ErrorKind::WouldBlock);
    drop(again);
}

// Covers G3.
#[test]
fn delivered_bytes_of_a_segment_survive_a_process_crash() {
    for (access, expected) in [(SegmentAccess::Mapped, b"one two"), (SegmentAccess::Positioned, b"one\0\0\0\0")] {
        let fs = MemFs::new();
        let mut segment = fs.create_segment(Path::new("/log"), 7, access).unwrap();
        segment.reserve(3).unwrap().copy_from_slice(b"one");
        segment.commit(3);
        segment.handle().deliver().unwrap();
        segment.reserve(4).unwrap().copy_from_slice(b" two");
        segment.commit(4);
        assert_eq!(contents(&fs.crash(Crash::KeepAll), "/log").unwrap(), expected);
        assert_eq!(contents(&fs.crash(Crash::DropUnsynced), "/log"), None, "the name was not synced");
        segment.handle().sync().unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        assert_eq!(contents(&fs.crash(Crash::DropUnsynced), "/log").unwrap(), b"one two");
    }
}

#[test]
fn an_unsynced_recycling_leaves_old_and_new_sectors_under_either_name() {
    let fs = MemFs::new();
    let mut segment = fs.create_segment(Path::new("/1"), 1024, SegmentAccess::Mapped).unwrap();
    segment.reserve(1024).unwrap().fill(b'o');
    segment.commit(1024);
    segment.finish().unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    let mut segment = fs.recycle_segment(Path::new("/1"), Path::new("/2"), SegmentAccess::Mapped).unwrap().unwrap();
    segment.reserve(1024).unwrap().fill(b'n');
    segment.commit(1024);
    let found = all_outcomes(&fs, |after| {
        let (old, new) = (contents(after, "/1"), contents(after, "/2"));
        assert!(old.is_some() != new.is_some());
        let bytes = old.clone().or(new).unwrap();
        (old.is_some(), bytes[0], bytes[511], bytes[512], bytes[1023])
    });
    assert_eq!(found.len(), 8);
    assert!(found.contains(&(true, b'o', b'o', b'n', b'n')));
}

/// A step of one of three files, each written from front to back.
#[derive(Clone, Debug)]
enum Step {
    Write(usize, usize),
    Sync(usize),
    Rename(usize),
    SyncDir,
}

impl Arbitrary for Step {
    fn arbitrary(g: &mut Gen) -> Step {
        let file = usize::arbitrary(g) % 3;
        match u8::arbitrary(g) % 8 {
            0..=3 => Step::Write(file, usize::from(u16::arbitrary(g)) % 1500),
            4 | 5 => Step::Sync(file),
            6 => Step::Rename(file),
            _ => Step::SyncDir,
        }
    }
}

/// What a file went through.
struct History {
    writer: Box<dyn FileWriter>,
    bytes: usize,
    synced: usize,
    /// Generations of its name: `<file>.<generation>`.
    name: usize,
    synced_name: Option<usize>,
}

/// The byte at `offset` of any file; never zero, so that holes are seen.
fn byte_at(offset: usize) -> u8 {
    (offset % 251 + 1) as u8
}

/// Runs `steps` and returns the file system with what its files went through.
fn run(steps: &[Step]) -> (MemFs, Vec<History>) {
    let fs = MemFs::new();
    let mut files: Vec<History> = (0..3)
        .map(|file| History {
            writer: create(&fs, &format!("/{file}.0"), b""),
            bytes: 0,
            synced: 0,
            name: 0,
            synced_name: None,
        })
        .collect();
    for step in steps {
        match *step {
            Step::Write(file, count) => {
                let file = &mut files[file];
                let bytes: Vec<u8> = (file.bytes..file.bytes + count).map(byte_at).collect();
                file.writer.write_all(&bytes).unwrap();
                file.bytes += count;
            }
            Step::Sync(file) => {
                files[file].writer.sync().unwrap();
                files[file].synced = files[file].bytes;
            }
            Step::Rename(file) => {
                let generation = files[file].name;
                rename(&fs, &format!("/{file}.{generation}"), &format!("/{file}.{}", generation + 1));
                files[file].name += 1;
            }
            Step::SyncDir => {
                fs.sync_dir(Path::new("/")).unwrap();
                files.iter_mut().for_each(|file| file.synced_name = Some(file.name));
            }
        }
    }
    (fs, files)
}

/// The files by number: generation of the name, and bytes.
fn survivors(after: &MemFs) -> BTreeMap<usize, (usize, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for name in after.read_dir(Path::new("/")).unwrap() {
        let (file, generation) = name.split_once('.').unwrap();
        let bytes = contents(after, &name).unwrap();
        let before = found.insert(file.parse().unwrap(), (generation.parse().unwrap(), bytes));
        assert!(before.is_none(), "{file} is in two places");
    }
    found
}

quickcheck! {
    // Covers F1, V2, V3.
    fn what_was_synced_survives_every_power_cut(steps: Vec<Step>, seed: u64) -> bool {
        let (fs, files) = run(&steps);
        for crash in (0..10).map(|n| Crash::Random(seed.wrapping_add(n))).chain([Crash::DropUnsynced, Crash::KeepAll]) {
            let after = survivors(&fs.crash(crash));
            assert_eq!(after, survivors(&fs.crash(crash)), "the same seed gives the same");
            for (number, file) in files.iter().enumerate() {
                let Some((name, bytes)) = after.get(&number) else {
                    assert_eq!(file.synced_name, None, "{crash:?} lost a synced name");
                    continue;
                };
                assert!((file.synced_name.unwrap_or(0)..=file.name).contains(name));
                assert!((file.synced..=file.bytes).contains(&bytes.len()));
                for (offset, &byte) in bytes.iter().enumerate() {
                    // Behind what was synced: zeros, or what an older file left in the block.
                    let lost = offset >= file.synced && [0, 0xd7].contains(&byte);
                    assert!(byte == byte_at(offset) || lost, "{crash:?} {offset}");
                }
            }
        }
        let all: Vec<_> = survivors(&fs.crash(Crash::KeepAll)).into_values().map(|(_, bytes)| bytes.len()).collect();
        all == files.iter().map(|file| file.bytes).collect::<Vec<_>>()
    }
}

// A policy that lost everything or kept everything would pass the property above.
#[test]
fn random_power_cuts_show_holes_losses_and_tears() {
    let steps = [Step::SyncDir, Step::Write(0, 3000), Step::Rename(1)];
    let (fs, _) = run(&steps);
    let mapped = MemFs::new();
    let mut segment = mapped.create_segment(Path::new("/segment"), 4096, SegmentAccess::Mapped).unwrap();
    mapped.sync_dir(Path::new("/")).unwrap();
    segment.reserve(3000).unwrap().fill(1);
    segment.commit(3000);
    let is_torn = |bytes: &[u8]| bytes.chunks(512).any(|sector| sector[0] != 0 && *sector.last().unwrap() == 0);
    let (mut holes, mut short, mut renamed, mut torn) = (0, 0, 0, 0);
    for seed in 0..300 {
        let after = survivors(&fs.crash(Crash::Random(seed)));
        let bytes = &after[&0].1;
        let sectors: Vec<bool> = bytes.chunks(512).map(|sector| sector.iter().all(|&byte| byte != 0)).collect();
        holes += usize::from(sectors.windows(2).any(|pair| !pair[0] && pair[1]));
        short += usize::from(bytes.len() < 3000);
        renamed += usize::from(after[&1].0 == 1);
        assert!(!is_torn(bytes), "a call writes sectors whole");
        torn += usize::from(is_torn(&contents(&mapped.crash(Crash::Random(seed)), "segment").unwrap()));
    }
    for (what, count) in [("holes", holes), ("short", short), ("renamed", renamed), ("torn", torn)] {
        assert!((15..300).contains(&count), "{what}: {count} of 300");
    }
}
