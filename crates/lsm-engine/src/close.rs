//! The end of an open store.
//!
//! # Invariants
//! O1. Whoever returns from closing finds the directory's lock free, also if another thread does the work; save
//!     the writer thread, for which the closing one may be waiting.
//! O2. The lock is freed behind the last change of the directory, and whatever failed before it.

use crate::Result;
use crate::contain::ignoring_panics;
use crate::store::Store;
use crate::sync::{Condvar, Mutex};
use lsm_manifest::{VersionEdit, WalAddition};
use std::sync::Arc;

/// Whose turn it is to close a store.
#[derive(Default)]
pub(crate) struct Closing {
    phase: Mutex<Phase>,
    ended: Condvar,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    Begun,
    Ended,
}

impl Closing {
    /// Whether the caller is to do it. If another one does or did, returns when it is done (O1), or at once for a
    /// caller that `cannot_wait`.
    fn begin(&self, cannot_wait: impl FnOnce() -> bool) -> bool {
        let mut phase = self.phase.lock();
        match *phase {
            Phase::Open => {
                *phase = Phase::Begun;
                true
            }
            Phase::Begun if cannot_wait() => false,
            Phase::Begun | Phase::Ended => {
                while *phase == Phase::Begun {
                    self.ended.wait(&mut phase);
                }
                false
            }
        }
    }

    fn end(&self) {
        *self.phase.lock() = Phase::Ended;
        self.ended.notify_all();
    }
}

impl Store {
    /// Closes the store: puts down what was submitted, ends background work, cuts the log, frees the lock.
    pub(crate) fn close(self: &Arc<Self>) -> Result<()> {
        if !self.closing.begin(|| self.submissions.is_writer_thread()) {
            return Ok(());
        }
        let flushed = self.contained(|| {
            self.finish_submissions();
            self.flush_unlogged()
        });
        self.health.close();
        self.pacer.wake();
        self.background.stop();
        let finished = self.contained(|| self.finish_log());
        let tidied = self.contained(|| {
            self.logs.remove_recyclable();
            self.open_tables_for_readers();
            self.tables.let_go();
            Ok(())
        });
        // O2.
        let lock = self.lock.lock().take();
        ignoring_panics(|| drop(lock));
        self.closing.end();
        flushed.and(finished).and(tidied)
    }

    /// Takes no more writes, and flushes what is in no log.
    fn flush_unlogged(self: &Arc<Self>) -> Result<()> {
        let unlogged = self.writer.lock().as_mut().is_some_and(|writer| {
            writer.refuses = true;
            writer.unlogged.is_some()
        });
        if unlogged { self.flush() } else { Ok(()) }
    }

    /// Opens the tables that iterators may still come to: once the lock is free, another handle may remove
    /// the files.
    fn open_tables_for_readers(&self) {
        for family in self.families.load().values() {
            let view = family.view.load_full();
            // The family and this function own the view; anyone else is a reader.
            if Arc::strong_count(&view) > 2 {
                // A reader that comes to a table which could not be opened meets the error then.
                let _ = view.open_tables();
            }
        }
        self.tables.open_retired();
    }

    /// Syncs and cuts the log, and tells the manifest how long it is: from then on any damage to it shows.
    fn finish_log(&self) -> Result<()> {
        let mut manifest = self.manifest.lock().take();
        let Some(mut writer) = self.writer.lock().take() else { return Ok(()) };
        if let Some(failure) = self.health.failure() {
            return Err(failure);
        }
        self.check_lock()?;
        let mut wal_additions = Vec::new();
        for mut log in self.logs.take_retired() {
            wal_additions.push(WalAddition { number: log.number(), synced_bytes: Some(log.finish()?) });
        }
        wal_additions.push(WalAddition { number: writer.wal.number(), synced_bytes: Some(writer.wal.finish()?) });
        let edit = VersionEdit { wal_additions, ..VersionEdit::default() };
        match &mut manifest {
            Some(manifest) => Ok(manifest.apply(vec![edit])?),
            None => Ok(()),
        }
    }
}

#[cfg(all(test, shuttle))]
mod shuttle_models;
