//! Memory straight from the system, in large pages.

use std::fmt;
use std::io;

use memmap2::MmapMut;

/// The first part is in small pages: memory of which next to nothing is used shall take next to nothing.
const SMALL_PAGES_BYTES: usize = 2 << 20;

/// Zeroed memory that the system gives page by page as it is first touched: the first 2 MiB in pages of its usual size,
/// the rest in large ones where it has them. They spare the processor most of its lookups of pages, which cost as much
/// as what is in them where memory is read here and there.
///
/// ```
/// let mut memory = lsm_fs::Pages::map(64 << 20)?;
/// memory.as_mut()[63 << 20] = 1;
/// # std::io::Result::Ok(())
/// ```
pub struct Pages(MmapMut);

impl Pages {
    /// Maps `bytes` of memory.
    ///
    /// # Errors
    /// The system's, when it allows no more mappings or memory.
    pub fn map(bytes: usize) -> io::Result<Pages> {
        let map = MmapMut::map_anon(bytes)?;
        #[cfg(target_os = "linux")]
        if let Some(rest) = bytes.checked_sub(SMALL_PAGES_BYTES) {
            // Where there are no large pages, small ones do.
            let _ = map.advise_range(memmap2::Advice::HugePage, SMALL_PAGES_BYTES, rest);
        }
        Ok(Pages(map))
    }

    /// Bytes in all, touched or not.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

impl AsMut<[u8]> for Pages {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("bytes", &self.bytes()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_any_size_is_zero_and_writable_from_end_to_end() {
        for bytes in [1, 4096, SMALL_PAGES_BYTES, SMALL_PAGES_BYTES + 1, 5 << 20] {
            let mut pages = Pages::map(bytes).unwrap();
            assert_eq!(pages.bytes(), bytes);
            assert!(pages.as_mut().iter().all(|&byte| byte == 0));
            pages.as_mut().fill(7);
            assert_eq!(pages.as_mut()[bytes - 1], 7);
        }
        assert!(Pages::map(usize::MAX / 2).is_err());
    }
}
