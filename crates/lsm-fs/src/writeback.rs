//! Bytes that are on their way to the disk before a sync waits for them.
//!
//! Left alone, Linux keeps what a file was given in its cache until somebody syncs, who then waits for all of it: 8 MiB took 3 ms,
//! a sixth of the flush that wrote them. Asked piece by piece, the disk works while the next piece is made.
//!
//! # Invariants
//! B1. To ask promises nothing and hides nothing. A sync waits for what is under way and says what went wrong on its way; what
//!     goes wrong at once may be told to nobody else than whoever asked (ext4 drops pages for which it finds no blocks), so the
//!     sync says that, too.

// One call, which no crate that we have wraps: see docs/unsafe.md.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc::{SYNC_FILE_RANGE_WRITE, off64_t, sync_file_range};

/// Bytes written between two calls. With half or a quarter of it the calls themselves begin to show.
const PIECE_BYTES: u64 = 1 << 20;

/// How far a file that only grows was written, and how far the system was asked to go on with that.
#[derive(Default, Debug)]
pub(crate) struct Writeback {
    written: u64,
    asked: u64,
    /// What went wrong first.
    failure: Option<io::Error>,
}

impl Writeback {
    /// Notes that `bytes` more bytes were written to the end of `file`; the last piece that is whole goes on its way.
    pub(crate) fn wrote(&mut self, file: &File, bytes: usize) {
        self.written += bytes as u64;
        if self.written - self.asked >= PIECE_BYTES {
            self.note(begin(file, self.asked..self.written));
            self.asked = self.written;
        }
    }

    fn note(&mut self, begun: io::Result<()>) {
        // A system or file that cannot leaves all to the sync.
        let cannot = [Errno::ENOSYS, Errno::EINVAL, Errno::EOPNOTSUPP, Errno::ESPIPE].map(|errno| errno as i32);
        let failure = begun.err().filter(|error| error.raw_os_error().is_none_or(|number| !cannot.contains(&number)));
        self.failure = self.failure.take().or(failure);
    }

    #[cfg(test)]
    pub(crate) fn failed(error: io::Error) -> Writeback {
        Writeback { failure: Some(error), ..Writeback::default() }
    }

    /// What the sync that follows has to say (B1).
    pub(crate) fn outcome(&mut self) -> io::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }
}

/// Lets the system begin to write what changed of these bytes of `file`, and does not wait for it.
fn begin(file: &File, bytes: Range<u64>) -> io::Result<()> {
    let too_far = |_| io::Error::from(io::ErrorKind::FileTooLarge);
    let from = off64_t::try_from(bytes.start).map_err(too_far)?;
    let count = off64_t::try_from(bytes.end - bytes.start).map_err(too_far)?;
    // SAFETY: the call takes four numbers and touches no memory of this process; `file` keeps its descriptor open meanwhile.
    let done = unsafe { sync_file_range(file.as_raw_fd(), from, count, SYNC_FILE_RANGE_WRITE) };
    Errno::result(done).map(drop).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn whole_pieces_are_asked_for_once() {
        let mut file = tempfile::tempfile().unwrap();
        let mut writeback = Writeback::default();
        let mut write = |writeback: &mut Writeback, bytes: usize| {
            file.write_all(&vec![7; bytes]).unwrap();
            writeback.wrote(&file, bytes);
            writeback.asked
        };
        let piece = PIECE_BYTES as usize;
        assert_eq!(write(&mut writeback, piece - 1), 0);
        assert_eq!(write(&mut writeback, 2), PIECE_BYTES + 1);
        assert_eq!(write(&mut writeback, piece - 1), PIECE_BYTES + 1, "a piece begins where the last one ended");
        assert_eq!(write(&mut writeback, 3 * piece), 5 * PIECE_BYTES);
        assert_eq!(write(&mut writeback, 9), 5 * PIECE_BYTES);
    }

    // Covers B1.
    #[test]
    fn what_goes_wrong_at_once_is_told_by_the_sync() {
        let failed = |number| Err(io::Error::from_raw_os_error(number));
        let mut writeback = Writeback::default();
        writeback.note(failed(Errno::ENOSYS as i32));
        assert!(writeback.outcome().is_ok(), "the system cannot");
        [failed(Errno::EIO as i32), Ok(()), failed(Errno::ENOSPC as i32)]
            .into_iter()
            .for_each(|begun| writeback.note(begun));
        assert_eq!(writeback.outcome().unwrap_err().raw_os_error(), Some(Errno::EIO as i32));
    }

    #[test]
    fn the_system_takes_the_call_and_refuses_what_is_no_range() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 3 << 20]).unwrap();
        begin(&file, 0..3 << 20).unwrap();
        begin(&file, 1 << 40..1 << 41).unwrap();
        assert_eq!(begin(&file, 0..u64::MAX).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let (reader, _writer) = std::io::pipe().unwrap();
        let pipe = File::from(std::os::fd::OwnedFd::from(reader));
        assert!(begin(&pipe, 0..1).is_err(), "a pipe has no disk to go to");
    }
}
