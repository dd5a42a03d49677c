//! What the logs hold beyond the tables: gathered, then written to tables. A store that only reads keeps it in memtables.
//!
//! # Invariants
//! Y1. A record counts for a column family only if its log is not older than the family's log number;
//!     records of dropped families are skipped.
//! Y2. Facts in the logs about the manifest and the store must agree with what was found.

use crate::commit::size_of_entry;
use crate::family::Family;
use crate::gather::Gathered;
use crate::store::Store;
use crate::{Error, Result};
use lsm_core::batch::{self, Record};
use lsm_core::filename::{FileKind, FileNumber};
use lsm_core::key::{USER_KEY_BYTES_MAX, VALUE_BYTES_MAX};
use lsm_core::{ColumnFamilyId, Error as CoreError, Kind, SeqNo};
use lsm_fs::Fs;
use lsm_manifest::{State, TableMeta};
use lsm_memtable::Memtable;
use lsm_wal::{LogToReplay, ReplayReport};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// The content of the logs, on its way to tables.
pub(crate) struct Recovery {
    last_seq: SeqNo,
    gathered: BTreeMap<ColumnFamilyId, Gathered>,
    tables: BTreeMap<ColumnFamilyId, Vec<Arc<TableMeta>>>,
}

impl Recovery {
    /// Replays the live logs among `names`. As soon as there is as much of a family as a memtable holds, it goes to a table.
    pub(crate) fn replay(store: &Arc<Store>, state: &State, names: &[String]) -> Result<(Recovery, ReplayReport)> {
        let (first, logs) = live_logs(state, names);
        let (gathered, tables) = (BTreeMap::new(), BTreeMap::new());
        let mut recovery = Recovery { last_seq: state.last_seq, gathered, tables };
        let mut failure = None;
        let fs = &*store.options.fs;
        let mode = store.options.recovery_mode;
        let replayed = lsm_wal::replay(fs, &store.directory, first, &logs, mode, &mut |log, _offset, bytes| {
            recovery.apply(store, state, log, bytes).map_err(|error| {
                let passed_on = CoreError::invalid_argument(error.to_string());
                failure = Some(error);
                passed_on
            })
        });
        let replayed = failure.map_or(replayed.map_err(Error::from), Err);
        let checked = replayed.and_then(|report| check_facts(fs, &store.directory, state, &report).map(|()| report));
        let report = checked.inspect_err(|_| recovery.discard(store))?;
        // A batch without writes, which holds facts only, carries the next unassigned number.
        recovery.last_seq = recovery.last_seq.max(SeqNo::new(report.next_seq.get().saturating_sub(1)));
        if let Some(summary) = summary(&report) {
            let _ = store.recovery.set(summary);
        }
        if store.health.is_read_only() {
            store.publisher.advance(recovery.last_seq);
        }
        Ok((recovery, report))
    }

    /// Removes the tables that were written so far: no manifest names them.
    fn discard(&self, store: &Store) {
        self.tables.values().for_each(|tables| store.discard(tables));
    }

    /// Inserts one batch.
    fn apply(&mut self, store: &Arc<Store>, state: &State, log: FileNumber, bytes: &[u8]) -> Result<()> {
        let (mut seq, _) = batch::header(bytes)?;
        let families = store.families.load();
        for record in batch::records(bytes)? {
            let Record::Entry(entry) = record? else { continue };
            check_lengths(entry).map_err(|error| error.in_file(&FileKind::Log(log).path(&store.directory)))?;
            let live = state.families.get(&entry.family).is_some_and(|family| family.log_number <= log);
            if let Some(family) = families.get(&entry.family).filter(|_| live) {
                self.insert(store, family, entry, seq)?;
            }
            self.last_seq = self.last_seq.max(seq);
            seq = SeqNo::checked(seq.get() + 1)
                .ok_or_else(|| CoreError::corruption("sequence numbers have more than 56 bits"))?;
        }
        Ok(())
    }

    fn insert(&mut self, store: &Store, family: &Arc<Family>, entry: batch::Entry<'_>, seq: SeqNo) -> Result<()> {
        if store.health.is_read_only() {
            keep(store, family, entry, seq);
            return Ok(());
        }
        let fresh = || Gathered::new(family.write_buffer_bytes());
        if !self.gathered.entry(family.id).or_insert_with(fresh).has_room(&entry) {
            self.write(store, family)?;
        }
        self.gathered.entry(family.id).or_insert_with(fresh).push(entry, seq);
        Ok(())
    }

    /// Writes what was gathered of `family` to a table.
    fn write(&mut self, store: &Store, family: &Family) -> Result<()> {
        let Some(gathered) = self.gathered.remove(&family.id) else { return Ok(()) };
        let (mut entries, tombstones) = gathered.sorted();
        let tables = self.tables.entry(family.id).or_default();
        let epoch = family.view.load().version.epoch_max().saturating_add(1 + tables.len() as u64);
        let sink = store.table_files(family, false, false)?;
        let written = store.write_level0(family, (&mut entries, &tombstones), epoch, &sink)?;
        tables.extend(written.tables.into_iter().map(|table| table.meta));
        Ok(())
    }

    /// Writes all that is still in memory to tables.
    pub(crate) fn into_tables(mut self, store: &Store) -> Result<RecoveredTables> {
        for family in store.families.load().values() {
            self.write(store, family).inspect_err(|_| self.discard(store))?;
        }
        Ok(RecoveredTables { last_seq: self.last_seq, tables: self.tables })
    }
}

/// Inserts an entry into the memtable of a family that is only read, and where the entry does not fit into the next one.
fn keep(store: &Store, family: &Family, entry: batch::Entry<'_>, seq: SeqNo) {
    loop {
        let size = || std::iter::once(size_of_entry(entry));
        let view = family.view.load_full();
        if let Ok(mut reservation) = view.active.reserve(size()) {
            reservation.insert(entry.key, seq, entry.kind, entry.value);
            return;
        }
        let bytes = family.write_buffer_bytes().max(Memtable::required_bytes(size()));
        let fresh = store.arenas.memtable(bytes, &view.active.key_shape());
        family.update(|view| view.rotated(fresh, view.active_log, seq));
    }
}

/// RocksDB takes longer keys and values, so a log that holds some may be sound; no table of this store can.
fn check_lengths(entry: batch::Entry<'_>) -> lsm_core::Result<()> {
    let is_range = entry.kind == Kind::RangeDeletion;
    // The end of a range may be the successor of the longest key.
    let key_bytes_max = USER_KEY_BYTES_MAX + usize::from(is_range);
    let value_bytes_max = if is_range { key_bytes_max } else { VALUE_BYTES_MAX };
    let (key_bytes, value_bytes) = (entry.key.len(), entry.value.len());
    if key_bytes <= key_bytes_max && value_bytes <= value_bytes_max {
        return Ok(());
    }
    Err(CoreError::unsupported(format!(
        "a key of more than {USER_KEY_BYTES_MAX} or a value of more than {VALUE_BYTES_MAX} bytes ({key_bytes} and {value_bytes})"
    )))
}

/// Everything that the logs held, in tables that no manifest names yet.
pub(crate) struct RecoveredTables {
    pub(crate) last_seq: SeqNo,
    tables: BTreeMap<ColumnFamilyId, Vec<Arc<TableMeta>>>,
}

impl RecoveredTables {
    /// Removes them again, unless `CURRENT` names another manifest than `old` by now, or cannot be read: an open
    /// that fails on a full disk must not make it fuller each time.
    pub(crate) fn discard_unnamed(&self, store: &Store, old: FileNumber) {
        let now = lsm_manifest::read(&*store.options.fs, &store.directory);
        if now.is_ok_and(|now| now.manifest == old) {
            self.tables.values().for_each(|tables| store.discard(tables));
        }
    }

    pub(crate) fn tables_of(&self, family: ColumnFamilyId) -> Vec<(usize, Arc<TableMeta>)> {
        let tables = self.tables.get(&family).map(Vec::as_slice).unwrap_or_default();
        tables.iter().map(|table| (0, Arc::clone(table))).collect()
    }
}

/// Y2.
pub(crate) fn check_facts(fs: &dyn Fs, directory: &Path, state: &State, report: &ReplayReport) -> Result<()> {
    if let (Some(found), Some(expected)) = (&report.facts.identity, &state.db_id)
        && found != expected
    {
        let detail = format!("log belongs to the store {found}, the manifest to {expected}");
        return Err(Error::from(CoreError::corruption(detail).in_file(directory)));
    }
    if let Some(fact) = &report.facts.manifest {
        let fact = (fact.number, fact.synced_bytes, fact.crc);
        lsm_manifest::check_fact(fs, directory, state, fact)?;
    }
    Ok(())
}

/// The first log that a store in `state` needs, and all from there on.
pub(crate) fn live_logs(state: &State, names: &[String]) -> (FileNumber, Vec<LogToReplay>) {
    let first = state.first_log();
    let found = names.iter().filter_map(|name| match FileKind::parse(name)? {
        FileKind::Log(number) if number >= first || number == state.prev_log => Some(number),
        _ => None,
    });
    // Logs that the manifest lists are read even if they are missing: replay then says so.
    let listed = state.wals.range(first..).map(|(number, _)| *number);
    let numbers: BTreeSet<FileNumber> = found.chain(listed).collect();
    let synced_bytes = |number| state.wals.get(&number).map(|bytes| bytes.unwrap_or(0));
    (first, numbers.into_iter().map(|number| LogToReplay { number, synced_bytes: synced_bytes(number) }).collect())
}

/// One line about what a torn log cost, if anything.
fn summary(report: &ReplayReport) -> Option<String> {
    let first = report.dropped.first()?;
    let bytes: u64 = report.dropped.iter().map(|dropped| dropped.bytes).sum();
    Some(format!("{bytes} bytes dropped, from offset {} of log {} on: {}", first.offset, first.log, first.reason))
}
