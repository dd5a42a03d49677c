//! Reads blocks from a file: bounds, then checksum, then decompression, in this order.
//!
//! # Invariants
//! S1. No byte of a block is interpreted before its checksum was verified.
//! S2. Nothing is allocated or read beyond the file's size, whatever a handle says, nor more than any writer makes
//!     a block: the size of a sparse file costs its maker nothing.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

use lsm_core::{Error, ReadAt, Result};

use crate::block::Block;
use crate::checksum::BlockChecksum;
use crate::compression::{Dictionary, STORED, decompress, room_for};
use crate::handle::BlockHandle;

/// A file as a set of blocks.
pub(crate) struct BlockSource {
    pub(crate) file: Arc<dyn ReadAt>,
    pub(crate) path: PathBuf,
    /// Where the footer begins: every block ends before it.
    pub(crate) blocks_end: u64,
    pub(crate) checksum: BlockChecksum,
}

/// Larger blocks get memory of their own, so that no thread keeps much.
const SCRATCH_BYTES_MAX: usize = 64 << 10;

thread_local! {
    /// Holds a block as the file has it until it is decompressed.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A piece of the file that was read ahead.
#[derive(Default)]
pub(crate) struct Window {
    start: u64,
    bytes: Vec<u8>,
    /// How many bytes to read at once; 0 reads block by block.
    ahead: usize,
}

impl Window {
    pub(crate) fn new(ahead: usize) -> Window {
        Window { ahead, ..Window::default() }
    }

    /// Holds the last bytes of the file, which opening a table reads piece by piece.
    pub(crate) fn over(source: &BlockSource, start: u64) -> Result<Window> {
        let mut window = Window { start, bytes: vec![0; (source.blocks_end - start) as usize], ahead: 0 };
        source.read(start, &mut window.bytes)?;
        Ok(window)
    }

    fn get(&self, offset: u64, bytes: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.bytes.get(start..start.checked_add(bytes)?)
    }

    /// Makes the window begin at `offset` if it may hold blocks of `bytes` that way.
    fn advance(&mut self, source: &BlockSource, offset: u64, bytes: usize) -> Result<()> {
        if bytes >= self.ahead || self.get(offset, bytes).is_some() {
            return Ok(());
        }
        let ahead = (self.ahead as u64).min(source.blocks_end - offset) as usize;
        self.bytes.resize(ahead, 0);
        self.start = offset;
        source.read(offset, &mut self.bytes).inspect_err(|_| self.bytes.clear())
    }
}

impl BlockSource {
    /// The payload of the block at `handle`, decompressed to at most `cap` bytes.
    pub(crate) fn payload(
        &self,
        handle: BlockHandle,
        window: &mut Window,
        dictionary: Option<&Dictionary>,
        cap: u64,
    ) -> Result<Vec<u8>> {
        let placed = self.stored(handle, window, |stored| {
            let cut = || Error::corruption("block is cut");
            let (covered, checksum) = stored.split_last_chunk::<4>().ok_or_else(cut)?;
            let (&kind, payload) = covered.split_last().ok_or_else(cut)?;
            self.checksum.verify(handle.offset, covered, u32::from_le_bytes(*checksum))?; // S1
            match kind {
                STORED => {
                    let mut raw = room_for(payload.len())?;
                    raw.extend_from_slice(payload);
                    Ok(raw)
                }
                kind => decompress(kind, payload, dictionary, cap),
            }
        });
        placed.map_err(|error| self.place(error, handle.offset))
    }

    /// The block at `handle`, its restart points checked.
    pub(crate) fn block(
        &self,
        handle: BlockHandle,
        window: &mut Window,
        dictionary: Option<&Dictionary>,
        cap: u64,
    ) -> Result<Block> {
        let payload = self.payload(handle, window, dictionary, cap)?;
        Block::new(payload).map_err(|error| self.place(error, handle.offset))
    }

    /// Hands the block at `handle`, as the file has it and with its trailer, to `take`.
    fn stored<T>(&self, handle: BlockHandle, window: &mut Window, take: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        let end = handle.end().filter(|&end| end <= self.blocks_end); // S2
        let Some(end) = end else {
            let BlockHandle { offset, bytes } = handle;
            return Err(Error::corruption(format!(
                "block of {bytes} bytes at {offset} ends behind {}",
                self.blocks_end
            )));
        };
        if u32::try_from(handle.bytes).is_err() {
            return Err(Error::corruption(format!("block of {} bytes, below 4 GiB are possible", handle.bytes)));
        }
        let bytes = (end - handle.offset) as usize;
        window.advance(self, handle.offset, bytes)?;
        if let Some(stored) = window.get(handle.offset, bytes) {
            return take(stored);
        }
        // Taken out meanwhile: what is behind `file` may read another table.
        let mut scratch = SCRATCH.take();
        if scratch.len() < bytes {
            scratch = room_for(bytes)?;
            scratch.resize(bytes, 0);
        }
        let taken = self.read(handle.offset, &mut scratch[..bytes]).and_then(|()| take(&scratch[..bytes]));
        if scratch.len() <= SCRATCH_BYTES_MAX {
            SCRATCH.set(scratch);
        }
        taken
    }

    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(offset, buffer).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                self.place(Error::corruption(format!("file ends inside {} bytes", buffer.len())), offset)
            }
            _ => Error::io("read", &self.path, error),
        })
    }

    /// Adds file and offset to an error, where it does not name them yet.
    #[cold]
    pub(crate) fn place(&self, error: Error, offset: u64) -> Error {
        error.at(offset).in_file(&self.path)
    }
}
