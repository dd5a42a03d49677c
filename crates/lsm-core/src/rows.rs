//! Entries that a cursor gives away several at a time.
//!
//! A walk asks every layer for every entry: whose turn is it, is it visible, is it deleted. Most entries are *plain*: a value,
//! visible, under no range tombstone, the only version of its key, and before what any other source has next. What decides this
//! holds for a whole stretch of one block, so the block's cursor can look at its entries alone and give them away at once.
//!
//! # Invariants
//! B1. Rows are plain, in the order of the walk, each of another user key.
//! B2. The key of a row lies in `keys`, its value in `buffer`.
//! B3. `at` is a row's number, unless there is none.

use std::ops::Range;
use std::sync::Arc;

use crate::key::{self, Kind, SeqNo, common_prefix, leading_bytes, trailer};
use crate::{Cursor, Slice};

/// Keys of rows that are kept, in bytes: those of a hostile block may take the square of its size.
const KEY_BYTES_MAX: usize = 64 << 10;

/// Where a walk goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// To larger keys.
    Forward,
    /// To smaller keys.
    Backward,
}

/// Which entries a walk takes without looking at each.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    direction: Direction,
    count: usize,
    oldest: SeqNo,
    newest: SeqNo,
    end: Option<&'a [u8]>,
    /// The leading bytes of `end`, which decide for nearly all keys.
    leading: u64,
}

impl<'a> Wanted<'a> {
    /// Up to `count` entries.
    pub fn new(direction: Direction, count: usize) -> Wanted<'a> {
        let leading = match direction {
            Direction::Forward => u64::MAX,
            Direction::Backward => 0,
        };
        Wanted { direction, count, oldest: SeqNo::ZERO, newest: SeqNo::MAX, end: None, leading }
    }

    /// Only versions from `oldest` to `newest`.
    #[must_use]
    pub fn of_versions(self, oldest: SeqNo, newest: SeqNo) -> Wanted<'a> {
        Wanted { oldest, newest, ..self }
    }

    /// Only user keys that a walk in its direction meets before `end`.
    #[must_use]
    pub fn before(self, end: &'a [u8]) -> Wanted<'a> {
        match self.end.is_none_or(|present| self.meets_first(end, present)) {
            true => Wanted { end: Some(end), leading: leading_bytes(end), ..self },
            false => self,
        }
    }

    /// Where the walk goes.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Whether an entry with this internal key is wanted, if it is the only version of its key.
    #[inline]
    pub fn takes(&self, internal_key: &[u8]) -> bool {
        self.takes_version(trailer(internal_key)) && self.is_before_end(key::user_key(internal_key))
    }

    /// The same, of an entry whose user key is met before the end, by the trailer of its key.
    #[inline]
    pub fn takes_version(&self, trailer: u64) -> bool {
        let seq = trailer >> 8;
        let is_value = trailer as u8 == Kind::Value as u8;
        is_value && self.oldest.get() <= seq && seq <= self.newest.get()
    }

    /// Whether the walk meets this user key before the end.
    #[inline]
    pub fn is_before_end(&self, user_key: &[u8]) -> bool {
        let leading = leading_bytes(user_key);
        let is_clear = match self.direction {
            Direction::Forward => leading < self.leading,
            Direction::Backward => self.leading < leading,
        };
        is_clear || self.end.is_none_or(|end| self.meets_first(user_key, end))
    }

    /// How many bytes a user key that a walk forward meets before the end has in common with that: whatever shares more with it
    /// and is larger comes before the end, too. `None` for those behind.
    #[inline]
    pub fn matched(&self, user_key: &[u8]) -> Option<usize> {
        let Some(end) = self.end else { return Some(0) };
        let matched = common_prefix(user_key, end);
        match (user_key.get(matched), end.get(matched)) {
            (Some(own), Some(limit)) if own < limit => Some(matched),
            // What is larger may go on as the end does, or beyond it.
            (None, Some(_)) => Some(usize::MAX),
            _ => None,
        }
    }

    fn meets_first(&self, a: &[u8], b: &[u8]) -> bool {
        match self.direction {
            Direction::Forward => a < b,
            Direction::Backward => b < a,
        }
    }
}

/// Where key and value lie: a walk writes and reads one of these for each row, so they are small.
struct Row {
    key: Range<u32>,
    value: Range<u32>,
}

#[inline]
fn short(range: &Range<usize>) -> Range<u32> {
    range.start as u32..range.end as u32
}

#[inline]
fn long(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

/// Rows that were given away, and which of them is the current one.
#[derive(Default)]
pub struct Rows {
    keys: Vec<u8>,
    rows: Vec<Row>,
    buffer: Arc<Vec<u8>>,
    at: usize,
}

impl Rows {
    /// Takes rows from `cursor`, which stands on an entry, in the place of those that were here. Says whether there are any;
    /// the first is the current one.
    ///
    /// # Errors
    /// Those of the cursor; there are no rows then.
    pub fn fill(&mut self, cursor: &mut impl Cursor, wanted: &Wanted<'_>) -> crate::Result<bool> {
        self.clear();
        let taken = cursor.take(wanted, self);
        if taken.is_err() {
            self.clear();
        }
        taken.map(|()| !self.rows.is_empty())
    }

    fn clear(&mut self) {
        self.keys.clear();
        self.rows.clear();
        self.at = 0;
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether one more is wanted and has room.
    #[inline]
    pub fn has_room(&self, wanted: &Wanted<'_>) -> bool {
        self.rows.len() < wanted.count && self.keys.len() < KEY_BYTES_MAX
    }

    /// Takes in an entry behind the others: its internal key, and where in the buffer, which has less than 4 GiB, its value is.
    #[inline]
    pub fn push(&mut self, internal_key: &[u8], value: Range<usize>) {
        debug_assert!(u32::try_from(value.end).is_ok(), "B2: a block has less than 4 GiB");
        let start = self.keys.len();
        self.keys.extend_from_slice(key::user_key(internal_key));
        self.rows.push(Row { key: short(&(start..self.keys.len())), value: short(&value) });
    }

    /// Keeps the first `len` rows.
    pub fn truncate(&mut self, len: usize) {
        self.rows.truncate(len);
    }

    /// Turns round the order of the rows from number `from` on, which a walk backward has met forward.
    pub fn turn_round(&mut self, from: usize) {
        self.rows[from..].reverse();
    }

    /// The buffer with the values of all rows (B2).
    pub fn set_buffer(&mut self, buffer: &Arc<Vec<u8>>) {
        self.buffer = Arc::clone(buffer);
    }

    /// The user key of the last row.
    #[inline]
    pub fn last_key(&self) -> Option<&[u8]> {
        self.rows.last().map(|row| &self.keys[long(&row.key)])
    }

    /// Makes the next row the current one and says whether there is a next one.
    #[inline]
    pub fn advance(&mut self) -> bool {
        let goes_on = self.at + 1 < self.rows.len();
        self.at += usize::from(goes_on);
        goes_on
    }

    /// The user key of the current row.
    ///
    /// # Panics
    /// When there are no rows; likewise for values.
    #[inline]
    pub fn key(&self) -> &[u8] {
        &self.keys[long(&self.rows[self.at].key)]
    }

    /// The value of the current row.
    #[inline]
    pub fn value(&self) -> &[u8] {
        &self.buffer[long(&self.rows[self.at].value)]
    }

    /// The value of the current row, which may outlive the rows.
    pub fn value_slice(&self) -> Slice {
        Slice::from_shared(&self.buffer, long(&self.rows[self.at].value))
    }
}
