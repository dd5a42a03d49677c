//! A file system that numbers its calls, shows each to an observer, and fails when it is told to.
//!
//! Calls that the system could refuse are counted, on the file system and on everything opened through
//! it. A dry run tells how many calls a failure could hit ([`FaultFs::count`]); then each is made to
//! fail in turn. An observer ([`FaultFs::observe`]) sees the world before every call that changes
//! something: what a crash at this very moment leaves is then a copy away ([`lsm_fs::MemFs::crash`]),
//! and the call goes on afterwards.
//!
//! # Invariants
//! X1. A call that fails did nothing, except that a torn write wrote half of its bytes.
//! X2. After a failed sync the same handle never syncs again (F3 of [`lsm_fs::fs`]); over a
//!     [`lsm_fs::MemFs`] what the sync covered is never durable. Who tries again is counted.
//! X3. No lock is held while the observer runs: it may use other file systems, faulty ones too.

mod handles;
mod script;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_core::ReadAt;
use lsm_fs::{FileWriter, Fs, Lock, MemFs, Metadata, Segment, SegmentAccess};

use handles::{FaultReader, FaultSegment, FaultWriter};
use script::{Call, Script};

pub use script::Moment;

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// Any call reports an I/O error (EIO).
    Io,
    /// A call that takes space finds none (ENOSPC).
    NoSpace,
    /// A call that opens something finds no free descriptor (EMFILE).
    TooManyFiles,
    /// A read gets half of what is there, at least one byte, and says so: the caller must go on.
    ShortRead,
    /// A write takes half of its bytes, at least one, and says so: the caller must go on.
    ShortWrite,
    /// A write takes half of its bytes and reports an I/O error.
    TornWrite,
    /// The sync of a file, a segment or a directory reports an I/O error.
    Sync,
    /// Any call panics, as a file system of a user's own might, or a bug in it; an injected copy into a mapping too.
    Panic,
    /// As [`Failure::Sync`], with ENOSPC: a file system that allocates when it writes back.
    SyncNoSpace,
    /// A write is interrupted by a signal (EINTR) before it took anything: the caller must try again.
    Interrupted,
}

/// Whether a failure goes away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeat {
    /// One call fails.
    Once,
    /// All calls from this one on fail that the failure can hit; every other one for [`Failure::Interrupted`].
    Sticky,
}

/// A failure and when it comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Which call fails, counted from 0 among those that `failure` can hit.
    pub at: u64,
    /// What goes wrong.
    pub failure: Failure,
    /// Whether it goes away.
    pub repeat: Repeat,
}

impl Fault {
    /// Call `at` fails and no other.
    pub fn once(at: u64, failure: Failure) -> Fault {
        Fault { at, failure, repeat: Repeat::Once }
    }

    /// Call `at` and all later ones fail.
    pub fn sticky(at: u64, failure: Failure) -> Fault {
        Fault { at, failure, repeat: Repeat::Sticky }
    }
}

/// Sees the world before a call changes it.
pub type Observer = dyn Fn(&Moment<'_>) + Send + Sync;

/// A file system that fails when it is told to. Clones share their counters and their fault.
#[derive(Clone)]
pub struct FaultFs {
    inner: Arc<dyn Fs>,
    script: Arc<Script>,
}

impl FaultFs {
    /// A file system that passes all calls to `inner`.
    pub fn new(inner: impl Fs + 'static) -> FaultFs {
        FaultFs { inner: Arc::new(inner), script: Arc::default() }
    }

    /// As [`FaultFs::new`], over a file system whose failed syncs lose what they covered (X2).
    pub fn over(memory: MemFs) -> FaultFs {
        let script = Arc::new(Script::over(memory.clone()));
        FaultFs { inner: Arc::new(memory), script }
    }

    /// Plans `fault` in place of those before; calls are counted from the beginning, not from here.
    pub fn inject(&self, fault: Fault) {
        self.script.state.lock().faults = vec![fault];
    }

    /// Plans `fault` beside those before.
    pub fn inject_too(&self, fault: Fault) {
        self.script.state.lock().faults.push(fault);
    }

    /// Takes all faults away.
    pub fn heal(&self) {
        self.script.state.lock().faults.clear();
    }

    /// Shows `observer` every call from now on that changes something, before it does (X3).
    pub fn observe(&self, observer: Arc<Observer>) {
        self.script.state.lock().observer = Some(observer);
    }

    /// Takes the observer away.
    pub fn unobserve(&self) {
        self.script.state.lock().observer = None;
    }

    /// How many calls so far `failure` could have hit.
    pub fn count(&self, failure: Failure) -> u64 {
        self.script.state.lock().count(failure)
    }

    /// How many calls were made to fail.
    pub fn struck(&self) -> u64 {
        self.script.state.lock().struck
    }

    /// The first call that was made to fail, for messages.
    pub fn first_struck(&self) -> Option<String> {
        self.script.state.lock().first_struck.clone()
    }

    /// Files and directories a sync of which was made to fail.
    pub fn failed_syncs(&self) -> Vec<PathBuf> {
        self.script.state.lock().failed_syncs.clone()
    }

    /// How often a handle was synced again whose sync had failed (X2); nobody should.
    pub fn retried_syncs(&self) -> u64 {
        self.script.state.lock().retried_syncs
    }

    fn check(&self, call: Call, name: &'static str, path: &Path) -> io::Result<()> {
        self.script.check(call, name, path)
    }

    fn segment(&self, inner: Box<dyn Segment>, path: &Path) -> Box<dyn Segment> {
        Box::new(FaultSegment::new(inner, Arc::clone(&self.script), path))
    }
}

impl fmt::Debug for FaultFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultFs").field("inner", &self.inner).field("struck", &self.struck()).finish()
    }
}

impl Fs for FaultFs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FileWriter>> {
        self.check(Call::Create, "create", path)?;
        Ok(Box::new(FaultWriter::new(self.inner.create(path)?, Arc::clone(&self.script), path)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>> {
        self.check(Call::Open, "open", path)?;
        Ok(Arc::new(FaultReader::new(self.inner.open(path)?, Arc::clone(&self.script), path)))
    }

    fn create_segment(&self, path: &Path, bytes: u64, access: SegmentAccess) -> io::Result<Box<dyn Segment>> {
        self.check(Call::Create, "create segment", path)?;
        Ok(self.segment(self.inner.create_segment(path, bytes, access)?, path))
    }

    fn recycle_segment(&self, from: &Path, to: &Path, access: SegmentAccess) -> io::Result<Option<Box<dyn Segment>>> {
        self.check(Call::Create, "recycle segment", from)?;
        let segment = self.inner.recycle_segment(from, to, access)?;
        Ok(segment.map(|segment| self.segment(segment, to)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(Call::TakesSpace, "rename", from)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(Call::Change, "remove", path)?;
        self.inner.remove(path)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(Call::TakesSpace, "hard link", to)?;
        self.inner.hard_link(from, to)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        self.check(Call::Open, "read directory", path)?;
        self.inner.read_dir(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.check(Call::Look, "metadata", path)?;
        self.inner.metadata(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.check(Call::TakesSpace, "create directory", path)?;
        self.inner.create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.check(Call::Change, "remove directory", path)?;
        self.inner.remove_dir(path)
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.script.check_sync("sync directory", path)?;
        self.inner.sync_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.check(Call::Open, "lock", path)?;
        self.inner.lock(path)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.check(Call::Look, "free space", path)?;
        self.inner.free_space(path)
    }
}
