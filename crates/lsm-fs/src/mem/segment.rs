//! A segment that behaves like a mapped one: a commit is in the file at once.

use lsm_sync::{AtomicU64, Ordering};
use std::io;
use std::sync::Arc;

use super::OpenFile;
use super::content::By;
use crate::latch::SharedSync;
use crate::positioned::{PositionedFile, grow};
use crate::segment::{Segment, SegmentAccess, SegmentHandle};

/// Stands in fresh reservations, so that nobody comes to rely on zeros there.
const UNWRITTEN: u8 = 0xa5;

pub(super) struct MappedInMemory {
    shared: Arc<Shared>,
    reserved: Vec<u8>,
    room: u64,
}

struct Shared {
    file: Arc<OpenFile>,
    committed: AtomicU64,
    sync: SharedSync,
}

impl MappedInMemory {
    pub(super) fn new(file: Arc<OpenFile>, room: u64) -> MappedInMemory {
        let shared = Shared { file, committed: AtomicU64::new(0), sync: SharedSync::default() };
        MappedInMemory { shared: Arc::new(shared), reserved: Vec::new(), room }
    }
}

impl Segment for MappedInMemory {
    fn reserve(&mut self, bytes: usize) -> io::Result<&mut [u8]> {
        self.reserved.clear();
        let needed = self.len() + bytes as u64;
        self.room = grow(self.room, needed, |room| self.shared.file.allocate(room))?;
        self.reserved.resize(bytes, UNWRITTEN);
        Ok(&mut self.reserved)
    }

    fn commit(&mut self, bytes: usize) {
        assert!(bytes <= self.reserved.len(), "commit of {bytes} bytes, reserved {}", self.reserved.len());
        // All of the reservation: in a mapping the part that is not committed is in the file too.
        let mut world = self.shared.file.world();
        world.content_mut(self.shared.file.id).write(self.len() as usize, &self.reserved, By::Mapping);
        self.shared.committed.fetch_add(bytes as u64, Ordering::Release);
        drop(world);
        self.reserved.clear();
    }

    fn len(&self) -> u64 {
        self.shared.len()
    }

    fn access(&self) -> SegmentAccess {
        SegmentAccess::Mapped
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        assert!(bytes <= self.len(), "cut at {bytes}, committed {}", self.len());
        self.reserved.clear();
        self.shared.file.set_len(bytes)?;
        self.room = bytes;
        self.shared.committed.store(bytes, Ordering::Release);
        self.shared.sync.cut(bytes);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let bytes = self.len();
        self.reserved.clear();
        self.shared.file.set_len(bytes)?;
        self.room = bytes;
        self.shared.sync.sync_all(bytes, || self.shared.file.sync())
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
        Ok(self.len())
    }

    fn sync(&self) -> io::Result<u64> {
        self.sync.sync(self.len(), || self.deliver(), || self.file.sync())
    }
}
