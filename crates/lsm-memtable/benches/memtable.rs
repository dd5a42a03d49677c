//! The memtable beside crossbeam's skiplist: 16-byte keys, 100-byte values, half a million entries.
//!
//! Both store internal keys, so both compare user keys first and sequence numbers last. Keys are either
//! random bytes or decimal numbers behind a common prefix; the memtable is told what they look like, as an
//! engine tells it from the memtable before.

#![allow(missing_docs)] // criterion_group! makes public functions

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam_skiplist::SkipMap;
use lsm_core::Cursor;
use lsm_core::key::{InternalKey, Kind, SeqNo};
use lsm_memtable::{EntrySize, KeyShape, Memtable};

const ENTRIES: usize = 500_000;
const VALUE: [u8; 100] = [7; 100];
const SIZE: EntrySize = EntrySize { kind: Kind::Value, key_bytes: 16, value_bytes: VALUE.len() };

type Key = [u8; 16];
type Yardstick = SkipMap<InternalKey, Box<[u8]>>;

fn random_keys(seed: u64) -> Vec<Key> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..ENTRIES).map(|_| random.u128(..).to_be_bytes()).collect()
}

fn number_keys() -> Vec<Key> {
    (0..ENTRIES).map(|number| format!("user{number:012}").into_bytes().try_into().expect("16 bytes")).collect()
}

fn shuffled(mut keys: Vec<Key>) -> Vec<Key> {
    fastrand::Rng::with_seed(9).shuffle(&mut keys);
    keys
}

/// One reservation per entry, as single puts make it.
fn fill_memtable(keys: &[Key], shape: &KeyShape) -> Arc<Memtable> {
    let bytes = Memtable::required_bytes(keys.iter().map(|_| SIZE)) * 21 / 20;
    let memtable = Arc::new(Memtable::expecting(Box::new(vec![0; bytes]), shape));
    for (seq, key) in (1..).zip(keys) {
        let mut room = memtable.reserve([SIZE].into_iter()).expect("there is room");
        room.insert(key, SeqNo::new(seq), Kind::Value, &VALUE);
    }
    memtable
}

fn fill_yardstick(keys: &[Key]) -> Yardstick {
    let map = SkipMap::new();
    for (seq, key) in (1..).zip(keys) {
        map.insert(InternalKey::new(key, SeqNo::new(seq), Kind::Value), VALUE.as_slice().into());
    }
    map
}

fn get_from_yardstick(map: &Yardstick, key: &Key) -> Option<u8> {
    let target = InternalKey::for_seek(key, SeqNo::MAX);
    let entry = map.lower_bound(std::ops::Bound::Included(&target))?;
    (entry.key().user_key() == key).then(|| entry.value()[0])
}

fn group<'c>(c: &'c mut Criterion, name: &str, elements: usize) -> BenchmarkGroup<'c, WallTime> {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(elements as u64));
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(4));
    group
}

fn insert(c: &mut Criterion, name: &str, keys: &[Key], shape: &KeyShape) {
    let mut group = group(c, name, ENTRIES);
    group.bench_function("memtable", |b| {
        b.iter_with_large_drop(|| fill_memtable(keys, shape));
    });
    group.bench_function("crossbeam", |b| b.iter_with_large_drop(|| fill_yardstick(keys)));
}

fn get(c: &mut Criterion, name: &str, stored: &[Key], shape: &KeyShape, asked: &[Key]) {
    let memtable = fill_memtable(stored, shape);
    let map = fill_yardstick(stored);
    let mut group = group(c, name, 1);
    let mut asked_of_memtable = asked.iter().cycle();
    group.bench_function("memtable", |b| {
        b.iter_batched(
            || asked_of_memtable.next().expect("a cycle"),
            |key| memtable.get(black_box(key), SeqNo::MAX).map(|found| found.value[0]),
            BatchSize::NumIterations(1000),
        );
    });
    let mut asked_of_map = asked.iter().cycle();
    group.bench_function("crossbeam", |b| {
        b.iter_batched(
            || asked_of_map.next().expect("a cycle"),
            |key| get_from_yardstick(&map, black_box(key)),
            BatchSize::NumIterations(1000),
        );
    });
}

fn scan(c: &mut Criterion, keys: &[Key]) {
    let memtable = fill_memtable(keys, &KeyShape::default());
    let map = fill_yardstick(keys);
    let mut group = group(c, "scan", ENTRIES);
    group.bench_function("memtable", |b| {
        b.iter(|| {
            let mut cursor = memtable.cursor();
            let mut sum = 0_u64;
            cursor.seek_to_first().expect("a memtable does not fail");
            while cursor.valid() {
                sum += u64::from(cursor.key()[15]) + u64::from(cursor.value()[0]);
                cursor.next().expect("a memtable does not fail");
            }
            sum
        });
    });
    group.bench_function("crossbeam", |b| {
        b.iter(|| {
            let sum_of = |entry: crossbeam_skiplist::map::Entry<'_, InternalKey, Box<[u8]>>| {
                u64::from(entry.key().as_bytes()[15]) + u64::from(entry.value()[0])
            };
            map.iter().map(sum_of).sum::<u64>()
        });
    });
}

fn all(c: &mut Criterion) {
    let random = random_keys(1);
    let numbers = number_keys();
    let numbers_shuffled = shuffled(numbers.clone());
    let of_random = KeyShape::default();
    let of_numbers = KeyShape::of(numbers.iter().map(<[u8; 16]>::as_slice));
    insert(c, "insert random", &random, &of_random);
    insert(c, "insert random numbers", &numbers_shuffled, &of_numbers);
    insert(c, "insert sequential", &numbers, &of_numbers);
    get(c, "get hit", &random, &of_random, &shuffled(random.clone()));
    get(c, "get hit numbers", &numbers_shuffled, &of_numbers, &shuffled(numbers.clone()));
    get(c, "get miss", &random, &of_random, &random_keys(2));
    scan(c, &random);
}

criterion_group!(memtable, all);
criterion_main!(memtable);
