//! The shortest and the longest that a store takes: each comes back from memtable, log and table, and what is longer is
//! refused before anything has happened.

use lsm_compaction::StepExecutor;
use lsm_engine::{Db, ErrorKind, Options, WriteBatch};
use lsm_fs::MemFs;
use std::sync::Arc;

const STORE: &str = "/store";
const KEY_BYTES_MAX: usize = 8 << 20;
const VALUE_BYTES_MAX: usize = 1 << 30;

fn options(fs: &MemFs) -> Options {
    Options::new().executor(Arc::new(StepExecutor::new())).fs(Arc::new(fs.clone()))
}

/// Looks at the store from its memtable, its log, a flushed and a compacted table.
fn in_every_place(fs: &MemFs, db: Db, check: impl Fn(&Db)) {
    check(&db);
    db.close().unwrap();
    let db = options(fs).open(STORE).unwrap();
    check(&db);
    db.flush().unwrap();
    check(&db);
    db.compact_range(..).unwrap();
    check(&db);
    db.verify().unwrap();
    db.close().unwrap();
    check(&options(fs).read_only(true).open(STORE).unwrap());
}

fn rows(db: &Db) -> Vec<(Vec<u8>, Vec<u8>)> {
    let rows: Vec<_> = db.iter().map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap()).collect();
    let mut backward: Vec<_> =
        db.iter().rev().map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap()).collect();
    backward.reverse();
    assert!(rows == backward, "both directions");
    rows
}

#[test]
fn an_empty_key_is_a_key_and_an_empty_value_is_a_value() {
    let fs = MemFs::new();
    let db = options(&fs).open(STORE).unwrap();
    db.put("", "of the empty key").unwrap();
    db.put("a", "").unwrap();
    db.put("b", "gone").unwrap();
    db.delete("b").unwrap();
    in_every_place(&fs, db, |db| {
        assert_eq!(db.get("").unwrap().unwrap(), "of the empty key");
        assert_eq!(db.get("a").unwrap().unwrap(), "");
        assert_eq!(db.get("b").unwrap(), None);
        assert_eq!(rows(db), [(vec![], b"of the empty key".to_vec()), (b"a".to_vec(), vec![])]);
    });
    let db = options(&fs).open(STORE).unwrap();
    db.delete_range("".."a").unwrap();
    in_every_place(&fs, db, |db| assert_eq!(rows(db), [(b"a".to_vec(), vec![])]));
    let db = options(&fs).open(STORE).unwrap();
    db.delete("a").unwrap();
    db.put("", "").unwrap();
    in_every_place(&fs, db, |db| assert_eq!(rows(db), [(vec![], vec![])]));
}

/// They share all but their last byte and compress to almost nothing: a table of some kilobytes opens to many megabytes
/// of separators, and has to.
#[test]
fn the_longest_keys_come_back_although_their_tables_are_tiny() {
    let fs = MemFs::new();
    let db = options(&fs).open(STORE).unwrap();
    let key = |last: u8| [vec![7; KEY_BYTES_MAX - 1], vec![last]].concat();
    for last in 0..5 {
        db.put(key(last), [last]).unwrap();
    }
    db.delete(key(2)).unwrap();
    in_every_place(&fs, db, |db| {
        let expected: Vec<_> = [0, 1, 3, 4].map(|last| (key(last), vec![last])).into();
        assert!(rows(db) == expected);
        assert_eq!(db.get(key(3)).unwrap().unwrap(), [3]);
        assert_eq!(db.get(key(2)).unwrap(), None);
    });
}

#[test]
fn a_long_value_comes_back() {
    let fs = MemFs::new();
    let db = options(&fs).open(STORE).unwrap();
    let value: Vec<u8> = (0..70_u32 << 20).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
    db.put("k", &value).unwrap();
    in_every_place(&fs, db, |db| assert!(db.get("k").unwrap().unwrap() == value));
}

#[test]
fn what_is_too_long_is_refused_and_nothing_has_happened() {
    let fs = MemFs::new();
    let db = options(&fs).open(STORE).unwrap();
    let before = db.stats();
    let refused = |outcome: lsm_engine::Result<()>| {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::InvalidArgument);
    };
    let too_long = vec![0; KEY_BYTES_MAX + 1];
    refused(db.put(&too_long, ""));
    refused(db.delete(&too_long));
    refused(db.merge(&too_long, ""));
    refused(db.single_delete(&too_long));
    refused(db.put("k", vec![0; VALUE_BYTES_MAX + 1]));
    let mut batch = WriteBatch::new();
    batch.put("good", "1");
    batch.put(&too_long, "");
    refused(db.write(batch));
    assert_eq!(rows(&db), []);
    assert_eq!(db.stats().families[0].memtable_bytes, before.families[0].memtable_bytes);
    db.put("k", "v").unwrap();
    in_every_place(&fs, db, |db| assert_eq!(rows(db), [(b"k".to_vec(), b"v".to_vec())]));
}
