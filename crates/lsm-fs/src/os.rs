//! The real file system.
//!
//! Files get mode 0600 and directories 0700; a narrower umask narrows that further, a wider one does
//! not widen it. Descriptors are closed on exec.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_core::ReadAt;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, fallocate, fcntl};
use nix::sys::statfs::{EXT4_SUPER_MAGIC, FsType, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs};
use nix::sys::statvfs::statvfs;

use crate::fs::{FileType, FileWriter, Fs, Lock, Metadata};
use crate::latch::SyncLatch;
use crate::map::MappedSegment;
use crate::positioned::{PositionedFile, PositionedSegment};
use crate::segment::{Segment, SegmentAccess};
use crate::writeback::Writeback;

const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// File systems that write an allocated block in place, so that a mapping never needs a new one.
///
/// Copy-on-write ones (btrfs, ZFS, bcachefs, F2FS) and network ones do not, whatever `fallocate` says;
/// unknown ones are taken for such. The upper layer of an overlay cannot be asked and nearly always is
/// one of the other three. ext2 and ext3 share ext4's number.
const OVERWRITES_IN_PLACE: [FsType; 4] = [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, TMPFS_MAGIC, OVERLAYFS_SUPER_MAGIC];

/// The file system of the machine.
#[derive(Clone, Copy, Default, Debug)]
pub struct OsFs;

impl Fs for OsFs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FileWriter>> {
        Ok(Box::new(OsWriter { file: create_new(path)?, writeback: Writeback::default(), latch: SyncLatch::default() }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>> {
        // Without the time of each read, which is worked out at each read; only a file's owner may ask for that.
        let file = match open_to_read(path, OFlag::O_NOATIME) {
            Err(error) if error.raw_os_error() == Some(Errno::EPERM as i32) => open_to_read(path, OFlag::empty())?,
            opened => opened?,
        };
        check_regular(&file)?;
        Ok(Arc::new(OsFile(file)))
    }

    fn create_segment(&self, path: &Path, bytes: u64, access: SegmentAccess) -> io::Result<Box<dyn Segment>> {
        let file = create_new(path)?;
        segment(file, bytes, 0, access).inspect_err(|_| {
            // The first error is the one to report; a name that stays is an empty log.
            let _ = std::fs::remove_file(path);
        })
    }

    fn recycle_segment(&self, from: &Path, to: &Path, access: SegmentAccess) -> io::Result<Option<Box<dyn Segment>>> {
        let metadata = self.metadata(from)?;
        if metadata.kind != FileType::File || metadata.links > 1 {
            return Ok(None);
        }
        if to.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags(OFlag::O_NOFOLLOW)).open(from)?;
        check_regular(&file)?;
        let segment = segment(file, metadata.bytes, metadata.bytes, access)?;
        std::fs::rename(from, to)?;
        Ok(Some(segment))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let found = path.symlink_metadata()?;
        let kind = match found.file_type() {
            kind if kind.is_file() => FileType::File,
            kind if kind.is_dir() => FileType::Directory,
            _ => FileType::Other,
        };
        Ok(Metadata { kind, bytes: found.len(), links: found.nlink() })
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
            Ok(()) => self.sync_dir(parent(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && parent(path) != path => {
                self.create_dir(parent(path))?;
                self.create_dir(path)
            }
            // A link to a directory is fine here: whoever names the store's directory may place it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        OpenOptions::new().read(true).custom_flags(flags(OFlag::O_DIRECTORY)).open(path)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .custom_flags(flags(OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK))
            .open(path)?;
        check_regular(&file)?;
        set_lock(&file, nix::libc::F_WRLCK)?;
        Ok(Box::new(OsLock { file, path: path.to_owned() }))
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        let found = retry(|| statvfs(path).map_err(io::Error::from))?;
        // What an unprivileged process may use, not what is there.
        Ok(found.blocks_available().saturating_mul(found.fragment_size()))
    }
}

struct OsWriter {
    file: File,
    writeback: Writeback,
    latch: SyncLatch,
}

impl Write for OsWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = retry(|| self.file.write(bytes))?;
        self.writeback.wrote(&self.file, written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl FileWriter for OsWriter {
    fn sync(&mut self) -> io::Result<()> {
        self.latch.run(|| self.writeback.outcome().and_then(|()| self.file.sync_data()))
    }
}

struct OsFile(File);

impl ReadAt for OsFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        // The kernel returns fewer bytes only at the end or when a signal came in between; the caller
        // was promised the former.
        let mut filled = 0;
        while filled < buffer.len() {
            match retry(|| FileExt::read_at(&self.0, &mut buffer[filled..], offset + filled as u64))? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

impl PositionedFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        retry(|| FileExt::write_at(self, bytes, offset))
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        match allocate(self, bytes) {
            // Without promised blocks a full disk shows at the delivery.
            Err(error) if is_unsupported(&error) => Ok(()),
            other => other,
        }
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// The lock of an open file description (F_OFD_SETLK): it goes with the last descriptor of it.
struct OsLock {
    file: File,
    path: PathBuf,
}

impl Lock for OsLock {
    fn keeps_others_out(&self) -> io::Result<bool> {
        let ours = self.file.metadata()?;
        match self.path.symlink_metadata() {
            Ok(found) => Ok((found.dev(), found.ino()) == (ours.dev(), ours.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for OsLock {
    fn drop(&mut self) {
        // A process that is being started has a copy of each descriptor until it has become another program:
        // closing ours would leave the lock to it. Unlocking ends it for all copies, and cannot fail on our own.
        let _ = set_lock(&self.file, nix::libc::F_UNLCK);
    }
}

fn set_lock(file: &File, kind: nix::libc::c_int) -> io::Result<()> {
    // Length 0 means to the end of the file, however far that is.
    let request =
        nix::libc::flock { l_type: kind as i16, l_whence: nix::libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 };
    match retry(|| fcntl(file, FcntlArg::F_OFD_SETLK(&request)).map_err(io::Error::from)) {
        // POSIX allows either number for a lock that is taken.
        Err(error) if error.raw_os_error() == Some(Errno::EACCES as i32) => Err(io::ErrorKind::WouldBlock.into()),
        other => other.map(|_| ()),
    }
}

fn open_to_read(path: &Path, more: OFlag) -> io::Result<File> {
    // Nonblocking, for otherwise opening a pipe waits for its other end.
    let flags = flags(OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | more);
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .custom_flags(flags(OFlag::O_NOFOLLOW))
        .open(path)
}

/// A segment over a file, of which the first `bytes` bytes get blocks, and the first `filled` bytes may have been written before.
fn segment(file: File, bytes: u64, filled: u64, access: SegmentAccess) -> io::Result<Box<dyn Segment>> {
    if access == SegmentAccess::Mapped && overwrites_in_place(&file)? {
        match allocate(&file, bytes) {
            Ok(()) => return Ok(Box::new(MappedSegment::new(file, bytes, filled)?)),
            Err(error) if is_unsupported(&error) => {}
            Err(error) => return Err(error),
        }
    }
    PositionedFile::allocate(&file, bytes)?;
    Ok(Box::new(PositionedSegment::new(file, bytes)))
}

fn overwrites_in_place(file: &File) -> io::Result<bool> {
    let found = retry(|| fstatfs(file).map_err(io::Error::from))?;
    Ok(OVERWRITES_IN_PLACE.contains(&found.filesystem_type()))
}

/// Gives the first `bytes` bytes of a file blocks of their own and makes it at least that long.
pub(crate) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    let length = i64::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    retry(|| fallocate(file, FallocateFlags::empty(), 0, length).map_err(io::Error::from))
}

fn is_unsupported(error: &io::Error) -> bool {
    [Errno::EOPNOTSUPP as i32, Errno::ENOSYS as i32].map(Some).contains(&error.raw_os_error())
}

fn check_regular(file: &File) -> io::Result<()> {
    let kind = file.metadata()?.file_type();
    match kind.is_file() {
        true => Ok(()),
        false if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

fn flags(flags: OFlag) -> i32 {
    flags.bits()
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Covers F3, and B1 of `writeback.rs`.
    #[test]
    fn a_sync_fails_for_what_went_wrong_before_it_and_ever_after() {
        let failure = io::Error::from_raw_os_error(Errno::EIO as i32);
        let (file, latch) = (tempfile::tempfile().unwrap(), SyncLatch::default());
        let mut writer = OsWriter { file, writeback: Writeback::failed(failure), latch };
        writer.write_all(b"x").unwrap();
        for _ in 0..2 {
            assert_eq!(writer.sync().unwrap_err().raw_os_error(), Some(Errno::EIO as i32));
        }
    }
}
