//! A file system in memory that shows itself between any two calls, and fails when it is told to.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lsm_core::ReadAt;
use lsm_fs::{FileWriter, Fs, Lock, MemFs, Metadata, Segment, SegmentAccess};

/// What happens to the call with a certain number, counted from zero over all calls that change something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    Never,
    /// It fails and has no effect.
    Instead(usize),
    /// It fails though it has happened.
    Behind(usize),
}

/// A file system whose changing calls are counted and watched.
#[derive(Clone)]
pub(crate) struct Faulty {
    inner: MemFs,
    calls: Arc<AtomicUsize>,
    fault: Fault,
    watch: Arc<dyn Fn(&MemFs) + Send + Sync>,
}

impl Faulty {
    /// Calls `watch` after every changing call.
    pub(crate) fn new(inner: MemFs, fault: Fault, watch: impl Fn(&MemFs) + Send + Sync + 'static) -> Faulty {
        Faulty { inner, calls: Arc::default(), fault, watch: Arc::new(watch) }
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn change<T>(&self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        if self.fault == Fault::Instead(number) {
            return Err(io::Error::other("fault instead"));
        }
        let result = call();
        (self.watch)(&self.inner);
        if self.fault == Fault::Behind(number) { Err(io::Error::other("fault behind")) } else { result }
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("fault", &self.fault).finish_non_exhaustive()
    }
}

struct FaultyWriter {
    fs: Faulty,
    inner: Box<dyn FileWriter>,
}

impl Write for FaultyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.fs.change(|| self.inner.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl FileWriter for FaultyWriter {
    fn sync(&mut self) -> io::Result<()> {
        self.fs.change(|| self.inner.sync())
    }
}

impl Fs for Faulty {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FileWriter>> {
        let inner = self.change(|| self.inner.create(path))?;
        Ok(Box::new(FaultyWriter { fs: self.clone(), inner }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|| self.inner.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|| self.inner.remove(path))
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.change(|| self.inner.sync_dir(path))
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

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.inner.lock(path)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.inner.free_space(path)
    }
}
