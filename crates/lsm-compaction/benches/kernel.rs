//! What flushes and compactions cost per byte of input, on one core. Run with `cargo bench -p lsm-compaction`.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lsm_compaction::{Below, Cut, NewTable, TableSink, TableWriter, WriteContext, Written, write_tables};
use lsm_core::filename::FileNumber;
use lsm_core::key::InternalKey;
use lsm_core::merge::MergeCursor;
use lsm_core::range_tombstone::RangeTombstones;
use lsm_core::{Cursor, Kind, Result, SeqNo};
use lsm_sstable::{BuilderOptions, Compression, ReadOptions, Table, TableBuilder, TableOptions};

const TABLES: u64 = 4;
const ENTRIES_PER_TABLE: u64 = 50_000;
const KEY_BYTES: usize = 16;
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

/// Keys in no order that differ in their first bytes, each once.
fn user_key(number: u64) -> [u8; KEY_BYTES] {
    let mut key = [b'k'; KEY_BYTES];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key
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

fn tables(compression: Compression) -> Vec<Arc<Table>> {
    let table = |table| {
        let mut entries: Vec<_> = (0..ENTRIES_PER_TABLE)
            .map(|number| number * TABLES + table)
            .map(|number| (InternalKey::new(&user_key(number), SeqNo::new(number), Kind::Value), value(number)))
            .collect();
        entries.sort();
        let options = BuilderOptions { compression, ..BuilderOptions::default() };
        let mut builder = TableBuilder::new(Vec::new(), options);
        entries.iter().for_each(|(key, value)| builder.add(key.as_bytes(), value).expect("ascending"));
        let bytes = builder.finish().expect("memory does not fail").0;
        Arc::new(Table::open(Arc::new(bytes), TableOptions::default()).expect("it was just built"))
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
    let input_bytes = TABLES * ENTRIES_PER_TABLE * (KEY_BYTES + VALUE_BYTES) as u64;
    group.throughput(Throughput::Bytes(input_bytes)).sample_size(20);
    for (name, compression) in [("plain", Compression::None), ("lz4", Compression::Lz4)] {
        let tables = tables(compression);
        // As a compaction reads: past the cache, much at a time.
        let options = ReadOptions { fill_cache: false, readahead: 1 << 20 };
        group.bench_function(name, |b| {
            b.iter(|| {
                let cursors = tables.iter().map(|table| table.cursor_with(options)).collect();
                compact(&mut MergeCursor::new(cursors), compression)
            })
        });
    }
}

criterion_group!(benches, compaction);
criterion_main!(benches);
