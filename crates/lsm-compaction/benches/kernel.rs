//! What compactions cost per byte of input and walks per row, of tables that overlap, on one core. Run with
//! `cargo bench -p lsm-compaction`.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lsm_compaction::{Below, Cut, NewTable, TableSink, TableWriter, WriteContext, Written, write_tables};
use lsm_core::filename::FileNumber;
use lsm_core::key::InternalKey;
use lsm_core::merge::MergeCursor;
use lsm_core::range_tombstone::RangeTombstones;
use lsm_core::visible::{Visibility, VisibleCursor};
use lsm_core::{Cursor, Kind, Result, SeqNo};
use lsm_sstable::{BlockCache, BuilderOptions, Compression, ReadOptions, Table, TableBuilder, TableOptions};

const TABLES: u64 = 4;
const ENTRIES_PER_TABLE: u64 = 50_000;
const VALUE_BYTES: usize = 100;

/// Takes tables and keeps nothing.
struct Nowhere(BuilderOptions);

struct Writer;

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(std::hint::black_box(bytes).len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TableWriter for Writer {
    fn sync(&mut self) -> Result<()> {
        Ok(())
    }
}

impl TableSink for Nowhere {
    fn create(&self) -> Result<NewTable> {
        Ok(NewTable { number: FileNumber(1), writer: Box::new(Writer), options: self.0.clone() })
    }

    fn discard(&self, _number: FileNumber) {}
}

/// A key of some shape, of a number.
type UserKey = fn(u64) -> Vec<u8>;

/// Keys in no order that differ in their first bytes, each once.
fn early(number: u64) -> Vec<u8> {
    let mut key = vec![b'k'; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key
}

/// The same, that begin alike.
fn late(number: u64) -> Vec<u8> {
    format!("user{:020}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).into_bytes()
}

/// Half of it is noise.
fn value(number: u64) -> Vec<u8> {
    let mut state = number;
    let mut noise = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..VALUE_BYTES).map(|at| if at < VALUE_BYTES / 2 { noise() } else { b'v' }).collect()
}

fn tables(user_key: UserKey, compression: Compression, cache: Option<&Arc<BlockCache>>) -> Vec<Arc<Table>> {
    let table = |table| {
        let mut entries: Vec<_> = (0..ENTRIES_PER_TABLE)
            .map(|number| number * TABLES + table)
            .map(|number| (InternalKey::new(&user_key(number), SeqNo::new(number), Kind::Value), value(number)))
            .collect();
        entries.sort();
        entries.dedup_by(|(a, _), (b, _)| a.user_key() == b.user_key());
        let options = BuilderOptions { compression, ..BuilderOptions::default() };
        let mut builder = TableBuilder::new(Vec::new(), options);
        entries.iter().for_each(|(key, value)| builder.add(key.as_bytes(), value).expect("ascending"));
        let bytes = builder.finish().expect("memory does not fail").0;
        let options = TableOptions { cache: cache.cloned(), ..TableOptions::default() };
        Arc::new(Table::open(Arc::new(bytes), options).expect("it was just built"))
    };
    (0..TABLES).map(table).collect()
}

fn compact(input: &mut impl Cursor, compression: Compression) -> Written {
    let context = WriteContext {
        snapshots: &[],
        below: &Below::unknown(),
        merge_operator: None,
        cut: Cut::Never,
        from: None,
        to: None,
        epoch: 1,
        oldest_ancestor_time: 0,
        cancelled: &AtomicBool::new(false),
        throttle: None,
    };
    let sink = Nowhere(BuilderOptions { compression, ..BuilderOptions::default() });
    write_tables(input, &RangeTombstones::new(Vec::new()), &context, &sink).expect("nothing fails here")
}

fn compaction(c: &mut Criterion) {
    let mut group = c.benchmark_group("compact");
    let kinds: [(_, UserKey, _); 4] = [
        ("plain", early, Compression::None),
        ("lz4", early, Compression::Lz4),
        ("plain, keys that begin alike", late, Compression::None),
        ("lz4, keys that begin alike", late, Compression::Lz4),
    ];
    for (name, user_key, compression) in kinds {
        let tables = tables(user_key, compression, None);
        let row_bytes = user_key(0).len() + VALUE_BYTES;
        group.throughput(Throughput::Bytes(TABLES * ENTRIES_PER_TABLE * row_bytes as u64)).sample_size(20);
        // As a compaction reads: past the cache, and as much at a time.
        let options = ReadOptions { fill_cache: false, readahead: 64 << 10 };
        group.bench_function(name, |b| {
            b.iter(|| {
                let cursors = tables.iter().map(|table| table.cursor_with(options)).collect();
                compact(&mut MergeCursor::new(cursors), compression)
            })
        });
    }
}

/// A walk over all rows as a reader sees them.
fn walk(c: &mut Criterion) {
    let mut group = c.benchmark_group("walk");
    group.throughput(Throughput::Elements(TABLES * ENTRIES_PER_TABLE)).sample_size(20);
    let kinds: [(_, UserKey); 2] = [("keys that differ early", early), ("keys that begin alike", late)];
    for (name, user_key) in kinds {
        let tables = tables(user_key, Compression::None, Some(&BlockCache::new(1 << 30)));
        for (direction, is_forward) in [("forward", true), ("backward", false)] {
            group.bench_function(format!("{name}, {direction}"), |b| {
                b.iter(|| {
                    let merge = MergeCursor::new(tables.iter().map(|table| table.cursor()).collect());
                    let visibility = Visibility { seq: SeqNo::MAX, ..Visibility::default() };
                    let mut cursor = VisibleCursor::new(merge, Arc::new(RangeTombstones::new(Vec::new())), visibility);
                    if is_forward { cursor.seek_to_first() } else { cursor.seek_to_last() }.expect("sound tables");
                    let mut sum = 0;
                    while cursor.valid() {
                        sum += usize::from(cursor.value()[0]) + cursor.key().len();
                        if is_forward { cursor.next() } else { cursor.prev() }.expect("sound tables");
                    }
                    sum
                })
            });
        }
    }
}

criterion_group!(benches, compaction, walk);
criterion_main!(benches);
