//! A segment that is written through a mapping, the only place of the store that maps a file.
//!
//! # Invariants
//! M1. The mapping reaches from the start of the file to `room`, and every byte of it has an allocated
//!     block: a store to it cannot meet a full disk, which the kernel would report with SIGBUS.
//! M2. While the mapping exists the file is never cut by this process: it goes before the file shrinks.
//! M3. The file is the segment's own: created by it, or renamed to it with no second link, with no
//!     reader before recovery, and other processes are kept off by the store's lock.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::Arc;

use lsm_sync::{AtomicBool, AtomicU64, Ordering};
use memmap2::{Advice, MmapMut, MmapOptions, UncheckedAdvice};

use crate::latch::SharedSync;
use crate::os;
use crate::positioned::grow;
use crate::segment::{Segment, SegmentAccess, SegmentHandle};

/// Pages are asked for in runs of so many bytes: one by one, each costs the commit that comes to it first a fault.
const READY_BYTES: u64 = 1 << 20;

/// The exclusive side.
pub(crate) struct MappedSegment {
    /// `None` while the room is zero, since an empty mapping is an error, and after a cut.
    map: Option<MmapMut>,
    room: u64,
    reserved: usize,
    /// Up to where pages were asked for.
    ready: u64,
    /// Up to where pages were let go of.
    gone: u64,
    shared: Arc<Shared>,
}

struct Shared {
    file: File,
    committed: AtomicU64,
    /// Whether anybody wanted a sync.
    is_synced: AtomicBool,
    sync: SharedSync,
}

impl MappedSegment {
    /// An empty segment over `file`, of which the first `room` bytes have blocks (M1, M3).
    pub(crate) fn new(file: File, room: u64) -> io::Result<MappedSegment> {
        let map = map(&file, room)?;
        let shared = Shared {
            file,
            committed: AtomicU64::new(0),
            is_synced: AtomicBool::new(false),
            sync: SharedSync::default(),
        };
        Ok(MappedSegment { map, room, reserved: 0, ready: 0, gone: 0, shared: Arc::new(shared) })
    }

    fn make_room(&mut self, needed: u64) -> io::Result<()> {
        let file = &self.shared.file;
        let room = grow(self.room, needed, |room| os::allocate(file, room))?;
        if room != self.room || self.map.is_none() {
            self.map = map(file, room)?;
            self.room = room;
            (self.ready, self.gone) = (0, 0);
        }
        Ok(())
    }

    /// Asks for the pages from `start` on before they are written to. They count as changed from then on, and each sync
    /// would write them: a log that is synced gets them one by one.
    #[cold]
    fn make_ready(&mut self, start: u64, end: u64) {
        self.let_go(start);
        if self.shared.is_synced.load(Ordering::Relaxed) {
            self.ready = u64::MAX;
            return;
        }
        self.ready = (end + READY_BYTES).min(self.room);
        if let Some(map) = &self.map {
            // A system that cannot do it does without.
            let _ = map.advise_range(Advice::PopulateWrite, start as usize, (self.ready - start) as usize);
        }
    }

    /// Takes the pages up to `end`, which are full, out of this process: they stay in the system's cache, and count as
    /// memory of the store no longer.
    fn let_go(&mut self, end: u64) {
        let Some(map) = self.map.as_ref().filter(|_| self.gone < end) else { return };
        let (start, bytes) = (self.gone as usize, (end - self.gone) as usize);
        // SAFETY: the mapping is one of a file and shared, so that whoever comes to such a page again finds in it what was
        // stored there.
        let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, bytes) };
        self.gone = end;
    }

    /// Unmaps, then cuts the file (M2).
    fn shrink(&mut self, bytes: u64) -> io::Result<()> {
        self.reserved = 0;
        self.map = None;
        self.shared.file.set_len(bytes)?;
        self.room = bytes;
        Ok(())
    }
}

impl Segment for MappedSegment {
    fn reserve(&mut self, bytes: usize) -> io::Result<&mut [u8]> {
        self.reserved = 0;
        let start = self.len();
        let end = start + bytes as u64;
        self.make_room(end)?;
        if end > self.ready {
            self.make_ready(start, end);
        }
        self.reserved = bytes;
        match &mut self.map {
            Some(map) => Ok(&mut map[start as usize..start as usize + bytes]),
            None => Ok(&mut []),
        }
    }

    fn commit(&mut self, bytes: usize) {
        assert!(bytes <= self.reserved, "commit of {bytes} bytes, reserved {}", self.reserved);
        self.reserved = 0;
        // The only one that writes it.
        self.shared.committed.store(self.len() + bytes as u64, Ordering::Release);
    }

    fn len(&self) -> u64 {
        self.shared.len()
    }

    fn access(&self) -> SegmentAccess {
        SegmentAccess::Mapped
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        assert!(bytes <= self.len(), "cut at {bytes}, committed {}", self.len());
        self.shrink(bytes)?;
        self.shared.committed.store(bytes, Ordering::Release);
        self.shared.sync.cut(bytes);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let bytes = self.len();
        self.shrink(bytes)?;
        self.shared.sync.sync_all(bytes, || self.shared.file.sync_data())
    }

    fn handle(&self) -> Arc<dyn SegmentHandle> {
        Arc::clone(&self.shared) as Arc<dyn SegmentHandle>
    }
}

impl SegmentHandle for Shared {
    fn len(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    fn deliver(&self) -> io::Result<u64> {
        // A store to a shared mapping is a store to the page cache.
        Ok(self.len())
    }

    fn sync(&self) -> io::Result<u64> {
        self.is_synced.store(true, Ordering::Relaxed);
        self.sync.sync(self.len(), || self.deliver(), || self.file.sync_data())
    }
}

fn map(file: &File, room: u64) -> io::Result<Option<MmapMut>> {
    if room == 0 {
        return Ok(None);
    }
    let room = usize::try_from(room).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    // SAFETY: nobody else changes or cuts the file while it is mapped (M2, M3), the mapping lies within
    // it (M1), and its one owner hands out `&mut` to disjoint parts of it one at a time.
    let map = unsafe { MmapOptions::new().len(room).map_mut(file) }?;
    Ok(Some(map))
}
