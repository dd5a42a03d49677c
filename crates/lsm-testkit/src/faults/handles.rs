//! What is opened through a [`super::FaultFs`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lsm_core::ReadAt;
use lsm_fs::{Chore, FileWriter, Segment, SegmentAccess, SegmentHandle};

use super::{Call, Failure, Script};

/// The script, seen from one file.
#[derive(Clone)]
struct FileScript {
    script: Arc<Script>,
    path: PathBuf,
    /// Whether a sync failed (X2).
    sync_failed: Arc<AtomicBool>,
}

impl FileScript {
    fn new(script: Arc<Script>, path: &Path) -> FileScript {
        FileScript { script, path: path.to_owned(), sync_failed: Arc::default() }
    }

    fn strike(&self, call: Call, name: &'static str) -> Option<Failure> {
        self.script.strike(call, name, &self.path)
    }

    fn check(&self, call: Call, name: &'static str) -> io::Result<()> {
        self.script.check(call, name, &self.path)
    }

    /// As [`FileScript::check`] for a sync, which fails for ever once it failed (X2).
    fn check_sync(&self, name: &'static str) -> io::Result<()> {
        if self.sync_failed.load(Ordering::Relaxed) {
            self.script.note_retry();
            return Err(Failure::Sync.error());
        }
        self.script.check_sync(name, &self.path).inspect_err(|_| self.sync_failed.store(true, Ordering::Relaxed))
    }
}

pub(super) struct FaultReader {
    inner: Arc<dyn ReadAt>,
    script: FileScript,
}

impl FaultReader {
    pub(super) fn new(inner: Arc<dyn ReadAt>, script: Arc<Script>, path: &Path) -> FaultReader {
        FaultReader { inner, script: FileScript::new(script, path) }
    }
}

impl ReadAt for FaultReader {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match self.script.strike(Call::Read, "read") {
            None => self.inner.read_at(offset, buffer),
            Some(Failure::ShortRead) => {
                let half = buffer.len().div_ceil(2);
                self.inner.read_at(offset, &mut buffer[..half])
            }
            Some(failure) => Err(failure.error()),
        }
    }

    fn size(&self) -> io::Result<u64> {
        self.script.check(Call::Look, "size")?;
        self.inner.size()
    }
}

pub(super) struct FaultWriter {
    inner: Box<dyn FileWriter>,
    script: FileScript,
}

impl FaultWriter {
    pub(super) fn new(inner: Box<dyn FileWriter>, script: Arc<Script>, path: &Path) -> FaultWriter {
        FaultWriter { inner, script: FileScript::new(script, path) }
    }
}

impl io::Write for FaultWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.script.strike(Call::Write, "write") {
            None => self.inner.write(bytes),
            Some(Failure::ShortWrite) => self.inner.write(&bytes[..bytes.len().div_ceil(2)]),
            Some(failure) => {
                if failure == Failure::TornWrite {
                    self.inner.write_all(&bytes[..bytes.len() / 2])?;
                }
                Err(failure.error())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl FileWriter for FaultWriter {
    fn sync(&mut self) -> io::Result<()> {
        self.script.check_sync("sync")?;
        self.inner.sync()
    }
}

/// Deliveries count as writes. None is short: to go on is the segment's own business, and its own tests try it.
pub(super) struct FaultSegment {
    inner: Box<dyn Segment>,
    script: FileScript,
}

impl FaultSegment {
    pub(super) fn new(inner: Box<dyn Segment>, script: Arc<Script>, path: &Path) -> FaultSegment {
        FaultSegment { inner, script: FileScript::new(script, path) }
    }
}

impl Segment for FaultSegment {
    fn reserve(&mut self, bytes: usize) -> io::Result<&mut [u8]> {
        self.script.check(Call::TakesSpace, "reserve")?;
        self.inner.reserve(bytes)
    }

    fn commit(&mut self, bytes: usize) {
        let _ = self.script.strike(Call::Commit, "commit");
        self.inner.commit(bytes);
    }

    fn chore(&mut self) -> Option<Chore> {
        self.inner.chore()
    }

    fn seal(&mut self) -> Option<Chore> {
        self.inner.seal()
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn access(&self) -> SegmentAccess {
        self.inner.access()
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.script.check(Call::Change, "cut")?;
        self.inner.cut(bytes)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.script.check_sync("finish")?;
        self.inner.finish()
    }

    fn handle(&self) -> Arc<dyn SegmentHandle> {
        Arc::new(FaultHandle { inner: self.inner.handle(), access: self.inner.access(), script: self.script.clone() })
    }
}

struct FaultHandle {
    inner: Arc<dyn SegmentHandle>,
    access: SegmentAccess,
    script: FileScript,
}

impl SegmentHandle for FaultHandle {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn deliver(&self) -> io::Result<u64> {
        // Of a mapping there is nothing to deliver: the commit did it.
        if self.access == SegmentAccess::Positioned {
            self.script.check(Call::Deliver, "deliver")?;
        }
        self.inner.deliver()
    }

    fn sync(&self) -> io::Result<u64> {
        self.script.check_sync("sync segment")?;
        self.inner.sync()
    }
}
