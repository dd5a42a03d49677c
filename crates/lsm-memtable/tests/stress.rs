//! Several threads insert while others read: order holds at every moment, and nothing that was
//! published before a read began is missing from it.
#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use lsm_core::Cursor;
use lsm_core::key::{self, Kind, SeqNo};
use lsm_memtable::{EntrySize, Memtable};

const WRITERS: u64 = 3;
const BATCHES: u64 = 2_000;
const BATCH: u64 = 5;
const PER_WRITER: u64 = BATCHES * BATCH;

/// How the keys of the writers lie to each other.
#[derive(Clone, Copy)]
enum Pattern {
    /// Each writer jumps about.
    Scattered,
    /// All writers append at one end, so that they race for the same leaf.
    Interleaved,
    /// Each writer appends to a range of its own, which hints serve.
    Apart,
    /// All writers insert before the first entry, so that they split the same leaf.
    Descending,
}

impl Pattern {
    fn key(self, writer: u64, step: u64) -> [u8; 8] {
        match self {
            Pattern::Scattered => (step * WRITERS + writer).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            Pattern::Interleaved => step * WRITERS + writer,
            Pattern::Apart => (writer << 32) | step,
            Pattern::Descending => u64::MAX - (step * WRITERS + writer),
        }
        .to_be_bytes()
    }

    fn value(writer: u64, step: u64) -> [u8; 16] {
        let mut value = [0; 16];
        value[..8].copy_from_slice(&writer.to_be_bytes());
        value[8..].copy_from_slice(&step.to_be_bytes());
        value
    }
}

struct World {
    memtable: Arc<Memtable>,
    pattern: Pattern,
    /// Steps that each writer has finished.
    published: [AtomicU64; WRITERS as usize],
    done: AtomicBool,
}

fn seq_of(writer: u64, step: u64) -> SeqNo {
    SeqNo::new(1 + step * WRITERS + writer)
}

fn write(world: &World, writer: u64) {
    let size = EntrySize { kind: Kind::Value, key_bytes: 8, value_bytes: 16 };
    for batch in 0..BATCHES {
        let mut room = world.memtable.reserve((0..BATCH).map(|_| size)).expect("there is room");
        for step in batch * BATCH..(batch + 1) * BATCH {
            let (key, value) = (world.pattern.key(writer, step), Pattern::value(writer, step));
            room.insert(&key, seq_of(writer, step), Kind::Value, &value);
            world.published[writer as usize].store(step + 1, Ordering::Release);
        }
    }
}

/// One scan: strictly ascending, whole entries, and all that was published before.
fn scan(world: &World) {
    let before: Vec<u64> = world.published.iter().map(|steps| steps.load(Ordering::Acquire)).collect();
    let mut seen = vec![0; WRITERS as usize];
    let mut cursor = world.memtable.cursor();
    let mut last: Option<Vec<u8>> = None;
    cursor.seek_to_first().unwrap();
    while cursor.valid() {
        let key = cursor.key().to_vec();
        assert!(last.is_none_or(|last| key::compare(&last, &key).is_lt()), "S1: out of order");
        let (writer, step) = cursor.value().split_at(8);
        let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
        let (writer, step) = (number(writer), number(step));
        assert_eq!(key::user_key(&key), world.pattern.key(writer, step), "an entry is whole");
        assert_eq!(key::seq(&key), seq_of(writer, step));
        seen[writer as usize] += u64::from(step < before[writer as usize]);
        last = Some(key);
        cursor.next().unwrap();
    }
    assert_eq!(seen, before, "B1: all that was published is there");
}

/// Gets of the latest published entries, and a few steps back from them.
fn probe(world: &World) {
    for writer in 0..WRITERS {
        let Some(step) = world.published[writer as usize].load(Ordering::Acquire).checked_sub(1) else { continue };
        let key = world.pattern.key(writer, step);
        let found = world.memtable.get(&key, SeqNo::MAX).expect("B1: published");
        assert_eq!((found.seq, found.value), (seq_of(writer, step), Pattern::value(writer, step).as_slice()));
        let mut cursor = world.memtable.cursor();
        cursor.seek_for_prev(key::InternalKey::behind(&key).as_bytes()).unwrap();
        assert_eq!(key::user_key(cursor.key()), key);
        for _ in 0..4 {
            let at = cursor.key().to_vec();
            cursor.prev().unwrap();
            if !cursor.valid() {
                break;
            }
            assert!(key::compare(cursor.key(), &at).is_lt(), "S1: out of order");
        }
    }
}

fn check(pattern: Pattern) {
    let world = &World {
        memtable: Arc::new(Memtable::new(8 << 20)),
        pattern,
        published: Default::default(),
        done: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(world, writer))).collect();
        let read_with = |read: fn(&World)| {
            move || {
                while !world.done.load(Ordering::Acquire) {
                    read(world);
                }
            }
        };
        let readers = [scan, probe].map(|read| scope.spawn(read_with(read)));
        let results: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        world.done.store(true, Ordering::Release);
        join(readers);
        results.into_iter().for_each(|result| result.expect("a writer does not panic"));
    });
    scan(world);
    assert_eq!(world.memtable.len() as u64, WRITERS * PER_WRITER);
}

/// ThreadSanitizer sees that threads were joined, but not that a scope waited for them.
fn join<const N: usize>(threads: [thread::ScopedJoinHandle<'_, ()>; N]) {
    threads.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
}

#[test]
fn scattered_writers_lose_nothing() {
    check(Pattern::Scattered);
}

#[test]
fn writers_at_one_end_lose_nothing() {
    // Covers T2: each writer's hint is behind as soon as another has appended.
    check(Pattern::Interleaved);
}

#[test]
fn writers_at_the_other_end_lose_nothing() {
    // Covers S3, S4.
    check(Pattern::Descending);
}

#[test]
fn writers_apart_lose_nothing() {
    check(Pattern::Apart);
}

#[test]
fn tombstones_inserted_before_the_call_are_all_there() {
    // Covers B2.
    let memtable = Arc::new(Memtable::new(1 << 20));
    let published = AtomicU64::new(0);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for seq in 1..=300_u64 {
                let size = EntrySize { kind: Kind::RangeDeletion, key_bytes: 8, value_bytes: 1 };
                let mut room = memtable.reserve([size].into_iter()).expect("there is room");
                room.insert(&(seq * 7919 % 300).to_be_bytes(), SeqNo::new(seq), Kind::RangeDeletion, b"\xff");
                published.store(seq, Ordering::Release);
            }
        });
        let readers = [(); 2].map(|()| {
            scope.spawn(|| {
                while published.load(Ordering::Acquire) < 300 {
                    let before = published.load(Ordering::Acquire);
                    assert!(memtable.tombstones().len() as u64 >= before);
                }
            })
        });
        join([writer]);
        join(readers);
    });
    assert_eq!(memtable.tombstones().len(), 300);
}
