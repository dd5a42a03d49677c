//! The shared side of the active log: who wants bytes delivered or synced comes here.
//!
//! Callers share the work. One of them is in the call; the others wait for the lock and then mostly
//! find their bytes done. While a sync is under way the writer appends on, so the next caller takes
//! everything along that came in between.
//!
//! # Invariants
//! H1. No byte of a log is reported synced before its predecessor is synced as a whole, and the
//!     directory that has its name. So a watermark in a log proves that the logs before it were synced.
//! H2. After a sync failed, every later call fails with the same error, and so does the log that follows:
//!     Linux marks pages clean when it could not write them, a second sync would "succeed".
//!     A sync that panics has failed.
//! H3. A failed delivery is not final: its bytes wait and go to the same place the next time, unless the
//!     log is given up ([`Wal::abandon`](crate::Wal::abandon)). Then whoever waits for bytes that were not
//!     delivered hears the error, for ever.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use lsm_core::{Error, Result};
use lsm_fs::{Fs, SegmentHandle};
use lsm_sync::{AtomicU64, Mutex, Ordering};

/// Where a record ends in its log: what must be delivered or synced to keep it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position(pub(crate) u64);

impl Position {
    /// Bytes from the start of the log.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

/// Delivers and syncs a log. Outlives the [`Wal`](crate::Wal) it belongs to.
pub struct WalHandle {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    path: PathBuf,
    segment: Arc<dyn SegmentHandle>,
    delivered: AtomicU64,
    synced: AtomicU64,
    delivery: Mutex<()>,
    sync: Mutex<Before>,
    failure: OnceLock<Error>,
    /// Why nothing more of this log is delivered (H3).
    abandoned: OnceLock<Error>,
}

/// What has to be durable before the log may be (H1).
struct Before {
    predecessor: Option<Arc<WalHandle>>,
    name_synced: bool,
    retired: bool,
}

impl WalHandle {
    pub(crate) fn new(
        fs: Arc<dyn Fs>,
        dir: &Path,
        path: PathBuf,
        segment: Arc<dyn SegmentHandle>,
        predecessor: Option<Arc<WalHandle>>,
    ) -> WalHandle {
        WalHandle {
            fs,
            dir: dir.to_owned(),
            path,
            segment,
            delivered: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            delivery: Mutex::new(()),
            sync: Mutex::new(Before { predecessor, name_synced: false, retired: false }),
            failure: OnceLock::new(),
            abandoned: OnceLock::new(),
        }
    }

    /// Returns once everything up to `position` survives the end of this process.
    ///
    /// # Errors
    /// [`Error::Io`] when the write fails or has failed (H3). After a failed sync that error (H2).
    pub fn deliver(&self, position: Position) -> Result<()> {
        self.check()?;
        if self.delivered() >= position.0 {
            return Ok(());
        }
        let _turn = self.delivery.lock();
        if self.delivered() < position.0 {
            if let Some(error) = self.abandoned.get() {
                return Err(error.duplicate());
            }
            let delivered = self.segment.deliver().map_err(|error| Error::io("write", &self.path, error))?;
            self.delivered.store(delivered, Ordering::Release);
        }
        Ok(())
    }

    /// Returns once everything up to `position`, and all logs before, survive a power cut (H1).
    ///
    /// # Errors
    /// [`Error::Io`] when a write fails (H3) or when a sync failed, now or ever (H2).
    pub fn sync(&self, position: Position) -> Result<()> {
        self.check()?;
        if self.synced() >= position.0 {
            return Ok(());
        }
        let mut before = self.sync.lock();
        self.check()?;
        if before.retired || self.synced() >= position.0 {
            return Ok(());
        }
        // Apart from the sync, because a full disk is found here and must not be latched.
        self.deliver(position)?;
        self.settle(&mut before, || self.segment.sync())
    }

    /// Syncs everything that is committed.
    ///
    /// # Errors
    /// As for [`WalHandle::sync`].
    pub fn sync_all(&self) -> Result<()> {
        let mut before = self.sync.lock();
        self.check()?;
        // An empty log is synced by itself, but the logs before it may not be.
        if before.retired || (before.predecessor.is_none() && self.is_fully_synced()) {
            return Ok(());
        }
        self.deliver(self.end())?;
        self.settle(&mut before, || self.segment.sync())
    }

    /// Bytes of this log that are known to survive a power cut; all before them do too (H1).
    pub fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Bytes of this log that are known to survive the end of this process.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Acquire)
    }

    /// Whether a sync failed, after which nothing of this log is acknowledged any more (H2).
    pub fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// Whether every committed byte is synced.
    pub fn is_fully_synced(&self) -> bool {
        self.synced() >= self.segment.len()
    }

    /// Says that nobody needs this log any more, since all it holds is in synced tables: syncs of later
    /// logs no longer sync it first, and it lets go of the logs before it.
    ///
    /// Without this call a store that never syncs would keep every log open that it ever wrote.
    pub fn retire(&self) {
        let mut before = self.sync.lock();
        before.retired = true;
        before.predecessor = None;
    }

    /// The end of what is committed.
    pub(crate) fn end(&self) -> Position {
        Position(self.segment.len())
    }

    /// The error of the sync that failed, if one did (H2).
    pub(crate) fn check(&self) -> Result<()> {
        self.failure.get().map_or(Ok(()), |failure| Err(failure.duplicate()))
    }

    /// Runs `finish`, which syncs the log in its final shape, in the place of a sync.
    pub(crate) fn finish(&self, finish: impl FnOnce() -> std::io::Result<u64>) -> Result<()> {
        let mut before = self.sync.lock();
        self.check()?;
        self.deliver(self.end())?;
        self.settle(&mut before, finish)
    }

    /// Runs `cut`, which forgets what was not delivered, while nobody delivers, because of `error` with the
    /// bytes up to `failed`. Returns where it cut; `None` if somebody else has delivered those meanwhile.
    pub(crate) fn abandon(
        &self,
        failed: Position,
        error: &Error,
        cut: impl FnOnce(u64) -> std::io::Result<()>,
    ) -> Result<Option<u64>> {
        let _sync = self.sync.lock();
        let _delivery = self.delivery.lock();
        let bytes = self.delivered();
        if bytes >= failed.0 {
            return Ok(None);
        }
        if self.abandoned.get().is_none() {
            cut(bytes).map_err(|error| Error::io("cut", &self.path, error))?;
            self.abandoned.get_or_init(|| error.duplicate());
        }
        Ok(Some(bytes))
    }

    /// Whether the log takes no more records (H3).
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.get().is_some()
    }

    /// Makes all that comes before durable, then the log itself by `sync` (H1), and latches failures (H2).
    fn settle(&self, before: &mut Before, sync: impl FnOnce() -> std::io::Result<u64>) -> Result<()> {
        let unfinished = Unfinished(self);
        let done = self.sync_before(before).and_then(|()| sync().map_err(|error| Error::io("sync", &self.path, error)));
        std::mem::forget(unfinished);
        match done {
            Ok(bytes) => {
                self.delivered.fetch_max(bytes, Ordering::AcqRel);
                self.synced.store(bytes, Ordering::Release);
                Ok(())
            }
            Err(error) => Err(self.failure.get_or_init(|| error).duplicate()),
        }
    }

    fn sync_before(&self, before: &mut Before) -> Result<()> {
        if let Some(predecessor) = &before.predecessor {
            predecessor.sync_all()?;
            before.predecessor = None;
        }
        if !before.name_synced {
            self.fs.sync_dir(&self.dir).map_err(|error| Error::io("sync", &self.dir, error))?;
            before.name_synced = true;
        }
        Ok(())
    }
}

/// A sync that has no result yet; dropped without one only by a panic of the file system (H2).
struct Unfinished<'a>(&'a WalHandle);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let panicked = std::io::Error::other("the file system panicked");
        self.0.failure.get_or_init(|| Error::io("sync", &self.0.path, panicked));
    }
}

impl std::fmt::Debug for WalHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WalHandle")
            .field("path", &self.path)
            .field("bytes", &self.segment.len())
            .field("delivered", &self.delivered())
            .field("synced", &self.synced())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, shuttle))]
mod shuttle_models;
