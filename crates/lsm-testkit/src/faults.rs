//! A file system whose k-th call fails.
//!
//! Calls that the system could refuse are counted, on the file system and on everything opened through
//! it. A dry run tells how many calls a failure could hit ([`FaultFs::count`]); then each is made to
//! fail in turn. With [`Repeat::Sticky`] over a [`lsm_fs::MemFs`], everything after that call fails
//! too, which is how a process looks to its disk once it died; `crash` then shows what it left.
//!
//! # Invariants
//! X1. A call that fails did nothing, except that a torn write wrote half of its bytes.
//! X2. After a failed sync the same handle never syncs again (F3 of [`lsm_fs::fs`]); what it wrote may
//!     be durable or not, as the file system below decides.

mod handles;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use lsm_core::ReadAt;
use lsm_fs::{FileWriter, Fs, Lock, Metadata, Segment, SegmentAccess};
use parking_lot::Mutex;

use handles::{FaultReader, FaultSegment, FaultWriter};

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// Any call reports an I/O error (EIO).
    Io,
    /// A call that takes space finds none (ENOSPC).
    NoSpace,
    /// A write takes half of its bytes, at least one, and says so: the caller must go on.
    ShortWrite,
    /// A write takes half of its bytes and reports an I/O error.
    TornWrite,
    /// The sync of a file, a segment or a directory reports an I/O error.
    Sync,
}

/// Whether a failure goes away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeat {
    /// One call fails.
    Once,
    /// All calls from this one on fail that the failure can hit.
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

/// A kind of call, as far as failures tell them apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Call {
    /// Reads, lists, opens, locks, removes: takes no space.
    Plain,
    /// Creates or renames, or makes room.
    TakesSpace,
    Write,
    Sync,
}

const CALLS: usize = 4;

impl Failure {
    fn hits(self, call: Call) -> bool {
        match self {
            Failure::Io => true,
            Failure::NoSpace => matches!(call, Call::TakesSpace | Call::Write),
            Failure::ShortWrite | Failure::TornWrite => call == Call::Write,
            Failure::Sync => call == Call::Sync,
        }
    }

    fn error(self) -> io::Error {
        const EIO: i32 = 5;
        const ENOSPC: i32 = 28;
        io::Error::from_raw_os_error(if self == Failure::NoSpace { ENOSPC } else { EIO })
    }
}

/// A file system that fails when it is told to. Clones share their counters and their fault.
#[derive(Clone)]
pub struct FaultFs {
    inner: Arc<dyn Fs>,
    script: Arc<Script>,
}

/// The counters and what is planned.
#[derive(Default)]
struct Script {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: [u64; CALLS],
    fault: Option<Fault>,
    struck: u64,
    first_struck: Option<String>,
}

impl FaultFs {
    /// A file system that passes all calls to `inner`.
    pub fn new(inner: impl Fs + 'static) -> FaultFs {
        FaultFs { inner: Arc::new(inner), script: Arc::default() }
    }

    /// Plans `fault` in place of the one before; calls are counted from the beginning, not from here.
    pub fn inject(&self, fault: Fault) {
        self.script.state.lock().fault = Some(fault);
    }

    /// Takes the fault away.
    pub fn heal(&self) {
        self.script.state.lock().fault = None;
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
}

impl State {
    fn count(&self, failure: Failure) -> u64 {
        let calls = [Call::Plain, Call::TakesSpace, Call::Write, Call::Sync];
        calls.into_iter().filter(|call| failure.hits(*call)).map(|call| self.counts[call as usize]).sum()
    }
}

impl Script {
    /// Counts a call and says what goes wrong with it.
    fn strike(&self, call: Call, describe: impl FnOnce() -> String) -> Option<Failure> {
        let mut state = self.state.lock();
        let struck = state.fault.filter(|fault| {
            let index = state.count(fault.failure);
            let due = index == fault.at || index > fault.at && fault.repeat == Repeat::Sticky;
            fault.failure.hits(call) && due
        });
        state.counts[call as usize] += 1;
        if struck.is_some() {
            state.struck += 1;
            state.first_struck.get_or_insert_with(describe);
        }
        struck.map(|fault| fault.failure)
    }

    /// As [`Script::strike`], for calls that fail as a whole.
    fn check(&self, call: Call, describe: impl FnOnce() -> String) -> io::Result<()> {
        self.strike(call, describe).map_or(Ok(()), |failure| Err(failure.error()))
    }
}

impl fmt::Debug for FaultFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultFs").field("inner", &self.inner).field("struck", &self.struck()).finish()
    }
}

impl FaultFs {
    fn check(&self, call: Call, name: &str, path: &Path) -> io::Result<()> {
        self.script.check(call, || format!("{name} {}", path.display()))
    }

    fn segment(&self, inner: Box<dyn Segment>, path: &Path) -> Box<dyn Segment> {
        Box::new(FaultSegment::new(inner, Arc::clone(&self.script), path))
    }
}

impl Fs for FaultFs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FileWriter>> {
        self.check(Call::TakesSpace, "create", path)?;
        Ok(Box::new(FaultWriter::new(self.inner.create(path)?, Arc::clone(&self.script), path)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>> {
        self.check(Call::Plain, "open", path)?;
        Ok(Arc::new(FaultReader::new(self.inner.open(path)?, Arc::clone(&self.script), path)))
    }

    fn create_segment(&self, path: &Path, bytes: u64, access: SegmentAccess) -> io::Result<Box<dyn Segment>> {
        self.check(Call::TakesSpace, "create segment", path)?;
        Ok(self.segment(self.inner.create_segment(path, bytes, access)?, path))
    }

    fn recycle_segment(&self, from: &Path, to: &Path, access: SegmentAccess) -> io::Result<Option<Box<dyn Segment>>> {
        self.check(Call::TakesSpace, "recycle segment", from)?;
        let segment = self.inner.recycle_segment(from, to, access)?;
        Ok(segment.map(|segment| self.segment(segment, to)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(Call::TakesSpace, "rename", from)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(Call::Plain, "remove", path)?;
        self.inner.remove(path)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(Call::TakesSpace, "hard link", to)?;
        self.inner.hard_link(from, to)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        self.check(Call::Plain, "read directory", path)?;
        self.inner.read_dir(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.check(Call::Plain, "metadata", path)?;
        self.inner.metadata(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.check(Call::TakesSpace, "create directory", path)?;
        self.inner.create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.check(Call::Plain, "remove directory", path)?;
        self.inner.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.check(Call::Sync, "sync directory", path)?;
        self.inner.sync_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.check(Call::Plain, "lock", path)?;
        self.inner.lock(path)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.check(Call::Plain, "free space", path)?;
        self.inner.free_space(path)
    }
}
