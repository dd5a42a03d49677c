//! Every public call once, with the argument types that callers use: what compiles here must go on compiling.

use lsm_engine::{
    ColumnFamily, ColumnFamilyOptions, Compression, Cursor, Db, Durability, Error, ErrorKind, EventListener, Iter,
    KeyRange, Options, Result, Slice, Snapshot, Stats, VerifyReport, WriteBatch, WriteOptions,
};
use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

struct Listener;

impl EventListener for Listener {}

fn options() -> Options {
    Options::new()
        .create_if_missing(true)
        .error_if_exists(false)
        .read_only(false)
        .memory_budget(64 << 20)
        .write_buffer_size(1 << 20)
        .block_cache_size(8 << 20)
        .block_size(4096)
        .compression(Compression::Lz4)
        .bottommost_compression(Compression::Zstd { level: 3 })
        .bloom_bits_per_key(10.0)
        .format_version(6)
        .level0_file_num_compaction_trigger(4)
        .max_bytes_for_level_base(16 << 20)
        .target_file_size(4 << 20)
        .max_subcompactions(2)
        .background_threads(2)
        .rate_limit(1 << 30)
        .durability(Durability::Buffered)
        .fs(Arc::new(lsm_fs::MemFs::new()))
        .event_listener(Arc::new(Listener))
}

fn read_calls_of_a_family(family: &ColumnFamily) -> Result<()> {
    let _: Option<Slice> = family.get("k")?;
    let _: Vec<Option<Slice>> = family.multi_get(&["a", "b"])?;
    let _: bool = family.contains_key(b"k")?;
    let _: (Iter, Iter, Iter, Cursor) = (family.iter(), family.range("a"..), family.prefix("p"), family.cursor());
    family.compact_range(..)
}

#[test]
fn the_store_has_the_calls_that_its_users_compile_against() -> Result<()> {
    let db: Db = options().open("/data")?;
    db.put("k", "v")?;
    db.put(b"k", vec![1_u8, 2])?;
    db.put(String::from("k"), b"v".as_slice())?;
    db.delete("k")?;
    db.single_delete([1_u8, 2])?;
    db.merge("counter", "1").unwrap();
    db.delete("counter")?;
    db.delete_range("a".."b")?;
    db.delete_range((Bound::Excluded("a"), Bound::<&str>::Unbounded))?;

    let family: ColumnFamily = db.column_family("f")?;
    let _: ColumnFamily = db.column_family_with("g", ColumnFamilyOptions::new())?;
    let _: Vec<String> = db.column_families();
    let mut batch = WriteBatch::with_capacity(100);
    batch.put("a", "1");
    batch.put_cf(&family, "a", "1");
    batch.delete_cf(&family, "b");
    batch.single_delete_cf(&family, "c");
    batch.delete_range_cf(&family, "d".."e");
    batch.merge_cf(&family, "m", "1");
    batch.delete_cf(&family, "m");
    batch.save_point();
    batch.delete("zz");
    batch.rollback_to_save_point();
    assert!(batch.len() == 7 && !batch.is_empty() && batch.byte_size() > 0);
    db.write(batch.clone())?;
    db.write_with(batch.clone(), &WriteOptions::new().durability(Durability::Unlogged).no_stall(true))?;
    db.submit(batch.clone()).wait()?;
    batch.clear();
    read_calls_of_a_family(&family)?;

    let snapshot: Snapshot = db.snapshot();
    let _: Option<Slice> = snapshot.column_family(&family).get("a")?;
    let all: BTreeMap<Slice, Slice> = snapshot.iter().collect::<Result<_>>()?;
    assert_eq!(all.get(b"a".as_slice()), Some(&Slice::from(b"1".as_slice())));
    let keys: HashSet<Slice> =
        db.range(b"a".as_slice()..=b"b".as_slice()).rev().flatten().map(|(key, _)| key).collect();
    assert!(keys.contains(b"a".as_slice()));
    let detached: Slice = db.get("a")?.unwrap().detach();
    assert!(detached == "1" && detached == b"1" && detached == vec![b'1'] && detached == *b"1".as_slice());

    let mut cursor: Cursor = db.cursor();
    cursor.seek_to_first()?;
    cursor.seek_to_last()?;
    cursor.seek("a")?;
    cursor.seek_for_prev(b"a")?;
    assert_eq!((cursor.valid(), cursor.key(), cursor.value()), (true, b"a".as_slice(), b"1".as_slice()));
    cursor.next()?;
    cursor.next()?;
    cursor.prev()?;

    db.sync()?;
    db.flush()?;
    db.compact_range("a".."z")?;
    db.wait_for_compactions()?;
    db.checkpoint("/copy")?;
    let _: VerifyReport = db.verify()?;
    let _: Stats = db.stats();
    println!("{}", db.stats());
    let _: Option<String> = db.property("rocksdb.num-files-at-level0");
    db.drop_column_family("g")?;
    let clone = db.clone();
    std::thread::spawn(move || clone.get("a").map(drop)).join().unwrap()?;
    db.close()
}

#[test]
fn errors_are_matched_by_kind() {
    let error: Error = options().read_only(true).open("/missing").unwrap_err();
    match error.kind() {
        ErrorKind::Io | ErrorKind::InvalidArgument => {}
        other => panic!("{other:?}"),
    }
    assert!(!error.is_conflict() && !error.is_retryable());
    assert_eq!(error.path().unwrap().to_str(), Some("/missing"));
}

#[test]
fn ranges_need_no_turbofish() {
    fn takes(range: impl KeyRange) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        (range.lower().map(<[u8]>::to_vec), range.upper().map(<[u8]>::to_vec))
    }
    let (first, second) = (vec![1_u8], vec![2_u8]);
    assert_eq!(takes(&first..), (Bound::Included(vec![1]), Bound::Unbounded));
    assert_eq!(takes(first..second), (Bound::Included(vec![1]), Bound::Excluded(vec![2])));
    assert_eq!(takes(..="c"), (Bound::Unbounded, Bound::Included(b"c".to_vec())));
}
