//! An open table, and what the layers above need to know about it.
//!
//! Index, filter, properties and range tombstones stay in memory while the table is open; data blocks come
//! through a [`BlockCache`] or straight from the file. A table is immutable and shared by any number of
//! threads without locks.
//!
//! # Invariants
//! A1. Only blocks that passed their checksum and the check of their layout enter the cache (C4).

use std::path::PathBuf;
use std::sync::Arc;

use lsm_core::key::{pack_trailer, trailer as trailer_of};
use lsm_core::range_tombstone::{RangeTombstone, RangeTombstones};
use lsm_core::{ReadAt, Result, SeqNo};

use crate::block::Block;
use crate::cache::{BlockCache, Slots};
use crate::compression::Dictionary;
use crate::filter::Filter;
use crate::fresh::FreshBlocks;
use crate::index::Index;
use crate::properties::Properties;
use crate::source::{BlockSource, Window};
use crate::table_cursor::{ReadOptions, TableCursor};
use crate::xxph3::filter_hash;

/// How to open a table.
#[derive(Clone, Default)]
pub struct TableOptions {
    /// The file's path, for errors.
    pub file: PathBuf,
    /// Where data blocks are kept; without a cache every block is read from the file.
    pub cache: Option<Arc<BlockCache>>,
    /// The largest sequence number of the table that the manifest knows. It is what all entries of an
    /// *ingested* file have, whose own numbers are 0; for other tables it changes nothing.
    pub global_seq: Option<SeqNo>,
    /// How many bytes behind the data blocks to read at once when opening
    /// ([`TableSummary::tail_bytes`](crate::TableSummary)); `None` guesses.
    pub tail_bytes: Option<u64>,
    /// Blocks that the builder of this very table left for `cache`.
    pub fresh: Option<Arc<FreshBlocks>>,
}

/// A point in a table's key space, from the index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Anchor {
    /// No smaller than the keys of the piece, no larger than those behind it.
    pub user_key: Vec<u8>,
    /// Bytes on disk between the anchor before and this one.
    pub bytes: u64,
}

/// An open table.
pub struct Table {
    pub(crate) source: BlockSource,
    pub(crate) options: TableOptions,
    /// The table's place in the cache.
    pub(crate) slots: Option<Arc<Slots>>,
    pub(crate) format_version: u32,
    pub(crate) properties: Properties,
    pub(crate) index: Index,
    pub(crate) filter: Filter,
    pub(crate) dictionary: Option<Dictionary>,
    pub(crate) tombstones: Arc<RangeTombstones>,
    /// The tombstones one by one, in the order of the file, as `tombstones` puts them together.
    pub(crate) stored_tombstones: Vec<RangeTombstone>,
    /// What every entry's sequence number is, in an ingested file.
    pub(crate) global_seq: Option<SeqNo>,
    /// Most bytes that a compressed block may have once decompressed.
    pub(crate) block_bytes_max: u64,
}

impl Table {
    /// Whether the filter lets `user_key` pass. No data block is read.
    ///
    /// # Errors
    /// None today: filters are loaded when the table is opened.
    pub fn may_contain(&self, user_key: &[u8]) -> Result<bool> {
        Ok(self.may_contain_hashed(user_key, filter_hash(user_key)))
    }

    /// As [`Table::may_contain`], with the key's [`filter_hash`] at hand.
    #[inline]
    pub fn may_contain_hashed(&self, user_key: &[u8], hash: u64) -> bool {
        self.filter.may_contain(user_key, hash)
    }

    /// A cursor over all point entries.
    pub fn cursor(self: &Arc<Self>) -> TableCursor {
        self.cursor_with(ReadOptions::default())
    }

    /// A cursor that reads as `options` say.
    pub fn cursor_with(self: &Arc<Self>, options: ReadOptions) -> TableCursor {
        TableCursor::new(Arc::clone(self), options)
    }

    /// The deleted ranges, as stored: the manifest's bounds may be narrower.
    pub fn tombstones(&self) -> &Arc<RangeTombstones> {
        &self.tombstones
    }

    /// What the table says about itself.
    pub fn properties(&self) -> &Properties {
        &self.properties
    }

    /// Size of the file in bytes.
    pub fn bytes(&self) -> u64 {
        self.source.blocks_end + crate::footer::FOOTER_BYTES as u64
    }

    /// Bytes of memory that stay in use while the table is open: index, filter, tombstones, slots of the cache.
    pub fn memory_bytes(&self) -> usize {
        let tombstones: usize =
            self.stored_tombstones.iter().map(|one| 4 * (one.start.len() + one.end.len() + 24)).sum();
        let slots = self.slots.as_ref().map_or(0, |slots| slots.memory_bytes());
        self.index.memory_bytes() + self.filter.memory_bytes() + tombstones + slots + size_of::<Table>()
    }

    /// How many data blocks it has.
    pub fn blocks(&self) -> u64 {
        self.index.len() as u64
    }

    /// How many of its data blocks are in the cache and were read since the cache last looked for some to let go.
    pub fn blocks_read_lately(&self) -> u64 {
        self.slots.as_ref().map_or(0, |slots| slots.read_lately() as u64)
    }

    /// The format version in the footer.
    pub fn format_version(&self) -> u32 {
        self.format_version
    }

    /// About `count` points with strictly ascending keys and about equally many bytes between them; fewer in
    /// a table of few blocks.
    ///
    /// # Errors
    /// None today: the index is in memory.
    pub fn anchors(&self, count: usize) -> Result<Vec<Anchor>> {
        let blocks = self.index.len();
        let count = count.min(blocks);
        let mut anchors: Vec<Anchor> = Vec::with_capacity(count);
        let mut start = 0;
        for number in 1..=count {
            let last = blocks * number / count - 1;
            let end = self.block_end(last);
            let (user_key, bytes) = (self.index.key(last), end - start);
            match anchors.last_mut() {
                // Many versions of one key, over several blocks: nothing to cut at.
                Some(Anchor { user_key: before, bytes: more }) if before == user_key => *more += bytes,
                _ => anchors.push(Anchor { user_key: user_key.to_vec(), bytes }),
            }
            start = end;
        }
        Ok(anchors)
    }

    /// About where in the file the entries of `user_key` are, or would be.
    ///
    /// # Errors
    /// None today: the index is in memory.
    pub fn approximate_offset(&self, user_key: &[u8]) -> Result<u64> {
        let number = self.index.seek(user_key, u64::MAX);
        Ok(match number.checked_sub(1) {
            None => 0,
            Some(before) => self.block_end(before),
        })
    }

    /// Where data block `number` ends: not before the one before it does, nor behind all blocks (X2).
    fn block_end(&self, number: usize) -> u64 {
        self.index.handle(number).end().unwrap_or(self.source.blocks_end)
    }

    /// Data block `number`, from the cache or the file.
    pub(crate) fn data_block(&self, number: usize, fill_cache: bool, window: &mut Window) -> Result<Block> {
        let Some(slots) = &self.slots else { return self.read_data_block(number, window) };
        // Who does not fill the cache does not count as a reader either.
        let held = if fill_cache { slots.get(number) } else { slots.peek(number) };
        if let Some(cached) = held.as_ref() {
            return Ok(cached.block.clone());
        }
        let block = self.read_data_block(number, window)?;
        if fill_cache {
            slots.admit(number, &block); // A1
        }
        Ok(block)
    }

    /// Data block `number`, from the file.
    pub(crate) fn read_data_block(&self, number: usize, window: &mut Window) -> Result<Block> {
        self.source.block(self.index.handle(number), window, self.dictionary.as_ref(), self.block_bytes_max)
    }

    #[cold]
    pub(crate) fn place_in_block(&self, error: lsm_core::Error, number: usize) -> lsm_core::Error {
        self.source.place(error, self.index.handle(number).offset)
    }

    /// The file behind the table, to look at it again.
    pub(crate) fn file(&self) -> Arc<dyn ReadAt> {
        Arc::clone(&self.source.file)
    }

    /// `internal_key` with the sequence number that all entries of an ingested file have.
    pub(crate) fn patched(seq: SeqNo, internal_key: &[u8], out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(lsm_core::key::user_key(internal_key));
        let trailer = pack_trailer(seq, trailer_of(internal_key) as u8);
        out.extend_from_slice(&trailer.to_le_bytes());
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("file", &self.options.file)
            .field("blocks", &self.index.len())
            .finish_non_exhaustive()
    }
}
