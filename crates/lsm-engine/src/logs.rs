//! The store's log files: which are alive, which may be reused, which may go.
//!
//! # Invariants
//! L1. A log is given up only after every family's entries in it lie in tables that the synced manifest
//!     names: its number is below every family's oldest log.
//! L2. While a checkpoint copies logs, none is given up.

use crate::sync::Mutex;
use lsm_core::filename::{FileKind, FileNumber};
use lsm_fs::Fs;
use lsm_wal::{Wal, WalHandle};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Old logs kept for reuse: writing over allocated blocks needs no work of the file system.
const RECYCLED_LOGS_MAX: usize = 2;

pub(crate) struct Logs {
    fs: Arc<dyn Fs>,
    directory: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Logs that take no more records but still hold unflushed entries.
    retired: BTreeMap<FileNumber, Wal>,
    recyclable: Vec<FileNumber>,
    pins: usize,
    /// Everything below may go once nothing is pinned.
    oldest_live: FileNumber,
}

impl Logs {
    pub(crate) fn new(fs: Arc<dyn Fs>, directory: PathBuf) -> Logs {
        Logs { fs, directory, state: Mutex::default() }
    }

    /// Keeps a log that was just replaced by a newer one.
    pub(crate) fn retire(&self, wal: Wal) {
        self.state.lock().retired.insert(wal.number(), wal);
    }

    /// The shared sides of all retired logs, oldest first.
    pub(crate) fn retired(&self) -> Vec<Arc<WalHandle>> {
        self.state.lock().retired.values().map(Wal::handle).collect()
    }

    /// Numbers of all retired logs, oldest first.
    pub(crate) fn retired_numbers(&self) -> Vec<FileNumber> {
        self.state.lock().retired.keys().copied().collect()
    }

    /// A log whose file may be written over.
    pub(crate) fn take_recyclable(&self) -> Option<FileNumber> {
        self.state.lock().recyclable.pop()
    }

    /// Takes back a log that was not written over after all.
    pub(crate) fn keep_recyclable(&self, number: FileNumber) {
        self.state.lock().recyclable.push(number);
    }

    /// Gives up all logs below `oldest_live` (L1).
    pub(crate) fn release(&self, oldest_live: FileNumber) {
        let swept = {
            let mut state = self.state.lock();
            state.oldest_live = state.oldest_live.max(oldest_live);
            state.sweep()
        };
        self.bury(swept);
    }

    /// Keeps all logs until the guard is dropped (L2).
    pub(crate) fn pin(&self) -> Pin<'_> {
        self.state.lock().pins += 1;
        Pin(self)
    }

    /// Closes logs that were given up, outside of the lock that a rotation takes, and keeps or removes
    /// their files.
    fn bury(&self, swept: BTreeMap<FileNumber, Wal>) {
        for (number, wal) in swept {
            // L1: all it holds is in synced tables, so later syncs need not care about it.
            wal.handle().retire();
            drop(wal);
            let mut state = self.state.lock();
            if state.recyclable.len() < RECYCLED_LOGS_MAX {
                state.recyclable.push(number);
            } else {
                drop(state);
                self.remove(number);
            }
        }
    }

    /// Hands over all retired logs, oldest first, as at close.
    pub(crate) fn take_retired(&self) -> Vec<Wal> {
        std::mem::take(&mut self.state.lock().retired).into_values().collect()
    }

    /// Removes the files kept for reuse, as at close.
    pub(crate) fn remove_recyclable(&self) {
        let recyclable = std::mem::take(&mut self.state.lock().recyclable);
        recyclable.into_iter().for_each(|number| self.remove(number));
    }

    fn remove(&self, number: FileNumber) {
        // A file that cannot be deleted now is an orphan, which the next open removes.
        let _ = self.fs.remove(&FileKind::Log(number).path(&self.directory));
    }
}

impl State {
    /// Takes out the logs that may go now.
    fn sweep(&mut self) -> BTreeMap<FileNumber, Wal> {
        if self.pins > 0 {
            return BTreeMap::new();
        }
        let live = self.retired.split_off(&self.oldest_live);
        std::mem::replace(&mut self.retired, live)
    }
}

pub(crate) struct Pin<'a>(&'a Logs);

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let swept = {
            let mut state = self.0.state.lock();
            state.pins -= 1;
            state.sweep()
        };
        self.0.bury(swept);
    }
}
