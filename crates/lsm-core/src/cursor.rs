//! How sorted entries are walked.
//!
//! Memtables, tables, levels and merges of them all look the same from above: a [`Cursor`] over
//! internal keys. A cursor lends what it stands on, so that a step costs no allocation.
//!
//! # Invariants
//! C1. A new cursor is not valid; a seek makes it valid if there is such an entry.
//! C2. `key`, `value`, `next` and `prev` are called only while the cursor is valid.
//! C3. `next` moves to the smallest larger internal key, `prev` to the largest smaller one; the cursor
//!     is not valid where there is none. Both work in any order.
//! C4. After an error the cursor is not valid until the next successful seek. An error is never
//!     mistaken for the end.
//! C5. What the cursor shows does not change by writes made after it was created, unless its maker
//!     says otherwise (a memtable's cursor may meet newer entries, which the visibility layer hides).
//! C6. `take` gives away entries from the current one on. The cursor then stands on the first one that it
//!     did not give away: there always is one.

use crate::rows::{Rows, Wanted};
use crate::{Result, Slice};

/// A position in sorted entries. Keys are encoded internal keys (see [`crate::key`]).
pub trait Cursor: Send {
    /// Moves to the first entry.
    ///
    /// # Errors
    /// Damage or I/O errors met on the way; likewise for every other move.
    fn seek_to_first(&mut self) -> Result<()>;

    /// Moves to the last entry.
    ///
    /// # Errors
    /// As for [`Cursor::seek_to_first`].
    fn seek_to_last(&mut self) -> Result<()>;

    /// Moves to the first entry at or after `target`, an internal key.
    ///
    /// # Errors
    /// As for [`Cursor::seek_to_first`].
    fn seek(&mut self, target: &[u8]) -> Result<()>;

    /// Moves to the last entry at or before `target`, an internal key.
    ///
    /// # Errors
    /// As for [`Cursor::seek_to_first`].
    fn seek_for_prev(&mut self, target: &[u8]) -> Result<()>;

    /// Moves one entry on (C2, C3).
    ///
    /// # Errors
    /// As for [`Cursor::seek_to_first`].
    fn next(&mut self) -> Result<()>;

    /// Moves one entry back (C2, C3).
    ///
    /// # Errors
    /// As for [`Cursor::seek_to_first`].
    fn prev(&mut self) -> Result<()>;

    /// Whether the cursor stands on an entry.
    fn valid(&self) -> bool;

    /// The internal key it stands on (C2).
    fn key(&self) -> &[u8];

    /// The value it stands on (C2).
    fn value(&self) -> &[u8];

    /// The value as a [`Slice`] that may outlive the cursor; shares a buffer where that is cheaper.
    fn value_slice(&self) -> Slice {
        Slice::copy_from(self.value())
    }

    /// Gives away entries that are wanted, if that is cheaper than to be asked for each (C2, C6).
    ///
    /// # Errors
    /// As for [`Cursor::seek_to_first`].
    fn take(&mut self, _wanted: &Wanted<'_>, _rows: &mut Rows) -> Result<()> {
        Ok(())
    }
}

impl<C: Cursor + ?Sized> Cursor for Box<C> {
    fn seek_to_first(&mut self) -> Result<()> {
        (**self).seek_to_first()
    }

    fn seek_to_last(&mut self) -> Result<()> {
        (**self).seek_to_last()
    }

    fn seek(&mut self, target: &[u8]) -> Result<()> {
        (**self).seek(target)
    }

    fn seek_for_prev(&mut self, target: &[u8]) -> Result<()> {
        (**self).seek_for_prev(target)
    }

    fn next(&mut self) -> Result<()> {
        (**self).next()
    }

    fn prev(&mut self) -> Result<()> {
        (**self).prev()
    }

    fn valid(&self) -> bool {
        (**self).valid()
    }

    fn key(&self) -> &[u8] {
        (**self).key()
    }

    fn value(&self) -> &[u8] {
        (**self).value()
    }

    fn value_slice(&self) -> Slice {
        (**self).value_slice()
    }

    fn take(&mut self, wanted: &Wanted<'_>, rows: &mut Rows) -> Result<()> {
        (**self).take(wanted, rows)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A cursor over a sorted list: the naive thing that others are compared with.

    use super::Cursor;
    use crate::key::{self, InternalKey};
    use crate::rows::{Direction, Rows, Wanted};
    use crate::{Kind, Result, SeqNo};
    use std::sync::Arc;

    #[derive(Default)]
    pub(crate) struct VecCursor {
        entries: Vec<(Vec<u8>, Vec<u8>)>,
        position: Option<usize>,
    }

    impl VecCursor {
        /// Entries of (key head, key tail, sequence number, value), in any order.
        pub(crate) fn of(parts: &[(Vec<u8>, u8, u64, u8)]) -> VecCursor {
            let entry = |(head, tail, seq, value): &(Vec<u8>, u8, u64, u8)| {
                let user_key = [head.as_slice(), &[*tail]].concat();
                (InternalKey::new(&user_key, SeqNo::new(*seq), Kind::Value).as_bytes().to_vec(), vec![*value])
            };
            VecCursor::new(parts.iter().map(entry).collect())
        }

        pub(crate) fn new(mut entries: Vec<(Vec<u8>, Vec<u8>)>) -> VecCursor {
            entries.sort_by(|a, b| key::compare(&a.0, &b.0));
            VecCursor { entries, position: None }
        }

        fn stand(&mut self, position: Option<usize>) -> Result<()> {
            self.position = position.filter(|&position| position < self.entries.len());
            Ok(())
        }
    }

    impl Cursor for VecCursor {
        fn seek_to_first(&mut self) -> Result<()> {
            self.stand(Some(0))
        }

        fn seek_to_last(&mut self) -> Result<()> {
            self.stand(self.entries.len().checked_sub(1))
        }

        fn seek(&mut self, target: &[u8]) -> Result<()> {
            self.stand(Some(self.entries.partition_point(|entry| key::compare(&entry.0, target).is_lt())))
        }

        fn seek_for_prev(&mut self, target: &[u8]) -> Result<()> {
            self.stand(self.entries.partition_point(|entry| key::compare(&entry.0, target).is_le()).checked_sub(1))
        }

        fn next(&mut self) -> Result<()> {
            self.stand(Some(self.position.expect("C2") + 1))
        }

        fn prev(&mut self) -> Result<()> {
            self.stand(self.position.expect("C2").checked_sub(1))
        }

        fn valid(&self) -> bool {
            self.position.is_some()
        }

        fn key(&self) -> &[u8] {
            &self.entries[self.position.expect("C2")].0
        }

        fn value(&self) -> &[u8] {
            &self.entries[self.position.expect("C2")].1
        }

        fn take(&mut self, wanted: &Wanted<'_>, rows: &mut Rows) -> Result<()> {
            let mut values = Vec::new();
            while let Some(position) = self.position {
                let forward = wanted.direction() == Direction::Forward;
                let next = if forward { position + 1 } else { position.wrapping_sub(1) };
                let Some((behind, _)) = self.entries.get(next) else { break };
                let (key, value) = &self.entries[position];
                let other = if forward { rows.last_key() } else { Some(key::user_key(behind)) };
                if other == Some(key::user_key(key)) || !wanted.takes(key) || !rows.has_room(wanted) {
                    break;
                }
                rows.push(key, values.len()..values.len() + value.len());
                values.extend_from_slice(value);
                self.position = Some(next);
            }
            rows.set_buffer(&Arc::new(values));
            Ok(())
        }
    }
}
