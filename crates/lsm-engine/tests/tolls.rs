//! Reads that lose time by tables of level 0 pay for their compaction, and no others do.

use lsm_compaction::StepExecutor;
use lsm_engine::{Db, Options};
use lsm_fs::MemFs;
use std::sync::Arc;

/// A store whose level 0 has two tables, over one deeper level, and whose background work is done by `wait`.
fn store() -> (Db, Arc<StepExecutor>) {
    let executor = Arc::<StepExecutor>::default();
    let options = Options::new().fs(Arc::new(MemFs::new())).executor(Arc::clone(&executor) as _);
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
    // Three tables of some 20 KiB, at 200 bytes a seek and 10 a get, in each of two.
    assert!(50 < seeks && seeks < 500, "{seeks} seeks");
    assert!(scans < 10, "{scans} scans");
    assert!(10 * seeks < gets && gets < 30 * seeks, "{gets} gets, {seeks} seeks");
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
