//! A file system for one store, which never syncs the store's directory again once that has failed.
//!
//! Log, manifest and tables each make their names durable by a sync of the same directory. When one such sync fails,
//! names that others made may be lost with it, and the next sync would return `Ok` without them.
//!
//! # Invariants
//! D1. After a sync of the directory failed, every later one fails with the same error and does not reach the system.
//! D2. Syncs of the directory run one after another: none begins before another fails and ends well after it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_core::ReadAt;
use lsm_sync::Mutex;

use crate::fs::{FileWriter, Fs, Lock, Metadata};
use crate::latch::SyncLatch;
use crate::segment::{Segment, SegmentAccess};

/// Passes all calls on to another file system, and keeps D1 and D2 for one directory.
pub struct LatchedFs {
    inner: Arc<dyn Fs>,
    directory: PathBuf,
    latch: Mutex<SyncLatch>,
}

impl LatchedFs {
    /// For the store in `directory`.
    pub fn new(inner: Arc<dyn Fs>, directory: &Path) -> LatchedFs {
        LatchedFs { inner, directory: directory.to_owned(), latch: Mutex::default() }
    }
}

impl fmt::Debug for LatchedFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Fs for LatchedFs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FileWriter>> {
        self.inner.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>> {
        self.inner.open(path)
    }

    fn create_segment(&self, path: &Path, bytes: u64, access: SegmentAccess) -> io::Result<Box<dyn Segment>> {
        self.inner.create_segment(path, bytes, access)
    }

    fn recycle_segment(&self, from: &Path, to: &Path, access: SegmentAccess) -> io::Result<Option<Box<dyn Segment>>> {
        self.inner.recycle_segment(from, to, access)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.hard_link(from, to)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        self.inner.read_dir(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.inner.metadata(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if path != self.directory {
            return self.inner.sync_dir(path);
        }
        // Locked during the I/O on purpose (D2).
        self.latch.lock().run(|| self.inner.sync_dir(path))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.inner.lock(path)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.inner.free_space(path)
    }
}
