//! Blocks that readers have in memory are there, too, when flushes and compactions have written them anew.

use lsm_compaction::StepExecutor;
use lsm_engine::{Db, Options, Stats};
use lsm_fs::MemFs;
use std::sync::Arc;

const ROWS: u32 = 2_000;

/// A store whose background work is done when somebody waits for it.
fn store(options: Options) -> Db {
    options.fs(Arc::new(MemFs::new())).executor(Arc::<StepExecutor>::default()).open("/store").unwrap()
}

fn write(db: &Db, round: u32) {
    (0..ROWS).for_each(|key| db.put((key * 7 % ROWS).to_be_bytes(), [key.wrapping_mul(round) as u8; 100]).unwrap());
    db.flush().unwrap();
}

/// Reads every key, which was written in `round`, and says what the cache has to tell behind that and before.
fn read(db: &Db, round: u32) -> (Stats, Stats) {
    let before = db.stats();
    for key in 0..ROWS {
        let value = db.get((key * 7 % ROWS).to_be_bytes()).unwrap().unwrap();
        assert_eq!(&*value, [key.wrapping_mul(round) as u8; 100]);
    }
    (db.stats(), before)
}

fn misses((after, before): (Stats, Stats)) -> u64 {
    after.block_cache_misses - before.block_cache_misses
}

#[test]
fn what_was_read_stays_in_memory() {
    let db = store(Options::new());
    write(&db, 1);
    assert!(misses(read(&db, 1)) > 40, "nobody had read anything");
    write(&db, 2);
    assert_eq!(misses(read(&db, 2)), 0, "what a flush wrote");
    db.compact_range(..).unwrap();
    assert_eq!(misses(read(&db, 2)), 0, "what a compaction wrote");
    for round in 3..6 {
        write(&db, round);
        assert_eq!(misses(read(&db, round)), 0, "what flush {round} wrote");
    }
    db.compact_range(..).unwrap();
    assert_eq!(misses(read(&db, 5)), 0, "what a compaction of several tables wrote");
    let used = db.stats().block_cache_bytes;
    assert!(used > u64::from(ROWS) * 100 && used < u64::from(ROWS) * 150, "{used} bytes, for the last tables alone");
}

#[test]
fn nothing_is_kept_of_a_store_that_nobody_reads() {
    // M1.
    let db = store(Options::new());
    (1..8).for_each(|round| write(&db, round));
    db.compact_range(..).unwrap();
    assert_eq!(db.stats().block_cache_bytes, 0);
    assert!(misses(read(&db, 7)) > 40);
}

#[test]
fn a_cache_without_room_keeps_what_it_has() {
    let db = store(Options::new().block_cache_size(64 << 10));
    write(&db, 1);
    read(&db, 1);
    (2..5).for_each(|round| write(&db, round));
    db.compact_range(..).unwrap();
    let stats = read(&db, 4).0;
    assert!(stats.block_cache_bytes <= stats.block_cache_capacity_bytes);
}
