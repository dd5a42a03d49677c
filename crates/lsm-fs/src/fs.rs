//! What the store asks of a file system, and what survives a crash after each call.
//!
//! Two kinds of crash are told apart. A *process crash* (`kill -9`, a panic that aborts) loses what
//! the process alone held; everything that a call below has handed to the operating system stays.
//! A *power cut* loses whatever was not synced: of a file any subset of its unsynced 512-byte sectors
//! may be there, its length may have grown ahead of its bytes, and of a directory any subset of the
//! unsynced creations, renames and removals may have happened.
//!
//! # Invariants
//! F1. Bytes survive a power cut once the sync of their file that began after they were written
//!     returned `Ok`; a name survives once [`Fs::sync_dir`] of its directory did.
//! F2. A rename happens or does not happen; no crash leaves a half of it.
//! F3. After a sync failed, no later sync through the same handle returns `Ok`. Linux marks the pages
//!     clean when it fails to write them, so a second attempt succeeds without having written anything.
//! F4. A call that was interrupted by a signal is retried, and a short write is continued.
//! F5. A symbolic link in the last place of a path is never followed; only regular files are opened.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::Path;
use std::sync::Arc;

use lsm_core::ReadAt;

use crate::segment::{Segment, SegmentAccess};

/// A file system as the store sees it.
///
/// Errors carry the usual [`io::ErrorKind`]: `NotFound`, `AlreadyExists`, `StorageFull`, and so on.
pub trait Fs: Send + Sync + fmt::Debug {
    /// Creates a file for appending, which only the owner may read.
    ///
    /// *Process crash:* the empty file is there. *Power cut:* it is there after [`Fs::sync_dir`].
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] when anything has this name.
    fn create(&self, path: &Path) -> io::Result<Box<dyn FileWriter>>;

    /// Opens a regular file for reading. Changes nothing.
    ///
    /// # Errors
    /// [`io::ErrorKind::IsADirectory`] for a directory; an error of the system for a symbolic link;
    /// [`io::ErrorKind::InvalidInput`] for devices, pipes and sockets.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>>;

    /// Creates a log file with room for `bytes` bytes, see [`Segment`].
    ///
    /// Where the file system cannot promise blocks, [`SegmentAccess::Mapped`] falls back to
    /// [`SegmentAccess::Positioned`], since a full disk would kill the process on a store to memory.
    /// After either crash as [`Fs::create`], with up to `bytes` zeros in the file.
    ///
    /// # Errors
    /// As [`Fs::create`], and [`io::ErrorKind::StorageFull`]; then the name is not left behind.
    fn create_segment(&self, path: &Path, bytes: u64, access: SegmentAccess) -> io::Result<Box<dyn Segment>>;

    /// Renames the log file `from`, which nobody needs any more, to `to` and opens it as an empty segment.
    ///
    /// The old bytes stay in the file behind what is committed: a reader of the log must tell them
    /// from new ones. *Power cut:* until [`Fs::sync_dir`], either name may be there, in both cases
    /// with new bytes if those were synced.
    ///
    /// `None`, and nothing changed, when `from` is no regular file or has a second hard link, whose
    /// owner would see its file overwritten.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] for a missing `from`, [`io::ErrorKind::AlreadyExists`] for a present `to`.
    fn recycle_segment(&self, from: &Path, to: &Path, access: SegmentAccess) -> io::Result<Option<Box<dyn Segment>>>;

    /// Renames a file, replacing `to` if it is there (F2).
    ///
    /// *Power cut:* done for sure after [`Fs::sync_dir`]; the bytes are only as durable as their own sync.
    ///
    /// # Errors
    /// Whatever the system reports.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; who has it open reads on.
    ///
    /// *Power cut:* the file may be back until [`Fs::sync_dir`].
    ///
    /// # Errors
    /// [`io::ErrorKind::IsADirectory`] for a directory, or whatever the system reports.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Gives the file `from` the second name `to`.
    ///
    /// *Power cut:* the name is there after [`Fs::sync_dir`].
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] for a present `to`; [`io::ErrorKind::CrossesDevices`] where a
    /// copy is the only way.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// The names in a directory in no particular order; names that are not UTF-8 are left out.
    ///
    /// # Errors
    /// Whatever the system reports.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<String>>;

    /// What a name stands for; a symbolic link is [`FileType::Other`] (F5).
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`], or whatever the system reports.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;

    /// Creates a directory that only the owner may use, with its parents; fine if it is there.
    ///
    /// Directories that were created survive both crashes: only this call knows which parents it made,
    /// so it syncs their names itself.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotADirectory`] or [`io::ErrorKind::AlreadyExists`] when a file is in the way.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// *Power cut:* the directory may be back until [`Fs::sync_dir`] of its parent.
    ///
    /// # Errors
    /// [`io::ErrorKind::DirectoryNotEmpty`], or whatever the system reports.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in a directory survive a power cut (F1).
    ///
    /// # Errors
    /// Whatever the system reports; then either state of each name may be on the disk.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Takes the exclusive lock of a file, which is created when it is missing and never removed.
    ///
    /// The lock excludes other processes and a second lock of this one, until it is dropped or the
    /// process ends.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when someone else has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;

    /// Bytes that may still be written to the file system which `path` is on.
    ///
    /// # Errors
    /// Whatever the system reports.
    fn free_space(&self, path: &Path) -> io::Result<u64>;

    /// 64 bits that nobody can foresee, of which a store makes its ids. A file system for tests may draw them from a
    /// seed, so that all bytes of a store follow from it.
    fn random(&self) -> u64 {
        system_random()
    }
}

pub(crate) fn system_random() -> u64 {
    // The standard library's only door to the system's randomness: each state is keyed with it.
    RandomState::new().build_hasher().finish()
}

/// A new file, written from front to back.
///
/// A write goes to the operating system at once: it survives a process crash, and readers of the file
/// see it. Put an [`io::BufWriter`] around it for small writes.
pub trait FileWriter: io::Write + Send {
    /// Makes all bytes written so far, and the file's length, survive a power cut (F1, F3).
    ///
    /// # Errors
    /// Whatever the system reports, and the same again for every later call.
    fn sync(&mut self) -> io::Result<()>;
}

/// A lock that is held until it is dropped.
pub trait Lock: Send + Sync {
    /// Whether its file still has its name. If somebody removed or replaced it, the next one who locks that name
    /// gets a lock too, and this one keeps nobody away any more.
    ///
    /// # Errors
    /// Whatever the system reports.
    fn keeps_others_out(&self) -> io::Result<bool>;
}

/// What a name stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metadata {
    /// File, directory or neither.
    pub kind: FileType,
    /// Length in bytes; of no meaning for a directory.
    pub bytes: u64,
    /// Hard links; of no meaning for a directory.
    pub links: u64,
}

/// The kinds of things that a name can stand for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, device, pipe or socket.
    Other,
}
