//! Many cursors seen as one, in order.
//!
//! A binary heap of children with eight bytes of each child's user key beside it, so that most comparisons touch no
//! child: those behind what the keys at hand have in common. That is looked at again when they fail to decide. A step
//! that keeps the same child on top costs one or two comparisons, which is the usual case: neighbours in key order tend
//! to lie in the same table.
//!
//! # Invariants
//! M1. In forward direction every child stands at its first entry behind the current one, except
//!     the top, which stands on it; in backward direction likewise at its last entry before it.
//! M2. The heap holds exactly the children that are valid.
//! M3. Prefixes never contradict the order of keys, whatever `common` is.
//! M4. Children do not share internal keys, since a sequence number is given once. A damaged store may
//!     break this; such an entry is then met once per child, and nothing else happens.

use crate::key::{common_prefix, compare, leading_bytes, number_behind, user_key};
use crate::rows::{Direction, Rows, Wanted};
use crate::{Cursor, Result, Slice};
use std::cmp::Ordering;

/// So many bytes before the first that differ are compared, too: keys soon differ in one of those.
const KEPT_BYTES: usize = 4;

/// After so many steps that the prefixes did not decide, it is looked whether others would.
const UNDECIDED_MAX: u32 = 8;

/// The entries of all children in the order of internal keys.
///
/// After an error of a child the cursor is not valid until the next seek (C4).
pub struct MergeCursor<C: Cursor = Box<dyn Cursor>> {
    children: Vec<C>,
    heap: Vec<Slot>,
    /// The child that the heap has on top, if there is one: every call asks for it.
    top: usize,
    direction: Direction,
    /// What the keys at hand are expected to start with (M3).
    common: Vec<u8>,
    /// Steps that prefixes have not decided since somebody looked.
    undecided: u32,
    /// After how many of them it is looked again.
    patience: u32,
}

#[derive(Clone, Copy)]
struct Slot {
    prefix: u64,
    child: usize,
}

impl<C: Cursor> MergeCursor<C> {
    /// Merges `children`, which may be few, many or none.
    pub fn new(children: Vec<C>) -> MergeCursor<C> {
        let heap = Vec::with_capacity(children.len());
        let (common, undecided, patience) = (Vec::new(), 0, UNDECIDED_MAX);
        MergeCursor { children, heap, top: 0, direction: Direction::Forward, common, undecided, patience }
    }

    /// Moves every child with `seek`, then takes the first in `direction`.
    fn seek_all(&mut self, direction: Direction, seek: impl Fn(&mut C) -> Result<()>) -> Result<()> {
        self.heap.clear();
        self.direction = direction;
        self.children.iter_mut().try_for_each(seek)?;
        self.build();
        Ok(())
    }

    fn build(&mut self) {
        self.heap.clear();
        for (child, cursor) in self.children.iter().enumerate() {
            if cursor.valid() {
                self.heap.push(Slot { prefix: 0, child });
            }
        }
        self.look_at_keys();
        (self.undecided, self.patience) = (0, UNDECIDED_MAX);
        for position in (0..self.heap.len() / 2).rev() {
            self.sift_down(position);
        }
        self.top = self.heap.first().map_or(0, |slot| slot.child);
    }

    fn step(&mut self, direction: Direction) -> Result<()> {
        if self.direction != direction {
            self.turn(direction)?;
        }
        let cursor = &mut self.children[self.top];
        let moved = match direction {
            Direction::Forward => cursor.next(),
            Direction::Backward => cursor.prev(),
        };
        if let Err(error) = moved {
            self.heap.clear();
            return Err(error);
        }
        self.settle_top();
        Ok(())
    }

    /// Finds out what the keys at hand have in common, and takes their prefixes behind it. Says whether it is something new.
    fn look_at_keys(&mut self) -> bool {
        let key = |slot: &Slot| user_key(self.children[slot.child].key());
        let [first, others @ ..] = self.heap.as_slice() else { return false };
        let first = key(first);
        // One key alone is compared with none.
        let shared = others.iter().map(|slot| common_prefix(first, key(slot))).min().unwrap_or(0);
        let common = &first[..shared.saturating_sub(KEPT_BYTES)];
        let is_new = common != self.common;
        self.common.clear();
        self.common.extend_from_slice(common);
        for slot in &mut self.heap {
            slot.prefix = prefix(&self.common, &self.children[slot.child]);
        }
        is_new
    }

    /// The same, since prefixes did not decide. Where others would not either, as with versions of one key, it is done less
    /// and less often.
    #[cold]
    fn look_again(&mut self) {
        let patience = self.patience.saturating_mul(2);
        self.patience = if self.look_at_keys() { UNDECIDED_MAX } else { patience };
        self.undecided = 0;
    }

    /// Restores the heap after the top child has moved (M2).
    #[inline]
    fn settle_top(&mut self) {
        let cursor = &self.children[self.top];
        if !cursor.valid() {
            self.heap.swap_remove(0);
        } else if self.heap.len() > 1 {
            self.heap[0].prefix = prefix(&self.common, cursor);
            if self.heap[0].prefix == self.heap[1].prefix {
                self.undecided += 1;
                if self.undecided > self.patience {
                    self.look_again();
                }
            }
        } else {
            return;
        }
        self.sift_down(0);
        self.top = self.heap.first().map_or(0, |slot| slot.child);
    }

    /// The child that comes behind the top, unless the top is the only one.
    fn second(&self) -> Option<usize> {
        let position = match self.heap.len() {
            0 | 1 => return None,
            2 => 1,
            _ if self.before(2, 1) => 2,
            _ => 1,
        };
        Some(self.heap[position].child)
    }

    /// Brings all children but the top to the other side of the current key (M1).
    fn turn(&mut self, direction: Direction) -> Result<()> {
        let top = self.top;
        let current = self.children[top].key().to_vec();
        self.heap.clear();
        self.direction = direction;
        for (index, cursor) in self.children.iter_mut().enumerate() {
            match direction {
                _ if index == top => {}
                Direction::Forward => cursor.seek(&current)?,
                Direction::Backward => cursor.seek_for_prev(&current)?,
            }
        }
        self.build();
        Ok(())
    }

    fn sift_down(&mut self, mut position: usize) {
        loop {
            let left = 2 * position + 1;
            if left >= self.heap.len() {
                return;
            }
            let right = left + 1;
            let child = if right < self.heap.len() && self.before(right, left) { right } else { left };
            if !self.before(child, position) {
                return;
            }
            self.heap.swap(child, position);
            position = child;
        }
    }

    /// Whether the heap's slot `a` comes before slot `b` in the present direction.
    fn before(&self, a: usize, b: usize) -> bool {
        let (a, b) = (self.heap[a], self.heap[b]);
        let order =
            a.prefix.cmp(&b.prefix).then_with(|| compare(self.children[a.child].key(), self.children[b.child].key()));
        match self.direction {
            Direction::Forward => order == Ordering::Less,
            Direction::Backward => order == Ordering::Greater,
        }
    }

    #[inline]
    fn top(&self) -> &C {
        assert!(!self.heap.is_empty(), "C2: the cursor is valid");
        &self.children[self.top]
    }
}

impl<C: Cursor> Cursor for MergeCursor<C> {
    fn seek_to_first(&mut self) -> Result<()> {
        self.seek_all(Direction::Forward, |child| child.seek_to_first())
    }

    fn seek_to_last(&mut self) -> Result<()> {
        self.seek_all(Direction::Backward, |child| child.seek_to_last())
    }

    fn seek(&mut self, target: &[u8]) -> Result<()> {
        self.seek_all(Direction::Forward, |child| child.seek(target))
    }

    fn seek_for_prev(&mut self, target: &[u8]) -> Result<()> {
        self.seek_all(Direction::Backward, |child| child.seek_for_prev(target))
    }

    fn next(&mut self) -> Result<()> {
        self.step(Direction::Forward)
    }

    fn prev(&mut self) -> Result<()> {
        self.step(Direction::Backward)
    }

    #[inline]
    fn valid(&self) -> bool {
        !self.heap.is_empty()
    }

    #[inline]
    fn key(&self) -> &[u8] {
        self.top().key()
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.top().value()
    }

    fn value_slice(&self) -> Slice {
        self.top().value_slice()
    }

    /// What the top child has before the next key of any other.
    #[expect(clippy::expect_used, reason = "M2: slots are of different children")]
    fn take(&mut self, wanted: &Wanted<'_>, rows: &mut Rows) -> Result<()> {
        if self.direction != wanted.direction() {
            return Ok(());
        }
        let taken = match self.second() {
            None => self.children[self.top].take(wanted, rows),
            Some(second) => {
                let pair = self.children.get_disjoint_mut([self.top, second]).expect("M2: two children");
                let [top, second] = pair;
                top.take(&wanted.before(user_key(second.key())), rows)
            }
        };
        if let Err(error) = taken {
            self.heap.clear();
            return Err(error);
        }
        self.settle_top();
        Ok(())
    }
}

/// The leading bytes of a child's user key behind `common` (M3).
#[inline]
fn prefix(common: &[u8], child: &impl Cursor) -> u64 {
    number_behind(common, user_key(child.key()), leading_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::testing::VecCursor;
    use quickcheck::quickcheck;

    quickcheck! {
        fn walks_like_one_sorted_list(parts: Vec<Vec<(u8, u8)>>, moves: Vec<(u8, u8)>) -> bool {
            // M4: give every entry a sequence number of its own.
            let mut seq = 0;
            let parts: Vec<Vec<_>> = parts.iter().map(|part| part.iter().map(|&(key, value)| {
                seq += 1;
                (vec![b'p'; usize::from(key % 3) * 4], key % 16, seq, value)
            }).collect()).collect();
            let children: Vec<_> = parts.iter().map(|part| VecCursor::of(part)).collect();
            let mut oracle = VecCursor::of(&parts.concat());
            let mut merged = MergeCursor::new(children);
            for (which, key) in moves {
                let target = crate::key::InternalKey::for_seek(&[key % 16], crate::SeqNo::MAX);
                for cursor in [&mut merged as &mut dyn Cursor, &mut oracle] {
                    match which % 8 {
                        0 => cursor.seek_to_first().unwrap(),
                        1 => cursor.seek_to_last().unwrap(),
                        2 => cursor.seek(target.as_bytes()).unwrap(),
                        3 => cursor.seek_for_prev(target.as_bytes()).unwrap(),
                        4 | 5 if cursor.valid() => cursor.next().unwrap(),
                        _ if cursor.valid() => cursor.prev().unwrap(),
                        _ => {}
                    }
                }
                let direction = if which % 16 < 8 { Direction::Forward } else { Direction::Backward };
                let wanted = Wanted::new(direction, usize::from(key));
                let mut rows = Rows::default();
                if merged.valid() && rows.fill(&mut merged, &wanted).unwrap() {
                    for index in 0..rows.len() {
                        if (rows.key(), rows.value()) != (user_key(oracle.key()), oracle.value()) {
                            return false;
                        }
                        rows.advance();
                        if direction == Direction::Forward { oracle.next().unwrap() } else { oracle.prev().unwrap() }
                        if !oracle.valid() || index + 1 == rows.len() && merged.key() != oracle.key() {
                            return false;
                        }
                    }
                }
                if merged.valid() != oracle.valid() || merged.valid() && (merged.key(), merged.value()) != (oracle.key(), oracle.value()) {
                    return false;
                }
            }
            true
        }
    }
}
