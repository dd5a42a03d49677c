//! The store as a user meets it, on a real directory.

use lsm_core::MergeOperator;
use lsm_engine::{ColumnFamilyOptions, Compression, Db, Durability, ErrorKind, Options, WriteBatch, WriteOptions};
use std::sync::Arc;

fn small() -> Options {
    // Every few hundred entries make a table, so that all levels and paths are met.
    Options::new().write_buffer_size(64 << 10).max_bytes_for_level_base(256 << 10).target_file_size(64 << 10)
}

fn key(number: u32) -> Vec<u8> {
    format!("key{number:08}").into_bytes()
}

#[test]
fn what_was_written_is_read_back_through_all_levels_and_reopened() {
    let dir = tempfile::tempdir().unwrap();
    let count = 20_000;
    {
        let db = small().open(dir.path()).unwrap();
        for number in 0..count {
            // A stride that visits all numbers out of order.
            let number = number * 7919 % count;
            db.put(key(number), format!("value of {number}, padded to make tables {number:050}")).unwrap();
        }
        for number in (0..count).step_by(10) {
            db.delete(key(number)).unwrap();
        }
        check(&db, count);
        db.wait_for_compactions().unwrap();
        check(&db, count);
        assert!(db.stats().families[0].levels.len() > 1, "{}", db.stats());
        db.verify().unwrap();
        db.close().unwrap();
    }
    let db = small().open(dir.path()).unwrap();
    check(&db, count);
    db.compact_range(..).unwrap();
    check(&db, count);
    db.verify().unwrap();
    println!("{}", db.stats());
}

fn check(db: &Db, count: u32) {
    for number in (0..count).step_by(37) {
        let value = db.get(key(number)).unwrap();
        assert_eq!(value.is_some(), number % 10 != 0, "{number}");
    }
    assert_eq!(db.get("absent").unwrap(), None);
    let expected: Vec<_> = (0..count).filter(|number| number % 10 != 0).map(key).collect();
    let forward: Vec<_> = db.iter().map(|item| item.unwrap().0.to_vec()).collect();
    assert!(forward == expected);
    let mut backward: Vec<_> = db.iter().rev().map(|item| item.unwrap().0.to_vec()).collect();
    backward.reverse();
    assert!(backward == expected);
}

#[test]
fn unflushed_writes_survive_a_drop_without_close() {
    let dir = tempfile::tempdir().unwrap();
    {
        let db = Db::open(dir.path()).unwrap();
        db.put("a", "1").unwrap();
        let users = db.column_family("users").unwrap();
        let mut batch = WriteBatch::new();
        batch.put("b", "2");
        batch.put_cf(&users, "b", "3");
        db.write_with(batch, &WriteOptions::new().durability(Durability::Synced)).unwrap();
    }
    let db = Db::open(dir.path()).unwrap();
    assert_eq!(db.get("a").unwrap().unwrap(), "1");
    assert_eq!(db.get("b").unwrap().unwrap(), "2");
    assert_eq!(db.column_families(), ["default", "users"]);
    assert_eq!(db.column_family("users").unwrap().get("b").unwrap().unwrap(), "3");
}

struct Sum;

impl MergeOperator for Sum {
    fn name(&self) -> &str {
        "sum"
    }

    fn full_merge(&self, _key: &[u8], existing: Option<&[u8]>, operands: &[&[u8]]) -> Option<Vec<u8>> {
        let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<i64>().ok();
        let base = existing.map_or(Some(0), number)?;
        operands.iter().try_fold(base, |sum, operand| Some(sum + number(operand)?)).map(|sum| sum.to_string().into())
    }
}

#[test]
fn merge_operands_add_up_over_flushes_and_compactions() {
    let dir = tempfile::tempdir().unwrap();
    let db = Options::new().merge_operator(Arc::new(Sum)).open(dir.path()).unwrap();
    for round in 0..5 {
        for number in 0..100 {
            db.merge(key(number), round.to_string()).unwrap();
        }
        db.flush().unwrap();
    }
    assert_eq!(db.get(key(3)).unwrap().unwrap(), "10");
    db.compact_range(..).unwrap();
    assert_eq!(db.get(key(3)).unwrap().unwrap(), "10");
    assert!(db.iter().all(|item| item.unwrap().1 == "10"));
    let plain = db.column_family_with("plain", ColumnFamilyOptions::new()).unwrap();
    plain.merge("a", "1").unwrap();
    assert_eq!(plain.get("a").unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn deleted_ranges_stay_deleted_and_older_snapshots_keep_them() {
    let dir = tempfile::tempdir().unwrap();
    let db = small().compression(Compression::Zstd { level: 1 }).open(dir.path()).unwrap();
    (0..1000).for_each(|number| db.put(key(number), "old").unwrap());
    let before = db.snapshot();
    db.delete_range(key(100)..key(200)).unwrap();
    db.delete_range(key(900)..).unwrap();
    db.put(key(150), "new").unwrap();
    for _ in 0..2 {
        assert_eq!(db.iter().count(), 1000 - 100 - 100 + 1);
        assert_eq!(db.iter().rev().count(), 1000 - 100 - 100 + 1);
        assert_eq!(db.get(key(150)).unwrap().unwrap(), "new");
        assert_eq!(db.get(key(151)).unwrap(), None);
        assert_eq!(before.iter().count(), 1000);
        assert_eq!(before.get(key(950)).unwrap().unwrap(), "old");
        db.compact_range(..).unwrap();
    }
    let error = db.delete_range("b".."a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

/// Once, tables that met nothing on their way were moved to the last level as they were.
#[test]
fn tables_on_the_last_level_are_compressed_as_it_says() {
    let bytes_on_last_level = |bottommost: Option<Compression>| {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new().compression(Compression::None).level0_file_num_compaction_trigger(1);
        let options = bottommost.into_iter().fold(options, Options::bottommost_compression);
        let db = options.open(dir.path()).unwrap();
        (0..1000).for_each(|number| db.put(key(number), [7; 100]).unwrap());
        db.flush().unwrap();
        db.wait_for_compactions().unwrap();
        let levels = &db.stats().families[0].levels;
        assert_eq!(levels.iter().map(|level| level.tables).collect::<Vec<_>>(), [0, 0, 0, 0, 0, 0, 1]);
        levels[6].bytes
    };
    let plain = bytes_on_last_level(None);
    assert!(plain > 100_000, "{plain} bytes");
    assert_eq!(bytes_on_last_level(Some(Compression::None)), plain);
    let packed = bytes_on_last_level(Some(Compression::Zstd { level: 3 }));
    assert!(packed < plain / 4, "{packed} bytes, {plain} without compression");
}
