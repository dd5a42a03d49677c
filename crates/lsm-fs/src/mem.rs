//! A file system in memory that can show what a crash leaves.
//!
//! It behaves as [`crate::OsFs`] does, errors included, and beside what the process sees it keeps what
//! is durable: per file the synced bytes and the ordered changes since, per directory the synced names
//! and the ordered changes since. [`MemFs::crash`] makes a new file system out of those.
//!
//! # Invariants
//! V1. A crash changes nothing in the file system it happens to: open handles of it go on in their own
//!     world, a ghost that the new one never hears of.
//! V2. A crash keeps everything that was synced, whatever its policy.
//! V3. What a crash leaves depends on the calls before it and its policy alone, never on chance; nor does
//!     anything else in a file system that was given a seed.
//!
//! Symbolic links, devices and modes do not exist here.

mod content;
mod crash;
mod names;
mod random;
mod segment;
mod world;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_core::ReadAt;
use lsm_sync::{Mutex, MutexGuard};

pub use crash::Crash;

use crate::fs::{FileType, FileWriter, Fs, Lock, Metadata, system_random};
use crate::latch::SyncLatch;
use crate::positioned::{PositionedFile, PositionedSegment};
use crate::segment::{Segment, SegmentAccess};
use segment::MappedInMemory;
use world::{NodeId, World};

/// A file system in memory. Clones share it.
///
/// Paths start at its root, whether they begin with `/` or not.
#[derive(Clone, Default)]
pub struct MemFs {
    world: Arc<Mutex<World>>,
}

impl MemFs {
    /// An empty file system of unlimited size.
    pub fn new() -> MemFs {
        MemFs::default()
    }

    /// An empty file system whose [`Fs::random`] follows from `seed`.
    pub fn seeded(seed: u64) -> MemFs {
        let fs = MemFs::new();
        fs.world.lock().seed(seed);
        fs
    }

    /// What is left after a crash at this moment (V1, V2, V3). Locks are free in it.
    pub fn crash(&self, crash: Crash) -> MemFs {
        let (world, _) = self.world.lock().crash(crash);
        MemFs { world: Arc::new(Mutex::new(world)) }
    }

    /// How many things a power cut at this moment can keep or lose one by one: for small numbers all
    /// subsets can be tried, see [`Crash::Subset`].
    pub fn unsynced(&self) -> usize {
        self.world.lock().crash(Crash::DropUnsynced).1
    }

    /// Limits the bytes of all files together; `None` takes the limit away.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.world.lock().set_capacity(bytes);
    }

    /// Has a sync of the file at `path` fail as Linux does it: the bytes it covered stay visible, count as
    /// clean, and are on no disk. No later sync brings them there. The caller reports the error.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn fail_sync(&self, path: &Path) -> io::Result<()> {
        self.world.lock().fail_sync(path)
    }

    fn open_file(&self, id: NodeId) -> Arc<OpenFile> {
        Arc::new(OpenFile { world: Arc::clone(&self.world), id })
    }

    fn segment(&self, file: Arc<OpenFile>, room: u64, access: SegmentAccess) -> Box<dyn Segment> {
        match access {
            SegmentAccess::Mapped => Box::new(MappedInMemory::new(file, room)),
            SegmentAccess::Positioned => Box::new(PositionedSegment::new(file, room)),
        }
    }
}

impl fmt::Debug for MemFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemFs").finish_non_exhaustive()
    }
}

impl Fs for MemFs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FileWriter>> {
        let id = self.world.lock().create(path)?;
        Ok(Box::new(MemWriter { file: self.open_file(id), offset: 0, latch: SyncLatch::default() }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>> {
        let id = self.world.lock().open(path)?;
        Ok(Arc::new(MemReader(self.open_file(id))))
    }

    fn create_segment(&self, path: &Path, bytes: u64, access: SegmentAccess) -> io::Result<Box<dyn Segment>> {
        let id = self.world.lock().create(path)?;
        let file = self.open_file(id);
        if let Err(error) = file.allocate(bytes) {
            self.world.lock().remove(path)?;
            return Err(error);
        }
        Ok(self.segment(file, bytes, access))
    }

    fn recycle_segment(&self, from: &Path, to: &Path, access: SegmentAccess) -> io::Result<Option<Box<dyn Segment>>> {
        let mut world = self.world.lock();
        let metadata = world.metadata(from)?;
        if metadata.kind != FileType::File || metadata.links > 1 {
            return Ok(None);
        }
        if world.metadata(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        world.rename(from, to)?;
        let id = world.open(to)?;
        drop(world);
        Ok(Some(self.segment(self.open_file(id), metadata.bytes, access)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.world.lock().rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.world.lock().remove(path)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.world.lock().hard_link(from, to)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        self.world.lock().read_dir(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.world.lock().metadata(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.world.lock().create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.world.lock().remove_dir(path)
    }

    fn random(&self) -> u64 {
        self.world.lock().random().unwrap_or_else(system_random)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.world.lock().sync_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut world = self.world.lock();
        let id = match world.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => world.create(path)?,
            other => other?,
        };
        let taken = world.take_lock(id);
        drop(world);
        let file = self.open_file(id);
        match taken {
            true => Ok(Box::new(MemLock { file, path: path.to_owned() })),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        let world = self.world.lock();
        world.metadata(path)?;
        Ok(world.free())
    }
}

/// A file that someone has open: its bytes stay as long, even without a name.
struct OpenFile {
    world: Arc<Mutex<World>>,
    id: NodeId,
}

impl OpenFile {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock()
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.world().close(self.id);
    }
}

impl PositionedFile for Arc<OpenFile> {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.world().write(self.id, offset, bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut world = self.world();
        match world.content(self.id).len() < bytes {
            true => world.set_len(self.id, bytes),
            false => Ok(()),
        }
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.world().set_len(self.id, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.world().content_mut(self.id).sync();
        Ok(())
    }
}

struct MemWriter {
    file: Arc<OpenFile>,
    offset: u64,
    latch: SyncLatch,
}

impl io::Write for MemWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write_at(bytes, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl FileWriter for MemWriter {
    fn sync(&mut self) -> io::Result<()> {
        self.latch.run(|| self.file.sync())
    }
}

struct MemReader(Arc<OpenFile>);

impl ReadAt for MemReader {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.world().content(self.0.id).visible().read_at(offset, buffer)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.world().content(self.0.id).len())
    }
}

struct MemLock {
    file: Arc<OpenFile>,
    path: PathBuf,
}

impl Lock for MemLock {
    fn keeps_others_out(&self) -> io::Result<bool> {
        Ok(self.file.world().is_at(self.file.id, &self.path))
    }
}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.file.world().release_lock(self.file.id);
    }
}
