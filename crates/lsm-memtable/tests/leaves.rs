//! Leaves that fill up and split, wherever the entries come, against a `BTreeMap`.
#![cfg(not(loom))]

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use lsm_core::Cursor;
use lsm_core::key::{self, InternalKey, Kind, SeqNo};
use lsm_memtable::{EntrySize, Memtable, MemtableCursor};
use quickcheck::{Arbitrary, Gen, quickcheck};

const SLOTS: u64 = 14;

/// A user key and its sequence number, in the order of a scan.
type Version = (Vec<u8>, Reverse<u64>);

/// A memtable and what is in it.
struct World {
    memtable: Arc<Memtable>,
    model: BTreeMap<Version, u64>,
}

impl World {
    fn new() -> World {
        World { memtable: Arc::new(Memtable::new(1 << 20)), model: BTreeMap::new() }
    }

    fn of(keys: impl IntoIterator<Item = u64>) -> World {
        let mut world = World::new();
        world.add(&keys.into_iter().collect::<Vec<_>>());
        world
    }

    /// One batch; sequence numbers go on from what is there.
    fn add(&mut self, keys: &[u64]) {
        let size = EntrySize { kind: Kind::Value, key_bytes: 8, value_bytes: 8 };
        let mut room = self.memtable.reserve(keys.iter().map(|_| size)).expect("a megabyte is enough");
        for key in keys {
            let seq = self.model.len() as u64 + 1;
            room.insert(&key.to_be_bytes(), SeqNo::new(seq), Kind::Value, &seq.to_be_bytes());
            self.model.insert((key.to_be_bytes().to_vec(), Reverse(seq)), seq);
        }
    }

    fn versions(&self) -> Vec<Version> {
        self.model.keys().cloned().collect()
    }

    /// Walks both ways and gets every version.
    fn check(&self) {
        let expected = self.versions();
        let mut cursor = self.memtable.cursor();
        cursor.seek_to_first().unwrap();
        assert_eq!(rest(&mut cursor), expected);
        cursor.seek_to_last().unwrap();
        assert!(rest_back(&mut cursor).iter().eq(expected.iter().rev()));
        for (user_key, Reverse(seq)) in &expected {
            let found = self.memtable.get(user_key, SeqNo::new(*seq)).map(|found| (found.seq.get(), found.value));
            assert_eq!(found, Some((*seq, seq.to_be_bytes().as_slice())));
        }
    }
}

fn shown(cursor: &MemtableCursor) -> Version {
    let (user_key, seq) = (key::user_key(cursor.key()).to_vec(), key::seq(cursor.key()).get());
    assert_eq!(cursor.value(), seq.to_be_bytes());
    (user_key, Reverse(seq))
}

/// What a cursor shows from where it stands to the end.
fn rest(cursor: &mut MemtableCursor) -> Vec<Version> {
    std::iter::from_fn(|| {
        let version = cursor.valid().then(|| shown(cursor))?;
        cursor.next().unwrap();
        Some(version)
    })
    .collect()
}

/// As [`rest`], backwards.
fn rest_back(cursor: &mut MemtableCursor) -> Vec<Version> {
    std::iter::from_fn(|| {
        let version = cursor.valid().then(|| shown(cursor))?;
        cursor.prev().unwrap();
        Some(version)
    })
    .collect()
}

/// Keys in one of the orders that make leaves of different shapes.
#[derive(Clone, Debug)]
struct Keys(Vec<u64>);

impl Arbitrary for Keys {
    fn arbitrary(g: &mut Gen) -> Keys {
        let len = u64::arbitrary(g) % 400;
        let scattered = |nth: u64| nth.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let shape = *g.choose(&[0, 1, 2, 3, 4, 5]).unwrap();
        Keys(
            (0..len)
                .map(|nth| match shape {
                    0 => nth,
                    1 => len - nth,
                    2 => scattered(nth),
                    // One key, few keys, and both ends in turn.
                    3 => 7,
                    4 => scattered(nth) % 5,
                    _ if nth % 2 == 0 => nth,
                    _ => 1000 - nth,
                })
                .collect(),
        )
    }
}

quickcheck! {
    fn all_that_was_inserted_is_found_in_order(batches: Vec<Keys>) -> bool {
        let mut world = World::new();
        batches.iter().take(4).for_each(|batch| world.add(&batch.0));
        world.check();
        true
    }

    fn seeks_find_the_neighbours_of_any_key(batches: Vec<Keys>, targets: Vec<u64>) -> bool {
        let mut world = World::new();
        batches.iter().take(3).for_each(|batch| world.add(&batch.0));
        let expected = world.versions();
        let mut cursor = world.memtable.cursor();
        let near = expected.iter().map(|(user_key, seq)| (user_key.clone(), *seq));
        let far = targets.iter().map(|key| (key.to_be_bytes().to_vec(), Reverse(key % 500)));
        near.chain(far).collect::<Vec<_>>().into_iter().all(|target| {
            let sought = InternalKey::new(&target.0, SeqNo::new(target.1.0), Kind::Value);
            let index = expected.partition_point(|version| *version < target);
            cursor.seek(sought.as_bytes()).unwrap();
            let behind = cursor.valid().then(|| shown(&cursor)) == expected.get(index).cloned();
            let index = expected.partition_point(|version| *version <= target);
            cursor.seek_for_prev(sought.as_bytes()).unwrap();
            let before = cursor.valid().then(|| shown(&cursor)) == index.checked_sub(1).map(|at| expected[at].clone());
            behind && before
        })
    }

    fn a_cursor_walks_on_while_leaves_split(there: Keys, added: Vec<Keys>, start: u64) -> bool {
        // Covers M1.
        let mut world = World::of(there.0);
        let old = world.versions();
        let start = start as usize % (old.len() + 1);
        [true, false].into_iter().all(|forwards| {
            let mut cursor = world.memtable.cursor();
            if forwards { cursor.seek_to_first().unwrap() } else { cursor.seek_to_last().unwrap() }
            let mut walked = Vec::new();
            let mut step = |cursor: &mut MemtableCursor| {
                walked.push(shown(cursor));
                if forwards { cursor.next().unwrap() } else { cursor.prev().unwrap() }
            };
            (0..start).for_each(|_| if cursor.valid() { step(&mut cursor) });
            for batch in added.iter().take(3) {
                world.add(&batch.0);
                if cursor.valid() { step(&mut cursor) }
            }
            walked.extend(if forwards { rest(&mut cursor) } else { rest_back(&mut cursor) });
            if !forwards { walked.reverse() }
            let complete = old.iter().all(|version| walked.binary_search(version).is_ok());
            walked.is_sorted_by(|a, b| a < b) && complete && walked.iter().all(|at| world.model.contains_key(at))
        })
    }
}

#[test]
fn a_full_leaf_splits_at_every_rank() {
    // Covers S3, T2.
    let even = || (1..=SLOTS).map(|nth| 2 * nth);
    for rank in 0..=SLOTS {
        for keys in [even().collect::<Vec<_>>(), even().rev().collect()] {
            for more in 0..=2 * SLOTS {
                let mut world = World::of(keys.iter().copied());
                world.add(&[2 * rank + 1]);
                // And both halves at any rank, too.
                world.add(&[more, 2 * more]);
                world.add(&(0..SLOTS).map(|_| more).collect::<Vec<_>>());
                world.check();
            }
        }
    }
}

#[test]
fn many_versions_of_one_key_fill_leaves() {
    let mut world = World::of([6, 8]);
    for _ in 0..50 {
        world.add(&[7; 20]);
    }
    world.check();
    let newest = world.memtable.get(&7_u64.to_be_bytes(), SeqNo::MAX).map(|found| found.seq.get());
    assert_eq!(newest, Some(1002));
    assert_eq!(world.memtable.get(&7_u64.to_be_bytes(), SeqNo::new(2)), None);
}

#[test]
fn entries_in_order_fill_leaves_to_the_last_slot() {
    let bytes_per_entry = |keys: &[u64]| {
        let memtable = Arc::new(Memtable::new(1 << 20));
        let empty = memtable.bytes_used();
        let size = EntrySize { kind: Kind::Value, key_bytes: 8, value_bytes: 8 };
        for (seq, key) in (1..).zip(keys) {
            let mut room = memtable.reserve([size].into_iter()).expect("a megabyte is enough");
            room.insert(&key.to_be_bytes(), SeqNo::new(seq), Kind::Value, &[0; 8]);
        }
        (memtable.bytes_used() - empty) / keys.len() - 32
    };
    let ascending: Vec<u64> = (0..5000).collect();
    let descending: Vec<u64> = (0..5000).rev().collect();
    let scattered: Vec<u64> = (0..5000_u64).map(|nth| nth.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    assert!(bytes_per_entry(&ascending) <= 12, "{}", bytes_per_entry(&ascending));
    assert!(bytes_per_entry(&scattered) <= 34, "{}", bytes_per_entry(&scattered));
    assert!(bytes_per_entry(&descending) <= 44, "{}", bytes_per_entry(&descending));
}
