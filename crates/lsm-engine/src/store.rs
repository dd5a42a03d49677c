//! An open store: what every call and every background job shares.
//!
//! Order of locks, outermost first: `manifest` → `writer` → a family's `updating` → the pacer's turn → leaf locks
//! (`logs`, `snapshots`, the pacer's state, table handles). Readers take none of them. No lock is held over a sync except
//! `manifest`, which only background work and changes of families take.

use crate::arenas::Arenas;
use crate::background::Background;
use crate::close::Closing;
use crate::commit::Writer;
use crate::contain::ignoring_panics;
use crate::family::Family;
use crate::gate::Gate;
use crate::health::Health;
use crate::logs::Logs;
use crate::pace::{Pacer, Pressure};
use crate::publish::Publisher;
use crate::rate::RateLimiter;
use crate::snapshot::Snapshots;
use crate::stats::Counters;
use crate::submit::Submissions;
use crate::sync::{Mutex, Ordering};
use crate::tables::Tables;
use crate::{Error, ErrorKind, Options, Result};
use arc_swap::ArcSwap;
use lsm_core::ColumnFamilyId;
use lsm_fs::Lock;
use lsm_manifest::Manifest;
use lsm_wal::{ManifestFact, WalHandle};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

pub(crate) type Families = BTreeMap<ColumnFamilyId, Arc<Family>>;

pub(crate) struct Store {
    /// Distinguishes this open store from all others of the process.
    pub(crate) id: u64,
    pub(crate) directory: PathBuf,
    pub(crate) options: Options,
    /// Written into every table and log, so that a foreign file is recognised.
    pub(crate) db_id: String,
    pub(crate) session_id: String,
    pub(crate) families: ArcSwap<Families>,
    pub(crate) gate: Gate,
    pub(crate) publisher: Publisher,
    pub(crate) snapshots: Snapshots,
    pub(crate) tables: Tables,
    pub(crate) health: Health,
    pub(crate) arenas: Arc<Arenas>,
    pub(crate) pacer: Pacer,
    pub(crate) rate: RateLimiter,
    pub(crate) logs: Logs,
    pub(crate) background: Background,
    pub(crate) counters: Counters,
    pub(crate) submissions: Submissions,
    pub(crate) closing: Closing,
    /// Format of new tables, once one was written.
    pub(crate) format_version: OnceLock<u32>,
    /// What opening had to leave out of a torn log.
    pub(crate) recovery: OnceLock<String>,
    /// Never set: flushes are not cancelled.
    pub(crate) never: AtomicBool,
    /// The commit path's own state; `None` for a read-only or closed store.
    pub(crate) writer: Mutex<Option<Writer>>,
    /// `None` for a read-only or closed store.
    pub(crate) manifest: Mutex<Option<Manifest>>,
    /// What the manifest on disk holds at least, for the next log's first record.
    pub(crate) manifest_fact: Mutex<Option<ManifestFact>>,
    /// Held until the store is closed; `None` for a read-only one.
    pub(crate) lock: Mutex<Option<Box<dyn Lock>>>,
}

/// Level-0 tables at which writers are slowed, in compaction triggers.
const LEVEL0_SLOW_TRIGGERS: f64 = 3.0;

/// Level-0 tables at which writers stop, in compaction triggers.
const LEVEL0_STOP_TRIGGERS: f64 = 9.0;

/// Pending compaction at which writers are slowed, in sizes of the base level.
const PENDING_SLOW_BASES: f64 = 256.0;

/// Pending compaction at which writers stop, in sizes of the base level.
const PENDING_STOP_BASES: f64 = 1024.0;

impl Store {
    pub(crate) fn family(&self, id: ColumnFamilyId) -> Result<Arc<Family>> {
        let families = self.families.load();
        let family = families.get(&id).filter(|family| !family.is_dropped());
        family.cloned().ok_or_else(|| Error::invalid_argument(format!("column family {} does not exist", id.0)))
    }

    /// Puts another set of families in place; the caller holds the manifest lock.
    pub(crate) fn set_families(&self, change: impl FnOnce(&mut Families)) {
        let mut families = Families::clone(&self.families.load());
        change(&mut families);
        self.families.store(Arc::new(families));
    }

    /// Works out anew how far behind the store is, and tells the writers.
    pub(crate) fn refresh_pressure(&self) {
        self.pacer.refresh(|| self.pressure());
    }

    fn pressure(&self) -> Pressure {
        let trigger = self.options.level0_file_num_compaction_trigger as f64;
        let base = self.options.level_base_bytes() as f64;
        let mut pressure = Pressure::NONE;
        for family in self.families.load().values() {
            let view = family.view.load();
            let level0 = view.version.level(0).len() as f64;
            let pending = lsm_compaction::pending_bytes(&view.version, &self.leveled_options()) as f64;
            pressure = pressure
                .max(Pressure::of(
                    level0,
                    trigger * LEVEL0_SLOW_TRIGGERS,
                    trigger * LEVEL0_STOP_TRIGGERS,
                    "too many tables on level 0",
                ))
                .max(Pressure::of(
                    pending,
                    base * PENDING_SLOW_BASES,
                    base * PENDING_STOP_BASES,
                    "too many bytes wait for compaction",
                ));
        }
        // Compactions that do not fit on the disk do not drain anything: writers have nothing to be slowed for, they go
        // on until they would have to wait.
        let stands_still = pressure.degree < 1.0 && self.background.shortage().is_some();
        if stands_still { Pressure::NONE } else { pressure }
    }

    /// Returns once everything that was committed before the call is on stable storage.
    pub(crate) fn sync(self: &Arc<Self>) -> Result<()> {
        self.health.check_writable()?;
        let (log, unlogged) = {
            let guard = self.writer.lock();
            let writer = guard.as_ref().ok_or_else(Error::closed)?;
            (writer.wal.handle(), writer.unlogged.is_some())
        };
        if unlogged {
            self.flush()?;
        }
        log.sync_all().map_err(|error| self.log_failed(&log, error))
    }

    /// A log could not be written or synced. A full disk is met before a sync and leaves the log as it was, so
    /// the store goes on once there is space; a failed sync is latched.
    pub(crate) fn log_failed(&self, log: &WalHandle, error: lsm_core::Error) -> Error {
        if log.has_failed() { self.fail(error) } else { error.into() }
    }

    /// Latches a failure after which this handle must not acknowledge anything. Returns what to tell the caller.
    pub(crate) fn fail(&self, error: impl Into<Error>) -> Error {
        let error = error.into();
        self.health.latch(&error);
        self.counters.background_errors.fetch_add(1, Ordering::Relaxed);
        // Whoever waits for room hears of it: there will be none.
        self.pacer.wake();
        self.background.wake();
        if let Some(listener) = &self.options.event_listener {
            ignoring_panics(|| listener.on_background_error(&error.to_string()));
        }
        match error.kind() {
            // That kind says that nothing happened and that a retry may help; here it is open what did, and none will.
            ErrorKind::NoSpace => Error::became_read_only(error),
            _ => error,
        }
    }

    /// The key behind the last one that `family` may hold.
    pub(crate) fn end_key(&self, family: ColumnFamilyId) -> Result<Option<Vec<u8>>> {
        Ok(self.family(family)?.view.load().end_key())
    }
}
