//! Manifests that RocksDB 7.8.3 wrote, and RocksDB's `ldb` on manifests of ours.
//!
//! `tests/data` holds the small files of three stores: `levels` (compacted, then a deleted range, a deletion and
//! two puts), `families` (a second family, and a third one that was dropped) and `blobs` (values in a blob file).

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use lsm_core::filename::{FileKind, FileNumber};
use lsm_core::key::{InternalKey, SeqNo};
use lsm_core::{ColumnFamilyId, Error};
use lsm_fs::OsFs;
use lsm_manifest::{Family, Manifest, State, TableMeta};

use crate::written::{add, add_family, content, data, in_family, table, wal};

/// `CURRENT`, `IDENTITY` and `MANIFEST-000048`.
const LEVELS: &str = "levels";
/// `CURRENT`, `IDENTITY` and `MANIFEST-000025`.
const FAMILIES: &str = "families";
/// `CURRENT`, `IDENTITY` and `MANIFEST-000005`.
const BLOBS: &str = "blobs";

fn numbers(family: &Family, level: usize) -> Vec<u64> {
    family.version.level(level).iter().map(|table| table.number.0).collect()
}

#[test]
fn a_store_with_levels_is_read() {
    let state = lsm_manifest::read(&OsFs, &data(LEVELS)).unwrap();
    let default = state.family("default").unwrap();
    assert_eq!(numbers(default, 0), [46, 41, 36], "newest first");
    assert_eq!(numbers(default, 1), [9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29]);
    assert_eq!(default.version.table_count(), 14);
    assert_eq!(default.version.level_bytes(1), 675_922);
    assert_eq!((state.next_file, state.last_seq), (49, SeqNo::new(12_004)));
    assert_eq!((default.log_number, state.first_log()), (FileNumber(43), FileNumber(43)));
    assert_eq!((state.manifest, state.manifest_bytes, &state.torn_tail), (FileNumber(48), 1540, &None));
    assert_eq!(state.db_id, std::fs::read_to_string(data("levels/IDENTITY")).ok());

    // The deleted range `apache`..`apt` ends its table exclusively.
    let range = &default.version.level(0)[2];
    assert_eq!((range.smallest.user_key(), range.smallest.seq()), (b"apache".as_slice(), SeqNo::new(12_001)));
    assert!(range.largest.is_exclusive_end() && range.covers(b"apsfilter") && !range.covers(b"apt"));

    // Epochs did not exist yet: level 1 is older than level 0, whose order is kept.
    let epochs: Vec<_> = default.version.level(0).iter().map(|table| table.epoch).collect();
    assert_eq!(epochs, [4, 3, 2]);
    assert!(default.version.level(1).iter().all(|table| table.epoch == 1));
    let first = &default.version.level(1)[0];
    assert_eq!(first.unique_id, Some([10_521_806_367_053_991_100, 5_224_030_334_435_910_350]));
    assert_eq!((first.oldest_ancestor_time, first.file_creation_time), (1_795_420_813, 1_795_420_813));
}

#[test]
fn a_store_with_families_is_read() {
    let state = lsm_manifest::read(&OsFs, &data(FAMILIES)).unwrap();
    let names: Vec<_> = state.families.values().map(|family| (family.id.0, family.name.as_str())).collect();
    assert_eq!(names, [(0, "default"), (1, "sections")]);
    assert_eq!(state.max_family, 2, "the dropped family's number stays taken");
    let sections = state.family("sections").unwrap();
    assert_eq!((numbers(sections, 0), sections.log_number), (vec![17], FileNumber(19)));
    assert_eq!(sections.version.level(0)[0].largest.user_key(), b"grammalecte-cli");
}

#[test]
fn a_store_with_blob_files_is_refused_by_name() {
    let error = lsm_manifest::read(&OsFs, &data(BLOBS)).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("blob files"), "{error}");
    assert_eq!(error.path(), Some(data("blobs/MANIFEST-000005").as_path()));
}

#[test]
fn a_rewritten_manifest_of_rocksdb_says_the_same() {
    for store in [LEVELS, FAMILIES] {
        let copy = copy_of(store);
        let before = lsm_manifest::read(&OsFs, copy.path()).unwrap();
        Manifest::create(Arc::new(OsFs), copy.path(), before.clone()).unwrap();
        let after = lsm_manifest::read(&OsFs, copy.path()).unwrap();
        assert_eq!(after.manifest, FileNumber(before.next_file));
        assert_eq!(content(&after), content(&before), "{store}");
    }
}

fn copy_of(store: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(data(store)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

/// Runs `ldb`; `None` without RocksDB's tools, unless the environment says that they must be there.
fn ldb(arguments: &[&str]) -> Option<String> {
    let output = match Command::new("ldb").args(arguments).output() {
        Ok(output) => output,
        Err(error) if std::env::var_os("LSM_REQUIRE_ROCKSDB").is_some() => panic!("ldb is required: {error}"),
        Err(_) => {
            println!("skipped: ldb is not installed");
            return None;
        }
    };
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    // Its exit code is zero even for a manifest that it refuses.
    assert!(output.status.success() && !text.contains("Corruption") && !text.contains("Error"), "{text}");
    Some(text)
}

fn dump(directory: &Path, state: &State) -> Option<String> {
    let path = FileKind::Manifest(state.manifest).path(directory);
    ldb(&["manifest_dump", "--verbose", &format!("--path={}", path.display())])
}

#[test]
fn rocksdb_reads_our_manifest() {
    let directory = tempfile::tempdir().unwrap();
    let mut state = State::new("3f2a0c11-5a5c-4f7e-9d56-0c1d2e3f4a5b");
    state.mark_used(FileNumber(6));
    let mut manifest = Manifest::create(Arc::new(OsFs), directory.path(), state).unwrap();
    let number = || manifest.numbers().allocate();
    let (log, next_log, flushed, other, compacted) = (number(), number(), number(), number(), number());

    manifest.apply(vec![wal(log, None), wal(log, Some(4096)), wal(next_log, None)]).unwrap();
    manifest.apply(vec![add_family(1, "cities")]).unwrap();
    let mut flush = add(0, table(flushed, "apple", "cherry", 7));
    flush.log_number = Some(next_log);
    flush.wals_deleted_below = Some(next_log);
    let mut flush_cities = in_family(1, add(0, table(other, "aachen", "zurich", 8)));
    flush_cities.log_number = Some(next_log);
    manifest.apply(vec![flush, flush_cities]).unwrap();
    let mut compaction = add(6, table_with_all_fields(compacted));
    compaction.deleted = vec![(0, flushed)];
    manifest.apply(vec![compaction]).unwrap();

    let Some(text) = dump(directory.path(), manifest.state()) else { return };
    for expected in [
        "AddFile: 6 12 5000 'apple' seq:7, type:1 .. 'cherry' seq:72057594037927935, type:15",
        "oldest_ancester_time:1700000001 file_creation_time:1700000002",
        "unique_id(internal): {17,18}",
        "AddFile: 0 11 1000 'aachen' seq:8, type:1 .. 'zurich' seq:8, type:1",
        "DeleteFile: 0 10",
        "ColumnFamilyAdd: cities",
        "AtomicGroup: 1 entries remains",
        "Column family \"default\"  (ID 0)",
        "Column family \"cities\"  (ID 1)",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }

    // A fresh manifest with the same content.
    let state = lsm_manifest::read(&OsFs, directory.path()).unwrap();
    let fresh = Manifest::create(Arc::new(OsFs), directory.path(), state).unwrap();
    let text = dump(directory.path(), fresh.state()).unwrap();
    assert!(text.contains(" 12:5000[1 .. 7]['apple'") && text.contains(" 11:1000[8 .. 8]['aachen'"), "{text}");
}

/// A table with every field that is written.
fn table_with_all_fields(number: FileNumber) -> TableMeta {
    TableMeta {
        largest: InternalKey::exclusive_end(b"cherry"),
        smallest_seq: SeqNo::new(1),
        bytes: 5000,
        oldest_ancestor_time: 1_700_000_001,
        file_creation_time: 1_700_000_002,
        unique_id: Some([17, 18]),
        tail_bytes: 500,
        compensated_range_deletion_bytes: 300,
        marked_for_compaction: true,
        ..table(number, "apple", "banana", 7)
    }
}

#[test]
fn rocksdb_works_on_with_a_store_whose_manifest_we_rewrote() {
    let directory = tempfile::tempdir().unwrap();
    let db = format!("--db={}", directory.path().display());
    let Some(_) = ldb(&[&db, "--create_if_missing", "batchput", "a", "1", "b", "2"]) else { return };
    ldb(&[&db, "create_column_family", "cities"]).unwrap();
    ldb(&[&db, "--column_family=cities", "put", "rome", "3"]).unwrap();
    ldb(&[&db, "delete", "a"]).unwrap();

    let mut state = lsm_manifest::read(&OsFs, directory.path()).unwrap();
    let files: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .filter_map(|entry| FileKind::parse(entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    files.iter().filter_map(|file| file.number()).for_each(|number| state.mark_used(number));
    assert_eq!(state.family("cities").unwrap().id, ColumnFamilyId(1));
    let mut manifest = Manifest::create(Arc::new(OsFs), directory.path(), state).unwrap();
    // Keep track of the live logs, which RocksDB does only when told to.
    let logs = files.iter().filter(|file| matches!(file, FileKind::Log(_))).filter_map(|file| file.number());
    manifest.apply(logs.map(|number| wal(number, None)).collect()).unwrap();

    assert_eq!(ldb(&[&db, "scan"]).unwrap(), "b : 2\n");
    assert_eq!(ldb(&[&db, "--column_family=cities", "get", "rome"]).unwrap(), "3\n");
    ldb(&[&db, "put", "c", "4"]).unwrap();
    let state = lsm_manifest::read(&OsFs, directory.path()).unwrap();
    assert!(state.last_seq >= SeqNo::new(4) && state.wals.is_empty(), "RocksDB has moved on: {state:?}");
}
