//! Queues and other stores whose front or back is full of deletions: walks remember what they found dead, and nothing
//! that is live may be hidden by it.

use lsm_compaction::StepExecutor;
use lsm_engine::{Db, Options, WriteBatch};
use lsm_fs::MemFs;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn open() -> Db {
    let options = Options::new().write_buffer_size(64 << 10).executor(Arc::new(StepExecutor::new()));
    options.fs(Arc::new(MemFs::new())).open("/store").unwrap()
}

fn key(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// Blocks of keys are put, merged into, deleted one by one and as ranges, with flushes and compactions between.
#[test]
fn walks_over_blocks_of_deletions_see_what_a_map_holds() {
    const KEYS: u32 = 600;
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let db = open();
        let mut map = BTreeMap::new();
        let mut snapshots = Vec::new();
        for step in 0..120_u32 {
            let first = random.u32(..KEYS);
            let block = first..(first + random.u32(1..200)).min(KEYS);
            match random.u32(..10) {
                0..2 => block.for_each(|number| {
                    db.put(key(number), key(step)).unwrap();
                    map.insert(number, step);
                }),
                2..7 => block.for_each(|number| {
                    db.delete(key(number)).unwrap();
                    map.remove(&number);
                }),
                7 => {
                    db.delete_range(key(block.start)..key(block.end)).unwrap();
                    map.retain(|number, _| !block.contains(number));
                }
                8 => {
                    db.put(key(first), key(step)).unwrap();
                    map.insert(first, step);
                    snapshots.push((db.snapshot(), map.clone()));
                }
                _ if random.bool() => db.flush().unwrap(),
                _ => db.compact_range(..).unwrap(),
            }
            for _ in 0..4 {
                let target = random.u32(..KEYS);
                let after = db.range(key(target)..).next().map(|row| row.unwrap().0.to_vec());
                let before = db.range(..=key(target)).next_back().map(|row| row.unwrap().0.to_vec());
                let found = |number: Option<(&u32, &u32)>| number.map(|(number, _)| key(*number).to_vec());
                assert_eq!(after, found(map.range(target..).next()), "seed {seed}, step {step}");
                assert_eq!(before, found(map.range(..=target).next_back()), "seed {seed}, step {step}");
            }
            if let Some((snapshot, map)) = snapshots.get(random.usize(..snapshots.len() + 1)) {
                let rows: Vec<_> = snapshot.iter().map(|row| row.unwrap().0.to_vec()).collect();
                assert_eq!(rows, Vec::from_iter(map.keys().map(|number| key(*number).to_vec())), "seed {seed}");
                let back = snapshot.iter().next_back().map(|row| row.unwrap().0.to_vec());
                assert_eq!(back.as_ref(), rows.last(), "seed {seed}, step {step}");
            }
        }
    }
}

/// Two threads push, one pops the front: each of the two finds its rows in order, and all of them. Now and then a row is
/// put back into the front, which is full of deletions.
#[test]
fn a_queue_with_writers_at_work_loses_nothing() {
    const ROWS: u32 = 15_000;
    let db = open();
    let pushing = AtomicBool::new(true);
    let push = |writer: u32| {
        for number in 0..ROWS {
            let mut batch = WriteBatch::new();
            batch.put([key(2 * number + writer), key(0)].concat(), key(writer));
            db.write(batch).unwrap();
        }
    };
    let pop = || {
        let mut expected: [u32; 2] = [0, 1];
        let mut put_back = 0;
        loop {
            let was_pushing = pushing.load(Ordering::SeqCst);
            let Some(row) = db.iter().next() else { if was_pushing { continue } else { return (expected, put_back) } };
            let (row, value) = row.unwrap();
            let writer = u32::from_be_bytes(value[..].try_into().unwrap());
            let number = u32::from_be_bytes(row[..4].try_into().unwrap());
            let tries = u32::from_be_bytes(row[4..].try_into().unwrap());
            if tries == 0 {
                assert_eq!(number, expected[writer as usize], "a row of writer {writer} is hidden");
                expected[writer as usize] += 2;
            } else {
                put_back += 1;
            }
            let mut batch = WriteBatch::new();
            batch.delete(&row);
            if number % 100 == 42 && tries == 0 {
                // Far in front of the rows that are left.
                batch.put([key(number / 2), key(1)].concat(), value);
            }
            db.write(batch).unwrap();
        }
    };
    let (expected, put_back) = std::thread::scope(|scope| {
        let popper = scope.spawn(pop);
        let pushers = [0, 1].map(|writer| scope.spawn(move || push(writer)));
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        pushing.store(false, Ordering::SeqCst);
        popper.join().unwrap()
    });
    assert_eq!(expected, [2 * ROWS, 2 * ROWS + 1]);
    assert_eq!(put_back, 2 * ROWS / 100, "a row that was put back is hidden");
}
