//! Random histories of logs, cut off by random power cuts: what is replayed is a prefix of what was
//! appended and has all that was synced; so it is for a second crash after a recovery.

mod support;

use std::sync::Arc;

use lsm_core::filename::FileNumber;
use lsm_core::{Result, SeqNo};
use lsm_fs::{Crash, Fs, MemFs, SegmentAccess};
use lsm_wal::{Facts, Origin, RecoveryMode, ReplayReport, Wal};
use support::*;

/// A number below `bound` that depends on `state` alone.
fn draw(state: &mut u64, bound: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % bound
}

/// A store that consists of logs only.
struct Logs {
    fs: Arc<MemFs>,
    access: SegmentAccess,
    /// Oldest first; the last one is active. With each, the number of the first batch in it.
    logs: Vec<(Wal, u64)>,
    next_file: u64,
    next_seq: u64,
    synced: u64,
    oldest: u64,
}

impl Logs {
    fn begin(fs: Arc<MemFs>, access: SegmentAccess, next_file: u64, next_seq: u64, origin: Origin) -> Logs {
        let wal =
            Wal::create(Arc::<MemFs>::clone(&fs), dir(), FileNumber(next_file), &options(access), origin).unwrap();
        let oldest = next_file;
        Logs { fs, access, logs: vec![(wal, next_seq)], next_file: next_file + 1, next_seq, synced: next_seq, oldest }
    }

    fn step(&mut self, random: &mut u64) {
        let (wal, _) = self.logs.last_mut().unwrap();
        match draw(random, 20) {
            0..=14 => {
                let bytes = [10, 100, 600, 5_000, 40_000][draw(random, 5) as usize];
                let position = wal.append(&batch(self.next_seq, bytes)).unwrap();
                self.next_seq += 1;
                if draw(random, 4) == 0 {
                    wal.handle().deliver(position).unwrap();
                }
            }
            15..=17 => {
                wal.handle().sync_all().unwrap();
                self.synced = self.next_seq;
            }
            _ => self.rotate(draw(random, 2) == 0),
        }
    }

    /// A new log, in the file of the oldest one if there are enough.
    fn rotate(&mut self, recycles: bool) {
        let mut origin = after(&self.logs.last().unwrap().0, self.next_seq);
        if self.logs.len() == 3 {
            // What it held is in tables now, which are durable.
            let (wal, _) = self.logs.remove(0);
            wal.handle().retire();
            self.oldest = self.logs[0].0.number().0;
            self.synced = self.synced.max(self.logs[0].1);
            if recycles {
                origin.recycled = Some(wal.number());
            }
        }
        let number = FileNumber(self.next_file);
        self.next_file += 1;
        let fs = Arc::<MemFs>::clone(&self.fs);
        let wal = Wal::create(fs, dir(), number, &options(self.access), origin).unwrap();
        self.logs.push((wal, self.next_seq));
    }

    fn first_seq(&self) -> u64 {
        self.logs[0].1
    }
}

fn recovered(fs: &dyn Fs, oldest: u64) -> Result<(Vec<u64>, ReplayReport)> {
    replayed_from(fs, oldest, &all_logs(fs), RecoveryMode::Checked)
}

#[test]
fn a_power_cut_leaves_a_prefix_with_all_that_was_synced() {
    for seed in 0..300 {
        let mut random = seed;
        let access = [SegmentAccess::Mapped, SegmentAccess::Positioned][seed as usize % 2];
        let mut logs = Logs::begin(new_fs(), access, 1, 0, Origin::default());
        for _ in 0..1 + draw(&mut random, 60) {
            logs.step(&mut random);
        }
        let mut first_seq = logs.first_seq();
        for round in 0..3 {
            let crash = [Crash::Random(seed * 3 + round), Crash::DropUnsynced, Crash::KeepAll][(seed % 3) as usize];
            let fs = Arc::new(logs.fs.crash(crash));
            let (found, report) =
                recovered(&*fs, logs.oldest).unwrap_or_else(|error| panic!("seed {seed} round {round}: {error}"));
            let expected: Vec<_> = (first_seq..first_seq + found.len() as u64).collect();
            assert_eq!(found, expected, "seed {seed} round {round}");
            let end = first_seq + found.len() as u64;
            assert!((logs.synced..=logs.next_seq).contains(&end), "seed {seed} round {round}: {end}");
            // The same state twice.
            assert_eq!(recovered(&*fs, logs.oldest).unwrap(), (found, report.clone()));

            // Recover as an engine does: what was replayed goes to tables, then a new log begins.
            let next_file = logs.next_file;
            let facts = Facts { predecessor: report.end, ..Facts::default() };
            let origin = Origin { facts, next_seq: SeqNo::new(end), ..Origin::default() };
            logs = Logs::begin(fs, access, next_file, end, origin);
            first_seq = end;
            for _ in 0..draw(&mut random, 30) {
                logs.step(&mut random);
            }
            first_seq = first_seq.max(logs.first_seq());
        }
    }
}

#[test]
fn after_a_process_crash_delivered_batches_are_there_and_nothing_is_dropped() {
    for seed in 0..60 {
        let mut random = seed;
        let mut logs = Logs::begin(new_fs(), SegmentAccess::Mapped, 1, 0, Origin::default());
        for _ in 0..80 {
            logs.step(&mut random);
        }
        let fs = logs.fs.crash(Crash::KeepAll);
        let (found, report) = recovered(&fs, logs.oldest).unwrap();
        assert_eq!(found, (logs.first_seq()..logs.next_seq).collect::<Vec<_>>(), "seed {seed}");
        assert!(report.dropped.is_empty(), "seed {seed}: {:?}", report.dropped);
    }
}
