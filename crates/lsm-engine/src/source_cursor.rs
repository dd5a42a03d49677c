//! The cursors that a walk merges, as one type: each step asks its cursor several times, and what is known when the store
//! is built needs no table of functions.

use crate::level::RunCursor;
use lsm_core::rows::{Rows, Wanted};
use lsm_core::{Cursor, Result, Slice};
use lsm_memtable::MemtableCursor;

/// A cursor over one source of a view.
pub(crate) enum SourceCursor {
    Memtable(MemtableCursor),
    Run(Box<RunCursor>),
}

macro_rules! either {
    ($self:ident, $cursor:ident => $call:expr) => {
        match $self {
            SourceCursor::Memtable($cursor) => $call,
            SourceCursor::Run($cursor) => $call,
        }
    };
}

impl Cursor for SourceCursor {
    fn seek_to_first(&mut self) -> Result<()> {
        either!(self, cursor => cursor.seek_to_first())
    }

    fn seek_to_last(&mut self) -> Result<()> {
        either!(self, cursor => cursor.seek_to_last())
    }

    fn seek(&mut self, target: &[u8]) -> Result<()> {
        either!(self, cursor => cursor.seek(target))
    }

    fn seek_for_prev(&mut self, target: &[u8]) -> Result<()> {
        either!(self, cursor => cursor.seek_for_prev(target))
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        either!(self, cursor => cursor.next())
    }

    #[inline]
    fn prev(&mut self) -> Result<()> {
        either!(self, cursor => cursor.prev())
    }

    #[inline]
    fn valid(&self) -> bool {
        either!(self, cursor => cursor.valid())
    }

    #[inline]
    fn key(&self) -> &[u8] {
        either!(self, cursor => cursor.key())
    }

    #[inline]
    fn value(&self) -> &[u8] {
        either!(self, cursor => cursor.value())
    }

    #[inline]
    fn value_slice(&self) -> Slice {
        either!(self, cursor => cursor.value_slice())
    }

    fn take(&mut self, wanted: &Wanted<'_>, rows: &mut Rows) -> Result<()> {
        either!(self, cursor => cursor.take(wanted, rows))
    }
}
