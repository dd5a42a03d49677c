//! Keeps data blocks between reads: one slot for each block of each open table, and one budget for all.
//!
//! A table knows the number of a block from its index, so what elsewhere is a hash table of blocks is an array here:
//! a hit costs a line of the array and the block itself. A hand goes round the slots of all tables (the CLOCK
//! algorithm, F. J. Corbató, "A paging experiment with the Multics system", 1968): a block that was read since the
//! hand last came by is spared once, the others leave until the rest fits. Once the cache is full, a block is kept when it
//! is read from the file for the second time within a round of the hand: its empty slot remembers the first one (as the
//! ghosts of T. Johnson and D. Shasha, "2Q", VLDB 1994, do in a list of their own).
//!
//! # Invariants
//! C1. While nobody inserts, `used` is the sum of the bytes of all blocks in slots, and of fresh ones (F1 in `fresh.rs`):
//!     whoever puts a block in adds them before, and whoever takes it out, which the swap lets only one do, subtracts
//!     them after.
//! C2. Blocks take no more than the budget, apart from one for each thread that is just inserting one.
//! C3. Readers take no lock, and write nothing that others read, apart from marking a block the first time after the
//!     hand came by.
//! C4. Only blocks that passed their checksum and the check of their layout are in a slot, or that were there when they
//!     were written.
//! C5. Once whoever put a block in has returned, its slot does not count as empty ([`EMPTY`], [`SEEN`]): from a slot that
//!     does, nothing is taken out, which spares the hand and the end of a table most of their swaps, the dearest thing they do.

use std::sync::{Arc, Weak};

use arc_swap::{ArcSwapOption, Guard};
use lsm_sync::{AtomicU8, AtomicUsize, Mutex, Ordering, Tally};

use crate::block::Block;
use crate::directory::Directory;

/// Bytes of memory for data blocks, shared by all tables that are opened with it.
///
/// ```
/// use lsm_sstable::{BlockCache, TableOptions};
///
/// let cache = BlockCache::new(64 << 20);
/// let options = TableOptions { cache: Some(cache.clone()), ..TableOptions::default() };
/// assert_eq!(cache.used_bytes(), 0);
/// ```
pub struct BlockCache {
    capacity: AtomicUsize,
    used: AtomicUsize,
    hits: Tally,
    misses: Tally,
    hand: Mutex<Hand>,
}

impl BlockCache {
    /// A cache for `capacity` bytes.
    pub fn new(capacity: usize) -> Arc<BlockCache> {
        Arc::new(BlockCache {
            capacity: AtomicUsize::new(capacity),
            used: AtomicUsize::new(0),
            hits: Tally::default(),
            misses: Tally::default(),
            hand: Mutex::new(Hand::default()),
        })
    }

    /// Changes the budget; blocks that no longer fit leave at once.
    pub fn set_capacity(&self, bytes: usize) {
        self.capacity.store(bytes, Ordering::Relaxed);
        self.fit();
    }

    /// The budget in bytes.
    pub fn capacity(&self) -> usize {
        self.capacity.load(Ordering::Relaxed)
    }

    /// Bytes of the blocks that are kept (C1).
    pub fn used_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// About how often a block was found.
    pub fn hits(&self) -> u64 {
        self.hits.sum()
    }

    /// About how often a block was not there.
    pub fn misses(&self) -> u64 {
        self.misses.sum()
    }

    /// Counts `bytes` of blocks that are about to be in a slot, or on their way to one (C1).
    pub(crate) fn count(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes back what [`BlockCache::count`] has counted.
    pub(crate) fn discount(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes out blocks until the rest fits (C2). Who finds another thread at it leaves it to that one, which looks again
    /// once it has let go of the hand.
    fn fit(&self) {
        while self.is_over()
            && let Some(mut hand) = self.hand.try_lock()
        {
            if !hand.sweep(self) {
                return;
            }
        }
    }

    fn is_over(&self) -> bool {
        self.used_bytes() > self.capacity()
    }
}

impl std::fmt::Debug for BlockCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockCache").field("used", &self.used_bytes()).finish_non_exhaustive()
    }
}

/// Where the hand stands, and the tables that it goes round.
#[derive(Default)]
struct Hand {
    tables: Vec<Weak<Slots>>,
    table: usize,
    slot: usize,
}

impl Hand {
    /// Goes on until the blocks fit. Every block is met within three rounds, the first of which may begin anywhere: once
    /// marked, and once when no mark counts any more. False if none is left: those that are just being inserted are too
    /// many, and whoever inserts them comes here next.
    fn sweep(&mut self, cache: &BlockCache) -> bool {
        let mut rounds = 0;
        while rounds < 3 && cache.is_over() {
            match self.tables.get(self.table).map(Weak::upgrade) {
                None => (self.table, self.slot, rounds) = (0, 0, rounds + 1),
                Some(None) => {
                    self.tables.swap_remove(self.table);
                    self.slot = 0;
                }
                Some(Some(slots)) => self.visit(&slots, rounds < 2),
            }
        }
        rounds < 3
    }

    /// Goes on along the slots of the table at which the hand stands, sparing marked blocks if it `spares`.
    fn visit(&mut self, slots: &Slots, spares: bool) {
        for slot in slots.slots.iter().skip(self.slot) {
            if !slots.cache.is_over() {
                return;
            }
            self.slot += 1;
            match slot.state.load(Ordering::Relaxed) {
                READ if spares => slot.state.store(KEPT, Ordering::Relaxed),
                _ => slots.put(slot, None),
            }
        }
        (self.table, self.slot) = (self.table + 1, 0);
    }
}

/// The slots of one table.
pub(crate) struct Slots {
    cache: Arc<BlockCache>,
    slots: Box<[Slot]>,
}

#[derive(Default)]
struct Slot {
    block: ArcSwapOption<CachedBlock>,
    /// What the hand is told.
    state: AtomicU8,
}

/// There is nothing to take out.
const EMPTY: u8 = 0;
/// There may be a block, which nobody has read since the hand last came by.
const KEPT: u8 = 1;
/// There may be a block that was read since then.
const READ: u8 = 2;
/// There is nothing to take out, but the block was read from the file since the hand last came by.
const SEEN: u8 = 3;

impl Slot {
    /// Goes from one state to another, if this is the one.
    fn pass(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// A block in the cache.
pub(crate) struct CachedBlock {
    pub(crate) block: Block,
    pub(crate) guide: Guide,
}

/// What leads a lookup or a seek to its entry.
pub(crate) enum Guide {
    /// No lookup or seek has come here yet.
    NotYet,
    /// The block's restart points: a directory cannot be made.
    Restarts,
    Directory(Directory),
}

impl Guide {
    /// The best that there is for `block`, to which only targets come that begin with `given`.
    pub(crate) fn of(block: &Block, given: &[u8]) -> Guide {
        Directory::of(block, given).map_or(Guide::Restarts, Guide::Directory)
    }
}

impl CachedBlock {
    pub(crate) fn bytes(&self) -> usize {
        CachedBlock::bytes_of(&self.block, &self.guide)
    }

    fn bytes_of(block: &Block, guide: &Guide) -> usize {
        let guide = match guide {
            Guide::NotYet | Guide::Restarts => 0,
            Guide::Directory(directory) => directory.memory_bytes(),
        };
        block.bytes() + guide + size_of::<CachedBlock>()
    }
}

impl Slots {
    /// Slots for a table of `blocks` data blocks.
    pub(crate) fn new(cache: &Arc<BlockCache>, blocks: usize) -> Arc<Slots> {
        let slots = (0..blocks).map(|_| Slot::default()).collect();
        let slots = Arc::new(Slots { cache: Arc::clone(cache), slots });
        let mut hand = cache.hand.lock();
        hand.tables.retain(|slots| slots.strong_count() > 0);
        hand.tables.push(Arc::downgrade(&slots));
        slots
    }

    /// Data block `number`, if it is here.
    #[inline]
    pub(crate) fn get(&self, number: usize) -> Guard<Option<Arc<CachedBlock>>> {
        let slot = &self.slots[number];
        let found = slot.block.load();
        if found.is_none() {
            self.cache.misses.add(1);
            return found;
        }
        // Looked at first (C3).
        if slot.state.load(Ordering::Relaxed) != READ {
            slot.state.store(READ, Ordering::Relaxed);
        }
        self.cache.hits.add(1);
        found
    }

    /// How many blocks were read since the hand last came by.
    pub(crate) fn read_lately(&self) -> usize {
        self.slots.iter().filter(|slot| slot.state.load(Ordering::Relaxed) == READ).count()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Data block `number` without counting it as read, if it is here.
    pub(crate) fn peek(&self, number: usize) -> Guard<Option<Arc<CachedBlock>>> {
        self.slots[number].block.load()
    }

    /// Keeps data block `number`, which was just read from the file, if there is room for it, or if it was read from there
    /// before and the hand has not come by since (C4).
    pub(crate) fn admit(&self, number: usize, block: &Block) {
        let bytes = CachedBlock::bytes_of(block, &Guide::NotYet);
        let is_full = self.cache.used_bytes() + bytes > self.cache.capacity();
        let slot = &self.slots[number];
        if is_full && slot.pass(EMPTY, SEEN) {
            return;
        }
        // Read for the second time: it is spared once, like those that it comes beside.
        slot.pass(SEEN, READ);
        self.insert(number, block.clone(), Guide::NotYet);
    }

    /// Keeps data block `number`, unless it is larger than the cache (C4).
    pub(crate) fn insert(&self, number: usize, block: Block, guide: Guide) {
        let cached = CachedBlock { block, guide };
        if cached.bytes() <= self.cache.capacity() {
            self.put(&self.slots[number], Some(Arc::new(cached)));
            self.cache.fit();
        }
    }

    /// C1, C5. The state goes to empty before the swap and away from it behind: of two threads, the one whose block stays
    /// swaps last, and sees by this what the other has stored. Who only notes or forgets that a block was read from the file
    /// stores nothing over what says that there is a block.
    fn put(&self, slot: &Slot, block: Option<Arc<CachedBlock>>) {
        let stays = block.is_some();
        match &block {
            Some(block) => self.cache.count(block.bytes()),
            None if slot.state.load(Ordering::Relaxed) == EMPTY || slot.pass(SEEN, EMPTY) => return,
            None => slot.state.store(EMPTY, Ordering::Relaxed),
        }
        if let Some(before) = slot.block.swap(block) {
            self.cache.discount(before.bytes());
        }
        if stays && matches!(slot.state.load(Ordering::Relaxed), EMPTY | SEEN) {
            slot.state.store(KEPT, Ordering::Relaxed);
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.slots.iter().for_each(|slot| self.put(slot, None));
    }
}

#[cfg(all(test, shuttle))]
mod shuttle_models;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_builder::BlockBuilder;
    use quickcheck::quickcheck;

    pub(super) fn block(value_bytes: usize) -> Block {
        let mut builder = BlockBuilder::new(16);
        builder.add(b"key\x01\0\0\0\0\0\0\0", &vec![7; value_bytes]);
        Block::new(builder.finish().to_vec()).unwrap()
    }

    /// Bytes of the blocks in slots, none of which counts as empty (C5).
    pub(super) fn bytes_in(tables: &[Option<Arc<Slots>>]) -> usize {
        let slots = tables.iter().flatten().flat_map(|table| table.slots.iter());
        let bytes = |slot: &Slot| {
            let bytes = slot.block.load().as_ref().map_or(0, |block| block.bytes());
            assert!(bytes == 0 || !matches!(slot.state.load(Ordering::Relaxed), EMPTY | SEEN), "C5");
            bytes
        };
        slots.map(bytes).sum()
    }

    quickcheck! {
        // Covers C1 and C2.
        fn blocks_take_no_more_than_the_budget(steps: Vec<(u8, u8, u16)>) -> bool {
            let cache = BlockCache::new(20_000);
            let mut tables: Vec<Option<Arc<Slots>>> = vec![None; 4];
            steps.into_iter().all(|(choice, number, size)| {
                let table = &mut tables[usize::from(choice) % 4];
                match choice / 4 % 16 {
                    0 => *table = None,
                    1 => cache.set_capacity(usize::from(size)),
                    _ => {
                        let slots = table.get_or_insert_with(|| Slots::new(&cache, 64));
                        let (number, block) = (usize::from(number) % 64, block(usize::from(size) % 8192));
                        match choice / 64 {
                            0 => slots.insert(number, block, Guide::NotYet),
                            _ => slots.admit(number, &block),
                        }
                        slots.get(usize::from(size) % 64);
                    }
                }
                cache.used_bytes() == bytes_in(&tables) && cache.used_bytes() <= cache.capacity()
            })
        }
    }

    #[test]
    fn what_is_read_stays_and_what_is_not_leaves() {
        let cache = BlockCache::new(100 * (block(4000).bytes() + size_of::<CachedBlock>()));
        let slots = Slots::new(&cache, 1000);
        (0..100).for_each(|number| slots.insert(number, block(4000), Guide::NotYet));
        for number in 100..1000 {
            assert!((0..50).all(|hot| slots.get(hot).is_some()), "before block {number}");
            slots.insert(number, block(4000), Guide::NotYet);
        }
        assert_eq!((cache.hits(), cache.misses()), (900 * 50, 0));
    }

    #[test]
    fn a_full_cache_keeps_what_is_read_from_the_file_twice() {
        let block = block(4000);
        let cache = BlockCache::new(100 * (block.bytes() + size_of::<CachedBlock>()));
        let slots = Slots::new(&cache, 1000);
        let read = |number| {
            let there = slots.get(number).is_some();
            if !there {
                slots.admit(number, &block);
            }
            there
        };
        assert!((0..100).all(|number| !read(number)));
        assert!((0..100).all(read), "there was room");
        assert!((100..1000).all(|number| !read(number)));
        assert!((0..100).all(read), "a walk over everything takes nothing out");
        assert!(!read(100), "the second time it is kept");
        assert!(read(100));
        // To make room for it the hand went all the way round, and the marks of the walk are gone.
        assert!(!read(999) && !read(999) && read(999));
    }

    #[test]
    fn threads_agree_on_what_is_used() {
        // Covers C1 and C2.
        let cache = BlockCache::new(100_000);
        let tables: Vec<_> = (0..3).map(|_| Some(Slots::new(&cache, 50))).collect();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let tables = &tables;
                scope.spawn(move || {
                    for step in 0..5000 {
                        let slots = tables[(step + thread) % 3].as_ref().unwrap();
                        let number = step * 31 % 50;
                        if slots.get(number).is_none() {
                            slots.admit(number, &block(1000 + step % 3000));
                        }
                    }
                });
            }
        });
        assert_eq!(cache.used_bytes(), bytes_in(&tables));
        assert!(cache.used_bytes() <= cache.capacity());
        drop(tables);
        assert_eq!(cache.used_bytes(), 0);
    }
}
