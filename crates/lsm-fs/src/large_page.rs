//! Large pages for memory that is in use already.
//!
//! Memory that is read here and there costs a look at the tables of its pages each time, unless the processor remembers
//! them: some thousand pages, of 4 KiB or of 2 MiB. Linux can put memory that was given in small pages into a large one
//! (`MADV_COLLAPSE`, since 6.1, see madvise(2)): it copies them, which takes about a millisecond, and changes nothing else.

#![allow(unsafe_code)]

use std::io;

/// Bytes of a large page, which begins at a multiple of them.
const LARGE_PAGE_BYTES: usize = 2 << 20;

/// Puts the memory around `address` into a large page, unless it is in one.
///
/// What lies there stays as it is, whosever it is. It may take as long as the system needs to find memory in one piece.
///
/// # Errors
/// The system's, when it has no large pages, or not all of the memory around is of one mapping.
pub fn gather(address: usize) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let start = address & !(LARGE_PAGE_BYTES - 1);
        // SAFETY: the call changes the contents of no memory, mapped or not, nor who may read or write it; and it says
        // so where nothing is mapped.
        let outcome = unsafe { nix::libc::madvise(start as *mut _, LARGE_PAGE_BYTES, nix::libc::MADV_COLLAPSE) };
        nix::errno::Errno::result(outcome).map(drop).map_err(io::Error::from)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = address;
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_stays_what_it_is_and_strange_addresses_are_errors() {
        let mut memory: Vec<u8> = (0..4 * LARGE_PAGE_BYTES).map(|at| (at / 7) as u8).collect();
        for at in (0..memory.len()).step_by(LARGE_PAGE_BYTES) {
            // A system without large pages refuses.
            let _ = gather(memory.as_ptr() as usize + at);
        }
        assert!(memory.iter().enumerate().all(|(at, &byte)| byte == (at / 7) as u8));
        memory.fill(1);
        assert!(memory.iter().all(|&byte| byte == 1));
        assert!(gather(0).is_err(), "nothing is mapped there");
        assert!(gather(usize::MAX).is_err());
    }
}
