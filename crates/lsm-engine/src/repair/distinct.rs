//! Entries that are found twice, once.
//!
//! A write may be in a log and in a table, or in an input and the output of a compaction. Values do not mind, but
//! a merge operand that counts twice is wrong data.

use lsm_core::{Cursor, Result};

/// A cursor that passes over entries with the internal key of the one before.
pub(super) struct Distinct<C> {
    inner: C,
    last: Vec<u8>,
}

impl<C: Cursor> Distinct<C> {
    pub(super) fn new(inner: C) -> Distinct<C> {
        Distinct { inner, last: Vec::new() }
    }

    fn step(&mut self, step: fn(&mut C) -> Result<()>) -> Result<()> {
        self.last.clear();
        self.last.extend_from_slice(self.inner.key());
        while self.inner.valid() && self.inner.key() == self.last {
            step(&mut self.inner)?;
        }
        Ok(())
    }
}

impl<C: Cursor> Cursor for Distinct<C> {
    fn seek_to_first(&mut self) -> Result<()> {
        self.inner.seek_to_first()
    }

    fn seek_to_last(&mut self) -> Result<()> {
        self.inner.seek_to_last()
    }

    fn seek(&mut self, target: &[u8]) -> Result<()> {
        self.inner.seek(target)
    }

    fn seek_for_prev(&mut self, target: &[u8]) -> Result<()> {
        self.inner.seek_for_prev(target)
    }

    fn next(&mut self) -> Result<()> {
        self.step(C::next)
    }

    fn prev(&mut self) -> Result<()> {
        self.step(C::prev)
    }

    fn valid(&self) -> bool {
        self.inner.valid()
    }

    fn key(&self) -> &[u8] {
        self.inner.key()
    }

    fn value(&self) -> &[u8] {
        self.inner.value()
    }
}
