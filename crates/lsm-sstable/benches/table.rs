//! The hot paths of a table, each by itself. Run with `cargo bench -p lsm-sstable`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lsm_core::checksum::masked_crc32c;
use lsm_core::key::InternalKey;
use lsm_core::merge::MergeCursor;
use lsm_core::{Cursor, Kind, Result, SeqNo};
use lsm_sstable::{BlockCache, BuilderOptions, Compression, Table, TableBuilder, TableOptions, filter_hash};

const ENTRIES: u64 = 100_000;

/// 16-byte keys in order.
fn key(number: u64) -> [u8; 16] {
    let mut key = *b"user000000000000";
    let digits = format!("{:012}", number * 7919);
    key[4..].copy_from_slice(digits.as_bytes());
    key
}

/// 100 bytes of which about half repeat.
fn value(number: u64) -> Vec<u8> {
    let noise = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    noise
        .iter()
        .cycle()
        .take(50)
        .enumerate()
        .map(|(at, byte)| byte.wrapping_add(at as u8 * 31))
        .chain([b'v'; 50])
        .collect()
}

fn entries(count: u64) -> Vec<(InternalKey, Vec<u8>)> {
    (0..count).map(|number| (InternalKey::new(&key(number), SeqNo::new(number), Kind::Value), value(number))).collect()
}

fn build(entries: &[(InternalKey, Vec<u8>)], compression: Compression) -> Vec<u8> {
    let mut builder = TableBuilder::new(Vec::new(), BuilderOptions { compression, ..BuilderOptions::default() });
    entries.iter().for_each(|(key, value)| builder.add(key.as_bytes(), value).expect("ascending"));
    builder.finish().expect("memory does not fail").0
}

fn open(bytes: Vec<u8>, cached: bool) -> Arc<Table> {
    open_with(bytes, cached.then(|| BlockCache::new(1 << 30)))
}

fn open_with(bytes: Vec<u8>, cache: Option<Arc<BlockCache>>) -> Arc<Table> {
    let options = TableOptions { cache, ..TableOptions::default() };
    Arc::new(Table::open(Arc::new(bytes), options).expect("it was just built"))
}

fn building(c: &mut Criterion) {
    let entries = entries(ENTRIES);
    let mut group = c.benchmark_group("build");
    group.throughput(Throughput::Elements(ENTRIES)).sample_size(20);
    for (name, compression) in
        [("plain", Compression::None), ("lz4", Compression::Lz4), ("zstd", Compression::Zstd { level: 3 })]
    {
        group.bench_function(name, |b| b.iter(|| build(&entries, compression)));
    }
}

fn lookups(c: &mut Criterion) {
    let bytes = build(&entries(ENTRIES), Compression::None);
    let mut number = 0;
    let mut next = move || {
        number = (number + 61_803) % ENTRIES;
        number
    };
    let cached = open(bytes.clone(), true);
    (0..ENTRIES).for_each(|number| assert!(cached.get(&key(number), SeqNo::MAX).expect("undamaged").is_some()));
    let keys: Vec<[u8; 16]> = (0..ENTRIES).map(key).collect();
    let absent: Vec<Vec<u8>> = keys.iter().map(|key| [key.as_slice(), b"x"].concat()).collect();
    let mut group = c.benchmark_group("get");
    group.bench_function("cached", |b| b.iter(|| cached.get(&keys[next() as usize], SeqNo::MAX)));
    group.bench_function("absent", |b| b.iter(|| cached.get(&absent[next() as usize], SeqNo::MAX)));
    group.bench_function("filter", |b| b.iter(|| cached.may_contain(&absent[next() as usize])));
    let uncached = open(bytes, false);
    group.bench_function("uncached plain", |b| b.iter(|| uncached.get(&keys[next() as usize], SeqNo::MAX)));
    let uncached = open(build(&entries(ENTRIES), Compression::Lz4), false);
    group.bench_function("uncached lz4", |b| b.iter(|| uncached.get(&keys[next() as usize], SeqNo::MAX)));
    // What making room costs beside reading the block: nearly every get does both.
    let twentieth = BlockCache::new(ENTRIES as usize * 124 / 20);
    let crowded = open_with(build(&entries(ENTRIES), Compression::Lz4), Some(twentieth));
    group.bench_function("cache of a twentieth", |b| b.iter(|| crowded.get(&keys[next() as usize], SeqNo::MAX)));
    group.finish();
    let mut group = c.benchmark_group("seek");
    let mut cursor = cached.cursor();
    let targets: Vec<InternalKey> = keys.iter().map(|key| InternalKey::for_seek(key, SeqNo::MAX)).collect();
    group.bench_function("cached", |b| b.iter(|| cursor.seek(targets[next() as usize].as_bytes())));
    // One table of a single block: what a search in a block costs.
    let one = open(build(&entries(30), Compression::None), true);
    let mut cursor = one.cursor();
    cursor.seek_to_first().expect("undamaged");
    group.bench_function("in one block", |b| b.iter(|| cursor.seek(targets[next() as usize % 30].as_bytes())));
    group.bench_function("get in one block", |b| b.iter(|| one.get(&keys[next() as usize % 30], SeqNo::MAX)));
}

/// Walks over everything, from where `begin` leads, by `step`.
fn bytes_seen_by<C: Cursor>(
    mut cursor: C,
    begin: impl Fn(&mut C) -> Result<()>,
    step: impl Fn(&mut C) -> Result<()>,
) -> usize {
    let mut bytes = 0;
    begin(&mut cursor).expect("undamaged");
    while cursor.valid() {
        bytes += cursor.key().len() + cursor.value().len();
        step(&mut cursor).expect("undamaged");
    }
    bytes
}

fn scans(c: &mut Criterion) {
    let table = open(build(&entries(ENTRIES), Compression::None), true);
    let mut group = c.benchmark_group("scan");
    group.throughput(Throughput::Elements(ENTRIES)).sample_size(20);
    group.bench_function("forward", |b| b.iter(|| bytes_seen_by(table.cursor(), Cursor::seek_to_first, Cursor::next)));
    group.bench_function("backward", |b| {
        b.iter(|| bytes_seen_by(table.cursor(), Cursor::seek_to_last, Cursor::prev));
    });
}

/// Four tables whose keys take turns, as runs of level 0 do.
fn merging(c: &mut Criterion) {
    let all = entries(ENTRIES);
    let part = |part: usize| all.iter().skip(part).step_by(4).cloned().collect::<Vec<_>>();
    let tables: Vec<_> = (0..4).map(|number| open(build(&part(number), Compression::None), true)).collect();
    let mut group = c.benchmark_group("merge");
    group.throughput(Throughput::Elements(ENTRIES)).sample_size(20);
    let merged = || MergeCursor::new(tables.iter().map(Table::cursor).collect());
    group.bench_function("four tables", |b| b.iter(|| bytes_seen_by(merged(), Cursor::seek_to_first, Cursor::next)));
}

fn opening(c: &mut Criterion) {
    let bytes = Arc::new(build(&entries(ENTRIES), Compression::Lz4));
    c.bench_function("open", |b| {
        b.iter_batched(
            || Arc::clone(&bytes),
            |bytes| Table::open(bytes, TableOptions::default()).expect("undamaged"),
            BatchSize::SmallInput,
        );
    });
}

fn hashing(c: &mut Criterion) {
    let mut group = c.benchmark_group("xxph3");
    for len in [8, 16, 32, 100, 1000] {
        let key = vec![7; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(len.to_string(), |b| b.iter(|| filter_hash(black_box(&key))));
    }
}

fn checksums(c: &mut Criterion) {
    let mut group = c.benchmark_group("crc32c");
    for len in [100, 4096] {
        let bytes = vec![7; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(len.to_string(), |b| b.iter(|| masked_crc32c(black_box(&bytes))));
    }
}

criterion_group!(benches, building, lookups, scans, merging, opening, hashing, checksums);
criterion_main!(benches);
