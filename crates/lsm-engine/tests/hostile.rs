//! Logs and tables that this store would not have written: their checksums hold, their content is anyone's.
//!
//! Whoever hands over a directory can make checksums. Whatever a log says then, opening ends with an error that names
//! a file, or with a store that can be read, verified and written. What a table says gives errors and never a panic.

use lsm_compaction::StepExecutor;
use lsm_core::filename::{FileKind, FileNumber};
use lsm_core::key::{InternalKey, USER_KEY_BYTES_MAX};
use lsm_core::{ColumnFamilyId, Kind, SeqNo, WriteBatch};
use lsm_engine::{Db, Options};
use lsm_fs::{Fs, MemFs};
use lsm_manifest::{Manifest, State, TableMeta, VersionEdit};
use lsm_sstable::{BuilderOptions, TableBuilder};
use lsm_wal::RecordWriter;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

const STORE: &str = "/store";
const DEFAULT: ColumnFamilyId = ColumnFamilyId::DEFAULT;

fn options(fs: &MemFs) -> Options {
    Options::new().write_buffer_size(64 << 10).executor(Arc::new(StepExecutor::new())).fs(Arc::new(fs.clone()))
}

/// A store with one row, sequence number 1, and behind its log another one with these batches.
fn store_with_log(batches: &[WriteBatch]) -> MemFs {
    let fs = MemFs::new();
    let db = options(&fs).open(STORE).unwrap();
    db.put("m", "of the store").unwrap();
    db.flush().unwrap();
    db.close().unwrap();
    let number = |name: &String| FileKind::parse(name)?.number();
    let last = fs.read_dir(Path::new(STORE)).unwrap().iter().filter_map(number).max().unwrap();
    let mut records = RecordWriter::new(Vec::new());
    for batch in batches {
        records.append(batch.as_bytes()).unwrap();
    }
    let path = FileKind::Log(FileNumber(last.0 + 1)).path(Path::new(STORE));
    fs.create(&path).unwrap().write_all(&records.into_inner()).unwrap();
    fs
}

fn batch(seq: u64, fill: impl FnOnce(&mut WriteBatch)) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.set_seq(SeqNo::new(seq));
    fill(&mut batch);
    batch
}

/// The keys that the store ends up with, or the error of its opening.
fn opened(batches: &[WriteBatch]) -> Result<Vec<Vec<u8>>, String> {
    let fs = store_with_log(batches);
    let read_only = options(&fs).read_only(true).open(STORE);
    let db = match options(&fs).open(STORE) {
        Ok(db) => db,
        Err(error) => {
            assert!(error.path().is_some(), "no file is named: {error}");
            assert!(read_only.is_err(), "{error}");
            return Err(error.to_string());
        }
    };
    let found = keys(&db);
    assert_eq!(keys(&read_only.unwrap()), found);
    db.verify().unwrap();
    db.put("z", "new").unwrap();
    db.flush().unwrap();
    db.compact_range(..).unwrap();
    db.close().unwrap();
    let db = options(&fs).open(STORE).unwrap();
    db.verify().unwrap();
    let mut with_new = found.clone();
    with_new.push(b"z".to_vec());
    assert_eq!(keys(&db), with_new);
    Ok(found)
}

fn keys(db: &Db) -> Vec<Vec<u8>> {
    let keys: Vec<_> = db.iter().map(|row| row.unwrap().0.to_vec()).collect();
    let mut backward: Vec<_> = db.iter().rev().map(|row| row.unwrap().0.to_vec()).collect();
    backward.reverse();
    assert!(keys == backward, "both directions");
    for key in &keys {
        assert!(db.get(key).unwrap().is_some());
    }
    keys
}

fn check(batches: &[WriteBatch], expected: &[&str]) {
    let expected: Vec<_> = expected.iter().map(|key| key.as_bytes().to_vec()).collect();
    assert_eq!(opened(batches), Ok(expected));
}

fn check_refused(batches: &[WriteBatch], expected: &str) {
    let error = opened(batches).unwrap_err();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn ranges_that_are_inverted_or_empty_delete_nothing() {
    check(&[batch(2, |batch| batch.delete_range(DEFAULT, b"z", b"a"))], &["m"]);
    check(&[batch(2, |batch| batch.delete_range(DEFAULT, b"m", b"m"))], &["m"]);
    check(&[batch(2, |batch| batch.delete_range(DEFAULT, b"", b"n"))], &[]);
}

#[test]
fn two_writes_with_one_sequence_number_do_no_harm() {
    let put = |value: &[u8]| batch(2, |batch| batch.put(DEFAULT, b"a", value));
    check(&[put(b"1"), put(b"2"), put(b"1")], &["a", "m"]);
    let delete = batch(2, |batch| batch.delete(DEFAULT, b"m"));
    check(&[batch(2, |batch| batch.put(DEFAULT, b"m", b"")), delete], &["m"]);
    check(&[batch(1, |batch| batch.put(DEFAULT, b"m", b"again"))], &["m"]);
}

#[test]
fn writes_of_unknown_families_are_passed_over() {
    check(&[batch(2, |batch| batch.put(ColumnFamilyId(77), b"a", b"1"))], &["m"]);
    check(&[batch(2, |batch| batch.put(ColumnFamilyId(u32::MAX), b"a", b"1"))], &["m"]);
}

#[test]
fn sequence_numbers_at_their_end_are_refused() {
    let last = SeqNo::MAX.get();
    check_refused(&[batch(last, |batch| batch.put(DEFAULT, b"a", b"1"))], "sequence numbers");
    for batch in [batch(last - 1, |batch| batch.put(DEFAULT, b"a", b"1")), batch(last, |batch| batch.log_data(b""))] {
        let fs = store_with_log(&[batch]);
        let db = options(&fs).open(STORE).unwrap();
        assert!(db.put("b", "one too many").unwrap_err().to_string().contains("used up"));
        assert_eq!(db.get("m").unwrap().unwrap(), "of the store");
        db.close().unwrap();
    }
}

/// RocksDB takes keys up to 4 GiB, so such a log may be sound, but no table of this store can hold them.
#[test]
fn keys_that_are_too_long_are_refused_by_name() {
    let long = vec![b'k'; USER_KEY_BYTES_MAX + 1];
    check_refused(&[batch(2, |batch| batch.put(DEFAULT, &long, b"1"))], "key");
    check_refused(&[batch(2, |batch| batch.delete(DEFAULT, &long))], "key");
    check_refused(&[batch(2, |batch| batch.merge(DEFAULT, &[&long[..], b"x"].concat(), b"1"))], "key");
    check_refused(&[batch(2, |batch| batch.delete_range(DEFAULT, b"", &[&long[..], b"x"].concat()))], "key");
    check(&[batch(2, |batch| batch.delete_range(DEFAULT, b"", &long))], &["m"]);
    let longest = String::from_utf8(long[1..].to_vec()).unwrap();
    check(&[batch(2, |batch| batch.put(DEFAULT, longest.as_bytes(), b"1"))], &[&longest, "m"]);
}

/// Operands without an operator to join them, then one that is no value any more.
#[test]
fn operands_without_an_operator_are_errors_of_their_key_alone() {
    let fs = store_with_log(&[batch(2, |batch| batch.merge(DEFAULT, b"a", b"1"))]);
    let db = options(&fs).open(STORE).unwrap();
    assert!(db.get("a").is_err());
    assert_eq!(db.get("m").unwrap().unwrap(), "of the store");
    db.verify().unwrap();
    db.close().unwrap();
}

/// A table of these keys with sequence numbers, under bounds that the manifest makes up.
struct Planted {
    level: usize,
    keys: &'static [(&'static str, u64)],
    bounds: (&'static str, &'static str),
    seqs: (u64, u64),
}

fn store_with_tables(tables: &[Planted]) -> MemFs {
    let fs = MemFs::new();
    let directory = Path::new(STORE);
    fs.create_dir(directory).unwrap();
    let mut manifest =
        Manifest::create(Arc::new(fs.clone()), directory, State::new(lsm_manifest::new_db_id(&fs))).unwrap();
    let mut edit = VersionEdit { last_seq: Some(SeqNo::new(100)), next_file: Some(200), ..VersionEdit::default() };
    for (index, table) in tables.iter().enumerate() {
        let number = FileNumber(100 + index as u64);
        let mut builder = TableBuilder::new(Vec::new(), BuilderOptions::default());
        for (key, seq) in table.keys {
            let key = InternalKey::new(key.as_bytes(), SeqNo::new(*seq), Kind::Value);
            builder.add(key.as_bytes(), b"value").unwrap();
        }
        let (bytes, _) = builder.finish().unwrap();
        fs.create(&FileKind::Table(number).path(directory)).unwrap().write_all(&bytes).unwrap();
        let (smallest, largest) = (table.seqs.0, table.seqs.1);
        let bound = |key: &str, seq| InternalKey::new(key.as_bytes(), SeqNo::new(seq), Kind::Value);
        let bounds = (bound(table.bounds.0, largest), bound(table.bounds.1, smallest));
        let seqs = (SeqNo::new(smallest), SeqNo::new(largest));
        let meta = TableMeta::new(number, bytes.len() as u64, bounds.0, bounds.1, seqs);
        edit.added.push((table.level, Arc::new(meta)));
    }
    manifest.apply(vec![edit]).unwrap();
    fs
}

/// All that can be asked and done; each may be an error. Verification must not pass.
fn exercise(tables: &[Planted]) {
    let fs = store_with_tables(tables);
    let db = options(&fs).level0_file_num_compaction_trigger(2).open(STORE).unwrap();
    assert!(db.verify().is_err());
    for key in ["a", "b", "c", "d", "m", "n", "x", "y", "z", ""] {
        let _ = db.get(key);
        let _ = db.range(key..).count();
        let _ = db.range(..key).rev().count();
        let mut cursor = db.cursor();
        let _ = cursor.seek(key);
        for forward in [true, false, true, true, false, false] {
            if cursor.valid() {
                let _ = if forward { cursor.next() } else { cursor.prev() };
            }
        }
    }
    assert!(db.iter().count() < 100 && db.iter().rev().count() < 100);
    for number in 0..3 {
        let _ = db.put("k", number.to_string());
        let _ = db.flush();
        let _ = db.wait_for_compactions();
    }
    let _ = db.compact_range(..);
    let failure = db.stats().failure.unwrap_or_default();
    assert!(!failure.contains("panic"), "{failure}");
    let _ = db.close();
    let _ = options(&fs).repair(STORE);
}

#[test]
fn tables_whose_keys_lie_outside_their_bounds_never_panic() {
    let table = |level, keys, bounds| Planted { level, keys, bounds, seqs: (1, 50) };
    exercise(&[table(1, &[("a", 5), ("z", 6)], ("m", "n"))]);
    exercise(&[table(1, &[("m", 5), ("n", 6)], ("a", "b")), table(1, &[("a", 5), ("b", 6)], ("m", "n"))]);
    exercise(&[
        table(1, &[("a", 5), ("m", 9), ("z", 6)], ("a", "c")),
        table(1, &[("b", 7), ("c", 8), ("d", 9)], ("d", "x")),
        table(2, &[("a", 50), ("b", 50), ("m", 50)], ("x", "z")),
        table(0, &[("a", 1), ("z", 1)], ("b", "c")),
        table(0, &[("a", 1), ("z", 1)], ("b", "c")),
    ]);
}

// Where a table's footer begins follows from the file's size, so a file of another size is another table.
#[test]
fn a_table_of_another_size_is_refused_before_anything_is_read() {
    let fs = store_with_log(&[]);
    let mut names = fs.read_dir(Path::new(STORE)).unwrap().into_iter();
    let name = names.find(|name| matches!(FileKind::parse(name), Some(FileKind::Table(_)))).unwrap();
    let path = Path::new(STORE).join(name);
    let file = fs.open(&path).unwrap();
    let mut bytes = vec![0; file.size().unwrap() as usize];
    file.read_exact_at(0, &mut bytes).unwrap();
    fs.remove(&path).unwrap();
    fs.create(&path).unwrap().write_all(&[&bytes[..], &[0]].concat()).unwrap();
    let error = options(&fs).open(STORE).unwrap_err();
    assert_eq!(error.path(), Some(path.as_path()));
    assert!(error.to_string().contains("the manifest says"), "{error}");
}
