//! Memtables become tables of level 0.
//!
//! # Invariants
//! U1. The oldest frozen memtable goes first, one table per memtable, so level 0 keeps the order of writes.
//! U2. The table, then the directory, are synced before the edit that names the table; the log goes after it.
//! U3. With several column families the logs are synced before a flush counts: else a power cut could keep
//!     one family's newer writes and lose another's older ones.

use crate::family::Family;
use crate::output::TableFiles;
use crate::store::Store;
use crate::view::Frozen;
use crate::{Error, Result};
use lsm_compaction::{Below, Cut, WriteContext, Written, write_tables};
use lsm_core::Cursor;
use lsm_core::filename::{FileKind, FileNumber};
use lsm_core::range_tombstone::RangeTombstones;
use lsm_manifest::{Manifest, TableMeta, VersionEdit};
use std::sync::Arc;

impl Store {
    /// Writes every memtable of every family to tables.
    pub(crate) fn flush(self: &Arc<Self>) -> Result<()> {
        self.retry();
        let last_seq = loop {
            if let Some(last_seq) = self.rotate_all()? {
                break last_seq;
            }
            let has_room = |family: &Arc<Family>| !family.view.load().is_crowded();
            self.wait_for_flush(|| self.families.load().values().all(has_room))?;
        };
        let families = self.families.load();
        let waiting: Vec<_> = families
            .values()
            .filter_map(|family| Some((Arc::clone(family), family.view.load().frozen.first()?.last_seq)))
            .collect();
        self.schedule();
        self.wait_for_flush(|| {
            waiting.iter().all(|(family, last_seq)| {
                let view = family.view.load();
                family.is_dropped() || view.frozen.iter().all(|frozen| frozen.last_seq > *last_seq)
            })
        })?;
        self.note_flushed(last_seq);
        Ok(())
    }

    fn wait_for_flush(self: &Arc<Self>, done: impl Fn() -> bool) -> Result<()> {
        self.background.wait_for_flushes(|| done() || self.health.check_writable().is_err())?;
        if done() { Ok(()) } else { self.health.check_writable() }
    }

    /// Writes the oldest frozen memtable of `family` (U1); says whether there was one.
    pub(crate) fn flush_oldest(self: &Arc<Self>, family: &Arc<Family>) -> Result<bool> {
        let view = family.view.load_full();
        let Some(frozen) = view.frozen.last().filter(|_| !family.is_dropped()) else { return Ok(false) };
        let begun = self.options.clock.monotonic();
        // Commits that reserved room before the freeze may still be inserting.
        if !self.publisher.wait_for(frozen.last_seq) {
            return Err(self.halted());
        }
        let sink = self.table_files(family, false, self.tables.will_read_flushed(&view))?;
        let epoch = view.version.epoch_max().saturating_add(1);
        let (mut entries, tombstones) = (frozen.memtable.cursor(), frozen.memtable.tombstones());
        let written = self.write_level0(family, (&mut entries, &tombstones), epoch, &sink)?;
        let bytes = written.bytes();
        let tables: Vec<Arc<TableMeta>> = written.tables.into_iter().map(|table| table.meta).collect();
        let _open = sink.open_warm(&self.tables, tables.iter());
        if let Err(error) = self.install_flush(family, frozen, &tables) {
            // Unless it is open what is on disk, the next try writes tables of its own.
            if self.health.failure().is_none() {
                self.discard(&tables);
            }
            return Err(error);
        }
        self.pacer.drained(bytes, self.options.clock.monotonic().saturating_sub(begun));
        self.counters.note_flush(bytes);
        if let Some(listener) = &self.options.event_listener {
            listener.on_flush(&family.name, tables.len(), bytes);
        }
        Ok(true)
    }

    /// Writes entries of a memtable, or what would have been in one, to tables, which are synced but in no version yet (U2).
    pub(crate) fn write_level0(
        &self,
        family: &Family,
        (entries, tombstones): (&mut dyn Cursor, &RangeTombstones),
        epoch: u64,
        sink: &TableFiles,
    ) -> Result<Written> {
        let snapshots = self.snapshots.seqs();
        let throttle = |bytes| self.rate.pass(bytes);
        let context = WriteContext {
            snapshots: &snapshots,
            below: &Below::unknown(),
            merge_operator: family.merge_operator(),
            cut: Cut::Never,
            from: None,
            to: None,
            epoch,
            oldest_ancestor_time: 0,
            cancelled: &self.never,
            throttle: Some(&throttle),
        };
        let written = write_tables(entries, tombstones, &context, sink)?;
        self.sync_directory()?;
        Ok(written)
    }

    fn install_flush(
        self: &Arc<Self>,
        family: &Arc<Family>,
        flushed: &Frozen,
        tables: &[Arc<TableMeta>],
    ) -> Result<()> {
        if self.families.load().len() > 1 {
            // U3. The newest of them holds nothing newer than what is flushed, or is synced for nothing.
            for log in self.logs.retired() {
                log.sync_all().map_err(|error| self.log_failed(&log, error))?;
            }
        }
        let log_number = self.oldest_log_after(family, flushed);
        // A family that holds nothing keeps its old log number in the manifest, so it is said apart which
        // logs nobody needs: they are removed after this edit, and must not be missed.
        let families = self.families.load();
        let others = families.values().filter(|other| other.id != family.id);
        let min_log_to_keep = others.map(|other| other.view.load().oldest_log()).fold(log_number, FileNumber::min);
        let edit = VersionEdit {
            family: family.id,
            added: tables.iter().map(|table| (0, Arc::clone(table))).collect(),
            log_number: Some(log_number),
            min_log_to_keep: Some(min_log_to_keep),
            last_seq: Some(flushed.last_seq),
            ..VersionEdit::default()
        };
        if self.install(family, edit, 1)? {
            self.logs.release(min_log_to_keep);
        } else {
            self.discard(tables);
        }
        Ok(())
    }

    /// The oldest log that `family` needs once `flushed` is in a table.
    fn oldest_log_after(&self, family: &Family, flushed: &Frozen) -> FileNumber {
        let view = family.view.load();
        let younger = view.frozen.iter().rev().find(|frozen| frozen.last_seq > flushed.last_seq);
        younger.map_or(view.active_log, |frozen| frozen.log)
    }

    /// A directory that cannot be synced leaves it open which names are durable: that is latched, and no file
    /// is deleted.
    pub(crate) fn sync_directory(&self) -> Result<()> {
        let synced = self.options.fs.sync_dir(&self.directory);
        synced.map_err(|error| self.fail(lsm_core::Error::io("sync", &self.directory, error)))
    }

    /// Puts `edit` into the manifest and the new version into the family's view, less its `flushed` oldest
    /// memtables. Returns whether it did: not for a dropped family, whose new tables are then nobody's.
    pub(crate) fn install(self: &Arc<Self>, family: &Arc<Family>, edit: VersionEdit, flushed: usize) -> Result<bool> {
        {
            let mut guard = self.manifest.lock();
            let manifest = guard.as_mut().ok_or_else(Error::closed)?;
            if family.is_dropped() {
                return Ok(false);
            }
            self.apply_edit(manifest, edit)?;
            let version = manifest.state().families.get(&family.id).map(|state| Arc::clone(&state.version));
            let version = version.expect("a family that is not dropped is in the manifest");
            family.update(|view| view.installed(version, &self.tables, flushed));
            self.set_toll(family);
        }
        self.refresh_pressure();
        self.background.wake();
        Ok(true)
    }

    /// Puts `edit` into the manifest. A failure that leaves it open what is on disk is latched, and no file may
    /// be deleted then; after any other nothing happened.
    pub(crate) fn apply_edit(&self, manifest: &mut Manifest, edit: VersionEdit) -> Result<()> {
        self.check_lock()?;
        if let Err(error) = self.fenced(|| manifest.apply(vec![edit])) {
            return Err(if manifest.failure().is_some() { self.fail(error) } else { Error::from(error) });
        }
        self.note_manifest(manifest.state());
        Ok(())
    }

    /// A store whose `LOCK` somebody removed may have a second owner by now: it writes nothing more, and removes no
    /// file. Looked at before each edit, since edits are what two owners would overwrite each other with.
    pub(crate) fn check_lock(&self) -> Result<()> {
        let path = FileKind::Lock.path(&self.directory);
        let in_force = self.lock.lock().as_ref().map_or(Ok(true), |lock| lock.keeps_others_out());
        match in_force.map_err(|error| lsm_core::Error::io("stat", &path, error))? {
            true => Ok(()),
            false => {
                let detail = "the file was removed or replaced while the store was open: another handle may write here";
                Err(self.fail(lsm_core::Error::corruption(detail).in_file(&path)))
            }
        }
    }

    /// Removes tables that no manifest names.
    pub(crate) fn discard(&self, tables: &[Arc<TableMeta>]) {
        for table in tables {
            let _ = self.options.fs.remove(&FileKind::Table(table.number).path(&self.directory));
        }
    }
}
