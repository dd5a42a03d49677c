//! When a manifest is replaced by a fresh one, and what happens on a full disk.

use std::path::Path;
use std::sync::Arc;

use lsm_core::filename::{FileKind, FileNumber};
use lsm_fs::{Fs, MemFs};
use lsm_manifest::{Manifest, State, TABLE_NUMBER_MAX, TornTail, VersionEdit};
use lsm_wal::LEGACY_HEADER_BYTES;

use crate::written::{STORE, add, bytes_of, content, empty, read, store_with_manifest, table};

/// An edit that replaces table `old` by a new one with a key of `key_bytes`.
fn replacement(manifest: &Manifest, old: Option<FileNumber>, key_bytes: usize) -> (FileNumber, VersionEdit) {
    let number = manifest.numbers().allocate();
    let mut edit = add(6, table(number, "a", &"z".repeat(key_bytes), number.0));
    edit.deleted = old.map(|old| (6, old)).into_iter().collect();
    (number, edit)
}

fn create(fs: &MemFs) -> Manifest {
    Manifest::create(Arc::new(fs.clone()), Path::new(STORE), State::new("id")).unwrap()
}

fn manifests(fs: &MemFs) -> Vec<FileNumber> {
    let number = |name: &String| match FileKind::parse(name) {
        Some(FileKind::Manifest(number)) => Some(number),
        _ => None,
    };
    fs.read_dir(Path::new(STORE)).unwrap().iter().filter_map(number).collect()
}

#[test]
fn a_manifest_that_has_grown_is_replaced() {
    let fs = empty();
    let mut manifest = create(&fs);
    let mut old = None;
    let mut sizes = Vec::new();
    for _ in 0..16 {
        let (number, edit) = replacement(&manifest, old, 700_000);
        manifest.apply(vec![edit]).unwrap();
        old = Some(number);
        let state = manifest.state();
        sizes.push((state.manifest.0, state.manifest_bytes / 700_000));
        assert_eq!(read(&fs).unwrap(), *state);
        assert_eq!(manifests(&fs), [state.manifest], "those that were replaced are gone");
    }
    // Six edits pass 4 MiB; the seventh goes into a fresh manifest, which begins with one table.
    let numbers: Vec<_> = sizes.iter().map(|(number, _)| *number).collect();
    assert_eq!(sizes[..7].iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 1]);
    assert!(numbers[..6].iter().all(|number| *number == 1) && numbers[6] > 1, "{numbers:?}");
    assert_eq!(numbers[6..12].iter().collect::<std::collections::HashSet<_>>().len(), 1, "{numbers:?}");
    assert!(numbers[12] > numbers[11], "{numbers:?}");
}

#[test]
fn beside_a_torn_tail_manifests_that_are_replaced_stay() {
    let fs = empty();
    let mut state = create(&fs).state().clone();
    state.torn_tail = Some(TornTail { offset: 1, bytes: 1, detail: "torn".to_owned() });
    let mut manifest = Manifest::create(Arc::new(fs.clone()), Path::new(STORE), state).unwrap();
    let before = manifest.state().manifest;
    let mut old = None;
    while manifest.state().manifest == before {
        let (number, edit) = replacement(&manifest, old, 700_000);
        manifest.apply(vec![edit]).unwrap();
        old = Some(number);
    }
    assert_eq!(manifests(&fs).len(), 3);
}

#[test]
fn a_large_store_may_have_a_large_manifest() {
    let fs = empty();
    let mut manifest = create(&fs);
    let tables = (0..3).map(|level| {
        let number = manifest.numbers().allocate();
        add(level, table(number, "a", &"z".repeat(1_000_000), number.0))
    });
    let tables: Vec<_> = tables.collect();
    manifest.apply(tables).unwrap();
    let mut manifest = Manifest::create(Arc::new(fs.clone()), Path::new(STORE), read(&fs).unwrap()).unwrap();
    let first = manifest.state().manifest;
    let mut old = None;
    // 3 MB to begin with, so 6 MB is the limit.
    for edits in 1..=5 {
        let (number, edit) = replacement(&manifest, old, 700_000);
        manifest.apply(vec![edit]).unwrap();
        old = Some(number);
        assert_eq!(manifest.state().manifest == first, edits <= 5, "{edits}");
    }
    manifest.apply(vec![replacement(&manifest, old, 10).1]).unwrap();
    assert_ne!(manifest.state().manifest, first);
}

fn bytes_on_disk(fs: &MemFs) -> u64 {
    let directory = Path::new(STORE);
    let bytes = |name: &String| fs.metadata(&directory.join(name)).unwrap().bytes;
    fs.read_dir(directory).unwrap().iter().map(bytes).sum()
}

#[test]
fn a_full_disk_refuses_an_edit_and_the_next_one_goes_into_a_fresh_manifest() {
    // Covers W2.
    let fs = empty();
    let mut manifest = create(&fs);
    let (first, edit) = replacement(&manifest, None, 1000);
    manifest.apply(vec![edit]).unwrap();
    for room in [0, 5, 100, 900] {
        let before = manifest.state().clone();
        fs.set_capacity(Some(bytes_on_disk(&fs) + room));
        let error = manifest.apply(vec![replacement(&manifest, Some(first), 1000).1]).unwrap_err();
        assert!(error.to_string().contains("write"), "{error}");
        assert!(manifest.failure().is_none(), "the store goes on");
        assert_eq!(*manifest.state(), before);
        // The disk is still too full for a fresh manifest.
        manifest.apply(vec![replacement(&manifest, Some(first), 1000).1]).unwrap_err();
        assert!(manifest.failure().is_none(), "the store goes on");
        assert_eq!(content(&read(&fs).unwrap()), content(&before));

        fs.set_capacity(None);
        let (extra, edit) = replacement(&manifest, None, 1);
        let edit = VersionEdit { added: add(5, table(extra, "a", "b", 1)).added, ..edit };
        manifest.apply(vec![edit, VersionEdit { deleted: vec![(5, extra)], ..VersionEdit::default() }]).unwrap();
        assert!(manifest.state().manifest > before.manifest, "nothing is appended behind a torn record");
        assert_eq!(read(&fs).unwrap(), *manifest.state());
    }
}

#[test]
fn edits_that_do_not_fit_leave_no_trace() {
    // Covers W4.
    let fs = empty();
    let mut manifest = create(&fs);
    let before = manifest.state().clone();
    let gone = VersionEdit { deleted: vec![(0, FileNumber(77))], ..VersionEdit::default() };
    assert!(manifest.apply(vec![gone]).unwrap_err().is_corruption());
    assert!(manifest.failure().is_none());
    manifest.apply(Vec::new()).unwrap();
    assert_eq!(*manifest.state(), before);
    assert_eq!(read(&fs).unwrap(), before);
}

#[test]
fn file_numbers_are_never_given_out_twice() {
    // Covers W3.
    let fs = empty();
    let mut manifest = create(&fs);
    let used: Vec<_> = (0..5).map(|_| manifest.numbers().allocate()).collect();
    manifest.apply(vec![VersionEdit::default()]).unwrap();
    drop(manifest);
    let again = Manifest::create(Arc::new(fs.clone()), Path::new(STORE), read(&fs).unwrap()).unwrap();
    assert!(again.state().manifest > used[4]);
    assert!(again.numbers().allocate() > again.state().manifest);
}

#[test]
fn numbers_shared_with_recovery_catch_up_with_the_state() {
    // Covers W3.
    let fs = empty();
    let numbers = create(&fs).numbers().clone();
    let mut state = read(&fs).unwrap();
    state.mark_used(FileNumber(500));
    let shared = Arc::new(fs.clone());
    let mut manifest = Manifest::create_sharing(shared, Path::new(STORE), state, numbers.clone()).unwrap();
    assert!(manifest.state().manifest > FileNumber(500));
    manifest.apply(vec![VersionEdit { next_file: Some(900), ..VersionEdit::default() }]).unwrap();
    assert!(numbers.allocate() >= FileNumber(900));
    assert_eq!(read(&fs).unwrap(), *manifest.state());
}

#[test]
fn numbers_that_recovery_would_refuse_are_not_written() {
    // Covers W4.
    for (used, fits) in
        [(TABLE_NUMBER_MAX - 2, true), (TABLE_NUMBER_MAX - 1, false), (TABLE_NUMBER_MAX, false), (u64::MAX, false)]
    {
        let fs = empty();
        create(&fs).apply(vec![VersionEdit::default()]).unwrap();
        let before = read(&fs).unwrap();
        let mut state = before.clone();
        state.mark_used(FileNumber(used));
        let fresh = Manifest::create(Arc::new(fs.clone()), Path::new(STORE), state);
        let found = read(&fs).expect("what is in force can be read");
        match fresh {
            Ok(manifest) => assert!(fits && found == *manifest.state(), "{used}"),
            Err(error) => assert!(!fits && error.is_corruption() && found == before, "{used}: {error}"),
        }
    }
}

/// A disk that took the fresh manifest and not the new `CURRENT` made the store read-only, though the old one was
/// still in force: found by filling a small file system again and again.
#[test]
fn a_disk_that_is_full_when_current_is_written_refuses_the_edit_only() {
    let fs = empty();
    let mut manifest = create(&fs);
    let (first, edit) = replacement(&manifest, None, 1000);
    manifest.apply(vec![edit]).unwrap();
    let before = manifest.state().clone();
    let mut refused_by_current = 0;
    for room in 0.. {
        fs.set_capacity(Some(bytes_on_disk(&fs) + room));
        match manifest.apply(vec![replacement(&manifest, Some(first), 10).1]) {
            Ok(()) => break,
            Err(error) => refused_by_current += u32::from(error.to_string().contains(".dbtmp")),
        }
        assert!(manifest.failure().is_none(), "{room} bytes of room: {:?}", manifest.failure());
        assert_eq!(*manifest.state(), before);
        assert_eq!(read(&fs).unwrap().families, before.families);
    }
    assert!(refused_by_current > 10, "{refused_by_current}");
    assert_eq!(content(&read(&fs).unwrap()), content(manifest.state()));
    assert!(fs.read_dir(Path::new(STORE)).unwrap().iter().all(|name| !name.ends_with(".dbtmp")));
}

/// A soak found that a power cut which took the one byte that an append had in its first sector, of a single set bit,
/// was refused as damage. Covers W5 and L4.
#[test]
fn a_power_cut_takes_several_bits_of_an_append() {
    const SECTOR: usize = 512;
    for key_bytes in 1..=SECTOR {
        let fs = empty();
        let mut manifest = create(&fs);
        let (old, edit) = replacement(&manifest, None, key_bytes);
        manifest.apply(vec![edit]).unwrap();
        let (before, from) = (manifest.state().clone(), manifest.state().manifest_bytes as usize);
        assert!(from % SECTOR + LEGACY_HEADER_BYTES <= SECTOR, "an append at {from}");
        let (_, edit) = replacement(&manifest, Some(old), 2 * SECTOR);
        manifest.apply(vec![edit]).unwrap();
        let bytes = bytes_of(&fs, FileKind::Manifest(before.manifest));
        for first in from / SECTOR..bytes.len().div_ceil(SECTOR) {
            let mut torn = bytes.clone();
            torn[from.max(first * SECTOR)..bytes.len().min((first + 1) * SECTOR)].fill(0);
            let found = read(&store_with_manifest(before.manifest, &torn)).unwrap();
            assert_eq!(content(&found), content(&before), "sector {first} of an append at {from}");
        }
    }
}
