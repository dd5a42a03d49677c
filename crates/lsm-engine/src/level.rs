//! A sorted run of tables as one cursor, and its range tombstones.
//!
//! A run is a level below level 0, or a single table of level 0. Its tables are opened when the cursor first
//! comes to them, so that a short scan opens one table per level.
//!
//! # Invariants
//! R1. Tables of a run are sorted and do not overlap in internal keys; two neighbours may share a user key.
//! R2. `inner` is a cursor of `tables[position]`.

use crate::toll::{Fare, Round, SEEK, STEP, STEP_BACK};
use crate::view::Level;
use lsm_core::key::{self, InternalKey, SeqNo, successor};
use lsm_core::range_tombstone::{Coverage, RangeTombstones, TombstoneSource};
use lsm_core::rows::{Direction, Rows, Wanted};
use lsm_core::{Cursor, Result, Slice};
use lsm_sstable::TableCursor;

/// Walks the point entries of a run.
pub(crate) struct RunCursor {
    tables: Level,
    position: usize,
    inner: Option<TableCursor>,
    /// Of a table of level 0.
    fare: Option<Fare>,
}

impl RunCursor {
    /// A cursor that pays for its moves if there is a `round`: if the run is of level 0.
    pub(crate) fn new(tables: Level, round: Option<&Round>) -> RunCursor {
        RunCursor { tables, position: 0, inner: None, fare: round.map(Fare::new) }
    }

    /// Pays for a seek and for all moves since the last one.
    fn pay(&mut self) {
        if let Some(fare) = &mut self.fare {
            fare.owe(SEEK);
            fare.settle();
        }
    }

    #[inline]
    fn owe(&mut self, bytes: u64) {
        if let Some(fare) = &mut self.fare {
            fare.owe(bytes);
        }
    }

    /// Stands on table `position` (R2); `None` when there is no such table.
    fn enter(&mut self, position: usize) -> Result<Option<&mut TableCursor>> {
        let Some(handle) = self.tables.get(position) else {
            self.inner = None;
            return Ok(None);
        };
        if self.position != position || self.inner.is_none() {
            self.inner = None;
            self.inner = Some(handle.table()?.cursor());
            self.position = position;
        }
        Ok(self.inner.as_mut())
    }

    /// A table may hold nothing but range tombstones, so the next entry may be several tables on.
    fn skip_forward(&mut self) -> Result<()> {
        while self.inner.as_ref().is_some_and(|inner| !inner.valid()) {
            match self.enter(self.position + 1)? {
                Some(inner) => inner.seek_to_first()?,
                None => break,
            }
        }
        Ok(())
    }

    fn skip_backward(&mut self) -> Result<()> {
        while self.inner.as_ref().is_some_and(|inner| !inner.valid()) {
            match self.position.checked_sub(1) {
                Some(previous) => {
                    if let Some(inner) = self.enter(previous)? {
                        inner.seek_to_last()?;
                    }
                }
                None => self.inner = None,
            }
        }
        Ok(())
    }

    #[inline]
    fn current(&self) -> &TableCursor {
        self.inner.as_ref().expect("C2: the cursor is valid")
    }
}

impl Cursor for RunCursor {
    fn seek_to_first(&mut self) -> Result<()> {
        self.pay();
        if let Some(inner) = self.enter(0)? {
            inner.seek_to_first()?;
        }
        self.skip_forward()
    }

    fn seek_to_last(&mut self) -> Result<()> {
        self.pay();
        match self.tables.len().checked_sub(1) {
            Some(last) => {
                if let Some(inner) = self.enter(last)? {
                    inner.seek_to_last()?;
                }
            }
            None => self.inner = None,
        }
        self.skip_backward()
    }

    fn seek(&mut self, target: &[u8]) -> Result<()> {
        self.pay();
        let mut position = self.tables.first_from(key::user_key(target));
        // Neighbours may share a user key (R1).
        while self.tables.get(position).is_some_and(|table| key::compare(table.meta.largest.as_bytes(), target).is_lt())
        {
            position += 1;
        }
        if let Some(inner) = self.enter(position)? {
            inner.seek(target)?;
        }
        self.skip_forward()
    }

    fn seek_for_prev(&mut self, target: &[u8]) -> Result<()> {
        self.pay();
        let behind =
            self.tables.partition_point(|handle| key::compare(handle.meta.smallest.as_bytes(), target).is_le());
        match behind.checked_sub(1) {
            Some(position) => {
                if let Some(inner) = self.enter(position)? {
                    inner.seek_for_prev(target)?;
                }
            }
            None => self.inner = None,
        }
        self.skip_backward()
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        self.owe(STEP);
        self.inner.as_mut().expect("C2: the cursor is valid").next()?;
        self.skip_forward()
    }

    #[inline]
    fn prev(&mut self) -> Result<()> {
        self.owe(STEP_BACK);
        self.inner.as_mut().expect("C2: the cursor is valid").prev()?;
        self.skip_backward()
    }

    #[inline]
    fn valid(&self) -> bool {
        self.inner.as_ref().is_some_and(|inner| inner.valid())
    }

    #[inline]
    fn key(&self) -> &[u8] {
        self.current().key()
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.current().value()
    }

    #[inline]
    fn value_slice(&self) -> Slice {
        self.current().value_slice()
    }

    fn take(&mut self, wanted: &Wanted<'_>, rows: &mut Rows) -> Result<()> {
        self.owe(match wanted.direction() {
            Direction::Forward => STEP,
            Direction::Backward => STEP_BACK,
        });
        self.inner.as_mut().expect("C2: the cursor is valid").take(wanted, rows)
    }
}

/// The range tombstones of a run, each table's clipped to the table's own range.
pub(crate) struct RunTombstones {
    tables: Level,
}

impl RunTombstones {
    pub(crate) fn new(tables: Level) -> RunTombstones {
        RunTombstones { tables }
    }
}

impl TombstoneSource for RunTombstones {
    fn coverage(&mut self, user_key: &[u8], visible: SeqNo, coverage: &mut Coverage) -> Result<()> {
        let first = self.tables.first_from(user_key);
        if let Some(previous) = first.checked_sub(1) {
            coverage.narrow_from(&end_of(&self.tables[previous].meta.largest));
        }
        for handle in &self.tables[first..] {
            // R1: two neighbours may share a user key, so more than one table may hold it.
            if user_key < handle.first_key() {
                coverage.narrow_to(handle.first_key());
                break;
            }
            coverage.narrow_from(handle.first_key());
            coverage.narrow_to(&end_of(&handle.meta.largest));
            RangeTombstones::coverage(handle.table()?.tombstones(), user_key, visible, coverage);
        }
        Ok(())
    }
}

/// First user key behind a table with this largest key.
fn end_of(largest: &InternalKey) -> Vec<u8> {
    if largest.is_exclusive_end() { largest.user_key().to_vec() } else { successor(largest.user_key()) }
}
