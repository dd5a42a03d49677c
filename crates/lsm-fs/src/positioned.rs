//! A segment that is written with positioned writes.
//!
//! Committed bytes wait in a buffer. A delivery swaps the buffer out under a short lock and writes it
//! under a longer one, so that the writer goes on committing during the system call.
//!
//! # Invariants
//! P1. `delivered` + the unsent rest of `sending` + `pending` = committed, in this order in the file.
//! P2. `sending` is replaced only when all of it was written: bytes that met an error are never dropped.
//! P3. What is called delivered or durable ends where a commit ended: `sending` begins and ends there, and counts as a whole.

use std::io;
use std::sync::Arc;

use lsm_sync::{AtomicU64, Mutex, Ordering};

use crate::latch::SharedSync;
use crate::segment::{Chore, Segment, SegmentAccess, SegmentHandle};

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

impl Delivery {
    /// Whether a part of `sending` is in the file, and a part is not.
    fn is_amid(&self) -> bool {
        self.sent > 0 && self.sent < self.sending.len()
    }

    /// Bytes of whole commits that were delivered (P3).
    fn whole(&self) -> u64 {
        if self.is_amid() { self.delivered - self.sent as u64 } else { self.delivered }
    }
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

    fn seal(&mut self) -> Option<Chore> {
        (self.scratch, self.reserved) = (Vec::new(), 0);
        None
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
    /// Writes until `wanted` bytes, and the commits with them (P3), are delivered or nothing waits any more.
    fn deliver_locked(&self, delivery: &mut Delivery, wanted: u64) -> io::Result<u64> {
        while delivery.delivered < wanted || delivery.is_amid() {
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
        // What finds no space now is for its own delivery to report, and no failure of this sync.
        let deliver = || self.deliver().or_else(|_| Ok(self.delivery.lock().whole()));
        self.sync.sync(self.len(), deliver, || self.file.sync())
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

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;
    use std::io::ErrorKind;

    /// A file whose writes are short and fail as its script says; without a script they succeed.
    #[derive(Default)]
    struct Flaky {
        bytes: Mutex<Vec<u8>>,
        script: Mutex<Vec<u8>>,
        syncs_fail: bool,
    }

    impl PositionedFile for Arc<Flaky> {
        fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
            let count = match self.script.lock().pop() {
                Some(0) => return Err(ErrorKind::StorageFull.into()),
                Some(1) => 0,
                Some(short) => bytes.len().min(short.into()),
                None => bytes.len(),
            };
            let mut file = self.bytes.lock();
            let end = offset as usize + count;
            if file.len() < end {
                file.resize(end, 0);
            }
            file[offset as usize..end].copy_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn allocate(&self, _bytes: u64) -> io::Result<()> {
            Ok(())
        }

        fn set_len(&self, bytes: u64) -> io::Result<()> {
            self.bytes.lock().resize(bytes as usize, 0);
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            if self.syncs_fail { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
        }
    }

    fn append(segment: &mut impl Segment, bytes: &[u8]) {
        segment.reserve(bytes.len()).unwrap().copy_from_slice(bytes);
        segment.commit(bytes.len());
    }

    quickcheck! {
        // Covers P1, P2, G4: whatever fails in between, an `Ok` means that the bytes are in the file.
        fn deliveries_go_on_where_they_failed(records: Vec<Vec<u8>>, script: Vec<u8>) -> bool {
            let file = Arc::new(Flaky { script: Mutex::new(script), ..Flaky::default() });
            let mut segment = PositionedSegment::new(Arc::clone(&file), 0);
            let mut expected = Vec::new();
            for record in records {
                append(&mut segment, &record);
                expected.extend(record);
                match segment.handle().deliver() {
                    Ok(delivered) => assert_eq!(delivered, expected.len() as u64),
                    Err(error) => {
                        assert!([ErrorKind::StorageFull, ErrorKind::WriteZero].contains(&error.kind()));
                        assert!(file.bytes.lock().len() < expected.len());
                        continue;
                    }
                }
                assert_eq!(*file.bytes.lock(), expected);
            }
            file.script.lock().clear();
            segment.finish().unwrap();
            let found = file.bytes.lock().clone();
            found == expected
        }
    }

    #[test]
    fn a_segment_is_cut_where_the_disk_was_full_and_goes_on() {
        let file = Arc::new(Flaky::default());
        let mut segment = PositionedSegment::new(Arc::clone(&file), 0);
        append(&mut segment, b"good");
        segment.handle().deliver().unwrap();
        append(&mut segment, b"partly");
        // Two bytes, then a full disk.
        *file.script.lock() = vec![0, 2];
        assert_eq!(segment.handle().deliver().unwrap_err().kind(), ErrorKind::StorageFull);
        // Covers G4 and P3: another caller's bytes are synced all the same, those of half a commit are not said to be.
        *file.script.lock() = vec![0];
        assert_eq!(segment.handle().sync().unwrap(), 4);
        append(&mut segment, b"never tried");
        assert_eq!(*file.bytes.lock(), b"goodpa");
        segment.cut(4).unwrap();
        assert_eq!(*file.bytes.lock(), b"good");
        append(&mut segment, b" again");
        assert_eq!(segment.handle().sync().unwrap(), 10);
        assert_eq!(*file.bytes.lock(), b"good again");
    }

    // Covers F3: the delivery worked, and still nothing is called durable.
    #[test]
    fn a_failed_sync_is_final() {
        let file = Arc::new(Flaky { syncs_fail: true, ..Flaky::default() });
        let mut segment = PositionedSegment::new(file, 0);
        append(&mut segment, b"x");
        let handle = segment.handle();
        for _ in 0..2 {
            assert_eq!(handle.sync().unwrap_err().raw_os_error(), Some(5));
        }
        assert_eq!(segment.finish().unwrap_err().raw_os_error(), Some(5));
        assert_eq!(handle.deliver().unwrap(), 1);
    }

    #[test]
    fn the_writer_delivers_when_nobody_else_does() {
        let file = Arc::new(Flaky::default());
        let mut segment = PositionedSegment::new(Arc::clone(&file), 0);
        let record = vec![7; 100_000];
        for _ in 0..30 {
            append(&mut segment, &record);
            assert!(segment.shared.pending.lock().len() < PENDING_BYTES_MAX + record.len());
        }
        assert!(file.bytes.lock().len() >= 3_000_000 - PENDING_BYTES_MAX - record.len());
    }

    #[test]
    fn room_doubles_or_is_just_enough() {
        assert_eq!(grow(64, 64, |_| unreachable!()).unwrap(), 64);
        assert_eq!(grow(64, 65, |_| Ok(())).unwrap(), 128);
        assert_eq!(grow(64, 500, |_| Ok(())).unwrap(), 500);
        let full_at = |limit| move |room| if room > limit { Err(ErrorKind::StorageFull.into()) } else { Ok(()) };
        assert_eq!(grow(64, 65, full_at(100)).unwrap(), 65);
        assert_eq!(grow(64, 101, full_at(100)).unwrap_err().kind(), ErrorKind::StorageFull);
    }
}
