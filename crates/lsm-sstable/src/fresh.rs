//! Blocks of a table that is being written, on their way into the cache.
//!
//! What a compaction writes anew is not new to readers: of the blocks that it reads, many lie in the cache, and go with the
//! tables that they belong to. Each block of the new tables would then be read, checked and decompressed by whoever comes
//! there first, though it was in memory, whole, when it was written. So a builder may leave a copy of each on its way.
//!
//! # Invariants
//! F1. A block counts as used from when it is left here until the cache has it, or it is dropped.
//! F2. Only room that is free is taken: nothing leaves the cache for a block that nobody has asked for.
//! F3. Numbers are those of the table's data blocks, from 0 on, without those for which there was no room.

use std::sync::Arc;

use lsm_sync::Mutex;

use crate::block::Block;
use crate::cache::{BlockCache, CachedBlock, Guide, Slots};

/// What a [`TableBuilder`](crate::TableBuilder) leaves to whoever opens its table first: goes into
/// [`BuilderOptions::fresh`](crate::BuilderOptions) and from there into [`TableOptions::fresh`](crate::TableOptions).
///
/// ```
/// use lsm_sstable::{BlockCache, BuilderOptions, Table, TableBuilder, TableOptions};
/// use lsm_core::{key::InternalKey, Kind, SeqNo};
/// use std::sync::Arc;
///
/// let cache = BlockCache::new(1 << 20);
/// let fresh = cache.fresh();
/// let options = BuilderOptions { fresh: Some(Arc::clone(&fresh)), ..BuilderOptions::default() };
/// let mut builder = TableBuilder::new(Vec::new(), options);
/// builder.add(InternalKey::new(b"key", SeqNo::new(1), Kind::Value).as_bytes(), b"value")?;
/// let (bytes, _) = builder.finish()?;
///
/// let options = TableOptions { cache: Some(Arc::clone(&cache)), fresh: Some(fresh), ..TableOptions::default() };
/// let table = Table::open(Arc::new(bytes), options)?;
/// assert_eq!((table.blocks(), cache.misses()), (1, 0));
/// assert!(Arc::new(table).get(b"key", SeqNo::MAX)?.is_some());
/// assert_eq!((cache.hits(), cache.misses()), (1, 0));
/// # Ok::<(), lsm_core::Error>(())
/// ```
pub struct FreshBlocks {
    cache: Arc<BlockCache>,
    left: Mutex<Left>,
}

#[derive(Default)]
struct Left {
    /// The number of the next block.
    next: usize,
    blocks: Vec<(usize, CachedBlock)>,
}

impl BlockCache {
    /// Takes up blocks for this cache, as far as it has room (F2).
    pub fn fresh(self: &Arc<Self>) -> Arc<FreshBlocks> {
        Arc::new(FreshBlocks { cache: Arc::clone(self), left: Mutex::default() })
    }
}

impl FreshBlocks {
    /// Leaves a copy of the table's next data block here, if there is room for it.
    pub(crate) fn leave(&self, payload: &[u8]) {
        let mut left = self.left.lock();
        let number = left.next;
        left.next += 1;
        let room = self.cache.capacity().saturating_sub(self.cache.used_bytes());
        if payload.len() >= room {
            return;
        }
        // The builder's own blocks hold D1.
        let Ok(block) = Block::new(payload.to_vec()) else { return };
        let cached = CachedBlock { block, guide: Guide::NotYet };
        if cached.bytes() <= room {
            self.cache.count(cached.bytes());
            left.blocks.push((number, cached));
        }
    }

    /// Puts all of them into the slots of their table (F3).
    pub(crate) fn settle_in(&self, slots: &Slots) {
        for (number, CachedBlock { block, guide }) in self.take().filter(|(number, _)| *number < slots.len()) {
            slots.insert(number, block, guide);
        }
    }

    /// The blocks, which are no longer counted here (F1).
    fn take(&self) -> impl Iterator<Item = (usize, CachedBlock)> {
        let blocks = std::mem::take(&mut self.left.lock().blocks);
        blocks.into_iter().inspect(|(_, cached)| self.cache.discount(cached.bytes()))
    }
}

impl Drop for FreshBlocks {
    fn drop(&mut self) {
        self.take().for_each(drop);
    }
}

impl std::fmt::Debug for FreshBlocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FreshBlocks").field("blocks", &self.left.lock().blocks.len()).finish_non_exhaustive()
    }
}
