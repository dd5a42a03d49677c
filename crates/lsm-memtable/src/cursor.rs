//! A memtable's point entries as a [`Cursor`].
//!
//! The list has no links back: `prev` searches for the leaf before once it has come to the first entry of a leaf.
//!
//! # Invariants
//! M1. A cursor may meet entries inserted after it was made, in their right places; those it has passed
//!     stay passed. It never misses an entry whose insertion was done before the seek.
//! M2. It never fails and never waits.

use std::sync::Arc;

use lsm_core::key;
use lsm_core::{Cursor, Result};

use crate::list::{List, Side};
use crate::place::{Hit, Place};

/// Walks a memtable. Keeps its memory alive, and so may outlive every other handle to it.
pub struct MemtableCursor(Place);

impl MemtableCursor {
    pub(crate) fn new(list: &Arc<List>) -> MemtableCursor {
        MemtableCursor(Place::nowhere(list))
    }

    #[inline]
    fn hit(&self) -> Hit<'_> {
        self.0.hit().expect("C2: the cursor is valid")
    }
}

impl Cursor for MemtableCursor {
    fn seek_to_first(&mut self) -> Result<()> {
        self.0.move_to(List::first);
        Ok(())
    }

    fn seek_to_last(&mut self) -> Result<()> {
        self.0.move_to(List::last);
        Ok(())
    }

    fn seek(&mut self, target: &[u8]) -> Result<()> {
        self.0.move_to(|list| list.behind(&list.point(Side::Before, key::user_key(target), key::trailer(target))));
        Ok(())
    }

    fn seek_for_prev(&mut self, target: &[u8]) -> Result<()> {
        self.0.move_to(|list| list.before(&list.point(Side::Behind, key::user_key(target), key::trailer(target))));
        Ok(())
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        debug_assert!(self.valid(), "C2: next is called on a valid cursor");
        self.0.next();
        Ok(())
    }

    fn prev(&mut self) -> Result<()> {
        debug_assert!(self.valid(), "C2: prev is called on a valid cursor");
        self.0.prev();
        Ok(())
    }

    #[inline]
    fn valid(&self) -> bool {
        self.0.hit().is_some()
    }

    #[inline]
    fn key(&self) -> &[u8] {
        self.hit().internal_key()
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.hit().value()
    }
}
