//! A store without files: tables in memory, and a list of all writes to compare with.

use lsm_compaction::{
    Below, BottomRewrite, BuiltTable, Cut, Executor, InFlight, JobContext, LeveledOptions, NewTable, Plan,
    RangeCompaction, RangeStep, StepExecutor, TableSink, TableSource, TableWriter, WriteContext, pick, pick_range, run,
    write_tables,
};
use lsm_core::filename::FileNumber;
use lsm_core::key::{self, InternalKey, ParsedKey, SeqNo};
use lsm_core::range_tombstone::{RangeTombstone, RangeTombstones};
use lsm_core::{Cursor, Error, Kind, MergeOperator, Result};
use lsm_manifest::{TableMeta, Version, VersionEdit};
use lsm_sstable::{BuilderOptions, Compression, Table, TableOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub(crate) const KEYS: u8 = 80;

pub(crate) fn user_key(key: u8) -> Vec<u8> {
    format!("key {key:03}").into_bytes()
}

type Bytes = Arc<Mutex<Vec<u8>>>;

/// Table files in memory, one operation of which may fail.
pub(crate) struct Memory {
    files: Mutex<BTreeMap<FileNumber, Bytes>>,
    next: AtomicU64,
    /// Operations until one fails; negative: none does.
    countdown: Arc<AtomicI64>,
}

struct Writer {
    bytes: Bytes,
    countdown: Arc<AtomicI64>,
}

fn fail(countdown: &AtomicI64) -> io::Result<()> {
    match countdown.fetch_sub(1, Ordering::Relaxed) {
        0 => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        fail(&self.countdown)?;
        self.bytes.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TableWriter for Writer {
    fn sync(&mut self) -> Result<()> {
        fail(&self.countdown).map_err(|error| Error::io("sync", "table", error))
    }
}

impl Memory {
    pub(crate) fn numbers(&self) -> BTreeSet<FileNumber> {
        self.files.lock().unwrap().keys().copied().collect()
    }

    /// The operation after `count` more fails.
    pub(crate) fn fail_at(&self, count: i64) {
        self.countdown.store(count, Ordering::Relaxed);
    }
}

impl TableSink for Memory {
    fn create(&self) -> Result<NewTable> {
        fail(&self.countdown).map_err(|error| Error::io("create", "table", error))?;
        let number = FileNumber(self.next.fetch_add(1, Ordering::Relaxed));
        let bytes = Bytes::default();
        self.files.lock().unwrap().insert(number, Arc::clone(&bytes));
        let writer = Box::new(Writer { bytes, countdown: Arc::clone(&self.countdown) });
        // Small blocks, so that small tables have anchors.
        let options = BuilderOptions { block_bytes: 64, compression: Compression::None, ..BuilderOptions::default() };
        Ok(NewTable { number, writer, options })
    }

    fn discard(&self, number: FileNumber) {
        assert!(self.files.lock().unwrap().remove(&number).is_some(), "{number} is discarded once");
    }
}

impl TableSource for Memory {
    fn open(&self, meta: &TableMeta) -> Result<Arc<Table>> {
        let bytes = self.files.lock().unwrap()[&meta.number].lock().unwrap().clone();
        assert_eq!(meta.bytes, bytes.len() as u64);
        Ok(Arc::new(Table::open(Arc::new(bytes), TableOptions::default())?))
    }
}

/// Sorted entries, forward only.
pub(crate) struct Entries {
    entries: Vec<(InternalKey, Vec<u8>)>,
    position: usize,
}

impl Entries {
    fn new(mut entries: Vec<(InternalKey, Vec<u8>)>) -> Entries {
        entries.sort();
        Entries { position: entries.len(), entries }
    }
}

pub(crate) fn values(values: &[(u8, u64)]) -> Entries {
    let entry = |&(key, seq): &(u8, u64)| (InternalKey::new(&user_key(key), SeqNo::new(seq), Kind::Value), vec![key]);
    Entries::new(values.iter().map(entry).collect())
}

impl Cursor for Entries {
    fn seek_to_first(&mut self) -> Result<()> {
        self.position = 0;
        Ok(())
    }

    fn seek(&mut self, target: &[u8]) -> Result<()> {
        self.position = self.entries.partition_point(|(key, _)| key::compare(key.as_bytes(), target).is_lt());
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        self.position += 1;
        Ok(())
    }

    fn seek_to_last(&mut self) -> Result<()> {
        unreachable!("tables are written forwards")
    }

    fn seek_for_prev(&mut self, _: &[u8]) -> Result<()> {
        unreachable!("tables are written forwards")
    }

    fn prev(&mut self) -> Result<()> {
        unreachable!("tables are written forwards")
    }

    fn valid(&self) -> bool {
        self.position < self.entries.len()
    }

    fn key(&self) -> &[u8] {
        self.entries[self.position].0.as_bytes()
    }

    fn value(&self) -> &[u8] {
        &self.entries[self.position].1
    }
}

struct Append;

impl MergeOperator for Append {
    fn name(&self) -> &str {
        "append"
    }

    fn full_merge(&self, _key: &[u8], existing: Option<&[u8]>, operands: &[&[u8]]) -> Option<Vec<u8>> {
        Some([existing.unwrap_or_default(), &operands.concat()].concat())
    }
}

/// The store, and everything that was ever written to it.
pub(crate) struct Store {
    pub(crate) memory: Arc<Memory>,
    pub(crate) version: Version,
    pub(crate) in_flight: InFlight,
    pub(crate) options: LeveledOptions,
    snapshots: Vec<SeqNo>,
    seq: u64,
    unflushed: Vec<(InternalKey, Vec<u8>)>,
    unflushed_ranges: Vec<RangeTombstone>,
    history: Vec<(InternalKey, Vec<u8>)>,
    ranges: Vec<RangeTombstone>,
}

impl Store {
    pub(crate) fn new() -> Store {
        let memory =
            Memory { files: Mutex::default(), next: AtomicU64::new(1), countdown: Arc::new(AtomicI64::new(-1)) };
        let options = LeveledOptions {
            table_bytes_target: 1500,
            level_base_bytes: 8000,
            multiplier: 3.0,
            ..LeveledOptions::default()
        };
        Store {
            memory: Arc::new(memory),
            version: Version::new(),
            in_flight: InFlight::new(),
            options,
            snapshots: Vec::new(),
            seq: 0,
            unflushed: Vec::new(),
            unflushed_ranges: Vec::new(),
            history: Vec::new(),
            ranges: Vec::new(),
        }
    }

    fn next_seq(&mut self) -> SeqNo {
        self.seq += 1;
        SeqNo::new(self.seq)
    }

    pub(crate) fn write(&mut self, key: u8, kind: Kind) {
        let seq = self.next_seq();
        let value = if kind == Kind::Deletion { Vec::new() } else { format!("written at {seq}, ").into_bytes() };
        let entry = (InternalKey::new(&user_key(key), seq, kind), value);
        self.unflushed.push(entry.clone());
        self.history.push(entry);
    }

    pub(crate) fn delete_range(&mut self, start: u8, end: u8) {
        let range = RangeTombstone { start: user_key(start), end: user_key(end), seq: self.next_seq() };
        self.unflushed_ranges.push(range.clone());
        self.ranges.push(range);
    }

    pub(crate) fn take_snapshot(&mut self) {
        self.snapshots.push(SeqNo::new(self.seq));
    }

    pub(crate) fn drop_snapshot(&mut self, which: u8) {
        if !self.snapshots.is_empty() {
            self.snapshots.remove(usize::from(which) % self.snapshots.len());
        }
    }

    pub(crate) fn readers(&self) -> impl Iterator<Item = SeqNo> + use<'_> {
        self.snapshots.iter().copied().chain([SeqNo::MAX])
    }

    pub(crate) fn context(&self, parts: usize) -> JobContext {
        JobContext {
            source: self.memory.clone(),
            sink: self.memory.clone(),
            snapshots: self.snapshots.clone(),
            merge_operator: Some(Arc::new(Append)),
            options: LeveledOptions { subcompactions_max: parts, ..self.options.clone() },
            cancelled: Arc::default(),
            throttle: None,
        }
    }

    pub(crate) fn flush(&mut self) {
        let context = self.context(1);
        let below = Below::unknown();
        let write = WriteContext {
            snapshots: &self.snapshots,
            below: &below,
            merge_operator: context.merge_operator.as_deref(),
            cut: Cut::Never,
            from: None,
            to: None,
            epoch: self.version.epoch_max() + 1,
            oldest_ancestor_time: 0,
            cancelled: &context.cancelled,
            throttle: None,
        };
        let mut memtable = Entries::new(std::mem::take(&mut self.unflushed));
        let tombstones = RangeTombstones::new(std::mem::take(&mut self.unflushed_ranges));
        let written = write_tables(&mut memtable, &tombstones, &write, &*self.memory).unwrap();
        assert!(written.tables.len() <= 1, "level 0 gets one table");
        let added = written.tables.into_iter().map(|table| (0, table.meta)).collect();
        self.version = self.version.apply(&[VersionEdit { added, ..VersionEdit::default() }]).unwrap();
    }

    pub(crate) fn compact_until_quiet(&mut self, parts: usize, executor: &dyn Executor) {
        while let Some(plan) = pick(&self.version, &self.in_flight, &self.options, self.snapshots.iter().min().copied())
        {
            self.carry_out(&plan, parts, executor);
        }
    }

    pub(crate) fn range_compaction(&self) -> RangeCompaction {
        RangeCompaction::new(&self.version, &self.options, None, None, BottomRewrite::Always)
    }

    pub(crate) fn compact_everything(&mut self) {
        let mut range = self.range_compaction();
        loop {
            match pick_range(&mut range, &self.version, &self.in_flight, &self.options) {
                RangeStep::Run(plan) => self.carry_out(&plan, 3, &StepExecutor::new()),
                RangeStep::Wait => panic!("nothing is running"),
                RangeStep::Done => return,
            }
        }
    }

    fn carry_out(&mut self, plan: &Plan, parts: usize, executor: &dyn Executor) {
        let id = self.in_flight.reserve(plan);
        let edit = match plan.trivial_move {
            true => plan.move_edit(),
            false => plan.edit(&run(plan, &self.context(parts), executor).unwrap()),
        };
        self.version = self.version.apply(&[edit]).unwrap();
        self.in_flight.release(id);
        if !plan.trivial_move {
            plan.tables().for_each(|(_, table)| self.memory.discard(table.number));
        }
    }

    /// All point entries of `tables`, in their order.
    pub(crate) fn entries(&self, tables: &[BuiltTable]) -> Vec<(InternalKey, Vec<u8>)> {
        tables.iter().flat_map(|table| self.table_entries(&table.meta)).collect()
    }

    fn table_entries(&self, meta: &TableMeta) -> Vec<(InternalKey, Vec<u8>)> {
        let mut cursor = self.memory.open(meta).unwrap().cursor();
        let mut entries = Vec::new();
        cursor.seek_to_first().unwrap();
        while cursor.valid() {
            entries.push((InternalKey::from_encoded(cursor.key()).unwrap(), cursor.value().to_vec()));
            cursor.next().unwrap();
        }
        entries
    }

    /// Newest tombstone over `key` in `tables` that a reader at `at` sees.
    pub(crate) fn newest(&self, tables: &[BuiltTable], key: u8, at: SeqNo) -> Option<SeqNo> {
        let covering = tables.iter().filter(|table| table.meta.covers(&user_key(key)));
        covering
            .filter_map(|table| self.memory.open(&table.meta).unwrap().tombstones().newest(&user_key(key), at))
            .max()
    }

    /// Every reader sees in the tables what the history says; the tables are what the version says.
    pub(crate) fn check(&self) {
        let tables: Vec<_> = self
            .version
            .tables()
            .map(|(level, meta)| (level, meta, self.table_entries(meta), self.memory.open(meta).unwrap()))
            .collect();
        assert_eq!(self.memory.numbers(), tables.iter().map(|(_, meta, ..)| meta.number).collect(), "no orphans");
        let mut holders: BTreeMap<(usize, &[u8]), FileNumber> = BTreeMap::new();
        for (level, meta, entries, table) in &tables {
            table.verify().unwrap();
            for (key, _) in entries {
                assert!(meta.smallest <= *key && *key <= meta.largest, "{key:?} lies in its table's bounds");
                let first = *holders.entry((*level, key.user_key())).or_insert(meta.number);
                assert!(*level == 0 || first == meta.number, "O2: {key:?} is in two tables of level {level}");
            }
        }
        for key in 0..KEYS {
            let user_key = user_key(key);
            let written: Vec<_> = self.history.iter().filter(|(key, _)| key.user_key() == user_key).collect();
            let stored: Vec<_> = tables
                .iter()
                .flat_map(|(_, _, entries, _)| entries)
                .filter(|(key, _)| key.user_key() == user_key)
                .collect();
            for at in self.readers() {
                let deleted =
                    |range: &&RangeTombstone| range.start <= user_key && user_key < range.end && range.seq <= at;
                let expected =
                    read(written.clone(), self.ranges.iter().filter(deleted).map(|range| range.seq).max(), at);
                let covering = tables.iter().filter(|(_, meta, ..)| meta.covers(&user_key));
                let newest = covering.filter_map(|(.., table)| table.tombstones().newest(&user_key, at)).max();
                assert_eq!(read(stored.clone(), newest, at), expected, "key {key} at {at}");
            }
        }
    }
}

/// The value of one key among all its `entries`, for a reader at `at` who sees it deleted at `deleted`.
fn read(mut entries: Vec<&(InternalKey, Vec<u8>)>, deleted: Option<SeqNo>, at: SeqNo) -> Option<Vec<u8>> {
    entries.sort();
    let mut operands: Vec<&[u8]> = Vec::new();
    let mut base = None;
    for (key, value) in entries.into_iter().filter(|(key, _)| key.seq() <= at) {
        if deleted.is_some_and(|deleted| key.seq() < deleted) {
            break;
        }
        match ParsedKey::parse(key.as_bytes()).unwrap().kind {
            Kind::Merge => operands.push(value),
            Kind::Value => {
                base = Some(value.as_slice());
                break;
            }
            _ => break,
        }
    }
    operands.reverse();
    (base.is_some() || !operands.is_empty()).then(|| [base.unwrap_or_default(), &operands.concat()].concat())
}
