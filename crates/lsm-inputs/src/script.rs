//! The whole store, driven by a script with crashes and failing calls, next to a model.
//!
//! Each byte of the input, with a few behind it, is a call. A call may fail only if the file system failed before;
//! then the store is opened again, and must hold a state that it once had, from the last one that it promised to
//! keep on: whole batches, no hole.

use std::sync::Arc;

use lsm_compaction::StepExecutor;
use lsm_core::{ColumnFamilyId, SeqNo};
use lsm_engine::{
    ColumnFamily, ColumnFamilyOptions, Compression, Db, Durability, Options, Result, SegmentAccess, Snapshot,
    WriteBatch, WriteOptions,
};
use lsm_fs::{Crash, Fs, ManualClock, MemFs};
use lsm_testkit::{AppendOperator, Failure, Fault, FaultFs, Model, Write};

use crate::feed::Feed;

const DIRECTORY: &str = "/store";
const CALLS_MAX: usize = 120;
const KEYS: u8 = 20;
const FAMILIES: [ColumnFamilyId; 2] = [ColumnFamilyId(0), ColumnFamilyId(1)];
const FAILURES: [Failure; 8] = [
    Failure::Io,
    Failure::NoSpace,
    Failure::TooManyFiles,
    Failure::ShortRead,
    Failure::ShortWrite,
    Failure::TornWrite,
    Failure::Sync,
    Failure::Interrupted,
];

/// The input is a script.
pub(crate) fn run(bytes: &[u8]) {
    let mut feed = Feed::new(bytes);
    let mut world = World::new(feed.byte());
    for _ in 0..CALLS_MAX {
        if feed.is_empty() {
            break;
        }
        if let Err(error) = world.call(&mut feed) {
            assert!(world.fs.struck() > 0, "nothing failed, and the store says: {error}");
            world.recover();
        }
    }
    // What is left must be whole however the script ended.
    world.recover();
    world.check(None).expect("nothing fails any more");
    let open = world.open.take().expect("the store was opened");
    drop(open.snapshots);
    drop(open.other);
    open.db.close().expect("nothing fails any more");
}

struct World {
    setting: u8,
    memory: MemFs,
    fs: FaultFs,
    model: Model,
    /// Where batches end: the states that the store may be in.
    ends: Vec<SeqNo>,
    /// No power cut loses writes up to here.
    synced: SeqNo,
    /// No crash of the process loses writes up to here.
    buffered: SeqNo,
    writes: u32,
    open: Option<Open>,
}

struct Open {
    db: Db,
    other: ColumnFamily,
    executor: Arc<StepExecutor>,
    snapshots: Vec<(Snapshot, SeqNo)>,
}

impl World {
    fn new(setting: u8) -> World {
        let memory = MemFs::new();
        let mut world = World {
            setting,
            fs: FaultFs::over(memory.clone()),
            memory,
            model: Model::new(Arc::new(AppendOperator)),
            ends: vec![SeqNo::ZERO],
            synced: SeqNo::ZERO,
            buffered: SeqNo::ZERO,
            writes: 0,
            open: None,
        };
        world.reopen().expect("nothing fails yet");
        world
    }

    fn options(&self, executor: Arc<StepExecutor>) -> Options {
        let bit = |number: u8| self.setting >> number & 1 == 1;
        Options::new()
            .log_access(if bit(0) { SegmentAccess::Mapped } else { SegmentAccess::Positioned })
            .compression(if bit(1) { Compression::Lz4 } else { Compression::Zstd { level: 1 } })
            .format_version(if bit(2) { 6 } else { 5 })
            .bloom_bits_per_key(if bit(3) { 10.0 } else { 0.0 })
            .block_cache_size(if bit(4) { 1 << 20 } else { 0 })
            .block_size(256)
            .write_buffer_size(16 << 10)
            .max_bytes_for_level_base(4 << 10)
            .target_file_size(2 << 10)
            .level0_file_num_compaction_trigger(2)
            .merge_operator(Arc::new(AppendOperator))
            .clock(Arc::new(ManualClock::default()))
            .executor(executor)
            .fs(Arc::new(self.fs.clone()) as Arc<dyn Fs>)
    }

    fn reopen(&mut self) -> Result<()> {
        self.open = None;
        let executor = Arc::<StepExecutor>::default();
        let db = self.options(Arc::clone(&executor)).open(DIRECTORY)?;
        let operator = ColumnFamilyOptions::new().merge_operator(Arc::new(AppendOperator));
        let other = db.column_family_with("other", operator)?;
        self.open = Some(Open { db, other, executor, snapshots: Vec::new() });
        Ok(())
    }

    fn open(&self) -> &Open {
        self.open.as_ref().expect("the store is open between two calls")
    }

    /// Carries out the next call of the script.
    fn call(&mut self, feed: &mut Feed<'_>) -> Result<()> {
        match feed.byte() % 24 {
            0..6 => self.write(feed, 1, false)?,
            6..9 => {
                let (count, synced) = (usize::from(feed.byte() % 8), feed.byte() & 1 == 1);
                self.write(feed, count, synced)?;
            }
            9 => {
                self.open().db.sync()?;
                self.keep(true);
            }
            10 | 11 => {
                self.open().db.flush()?;
                self.keep(true);
            }
            12 => self.compact(feed)?,
            13 => drop(self.open().executor.step()),
            14 => self.open().db.wait_for_compactions()?,
            15 => {
                let at = self.last();
                let open = self.open.as_mut().expect("the store is open between two calls");
                open.snapshots.push((open.db.snapshot(), at));
            }
            16 => drop(self.open.as_mut().and_then(|open| open.snapshots.pop())),
            17 => self.check(None)?,
            18 => self.check(self.open().snapshots.len().checked_sub(1))?,
            19 => {
                self.open().db.verify()?;
            }
            20 => self.close()?,
            21 => self.crash(Crash::KeepAll),
            22 => self.crash(Crash::Random(u64::from(feed.byte()))),
            _ => {
                let failure = FAILURES[usize::from(feed.byte() % 8)];
                let at = self.fs.count(failure) + u64::from(feed.byte());
                // A write that is interrupted for ever is tried for ever.
                let sticky = feed.byte() & 1 == 1 && failure != Failure::Interrupted;
                self.fs.inject(if sticky { Fault::sticky(at, failure) } else { Fault::once(at, failure) });
            }
        }
        Ok(())
    }

    fn last(&self) -> SeqNo {
        *self.ends.last().expect("there is a state from the beginning")
    }

    /// Everything written so far is promised to be kept.
    fn keep(&mut self, synced: bool) {
        self.buffered = self.last();
        if synced {
            self.synced = self.last();
        }
    }

    fn write(&mut self, feed: &mut Feed<'_>, count: usize, synced: bool) -> Result<()> {
        let mut batch = WriteBatch::new();
        for _ in 0..count {
            self.change(feed, &mut batch);
        }
        if self.model.last_seq() > self.last() {
            self.ends.push(self.model.last_seq());
        }
        let durability = if synced { Durability::Synced } else { Durability::Buffered };
        self.open().db.write_with(batch, &WriteOptions::new().durability(durability).no_stall(false))?;
        self.keep(synced && count > 0);
        Ok(())
    }

    /// Puts one change into a batch and the model.
    fn change(&mut self, feed: &mut Feed<'_>, batch: &mut WriteBatch) {
        let (what, number) = (feed.byte(), feed.byte());
        let key = key(number);
        let other = (what & 0x80 != 0).then(|| self.open().other.clone());
        let family = FAMILIES[usize::from(other.is_some())];
        self.writes += 1;
        let value = format!("{}:{}", self.writes, "v".repeat(usize::from(what & 0x70))).into_bytes();
        let write = match (what & 0x0f, &other) {
            (0..8, Some(other)) => (batch.put_cf(other, &key, &value), Write::Put(value)).1,
            (0..8, None) => (batch.put(&key, &value), Write::Put(value)).1,
            (8..10, Some(other)) => (batch.delete_cf(other, &key), Write::Delete).1,
            (8..10, None) => (batch.delete(&key), Write::Delete).1,
            (10..12, _) => {
                let end = [self::key(feed.byte()), vec![0xff]].concat();
                let end = end.max([key.as_slice(), b"\0"].concat());
                match &other {
                    Some(other) => batch.delete_range_cf(other, key.clone()..end.clone()),
                    None => batch.delete_range(key.clone()..end.clone()),
                }
                self.model.delete_range(family, &key, &end);
                return;
            }
            (_, Some(other)) => (batch.merge_cf(other, &key, &value), Write::Merge(value)).1,
            (_, None) => (batch.merge(&key, &value), Write::Merge(value)).1,
        };
        self.model.write(family, &key, write);
    }

    fn compact(&mut self, feed: &mut Feed<'_>) -> Result<()> {
        let (from, to) = (key(feed.byte()), key(feed.byte()));
        self.open().db.compact_range(from..=to)?;
        self.keep(true);
        Ok(())
    }

    /// Compares everything with the model, at a snapshot or now.
    fn check(&self, snapshot: Option<usize>) -> Result<()> {
        let open = self.open();
        let (own, at);
        let snapshot = match snapshot {
            Some(index) => {
                at = open.snapshots[index].1;
                &open.snapshots[index].0
            }
            None => {
                own = open.db.snapshot();
                at = self.last();
                &own
            }
        };
        for (slot, family) in FAMILIES.into_iter().enumerate() {
            let expected = self.model.all_at(family, at);
            let view = (slot == 1).then(|| snapshot.column_family(&open.other));
            let forward = rows(view.as_ref().map_or_else(|| snapshot.iter(), |view| view.iter()))?;
            assert!(forward == expected, "family {slot} at {at}: {} rows of {}", forward.len(), expected.len());
            let iter = view.as_ref().map_or_else(|| snapshot.iter(), |view| view.iter());
            let mut backward = Vec::new();
            for row in iter.rev() {
                let (key, value) = row?;
                backward.push((key.to_vec(), value.to_vec()));
            }
            backward.reverse();
            assert!(backward == expected, "family {slot} at {at}: backward is not forward reversed");
            for number in 0..=KEYS {
                let key = key(number);
                let found = view.as_ref().map_or_else(|| snapshot.get(&key), |view| view.get(&key))?;
                let expected = self.model.get_at(family, &key, at);
                assert!(found.as_deref() == expected.as_deref(), "family {slot} at {at}: a lookup of key {number}");
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        let Open { db, other, snapshots, .. } = self.open.take().expect("the store is open between two calls");
        drop((other, snapshots));
        db.close()?;
        self.keep(true);
        self.reopen()
    }

    fn crash(&mut self, crash: Crash) {
        let left = self.memory.crash(crash);
        self.open = None;
        self.restart(left, if crash == Crash::KeepAll && self.fs.struck() == 0 { self.buffered } else { self.synced });
    }

    /// Opens the store again after a failure. A failed sync may have lost what was not synced.
    fn recover(&mut self) {
        self.open = None;
        self.fs.heal();
        let left = self.memory.crash(Crash::KeepAll);
        let floor = if self.fs.struck() == 0 { self.buffered } else { self.synced };
        self.restart(left, floor);
    }

    /// Opens what a crash left, and finds out which state it is.
    fn restart(&mut self, left: MemFs, floor: SeqNo) {
        self.memory = left;
        self.fs = FaultFs::over(self.memory.clone());
        self.reopen().expect("nothing fails any more");
        let found = self.ends.iter().rev().copied().find(|end| self.holds(*end));
        let found =
            found.unwrap_or_else(|| panic!("a state that never was; promised {floor}, written {}", self.last()));
        assert!(found >= floor, "promised {floor}, found {found}");
        self.model.rewind(found);
        self.ends.retain(|end| *end <= found);
        self.keep(true);
        self.check(None).expect("nothing fails any more");
    }

    fn holds(&self, at: SeqNo) -> bool {
        let open = self.open();
        let own = rows(open.db.iter()).expect("nothing fails any more");
        let other = rows(open.other.iter()).expect("nothing fails any more");
        own == self.model.all_at(FAMILIES[0], at) && other == self.model.all_at(FAMILIES[1], at)
    }
}

fn rows(iter: lsm_engine::Iter) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    iter.map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect()
}

/// Few keys, so that writes meet; one is empty, and some share a long prefix.
fn key(number: u8) -> Vec<u8> {
    match number % (KEYS + 1) {
        0 => Vec::new(),
        number if number % 3 == 0 => format!("a common prefix {number:02}").into_bytes(),
        number => vec![b'k', number],
    }
}
