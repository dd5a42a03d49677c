//! A file seen block by block, through one buffer of several blocks.

use std::io;
use std::sync::Arc;

use lsm_core::ReadAt;

use crate::format::BLOCK_BYTES;

/// Bytes read at once: large enough that the call costs little, small enough to stay in the cache.
const WINDOW_BYTES: u64 = 8 * BLOCK_BYTES as u64;

pub(crate) struct Window {
    source: Arc<dyn ReadAt>,
    file_bytes: u64,
    bytes_read: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    pub(crate) fn new(source: Arc<dyn ReadAt>) -> io::Result<Window> {
        let file_bytes = source.size()?;
        Ok(Window { source, file_bytes, bytes_read: 0, start: 0, bytes: Vec::new() })
    }

    /// Size of the file when the window was made.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Bytes read so far, a measure of work.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// The block that `position` is in: short where the file ends, empty behind its end.
    pub(crate) fn block(&mut self, position: u64) -> io::Result<&[u8]> {
        if position >= self.file_bytes {
            return Ok(&[]);
        }
        let block = position - position % BLOCK_BYTES as u64;
        if block < self.start || block >= self.start + self.bytes.len() as u64 {
            self.fill(position - position % WINDOW_BYTES)?;
        }
        let from = (block - self.start) as usize;
        Ok(&self.bytes[from..self.bytes.len().min(from + BLOCK_BYTES)])
    }

    fn fill(&mut self, start: u64) -> io::Result<()> {
        let bytes = WINDOW_BYTES.min(self.file_bytes - start) as usize;
        self.start = start;
        self.bytes_read += bytes as u64;
        self.bytes.clear();
        self.bytes.resize(bytes, 0);
        let filled = self.source.read_exact_at(start, &mut self.bytes);
        if filled.is_err() {
            self.bytes.clear();
        }
        filled
    }
}
