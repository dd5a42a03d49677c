//! A file of the log while it is written: one writer reserves and commits, many deliver and sync.
//!
//! The writer fills memory and never waits for the disk. A commit that wants its bytes to survive a
//! crash goes to the shared side afterwards; whoever comes there while another caller's I/O is under
//! way waits for it and mostly finds its own bytes done.
//!
//! ```text
//!  writer:  reserve ─▶ fill ─▶ commit ─▶ reserve …          Segment, exclusive
//!  others:                       deliver, sync              SegmentHandle, shared
//!
//!  file:    ├── durable ──┼── delivered ──┼── committed ──┼── reserved ──┼── room ──┤
//! ```
//!
//! # Invariants
//! G1. durable ≤ delivered ≤ committed ≤ room.
//! G2. Bytes that were committed never change, and bytes behind `len()` mean nothing.
//! G3. Delivered bytes survive a process crash; durable ones survive a power cut.
//! G4. A failed delivery leaves its bytes waiting: the next one writes them again at the same place.
//!     A failed sync is final for the segment (F3 of [`crate::fs`]).

use std::io;
use std::sync::Arc;

/// How the bytes of a segment get to the operating system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentAccess {
    /// Through a mapping: a commit is a copy to memory, or soon after a sync a `pwrite`, and delivered at once.
    ///
    /// Disk blocks are allocated ahead. A page that the system evicted and then fails to read back, or
    /// a file that somebody else truncates, kills the process with SIGBUS.
    Mapped,
    /// Through `pwrite`: a commit is a copy to a buffer, and a delivery is a system call.
    Positioned,
}

/// Work that any thread may do.
pub type Chore = Box<dyn FnOnce() + Send>;

/// The exclusive side of a log file: reserve, fill, commit.
///
/// ```
/// use std::path::Path;
/// use lsm_fs::{Fs, MemFs, SegmentAccess};
///
/// # fn main() -> std::io::Result<()> {
/// let fs = MemFs::new();
/// let mut segment = fs.create_segment(Path::new("000001.log"), 4096, SegmentAccess::Mapped)?;
/// segment.reserve(5)?.copy_from_slice(b"hello");
/// segment.commit(5);
/// assert_eq!(segment.handle().sync()?, 5);
/// # Ok(())
/// # }
/// ```
pub trait Segment: Send {
    /// Memory for the next `bytes` bytes of the file, at [`Segment::len`], with arbitrary contents.
    ///
    /// Makes more room when there is too little, doubling it. An earlier reservation that was not
    /// committed is given up.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] when the disk is full, or whatever the system reports; the segment
    /// is as before.
    fn reserve(&mut self, bytes: usize) -> io::Result<&mut [u8]>;

    /// Makes the first `bytes` bytes of the last reservation part of the file (G2).
    ///
    /// # Panics
    /// When fewer bytes were reserved.
    fn commit(&mut self, bytes: usize);

    /// Work that a reservation will have to do unless another thread does it before; mostly there is none. It is given out
    /// once, and nothing but time is lost if nobody does it.
    fn chore(&mut self) -> Option<Chore> {
        None
    }

    /// Says that nothing more will be appended: memory that only reservations need is given back, by a chore, since that
    /// takes the system a while. What is committed can be delivered, synced, cut and finished as before.
    fn seal(&mut self) -> Option<Chore> {
        None
    }

    /// Committed bytes.
    fn len(&self) -> u64;

    /// Whether nothing is committed.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How this segment really is written; see [`crate::Fs::create_segment`] for when that is not as asked.
    fn access(&self) -> SegmentAccess;

    /// Takes back everything behind the first `bytes` bytes and cuts the file there.
    ///
    /// This is the way out after a delivery failed on a full disk: what was not delivered is forgotten.
    /// The cut survives a process crash; a power cut may leave some of the bytes that were taken back.
    ///
    /// # Errors
    /// Whatever the system reports.
    ///
    /// # Panics
    /// When fewer bytes are committed.
    fn cut(&mut self, bytes: u64) -> io::Result<()>;

    /// Delivers, cuts the file to [`Segment::len`] and syncs both.
    ///
    /// *Power cut:* afterwards the file has exactly the committed bytes.
    ///
    /// # Errors
    /// Whatever the system reports.
    fn finish(&mut self) -> io::Result<()>;

    /// The shared side.
    fn handle(&self) -> Arc<dyn SegmentHandle>;
}

/// The shared side of a log file. Outlives the exclusive one.
pub trait SegmentHandle: Send + Sync {
    /// Committed bytes.
    fn len(&self) -> u64;

    /// Whether nothing is committed.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hands all bytes committed before the call to the operating system (G3) and returns how many
    /// bytes it now has; fewer than were committed only if the segment was cut meanwhile.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] or whatever the system reports (G4).
    fn deliver(&self) -> io::Result<u64>;

    /// Delivers the bytes committed before the call, syncs them, and returns how many bytes are durable: fewer
    /// than were committed if not all could be delivered.
    ///
    /// Callers share one sync. It covers the bytes, not the name: that takes [`crate::Fs::sync_dir`].
    ///
    /// # Errors
    /// Whatever the system reports for the sync, and the same for ever after (G4).
    fn sync(&self) -> io::Result<u64>;
}
