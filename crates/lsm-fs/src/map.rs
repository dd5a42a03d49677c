//! A segment that is written through a mapping, the only place of the store that maps a file.
//!
//! # Invariants
//! M1. The mapping reaches from the start of the file to `room`, and every byte of it has an allocated
//!     block: a store to it cannot meet a full disk, which the kernel would report with SIGBUS.
//! M2. Before this process cuts the file the segment gives the mapping up, so that nobody touches it any more. A chore may
//!     still have it, but only asks the system for pages, which refuses those behind the file's end.
//! M3. The file is the segment's own: created by it, or renamed to it with no second link, with no
//!     reader before recovery, and other processes are kept off by the store's lock.
//! M4. A byte is filled with zero once, before a reservation reaches it, and never after the segment cut the file or ended:
//!     the file may be another segment's by then.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use lsm_sync::{AtomicU64, Mutex, Ordering};
use memmap2::{Advice, MmapOptions, MmapRaw, UncheckedAdvice};

use crate::latch::SharedSync;
use crate::os;
use crate::positioned::grow;
use crate::segment::{Chore, Segment, SegmentAccess, SegmentHandle};

/// Pages are asked for in runs: one by one, each costs the commit that comes to it first a fault. A commit that comes to
/// pages for which no chore was given out asks for so many bytes.
const READY_BYTES: u64 = 64 << 10;
/// Chores ask for so many, and are given out as soon as less is ahead: a thread that is woken may have to wait for a
/// processor for some milliseconds.
const AHEAD_BYTES: u64 = 1 << 20;

/// After a sync so many commits are positioned writes, if they are short. The first store to a page that was synced is a
/// fault, which costs more than two such writes, and all of the page counts as changed; of what is written, only its blocks
/// of 4 KiB.
const WRITES_AFTER_SYNC: u32 = 64;
const WRITE_BYTES_MAX: usize = 64 << 10;

const PAGE_BYTES: u64 = 4 << 10;

/// A new file has no pages yet, and its blocks are not yet marked as written, which costs the next sync a journal commit: so
/// much of it at a time is filled with zeros. The system makes small pages for stores through a mapping and small writes,
/// and larger ones for larger writes, which cost a third to ask for, this time and whenever the file is recycled. But what
/// is stored to a page makes all of it count as changed: a log that is synced gets small ones.
const FILLED_BYTES: usize = 32 << 10;
static ZEROS: [u8; FILLED_BYTES] = [0; FILLED_BYTES];

/// The exclusive side.
pub(crate) struct MappedSegment {
    /// `None` while the room is zero, since an empty mapping is an error, after a cut, and once the segment is sealed.
    map: Option<Arc<MmapRaw>>,
    room: u64,
    reserved: usize,
    /// Where the writer fills a reservation that is to be a positioned write; empty if it fills the mapping.
    scratch: Vec<u8>,
    /// How many commits from now on may be positioned writes.
    writes_left: u32,
    /// How often anybody had wanted a sync at the last reservation.
    syncs: u64,
    /// Up to where pages were asked for, or a chore was given out that does.
    ready: u64,
    /// Up to where pages were let go of, or a chore was given out that does.
    gone: u64,
    shared: Arc<Shared>,
}

struct Shared {
    file: File,
    committed: AtomicU64,
    /// How often anybody wanted a sync.
    syncs: AtomicU64,
    sync: SharedSync,
    filled: Filled,
}

/// How far a file is filled with zeros. The writer and its chores do it, one at a time (M4).
struct Filled {
    bytes: AtomicU64,
    /// Who fills has it.
    turn: Mutex<()>,
}

impl MappedSegment {
    /// An empty segment over `file`, of which the first `room` bytes have blocks (M1, M3), and the first `filled` bytes may
    /// have been written before.
    pub(crate) fn new(file: File, room: u64, filled: u64) -> io::Result<MappedSegment> {
        let map = map(&file, room)?;
        let shared = Shared {
            file,
            committed: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            sync: SharedSync::default(),
            filled: Filled { bytes: AtomicU64::new(filled), turn: Mutex::new(()) },
        };
        Ok(MappedSegment {
            map,
            room,
            reserved: 0,
            scratch: Vec::new(),
            writes_left: 0,
            syncs: 0,
            ready: 0,
            gone: 0,
            shared: Arc::new(shared),
        })
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

    /// Asks for pages, of which the first are written to next. They count as changed from then on, and each sync would write
    /// them: a log that is synced gets them one by one.
    #[cold]
    fn make_ready(&mut self, end: u64, ahead_bytes: u64) -> Option<Pages> {
        if self.syncs > 0 {
            self.ready = u64::MAX;
            return None;
        }
        let map = Arc::clone(self.map.as_ref()?);
        let written = self.len() / PAGE_BYTES * PAGE_BYTES;
        let ready = self.ready.max(written)..end.saturating_add(ahead_bytes).min(self.room);
        let gone = self.gone..written;
        (self.ready, self.gone) = (ready.end, gone.end);
        Some(Pages { map, ready, gone, shared: Arc::clone(&self.shared) })
    }

    /// The reservation, in the file.
    fn memory(&mut self) -> &mut [u8] {
        let (start, end) = (self.len(), self.len() + self.reserved as u64);
        let Some(map) = &self.map else { return &mut [] };
        assert!(end <= map.len() as u64, "M1: {end} of {} bytes", map.len());
        let start = map.as_mut_ptr().wrapping_add(start as usize);
        // SAFETY: the mapping has these bytes (M1) and nobody cuts the file while the segment has it (M2, M3); what lies
        // behind `len` nobody else touches, and the slice borrows the segment as a whole.
        unsafe { std::slice::from_raw_parts_mut(start, self.reserved) }
    }

    /// Whether the next commit is a positioned write.
    fn will_write(&mut self, bytes: usize) -> bool {
        let syncs = self.shared.syncs.load(Ordering::Relaxed);
        if syncs != self.syncs {
            (self.syncs, self.writes_left) = (syncs, WRITES_AFTER_SYNC);
        }
        self.writes_left > 0 && bytes <= WRITE_BYTES_MAX
    }

    /// Writes all of the reservation: if it were filled in the mapping, all of it would be in the file.
    #[cold]
    fn write(&mut self) {
        self.writes_left -= 1;
        let scratch = std::mem::take(&mut self.scratch);
        if self.shared.file.write_all_at(&scratch, self.len()).is_err() {
            // What a system call could not do the mapping can (M1). An error of the disk is the next sync's to report.
            self.memory().copy_from_slice(&scratch);
        }
        self.scratch = scratch;
    }

    /// Nothing is reserved any more.
    fn give_up(&mut self) {
        self.reserved = 0;
        self.scratch.clear();
    }

    /// Unmaps, then cuts the file (M2, M4).
    fn shrink(&mut self, bytes: u64) -> io::Result<()> {
        self.give_up();
        self.map = None;
        self.shared.filled.end();
        self.shared.file.set_len(bytes)?;
        self.room = bytes;
        Ok(())
    }
}

impl Segment for MappedSegment {
    fn reserve(&mut self, bytes: usize) -> io::Result<&mut [u8]> {
        self.give_up();
        let end = self.len() + bytes as u64;
        self.make_room(end)?;
        self.shared.fill(end, self.room);
        self.reserved = bytes;
        if self.will_write(bytes) {
            self.scratch.resize(bytes, 0);
            return Ok(&mut self.scratch);
        }
        if end > self.ready
            && let Some(pages) = self.make_ready(end, READY_BYTES)
        {
            pages.ask_for();
        }
        Ok(self.memory())
    }

    fn commit(&mut self, bytes: usize) {
        assert!(bytes <= self.reserved, "commit of {bytes} bytes, reserved {}", self.reserved);
        if !self.scratch.is_empty() {
            self.write();
        }
        self.give_up();
        // The only one that writes it.
        self.shared.committed.store(self.len() + bytes as u64, Ordering::Release);
    }

    #[inline]
    fn chore(&mut self) -> Option<Chore> {
        if self.ready >= self.room || self.len() + AHEAD_BYTES <= self.ready {
            return None;
        }
        let pages = self.make_ready(self.ready, AHEAD_BYTES)?;
        Some(Box::new(move || pages.ask_for()))
    }

    fn seal(&mut self) -> Option<Chore> {
        self.give_up();
        let map = self.map.take()?;
        Some(Box::new(move || drop(map)))
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

impl Drop for MappedSegment {
    fn drop(&mut self) {
        self.shared.filled.end();
    }
}

impl Shared {
    /// Fills the file up to `end` at least, but not behind `room` (M4). Mostly it is.
    #[inline]
    fn fill(&self, end: u64, room: u64) {
        if self.filled.bytes.load(Ordering::Acquire) < end {
            self.fill_more(end, room);
        }
    }

    #[cold]
    fn fill_more(&self, end: u64, room: u64) {
        let Filled { bytes, turn } = &self.filled;
        let _turn = turn.lock();
        while let mut filled = bytes.load(Ordering::Relaxed)
            && filled < end
        {
            let is_synced = filled < READY_BYTES || self.syncs.load(Ordering::Relaxed) > 0;
            let page_bytes = if is_synced { PAGE_BYTES as usize } else { FILLED_BYTES };
            for zeros in ZEROS[..FILLED_BYTES.min((room - filled) as usize)].chunks(page_bytes) {
                // It has blocks (M1), which read as zeros in any case.
                let _ = self.file.write_all_at(zeros, filled);
                filled += zeros.len() as u64;
            }
            bytes.store(filled, Ordering::Release);
        }
    }
}

impl Filled {
    /// Nothing is filled from now on (M4).
    fn end(&self) {
        let _turn = self.turn.lock();
        self.bytes.store(u64::MAX, Ordering::Release);
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
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.sync.sync(self.len(), || self.deliver(), || self.file.sync_data())
    }
}

/// Pages of a mapping that are written to soon, and pages that are full.
struct Pages {
    map: Arc<MmapRaw>,
    ready: Range<u64>,
    gone: Range<u64>,
    shared: Arc<Shared>,
}

impl Pages {
    /// Asks for the former, and takes the latter out of this process: they stay in the system's cache, and count as memory of
    /// the store no longer. A system that cannot do it does without.
    fn ask_for(self) {
        let Pages { map, mut ready, gone, shared } = self;
        // SAFETY: the mapping is one of a file and shared, so that whoever comes to such a page again finds in it what was
        // stored there.
        let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, gone.start as usize, bytes(&gone)) };
        while !ready.is_empty() {
            // The system keeps others from mapping anything meanwhile: a thread that stands back shall not be long at it.
            let part = ready.start..ready.end.min(ready.start + READY_BYTES);
            shared.fill(part.end, map.len() as u64);
            let _ = map.advise_range(Advice::PopulateWrite, part.start as usize, bytes(&part));
            ready.start = part.end;
        }
    }
}

fn bytes(range: &Range<u64>) -> usize {
    (range.end - range.start) as usize
}

fn map(file: &File, room: u64) -> io::Result<Option<Arc<MmapRaw>>> {
    if room == 0 {
        return Ok(None);
    }
    let room = usize::try_from(room).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    Ok(Some(Arc::new(MmapOptions::new().len(room).map_raw(file)?)))
}
