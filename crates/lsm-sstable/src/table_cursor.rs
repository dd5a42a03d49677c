//! Walks all point entries of a table: the index picks the block, a block cursor the entry in it.
//!
//! # Invariants
//! As in [`lsm_core::cursor`], and:
//! W1. While valid, `entries` stands in data block `number`.
//! W2. Keys ascend across blocks too: the first key of a block is larger than the last one of the block
//!     before it, or the table is corrupt.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use lsm_core::key::{compare, pack_trailer, trailer, user_key};
use lsm_core::rows::{Rows, Wanted};
use lsm_core::{Cursor, Error, Result, SeqNo, Slice, memory};

use crate::block::Block;
use crate::block_cursor::BlockCursor;
use crate::cache::{CachedBlock, Guide};
use crate::source::Window;
use crate::table::Table;

/// How a cursor reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadOptions {
    /// Whether blocks that were read go into the cache. A compaction reads once and should not.
    pub fill_cache: bool,
    /// How many bytes to read at once; 0 reads block by block. Doubling it halves the system calls of a
    /// long scan and wastes more on a short one.
    pub readahead: usize,
}

impl Default for ReadOptions {
    fn default() -> ReadOptions {
        ReadOptions { fill_cache: true, readahead: 0 }
    }
}

/// How many bytes at the end of the next block a walk backward asks for: twice the former at the first block that it leaves,
/// what it needs at once, then twice as many at each, up to the latter, what it needs next. A few rows do not get that far.
const ASKED_BYTES: Range<usize> = 256..2048;

/// A position in a table.
pub struct TableCursor {
    table: Arc<Table>,
    options: ReadOptions,
    window: Window,
    /// The data block in `entries`, or `usize::MAX` before the first one is loaded.
    number: usize,
    entries: BlockCursor,
    /// How much of the next block a walk backward asks for.
    asks_bytes: usize,
    /// The sequence number of an ingested file, here too since every step asks.
    global_seq: Option<SeqNo>,
    /// The key with that number.
    patched: Vec<u8>,
    /// The key from which the last step into another block came.
    left: Vec<u8>,
}

impl TableCursor {
    pub(crate) fn new(table: Arc<Table>, options: ReadOptions) -> TableCursor {
        TableCursor {
            global_seq: table.global_seq,
            table,
            options,
            window: Window::new(options.readahead),
            number: usize::MAX,
            entries: BlockCursor::new(Block::empty()),
            asks_bytes: ASKED_BYTES.start,
            patched: Vec::new(),
            left: Vec::new(),
        }
    }

    /// Turns to data block `number`, unless it is the current one.
    fn load(&mut self, number: usize) -> Result<()> {
        if self.number == number {
            return Ok(());
        }
        self.entries.invalidate();
        self.ask_ahead(number);
        let block = self.table.data_block(number, self.options.fill_cache, &mut self.window)?;
        block.ask_for_few();
        self.entries.reset(block);
        self.number = number;
        Ok(())
    }

    /// Asks for what a walk that comes to data block `number` will need of the next ones in the cache: each takes two steps to
    /// find, one for each block that the walk comes to.
    fn ask_ahead(&mut self, number: usize) {
        let is_back = number.wrapping_add(1) == self.number;
        let is_on = number == self.number.wrapping_add(1);
        self.asks_bytes = if is_back { ASKED_BYTES.end.min(2 * self.asks_bytes) } else { ASKED_BYTES.start };
        if is_back {
            self.look_at(number.wrapping_sub(2), memory::ask_for);
            self.look_at(number.wrapping_sub(1), |cached| cached.block.ask_for_end(self.asks_bytes));
        } else if is_on {
            self.look_at(number + 2, memory::ask_for);
            self.look_at(number + 1, |cached| cached.block.ask_for_front());
        }
    }

    /// Shows data block `number`, if there is one and the cache has it.
    fn look_at(&self, number: usize, look: impl FnOnce(&CachedBlock)) {
        let slots = self.table.slots.as_ref().filter(|slots| number < slots.len());
        if let Some(cached) = slots.map(|slots| slots.peek(number)).as_ref().and_then(|held| held.as_ref()) {
            look(cached);
        }
    }

    fn in_block(&mut self, step: impl FnOnce(&mut BlockCursor) -> Result<()>) -> Result<()> {
        step(&mut self.entries).map_err(|error| self.table.place_in_block(error, self.number))
    }

    /// Goes on to the first entry behind the current block, if there is one.
    fn next_block(&mut self) -> Result<()> {
        while !self.entries.valid() && self.number + 1 < self.table.index.len() {
            let next = self.number + 1;
            self.load(next)?;
            self.in_block(BlockCursor::seek_to_first)?;
        }
        Ok(())
    }

    /// Goes back to the last entry before the current block, if there is one.
    fn prev_block(&mut self) -> Result<()> {
        while !self.entries.valid() && self.number > 0 {
            let previous = self.number - 1;
            self.load(previous)?;
            self.in_block(BlockCursor::seek_to_last)?;
        }
        Ok(())
    }

    /// Keeps the current key, as the table has it, beyond a step into another block.
    fn note_key(&mut self) {
        self.left.clear();
        self.left.extend_from_slice(self.entries.key());
    }

    /// Checks that the key from which the last step came stands so to the current one, if there is one (W2).
    fn check_order(&mut self, expected: Ordering) -> Result<()> {
        if !self.entries.valid() || compare(&self.left, self.entries.key()) == expected {
            return Ok(());
        }
        self.entries.invalidate();
        let error = Error::corruption("keys of a block are not in order with those of the block beside it");
        Err(self.table.place_in_block(error, self.number))
    }

    /// Stands before everything: no entry is shown.
    fn leave(&mut self) -> Result<()> {
        self.entries.invalidate();
        Ok(())
    }

    /// Puts the key of the current entry together as the caller sees it.
    #[inline]
    fn show(&mut self) {
        if let Some(seq) = self.global_seq.filter(|_| self.entries.valid()) {
            Table::patched(seq, self.entries.key(), &mut self.patched);
        }
    }

    /// Seeks in data block `number`, which the cache has.
    fn seek_cached(&mut self, number: usize, cached: &CachedBlock, target: &[u8]) -> Result<()> {
        cached.ask_for_all();
        self.look_at(number + 1, memory::ask_for);
        let CachedBlock { block, guide } = cached;
        block.ask_for_few();
        if self.number != number {
            self.entries.reset(block.clone());
            self.number = number;
        }
        if self.options.fill_cache {
            self.table.guide(number, cached);
        }
        self.in_block(|entries| match guide {
            Guide::Directory(directory) => entries.seek_by(directory, target),
            Guide::NotYet | Guide::Restarts => entries.seek(target),
        })
    }

    fn seek_stored(&mut self, target: &[u8]) -> Result<()> {
        let number = self.table.index.seek(user_key(target), trailer(target));
        if number >= self.table.index.len() {
            return self.leave();
        }
        let held = self.table.held(number);
        match held.as_ref().and_then(|held| held.as_ref()) {
            Some(cached) => self.seek_cached(number, cached, target)?,
            None => {
                self.load(number)?;
                self.in_block(|entries| entries.seek(target))?;
            }
        }
        self.next_block()
    }
}

impl Cursor for TableCursor {
    fn seek_to_first(&mut self) -> Result<()> {
        if self.table.index.len() == 0 {
            return self.leave();
        }
        self.load(0)?;
        self.in_block(BlockCursor::seek_to_first)?;
        self.next_block()?;
        self.show();
        Ok(())
    }

    fn seek_to_last(&mut self) -> Result<()> {
        let Some(last) = self.table.index.len().checked_sub(1) else { return self.leave() };
        self.load(last)?;
        self.in_block(BlockCursor::seek_to_last)?;
        self.prev_block()?;
        self.show();
        Ok(())
    }

    fn seek(&mut self, target: &[u8]) -> Result<()> {
        if self.global_seq.is_none() {
            return self.seek_stored(target);
        }
        // In an ingested file, each user key has one entry, stored with another sequence number.
        let first = [user_key(target), &pack_trailer(SeqNo::MAX, u8::MAX).to_le_bytes()].concat();
        self.seek_stored(&first)?;
        self.show();
        match self.valid() && compare(&self.patched, target) == Ordering::Less {
            true => self.next(),
            false => Ok(()),
        }
    }

    fn seek_for_prev(&mut self, target: &[u8]) -> Result<()> {
        self.seek(target)?;
        match self.valid() {
            true if compare(self.key(), target) == Ordering::Equal => Ok(()),
            true => self.prev(),
            false => self.seek_to_last(),
        }
    }

    fn next(&mut self) -> Result<()> {
        self.in_block(BlockCursor::next)?;
        if !self.entries.valid() && self.number + 1 < self.table.index.len() {
            self.note_key();
            self.next_block()?;
            self.check_order(Ordering::Less)?;
        }
        self.show();
        Ok(())
    }

    fn prev(&mut self) -> Result<()> {
        self.in_block(BlockCursor::prev)?;
        if !self.entries.valid() && self.number > 0 {
            self.note_key();
            self.prev_block()?;
            self.check_order(Ordering::Greater)?;
        }
        self.show();
        Ok(())
    }

    #[inline]
    fn valid(&self) -> bool {
        self.entries.valid()
    }

    #[inline]
    fn key(&self) -> &[u8] {
        match self.global_seq {
            None => self.entries.key(),
            Some(_) => &self.patched,
        }
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.entries.value()
    }

    fn value_slice(&self) -> Slice {
        self.entries.value_slice()
    }

    fn take(&mut self, wanted: &Wanted<'_>, rows: &mut Rows) -> Result<()> {
        match self.global_seq {
            None => self.in_block(|entries| entries.take(wanted, rows)),
            // Keys are stored with another number than they are shown with.
            Some(_) => Ok(()),
        }
    }
}
