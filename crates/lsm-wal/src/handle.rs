//! The shared side of the active log: who wants bytes delivered or synced comes here.
//!
//! Callers share the work. One of them has the turn and is in the call; the others sleep until a turn has
//! made their bytes durable, or the next one is theirs (`turns.rs`). While a sync is under way the writer
//! appends on, so the next who takes the turn takes everything along that came in between. Those who were
//! woken mostly come back with another commit at once, so whoever has the next turn lets them run first.
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
use lsm_fs::{Fs, SegmentAccess, SegmentHandle};
use lsm_sync::{AtomicU64, Mutex, Ordering};

use crate::turns::{OWN_TURN, Turns};

/// How often a caller offers its processor to those who were woken with it, before it syncs. With eight threads on
/// two processors 5.9 commits share a sync at two offers, 6.0 at twenty, 6.5 at a hundred, and no more of them are done
/// in a second.
const OFFERS: usize = 2;

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
    /// What is committed to a mapping survives the end of this process as it is.
    is_mapped: bool,
    delivered: AtomicU64,
    synced: AtomicU64,
    delivery: Mutex<()>,
    turns: Turns<Before>,
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

/// The right to sync, which one caller has at a time.
struct Turn<'a> {
    handle: &'a WalHandle,
    /// Empty only while it is dropped.
    before: Option<Before>,
}

impl WalHandle {
    pub(crate) fn new(
        fs: Arc<dyn Fs>,
        dir: &Path,
        path: PathBuf,
        segment: Arc<dyn SegmentHandle>,
        access: SegmentAccess,
        predecessor: Option<Arc<WalHandle>>,
    ) -> WalHandle {
        WalHandle {
            fs,
            dir: dir.to_owned(),
            path,
            segment,
            is_mapped: access == SegmentAccess::Mapped,
            delivered: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            delivery: Mutex::new(()),
            turns: Turns::new(Before { predecessor, name_synced: false, retired: false }),
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
        let is_done = |before: Option<&Before>| {
            self.synced() >= position.0 || before.is_some_and(|before| before.retired) || self.has_failed()
        };
        let Some(mut turn) = self.turn_unless(position.0, is_done) else { return self.check() };
        self.turns.let_others_come(OFFERS);
        // Apart from the sync, because a full disk is found here and must not be latched.
        self.deliver(position)?;
        turn.settle(|| self.segment.sync())
    }

    /// Syncs everything that is committed.
    ///
    /// # Errors
    /// As for [`WalHandle::sync`].
    pub fn sync_all(&self) -> Result<()> {
        let mut turn = self.turn();
        self.check()?;
        // An empty log is synced by itself, but the logs before it may not be.
        let before = turn.before();
        if before.retired || (before.predecessor.is_none() && self.is_fully_synced()) {
            return Ok(());
        }
        self.deliver(self.end())?;
        turn.settle(|| self.segment.sync())
    }

    /// Bytes of this log that are known to survive a power cut; all before them do too (H1).
    pub fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Bytes of this log that are known to survive the end of this process.
    pub fn delivered(&self) -> u64 {
        if self.is_mapped { self.segment.len() } else { self.delivered.load(Ordering::Acquire) }
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
        let mut turn = self.turn();
        turn.before().retired = true;
        turn.before().predecessor = None;
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
        let mut turn = self.turn();
        self.check()?;
        self.deliver(self.end())?;
        turn.settle(finish)
    }

    /// Runs `cut`, which forgets what was not delivered, while nobody delivers, because of `error` with the
    /// bytes up to `failed`. Returns where it cut; `None` if somebody else has delivered those meanwhile.
    pub(crate) fn abandon(
        &self,
        failed: Position,
        error: &Error,
        cut: impl FnOnce(u64) -> std::io::Result<()>,
    ) -> Result<Option<u64>> {
        let _turn = self.turn();
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

    /// The right to sync, once nobody else has it.
    #[expect(clippy::expect_used, reason = "it is wanted whatever comes")]
    fn turn(&self) -> Turn<'_> {
        self.turn_unless(OWN_TURN, |_| false).expect("it is wanted whatever comes")
    }

    /// The right to sync, once nobody else has it; `None` as soon as `is_done` says that it is not needed, or another turn
    /// came as far as `position`. What is to come before is not known while somebody else has the right.
    fn turn_unless(&self, position: u64, is_done: impl Fn(Option<&Before>) -> bool) -> Option<Turn<'_>> {
        let before = self.turns.take_unless(position, is_done)?;
        Some(Turn { handle: self, before: Some(before) })
    }
}

impl Turn<'_> {
    #[expect(clippy::expect_used, reason = "only the end of the turn takes it")]
    fn before(&mut self) -> &mut Before {
        self.before.as_mut().expect("it is here until the turn ends")
    }

    /// Makes all that comes before durable, then the log itself by `sync` (H1), and latches failures (H2).
    fn settle(&mut self, sync: impl FnOnce() -> std::io::Result<u64>) -> Result<()> {
        let handle = self.handle;
        let unfinished = Unfinished(handle);
        let done = self.sync_before().and_then(|()| sync().map_err(|error| Error::io("sync", &handle.path, error)));
        std::mem::forget(unfinished);
        match done {
            Ok(bytes) => {
                handle.delivered.fetch_max(bytes, Ordering::AcqRel);
                handle.synced.store(bytes, Ordering::Release);
                Ok(())
            }
            Err(error) => Err(handle.failure.get_or_init(|| error).duplicate()),
        }
    }

    fn sync_before(&mut self) -> Result<()> {
        let WalHandle { fs, dir, .. } = self.handle;
        let before = self.before();
        if let Some(predecessor) = &before.predecessor {
            predecessor.sync_all()?;
            before.predecessor = None;
        }
        if !before.name_synced {
            fs.sync_dir(dir).map_err(|error| Error::io("sync", dir, error))?;
            before.name_synced = true;
        }
        Ok(())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Some(before) = self.before.take() else { return };
        // Of a log that failed, or that nobody needs, nobody waits for a position.
        let served = if before.retired || self.handle.has_failed() { OWN_TURN - 1 } else { self.handle.synced() };
        self.handle.turns.end(before, served);
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
