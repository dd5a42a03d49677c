//! The tables of a sorted level as one cursor.

use lsm_core::key::InternalKey;
use lsm_core::{Cursor, Result, Slice};

/// Cursors one after the other: all keys of one are before all keys of the next.
pub(crate) struct ConcatCursor<C> {
    /// Each with the largest internal key it may hold.
    parts: Vec<(InternalKey, C)>,
    /// The part that the cursor stands in; outside of the list if it is not valid.
    current: usize,
}

impl<C: Cursor> ConcatCursor<C> {
    pub(crate) fn new(parts: Vec<(InternalKey, C)>) -> ConcatCursor<C> {
        let current = parts.len();
        ConcatCursor { parts, current }
    }

    fn stop(&mut self) {
        self.current = self.parts.len();
    }

    /// Goes to `part` with `seek`, and on to later parts as long as there is nothing.
    fn enter(&mut self, part: usize, seek: impl FnOnce(&mut C) -> Result<()>) -> Result<()> {
        self.stop();
        let Some((_, cursor)) = self.parts.get_mut(part) else { return Ok(()) };
        seek(cursor)?;
        self.current = part;
        self.skip_ended()
    }

    fn skip_ended(&mut self) -> Result<()> {
        while let Some((_, cursor)) = self.parts.get(self.current) {
            if cursor.valid() {
                return Ok(());
            }
            let next = self.current + 1;
            self.stop();
            if let Some((_, cursor)) = self.parts.get_mut(next) {
                cursor.seek_to_first()?;
                self.current = next;
            }
        }
        Ok(())
    }

    /// Goes to `part` with `seek`, and on to earlier parts as long as there is nothing.
    fn enter_back(&mut self, part: usize, seek: impl FnOnce(&mut C) -> Result<()>) -> Result<()> {
        self.stop();
        let Some((_, cursor)) = self.parts.get_mut(part) else { return Ok(()) };
        seek(cursor)?;
        self.skip_ended_back(part)
    }

    fn skip_ended_back(&mut self, mut part: usize) -> Result<()> {
        self.stop();
        while !self.parts[part].1.valid() {
            let Some(previous) = part.checked_sub(1) else { return Ok(()) };
            part = previous;
            self.parts[part].1.seek_to_last()?;
        }
        self.current = part;
        Ok(())
    }

    fn cursor(&self) -> &C {
        &self.parts[self.current].1
    }
}

impl<C: Cursor> Cursor for ConcatCursor<C> {
    fn seek_to_first(&mut self) -> Result<()> {
        self.enter(0, |cursor| cursor.seek_to_first())
    }

    fn seek_to_last(&mut self) -> Result<()> {
        let Some(last) = self.parts.len().checked_sub(1) else { return Ok(()) };
        self.enter_back(last, |cursor| cursor.seek_to_last())
    }

    fn seek(&mut self, target: &[u8]) -> Result<()> {
        let ends_before = |(largest, _): &(InternalKey, C)| lsm_core::key::compare(largest.as_bytes(), target).is_lt();
        let part = self.parts.partition_point(ends_before);
        self.enter(part, |cursor| cursor.seek(target))
    }

    fn seek_for_prev(&mut self, target: &[u8]) -> Result<()> {
        let Some(last) = self.parts.len().checked_sub(1) else { return Ok(()) };
        let ends_before = |(largest, _): &(InternalKey, C)| lsm_core::key::compare(largest.as_bytes(), target).is_lt();
        let part = self.parts.partition_point(ends_before).min(last);
        self.enter_back(part, |cursor| cursor.seek_for_prev(target))
    }

    fn next(&mut self) -> Result<()> {
        let moved = self.parts[self.current].1.next();
        if moved.is_err() {
            self.stop();
            return moved;
        }
        self.skip_ended()
    }

    fn prev(&mut self) -> Result<()> {
        let part = self.current;
        let moved = self.parts[part].1.prev();
        if moved.is_err() {
            self.stop();
            return moved;
        }
        self.skip_ended_back(part)
    }

    fn valid(&self) -> bool {
        self.current < self.parts.len()
    }

    fn key(&self) -> &[u8] {
        self.cursor().key()
    }

    fn value(&self) -> &[u8] {
        self.cursor().value()
    }

    fn value_slice(&self) -> Slice {
        self.cursor().value_slice()
    }
}
