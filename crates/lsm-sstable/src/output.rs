//! Where a table's blocks go: counts offsets, adds trailers, hands out large pieces.

use std::io::Write;
use std::path::PathBuf;

use lsm_core::{Error, Result};

use crate::checksum::BlockChecksum;
use crate::handle::{BLOCK_TRAILER_BYTES, BlockHandle};

/// Bytes collected before they are written, save a longer block: fresh pages cost less in large writes.
const CHUNK_BYTES: usize = 256 << 10;

pub(crate) struct Output<W> {
    out: W,
    path: PathBuf,
    checksum: BlockChecksum,
    /// Bytes that were not handed to `out` yet; the last of them lies at `offset - 1`.
    collected: Vec<u8>,
    offset: u64,
}

impl<W: Write> Output<W> {
    pub(crate) fn new(out: W, checksum: BlockChecksum, path: PathBuf) -> Output<W> {
        Output { out, path, checksum, collected: Vec::new(), offset: 0 }
    }

    /// Offset of the next byte.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn checksum(&self) -> BlockChecksum {
        self.checksum
    }

    /// Appends a block of compression type `kind` and its trailer.
    pub(crate) fn write_block(&mut self, payload: &[u8], kind: u8) -> Result<BlockHandle> {
        let handle = BlockHandle { offset: self.offset, bytes: payload.len() as u64 };
        self.make_room(payload.len() + BLOCK_TRAILER_BYTES)?;
        let start = self.collected.len();
        self.collected.extend_from_slice(payload);
        self.collected.push(kind);
        let checksum = self.checksum.of(handle.offset, &self.collected[start..]);
        self.collected.extend_from_slice(&checksum.to_le_bytes());
        self.offset += (self.collected.len() - start) as u64;
        Ok(handle)
    }

    /// Appends bytes that are no block.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.make_room(bytes.len())?;
        self.collected.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Makes room for `bytes` more, in memory that is asked for once: whatever it is doubled from stays with the allocator.
    fn make_room(&mut self, bytes: usize) -> Result<()> {
        if self.collected.len() + bytes > CHUNK_BYTES {
            self.hand_over()?;
        }
        self.collected.reserve_exact(CHUNK_BYTES.max(bytes) - self.collected.len());
        Ok(())
    }

    fn hand_over(&mut self) -> Result<()> {
        self.out.write_all(&self.collected).map_err(|error| Error::io("write", &self.path, error))?;
        self.collected.clear();
        Ok(())
    }

    /// Hands over the rest, flushes, and returns the writer.
    pub(crate) fn finish(mut self) -> Result<W> {
        self.hand_over()?;
        self.out.flush().map_err(|error| Error::io("write", &self.path, error))?;
        Ok(self.out)
    }
}
