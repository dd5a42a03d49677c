//! What one append costs: a batch of 140 bytes, through a mapping and with positioned writes.
//!
//! `cargo bench -p lsm-wal --bench append`. Logs are begun anew every 64 MiB, as a store does it, in
//! files that are reused. Positioned appends are delivered every 64 KiB; `deliver_each` is the price of
//! one system call per append.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lsm_core::filename::FileNumber;
use lsm_core::{ColumnFamilyId, WriteBatch};
use lsm_fs::{OsFs, SegmentAccess};
use lsm_wal::{Origin, Wal, WalOptions};

const BATCH_BYTES: usize = 140;
const LOG_BYTES: u64 = 64 << 20;

/// The log of a benchmark, replaced by a new one in the same file when it is long enough.
struct Rotating {
    dir: tempfile::TempDir,
    options: WalOptions,
    wal: Wal,
}

impl Rotating {
    fn new(access: SegmentAccess) -> Rotating {
        let dir = tempfile::tempdir().expect("a directory");
        let options = WalOptions { access, ..WalOptions::default() };
        let wal = Wal::create(Arc::new(OsFs), dir.path(), FileNumber(1), &options, Origin::default()).expect("a log");
        let mut log = Rotating { dir, options, wal };
        // The file gets its blocks and pages here, not in the measurement.
        while log.wal.len() < LOG_BYTES {
            log.wal.append(&[0; 32 << 10]).expect("an append");
        }
        log.rotate();
        log
    }

    fn rotate(&mut self) {
        let handle = self.wal.handle();
        handle.deliver(self.wal.append(&batch()).expect("an append")).expect("a delivery");
        let old = self.wal.number();
        let origin = Origin { recycled: Some(old), ..Origin::default() };
        let number = FileNumber(old.0 + 1);
        self.wal = Wal::create(Arc::new(OsFs), self.dir.path(), number, &self.options, origin).expect("a log");
    }

    /// Time of `count` appends with a delivery every `delivery_bytes`, without that of rotations.
    fn run(&mut self, count: u64, delivery_bytes: u64) -> Duration {
        let batch = batch();
        let mut elapsed = Duration::ZERO;
        let mut left = count;
        while left > 0 {
            let handle = self.wal.handle();
            let room = (LOG_BYTES.saturating_sub(self.wal.len()) / (BATCH_BYTES as u64 + 11)).min(left);
            let start = Instant::now();
            for _ in 0..room {
                let position = self.wal.append(black_box(&batch)).expect("an append");
                if position.bytes() - handle.delivered() >= delivery_bytes {
                    handle.deliver(position).expect("a delivery");
                }
            }
            elapsed += start.elapsed();
            left -= room;
            if left > 0 {
                self.rotate();
            }
        }
        elapsed
    }
}

fn batch() -> Vec<u8> {
    let mut batch = WriteBatch::new();
    batch.put(ColumnFamilyId::DEFAULT, &[b'k'; 16], &[b'v'; 109]);
    assert_eq!(batch.byte_size(), BATCH_BYTES);
    batch.as_bytes().to_vec()
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Bytes(BATCH_BYTES as u64));
    let cases = [
        ("mapped", SegmentAccess::Mapped, 64 << 10),
        ("mapped_deliver_each", SegmentAccess::Mapped, 1),
        ("positioned", SegmentAccess::Positioned, 64 << 10),
        ("positioned_deliver_each", SegmentAccess::Positioned, 1),
    ];
    for (name, access, delivery_bytes) in cases {
        let mut log = Rotating::new(access);
        group.bench_function(name, |bencher| bencher.iter_custom(|count| log.run(count, delivery_bytes)));
    }
}

criterion_group!(benches, append);
criterion_main!(benches);
