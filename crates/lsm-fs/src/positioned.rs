//! A segment that is written with positioned writes.
//!
//! Committed bytes wait in a buffer. A delivery swaps the buffer out under a short lock and writes it
//! under a longer one, so that the writer goes on committing during the system call.
//!
//! # Invariants
//! P1. `delivered` + the unsent rest of `sending` + `pending` = committed, in this order in the file.
//! P2. `sending` is replaced only when all of it was written: bytes that met an error are never dropped.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::latch::SharedSync;
use crate::segment::{Segment, SegmentAccess, SegmentHandle};

/// Bytes that may wait before the writer itself delivers them.
const PENDING_BYTES_MAX: usize = 1 << 20;

/// What a segment needs of its file; the real and the in-memory file system both have one.
pub(crate) trait PositionedFile: Send + Sync + 'static {
    /// Writes some of `bytes` at `offset` and returns how many; retries when interrupted.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes the file `bytes` long, with blocks allocated where the file system can do that.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// Cuts the file to `bytes` bytes.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Makes bytes and length durable.
    fn sync(&self) -> io::Result<()>;
}

/// The exclusive side.
pub(crate) struct PositionedSegment<F> {
    shared: Arc<Shared<F>>,
    /// Where the writer fills the present reservation; its size is that of the largest one so far.
    scratch: Vec<u8>,
    reserved: usize,
    room: u64,
}

struct Shared<F> {
    file: F,
    committed: AtomicU64,
    pending: Mutex<Vec<u8>>,
    delivery: Mutex<Delivery>,
    sync: SharedSync,
}

#[derive(Default)]
struct Delivery {
    sending: Vec<u8>,
    sent: usize,
    delivered: u64,
}

impl<F: PositionedFile> PositionedSegment<F> {
    /// An empty segment over `file`, which already has `room` bytes.
    pub(crate) fn new(file: F, room: u64) -> PositionedSegment<F> {
        let shared = Shared {
            file,
            committed: AtomicU64::new(0),
            pending: Mutex::default(),
            delivery: Mutex::default(),
            sync: SharedSync::default(),
        };
        PositionedSegment { shared: Arc::new(shared), scratch: Vec::new(), reserved: 0, room }
    }
}

impl<F: PositionedFile> Segment for PositionedSegment<F> {
    fn reserve(&mut self, bytes: usize) -> io::Result<&mut [u8]> {
        self.reserved = 0;
        if self.shared.pending.lock().len() >= PENDING_BYTES_MAX {
            self.shared.deliver()?;
        }
        let needed = self.len() + bytes as u64;
        self.room = grow(self.room, needed, |room| self.shared.file.allocate(room))?;
        if self.scratch.len() < bytes {
            self.scratch.resize(bytes, 0);
        }
        self.reserved = bytes;
        Ok(&mut self.scratch[..bytes])
    }

    fn commit(&mut self, bytes: usize) {
        assert!(bytes <= self.reserved, "commit of {bytes} bytes, reserved {}", self.reserved);
        self.reserved = 0;
        let mut pending = self.shared.pending.lock();
        pending.extend_from_slice(&self.scratch[..bytes]);
        // Inside the lock: a delivery that sees this length finds the bytes in the buffer (P1).
        self.shared.committed.fetch_add(bytes as u64, Ordering::Release);
    }

    fn len(&self) -> u64 {
        self.shared.len()
    }

    fn access(&self) -> SegmentAccess {
        SegmentAccess::Positioned
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        assert!(bytes <= self.len(), "cut at {bytes}, committed {}", self.len());
        self.reserved = 0;
        let mut delivery = self.shared.delivery.lock();
        if delivery.delivered < bytes {
            self.shared.deliver_locked(&mut delivery, bytes)?;
        }
        self.shared.file.set_len(bytes)?;
        self.room = bytes;
        let mut pending = self.shared.pending.lock();
        pending.clear();
        *delivery = Delivery { delivered: bytes, ..Delivery::default() };
        self.shared.committed.store(bytes, Ordering::Release);
        // A sync takes its lock first and the others inside it.
        drop((pending, delivery));
        self.shared.sync.cut(bytes);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.reserved = 0;
        self.shared.deliver()?;
        let bytes = self.len();
        self.shared.file.set_len(bytes)?;
        self.room = bytes;
        self.shared.sync.sync_all(bytes, || self.shared.file.sync())
    }

    fn handle(&self) -> Arc<dyn SegmentHandle> {
        Arc::clone(&self.shared) as Arc<dyn SegmentHandle>
    }
}

impl<F: PositionedFile> Shared<F> {
    /// Writes until `wanted` bytes are delivered or nothing waits any more.
    fn deliver_locked(&self, delivery: &mut Delivery, wanted: u64) -> io::Result<u64> {
        while delivery.delivered < wanted {
            if delivery.sent == delivery.sending.len() {
                delivery.sending.clear();
                delivery.sent = 0;
                std::mem::swap(&mut delivery.sending, &mut self.pending.lock());
            }
            let unsent = &delivery.sending[delivery.sent..];
            if unsent.is_empty() {
                break;
            }
            let count = self.file.write_at(unsent, delivery.delivered)?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            delivery.sent += count;
            delivery.delivered += count as u64;
        }
        Ok(delivery.delivered)
    }
}

impl<F: PositionedFile> SegmentHandle for Shared<F> {
    fn len(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    fn deliver(&self) -> io::Result<u64> {
        let wanted = self.len();
        self.deliver_locked(&mut self.delivery.lock(), wanted)
    }

    fn sync(&self) -> io::Result<u64> {
        self.sync.sync(self.len(), || self.deliver(), || self.file.sync())
    }
}

/// Makes `room` reach `needed`: doubled, or as much as is needed where the disk has no more.
pub(crate) fn grow(room: u64, needed: u64, mut allocate: impl FnMut(u64) -> io::Result<()>) -> io::Result<u64> {
    if needed <= room {
        return Ok(room);
    }
    let doubled = needed.max(room.saturating_mul(2));
    match allocate(doubled) {
        Err(error) if error.kind() == io::ErrorKind::StorageFull && needed < doubled => {
            allocate(needed).map(|()| needed)
        }
        other => other.map(|()| doubled),
    }
}
