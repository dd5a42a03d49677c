//! Four threads at once: writers, readers, and one that flushes, compacts and takes checkpoints.

use lsm_engine::{Db, Options, WriteBatch};
use lsm_fs::MemFs;
use lsm_testkit::for_each_seed;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Keys that every batch of a writer sets to one value.
const KEYS: u64 = 8;

/// Batches of each writer.
const BATCHES: u64 = 400;

fn key(writer: u64, number: u64) -> String {
    format!("writer {writer} key {number}")
}

fn value(batch: u64) -> String {
    format!("{batch:08} {}", "x".repeat((batch % 300) as usize))
}

fn batch_of(value: &[u8]) -> u64 {
    std::str::from_utf8(&value[..8]).unwrap().parse().unwrap()
}

fn write(db: &Db, writer: u64, acknowledged: &AtomicU64) {
    for number in 1..=BATCHES {
        let mut batch = WriteBatch::new();
        batch.delete_range(key(writer, 0)..key(writer, KEYS));
        (0..KEYS).for_each(|index| batch.put(key(writer, index), value(number)));
        match number % 3 {
            0 => db.submit(batch).wait().unwrap(),
            _ => db.write(batch).unwrap(),
        }
        acknowledged.store(number, Ordering::Release);
    }
}

/// All keys of a writer always hold one batch, at least the last one acknowledged before the read began.
fn read(db: &Db, acknowledged: &[AtomicU64], done: &AtomicBool) {
    while !done.load(Ordering::Acquire) {
        for (writer, acknowledged) in acknowledged.iter().enumerate() {
            let least = acknowledged.load(Ordering::Acquire);
            let prefix = format!("writer {writer} ");
            let forward: Vec<u64> = db.prefix(&prefix).map(|item| batch_of(&item.unwrap().1)).collect();
            let backward: Vec<u64> = db.prefix(&prefix).rev().map(|item| batch_of(&item.unwrap().1)).collect();
            let snapshot = db.snapshot();
            let keys: Vec<String> = (0..KEYS).map(|index| key(writer as u64, index)).collect();
            let gets = keys.iter().filter_map(|key| snapshot.get(key).unwrap()).map(|value| batch_of(&value)).collect();
            let many = db.multi_get(&keys).unwrap().into_iter().flatten().map(|value| batch_of(&value)).collect();
            for seen in [forward, backward, gets, many] {
                assert!(seen.len() as u64 == KEYS || seen.is_empty() && least == 0, "part of a batch: {seen:?}");
                assert!(seen.iter().all(|batch| *batch == seen[0] && *batch >= least), "{seen:?}, at least {least}");
            }
        }
    }
}

#[test]
fn four_threads_see_whole_batches_in_order() {
    for_each_seed(6, |choices| {
        let fs = MemFs::new();
        let options =
            || Options::new().write_buffer_size(16 << 10).max_bytes_for_level_base(64 << 10).target_file_size(16 << 10);
        let acknowledged = [AtomicU64::new(0), AtomicU64::new(0)];
        let done = AtomicBool::new(false);
        {
            let db = options().fs(Arc::new(fs.clone())).open("/store").unwrap();
            std::thread::scope(|scope| {
                let (db, acknowledged, done) = (&db, &acknowledged, &done);
                let writers: Vec<_> =
                    (0..2).map(|writer| scope.spawn(move || write(db, writer as u64, &acknowledged[writer]))).collect();
                scope.spawn(move || read(db, acknowledged, done));
                scope.spawn(move || {
                    let mut count = 0;
                    while !done.load(Ordering::Acquire) {
                        match choices.below(4) {
                            0 => db.flush().unwrap(),
                            1 => db.compact_range(..).unwrap(),
                            2 => db.sync().unwrap(),
                            _ => {
                                count += 1;
                                db.checkpoint(format!("/checkpoint {count}")).unwrap();
                            }
                        }
                    }
                });
                writers.into_iter().for_each(|writer| writer.join().unwrap());
                done.store(true, Ordering::Release);
            });
        }
        let db = options().fs(Arc::new(fs)).open("/store").unwrap();
        assert_eq!(db.iter().count() as u64, 2 * KEYS);
        assert!(db.iter().all(|item| batch_of(&item.unwrap().1) == BATCHES));
        db.verify().unwrap();
    });
}

#[test]
fn no_insert_is_lost_to_a_flush_that_begins_meanwhile() {
    // Batches large enough that a memtable is often frozen while others still insert into it.
    const WRITERS: u64 = 4;
    const ROUNDS: u64 = 300;
    let options = Options::new().write_buffer_size(32 << 10).fs(Arc::new(MemFs::new()));
    let db = options.open("/store").unwrap();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let db = &db;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let mut batch = WriteBatch::new();
                    (0..KEYS * 8).for_each(|index| batch.put(format!("{writer} {round:04} {index:02}"), [b'v'; 60]));
                    db.write(batch).unwrap();
                }
            });
        }
    });
    for writer in 0..WRITERS {
        for round in 0..ROUNDS {
            assert_eq!(db.prefix(format!("{writer} {round:04}")).count() as u64, KEYS * 8, "{writer} {round}");
        }
    }
}
