//! Reads that lose time by tables of level 0 pay for their compaction, and no others do.

use lsm_compaction::StepExecutor;
use lsm_engine::{Cursor, Db, Options};
use lsm_fs::{Fs, MemFs};
use std::path::Path;
use std::sync::Arc;

/// A store whose level 0 has two tables, over one deeper level, and whose background work is done by `wait`.
fn store() -> (Db, Arc<StepExecutor>) {
    store_in(Arc::new(MemFs::new()))
}

fn store_in(fs: Arc<MemFs>) -> (Db, Arc<StepExecutor>) {
    let executor = Arc::<StepExecutor>::default();
    let options = Options::new().fs(fs).executor(Arc::clone(&executor) as _);
    let db = options.open("/store").unwrap();
    for round in 0..3_u32 {
        (0..1_000_u32).for_each(|key| db.put((key * 7 % 1_000).to_be_bytes(), [round as u8; 50]).unwrap());
        db.flush().unwrap();
        if round == 0 {
            db.compact_range(..).unwrap();
        }
    }
    db.wait_for_compactions().unwrap();
    assert_eq!(tables(&db), [2, 0, 0, 0, 0, 0, 1]);
    (db, executor)
}

fn tables(db: &Db) -> Vec<usize> {
    db.stats().families[0].levels.iter().map(|level| level.tables).collect()
}

/// How often `read` was called when level 0 was gone; `None` if it stayed.
fn reads_until_compacted(read: impl Fn(&Db)) -> Option<usize> {
    let (db, executor) = store();
    let count = (1..20_000).find(|_| {
        read(&db);
        while executor.step() {}
        tables(&db)[0] == 0
    })?;
    assert_eq!(tables(&db), [0, 0, 0, 0, 0, 0, 1]);
    let sum: usize = db.iter().map(|item| item.unwrap().1.iter().map(|&byte| usize::from(byte)).sum::<usize>()).sum();
    assert_eq!(sum, 1_000 * 50 * 2);
    Some(count)
}

#[test]
fn walks_and_gets_pay_by_what_they_lose() {
    let seeks = reads_until_compacted(|db| db.cursor().seek(500_u32.to_be_bytes()).unwrap()).unwrap();
    let scans = reads_until_compacted(|db| assert_eq!(db.iter().count(), 1_000)).unwrap();
    let gets = reads_until_compacted(|db| assert!(db.get(500_u32.to_be_bytes()).unwrap().is_some())).unwrap();
    let many = reads_until_compacted(|db| {
        let keys: Vec<_> = (0..20_u32).map(u32::to_be_bytes).collect();
        assert!(db.multi_get(&keys).unwrap().iter().all(Option::is_some));
    })
    .unwrap();
    // Three tables of some 20 KiB, at 125 bytes a seek and 15 a get, in each of two.
    assert!(80 < seeks && seeks < 800, "{seeks} seeks");
    assert!(scans < 10, "{scans} scans");
    assert!(4 * seeks < gets && gets < 12 * seeks, "{gets} gets, {seeks} seeks");
    assert!(gets / 30 < many && many < gets / 10, "{many} times 20 gets, {gets} gets");
}

#[test]
fn who_looks_at_no_table_of_level_0_pays_nothing() {
    let behind = reads_until_compacted(|db| assert_eq!(db.range(1_000_u32.to_be_bytes()..).count(), 0));
    assert_eq!(behind, None);
}

#[test]
fn a_store_that_is_opened_again_knows_the_price() {
    let fs = Arc::new(MemFs::new());
    let open = || Options::new().fs(Arc::clone(&fs) as _).open("/store").unwrap();
    let db = open();
    (0..2).for_each(|_| {
        db.put("key", "value").unwrap();
        db.flush().unwrap();
    });
    db.close().unwrap();
    let db = open();
    assert_eq!(tables(&db)[0], 2);
    while tables(&db)[0] > 0 {
        db.cursor().seek_to_first().unwrap();
    }
    assert_eq!(db.get("key").unwrap().unwrap(), "value");
}

/// Small tables over a large base level are merged with each other. Readers who have paid for that once had the base
/// level rewritten as well.
#[test]
fn who_paid_for_a_merge_within_level_0_gets_no_more() {
    let executor = Arc::<StepExecutor>::default();
    let options = Options::new().fs(Arc::new(MemFs::new())).executor(Arc::clone(&executor) as _);
    let db = options.level0_file_num_compaction_trigger(5).open("/store").unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let mut value = || Vec::from_iter(std::iter::repeat_with(|| random.u8(..)).take(200));
    (0..3_000_u32).for_each(|key| db.put(key.to_be_bytes(), value()).unwrap());
    db.compact_range(..).unwrap();
    for _ in 0..4 {
        [0_u32, 500, 2_999].iter().for_each(|key| db.put(key.to_be_bytes(), value()).unwrap());
        db.flush().unwrap();
    }
    db.wait_for_compactions().unwrap();
    assert_eq!(tables(&db), [4, 0, 0, 0, 0, 0, 1]);
    while tables(&db)[0] == 4 {
        db.cursor().seek(500_u32.to_be_bytes()).unwrap();
        while executor.step() {}
    }
    db.wait_for_compactions().unwrap();
    assert_eq!(tables(&db), [1, 0, 0, 0, 0, 0, 1]);
}

/// A task that waited for ever once kept its store, and all the store's memory.
#[test]
fn a_wish_that_nobody_hears_keeps_no_store() {
    let (db, executor) = store();
    let kept = Arc::downgrade(&executor);
    while executor.is_empty() {
        db.cursor().seek_to_first().unwrap();
    }
    drop((db, executor));
    assert!(kept.upgrade().is_none(), "the store has the executor, and the executor's task the store");
}

/// Tables that are still there, in a version or not.
fn table_files(fs: &MemFs) -> usize {
    let names = fs.read_dir(Path::new("/store")).unwrap();
    names.iter().filter(|name| name.ends_with(".sst")).count()
}

fn rows_of(cursor: &mut Cursor) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    cursor.seek_to_first().unwrap();
    while cursor.valid() {
        rows.push((cursor.key().to_vec(), cursor.value().to_vec()));
        cursor.next().unwrap();
    }
    rows
}

/// Seeks until level 0 is gone, on `cursor` alone.
fn seek_until_compacted(cursor: &mut Cursor, db: &Db, executor: &StepExecutor) {
    for _ in 0..20_000 {
        cursor.seek(500_u32.to_be_bytes()).unwrap();
        while executor.step() {}
        if tables(db)[0] == 0 {
            return;
        }
    }
    panic!("a cursor that lives on pays nothing");
}

#[test]
fn a_cursor_that_lives_on_pays_and_goes_over_to_what_it_paid_for() {
    // Covers K1.
    let fs = Arc::new(MemFs::new());
    let (db, executor) = store_in(Arc::clone(&fs));
    let mut cursor = db.cursor();
    let rows = rows_of(&mut cursor);
    seek_until_compacted(&mut cursor, &db, &executor);
    assert_eq!(table_files(&fs), 4, "the cursor still reads the old ones");
    assert_eq!(cursor.key(), 500_u32.to_be_bytes(), "nor is it moved by anything but its user");
    assert_eq!(rows_of(&mut cursor), rows);
    assert_eq!(table_files(&fs), 1);
}

#[test]
fn a_cursor_whose_moment_has_passed_keeps_its_tables() {
    // Covers K1.
    let fs = Arc::new(MemFs::new());
    let (db, executor) = store_in(Arc::clone(&fs));
    let (mut cursor, mut other) = (db.cursor(), db.cursor());
    let rows = rows_of(&mut cursor);
    for key in 0..1_000_u32 {
        db.put(key.to_be_bytes(), "newer").unwrap();
    }
    db.flush().unwrap();
    seek_until_compacted(&mut other, &db, &executor);
    assert_eq!(rows_of(&mut cursor), rows);
    assert_eq!(rows_of(&mut other), rows);
    assert!(rows_of(&mut db.cursor()).iter().all(|(_, value)| value == b"newer"));
    assert_eq!(table_files(&fs), 4, "three that the cursors read, and what all became");
    drop((cursor, other));
    assert_eq!(table_files(&fs), 1);
}

#[test]
fn a_cursor_that_lives_on_outlives_its_store() {
    let (db, executor) = store();
    let mut cursor = db.cursor();
    let rows = rows_of(&mut cursor);
    seek_until_compacted(&mut cursor, &db, &executor);
    db.close().unwrap();
    assert_eq!(rows_of(&mut cursor), rows);
}
