//! What a reader at one sequence number sees of internal entries.
//!
//! Below lie all versions of all keys, newest first per key; above, a user walks live keys with one
//! value each. This cursor hides versions newer than the reader, older versions of a key, deleted
//! keys, keys under range tombstones, and joins merge operands into values. The moves are here, the ways to the next live
//! key in `forward.rs` and `backward.rs`.
//!
//! # Invariants
//! V1. Going forward, `inner` stands on the current entry while `value` is `Value::Lent`. Else it stands behind all `rows`,
//!     or where the joining of operands ended: on the first entry that is none, their base if they have one, or at the end.
//! V2. Going backward, `inner` stands before all entries of the current key, or of all `rows`.
//! V3. `coverage` is asked again only when a key lies outside of what the last answer holds for.
//! V4. `run` holds dead keys without a live one between them, all passed by the move that is under way.

mod backward;
mod forward;

use crate::dead::{DeadRun, DeadStretches};
use crate::key::{self, InternalKey, ParsedKey};
use crate::range_tombstone::{Coverage, TombstoneSource};
use crate::rows::{Direction, Rows, Wanted};
use crate::{Cursor, Error, Kind, MergeOperator, Result, SeqNo, Slice};
use std::sync::Arc;

/// After this many entries of one key were stepped over, seek instead: a hot key may have thousands.
const STEPS_BEFORE_SEEK: usize = 8;

/// A walk takes rows at once from its second step on, so many at first and then ever more: one that ends soon should not pay
/// for what it does not look at.
const ROWS_TAKEN_FIRST: usize = 4;
const ROWS_TAKEN_MAX: usize = 512;

/// Where runs alternate, rows come one at a time and cost more than steps. So many steps are taken then before it is tried
/// again, more each time that it was in vain.
const PAUSE_FIRST: usize = 2;
const PAUSE_MAX: usize = 32;

/// What a reader sees and within which keys.
#[derive(Clone, Default)]
pub struct Visibility {
    /// Writes after this one are hidden.
    pub seq: SeqNo,
    /// First user key to show; `None` for all from the beginning.
    pub from: Option<Vec<u8>>,
    /// First user key not to show; `None` for all to the end.
    pub to: Option<Vec<u8>>,
    /// Joins merge operands; needed only if there are any.
    pub merge_operator: Option<Arc<dyn MergeOperator>>,
    /// What earlier walks found dead, if somebody keeps that.
    pub dead: Option<Arc<dyn DeadStretches>>,
}

/// Walks the live keys of `inner`, both ways.
pub struct VisibleCursor<C: Cursor, T: TombstoneSource> {
    inner: C,
    tombstones: T,
    visibility: Visibility,
    coverage: Option<Coverage>,
    direction: Direction,
    /// The current user key, or the last one that was stepped over. A copy costs less than to ask `inner` again and again.
    key: Vec<u8>,
    value: Value,
    copied: Vec<u8>,
    /// Merge operands of the current key, of a backward walk, oldest first.
    operands: Vec<Slice>,
    run: DeadRun,
    rows: Rows,
    /// How many rows to take next, if that is not 0.
    ahead: usize,
    /// Steps to go one by one before rows are taken again.
    single_steps: usize,
    /// How many it were the last time, if rows came one at a time then.
    pause: usize,
}

enum Value {
    /// The cursor is not valid.
    None,
    /// `inner` stands on it.
    Lent,
    /// In `copied`.
    Copied,
    /// The current one of `rows`.
    Row,
    /// A merge result, or a value that `inner` has left.
    Owned(Slice),
}

impl<C: Cursor, T: TombstoneSource> VisibleCursor<C, T> {
    /// A cursor that is not valid until the first seek.
    pub fn new(inner: C, tombstones: T, mut visibility: Visibility) -> VisibleCursor<C, T> {
        let run = DeadRun::new(visibility.dead.take(), visibility.seq);
        VisibleCursor {
            inner,
            tombstones,
            visibility,
            coverage: None,
            direction: Direction::Forward,
            key: Vec::new(),
            value: Value::None,
            copied: Vec::new(),
            operands: Vec::new(),
            run,
            rows: Rows::default(),
            ahead: 0,
            single_steps: 0,
            pause: 0,
        }
    }

    /// Moves to the first live key.
    ///
    /// # Errors
    /// Damage or I/O errors met on the way, or what the merge operator refuses; likewise for every
    /// other move. The cursor is not valid then.
    pub fn seek_to_first(&mut self) -> Result<()> {
        match self.visibility.from.clone() {
            Some(from) => self.seek(&from),
            None => {
                self.leave();
                self.inner.seek_to_first()?;
                self.settle_forward(false)
            }
        }
    }

    /// Moves to the last live key.
    ///
    /// # Errors
    /// As for [`VisibleCursor::seek_to_first`].
    pub fn seek_to_last(&mut self) -> Result<()> {
        self.leave();
        match &self.visibility.to {
            Some(to) => self.inner.seek_for_prev(InternalKey::for_seek(to, SeqNo::MAX).as_bytes())?,
            None => self.inner.seek_to_last()?,
        }
        self.settle_backward()
    }

    /// Moves to the first live key at or after `user_key`.
    ///
    /// # Errors
    /// As for [`VisibleCursor::seek_to_first`].
    pub fn seek(&mut self, user_key: &[u8]) -> Result<()> {
        self.leave();
        let target = match &self.visibility.from {
            Some(from) if user_key < from.as_slice() => from,
            _ => user_key,
        };
        let target = InternalKey::for_seek(target, self.visibility.seq);
        self.inner.seek(target.as_bytes())?;
        self.settle_forward(false)
    }

    /// Moves to the last live key at or before `user_key`.
    ///
    /// # Errors
    /// As for [`VisibleCursor::seek_to_first`].
    pub fn seek_for_prev(&mut self, user_key: &[u8]) -> Result<()> {
        if self.visibility.to.as_deref().is_some_and(|to| to <= user_key) {
            return self.seek_to_last();
        }
        self.leave();
        self.inner.seek_for_prev(InternalKey::behind(user_key).as_bytes())?;
        self.settle_backward()
    }

    /// Makes the cursor not valid, for a seek.
    fn leave(&mut self) {
        self.value = Value::None;
        self.ahead = 0;
    }

    /// Moves to the next live key.
    ///
    /// # Errors
    /// As for [`VisibleCursor::seek_to_first`].
    ///
    /// # Panics
    /// When the cursor is not valid.
    #[expect(clippy::should_implement_trait, reason = "a lending cursor has no Item that outlives the step")]
    #[inline]
    pub fn next(&mut self) -> Result<()> {
        match self.advances_to_row(Direction::Forward) {
            true => Ok(()),
            false => self.next_behind_rows(),
        }
    }

    /// Whether the next key that way is that of a row, on which the cursor then stands: most steps, and all that is worth
    /// its place in a caller's loop.
    #[inline]
    fn advances_to_row(&mut self, direction: Direction) -> bool {
        self.direction == direction && matches!(self.value, Value::Row) && self.rows.advance()
    }

    fn next_behind_rows(&mut self) -> Result<()> {
        assert!(self.valid(), "C2: the cursor is valid");
        if self.direction == Direction::Backward {
            return self.turn_forward();
        }
        match self.value {
            Value::Row => self.keep_key_of_row(),
            Value::Lent => {
                self.value = Value::None;
                self.inner.next()?;
            }
            Value::None | Value::Copied | Value::Owned(_) => {}
        }
        self.take_more();
        self.settle_forward(true)
    }

    /// Moves to the next live key, having come from behind.
    #[cold]
    fn turn_forward(&mut self) -> Result<()> {
        if matches!(self.value, Value::Row) {
            self.keep_key_of_row();
            self.value = Value::None;
            self.inner.seek(InternalKey::behind(&self.key).as_bytes())?;
            return self.settle_forward(true);
        }
        self.value = Value::None;
        // V2: one step on stands the newest entry of the current key.
        if self.inner.valid() {
            self.inner.next()?
        } else {
            self.inner.seek_to_first()?
        }
        self.settle_forward(true)
    }

    /// Moves to the previous live key.
    ///
    /// # Errors
    /// As for [`VisibleCursor::seek_to_first`].
    ///
    /// # Panics
    /// When the cursor is not valid.
    #[inline]
    pub fn prev(&mut self) -> Result<()> {
        match self.advances_to_row(Direction::Backward) {
            true => Ok(()),
            false => self.prev_behind_rows(),
        }
    }

    fn prev_behind_rows(&mut self) -> Result<()> {
        assert!(self.valid(), "C2: the cursor is valid");
        if self.direction == Direction::Forward {
            let current = InternalKey::for_seek(self.key(), SeqNo::MAX);
            self.value = Value::None;
            self.step_before(&current)?;
        }
        self.take_more();
        self.settle_backward()
    }

    fn keep_key_of_row(&mut self) {
        self.key.clear();
        self.key.extend_from_slice(self.rows.key());
    }

    fn take_more(&mut self) {
        self.ahead = (2 * self.ahead).clamp(ROWS_TAKEN_FIRST, ROWS_TAKEN_MAX);
    }

    /// Takes rows from where `inner` stands, for whose key the coverage was just asked (V3). Says whether there are any.
    #[inline]
    fn take_rows(&mut self) -> Result<bool> {
        if self.ahead == 0 {
            return Ok(false);
        }
        if self.single_steps > 0 {
            self.single_steps -= 1;
            return Ok(false);
        }
        let coverage = self.coverage.as_ref();
        let oldest = coverage.map_or(SeqNo::ZERO, Coverage::seq);
        let mut wanted = Wanted::new(self.direction, self.ahead).of_versions(oldest, self.visibility.seq);
        let ends = match self.direction {
            Direction::Forward => [self.visibility.to.as_deref(), coverage.and_then(Coverage::to)],
            Direction::Backward => [self.visibility.from.as_deref(), coverage.and_then(Coverage::from)],
        };
        for end in ends.into_iter().flatten() {
            wanted = wanted.before(end);
        }
        let are_there = self.rows.fill(&mut self.inner, &wanted)?;
        // At the end of a block there are none.
        if are_there {
            self.value = Value::Row;
            self.pause = if self.rows.len() == 1 { (2 * self.pause).clamp(PAUSE_FIRST, PAUSE_MAX) } else { 0 };
            self.single_steps = self.pause;
        }
        Ok(are_there)
    }

    /// Whether the cursor stands on a live key.
    #[inline]
    pub fn valid(&self) -> bool {
        !matches!(self.value, Value::None)
    }

    /// The user key it stands on.
    ///
    /// # Panics
    /// When the cursor is not valid.
    #[inline]
    pub fn key(&self) -> &[u8] {
        if matches!(self.value, Value::Row) {
            return self.rows.key();
        }
        assert!(self.valid(), "C2: the cursor is valid");
        &self.key
    }

    /// The value it stands on.
    ///
    /// # Panics
    /// When the cursor is not valid.
    #[inline]
    pub fn value(&self) -> &[u8] {
        // Apart, so that a walk over rows does not wait for a jump to one of many places.
        if matches!(self.value, Value::Row) { self.rows.value() } else { self.value_of_no_row() }
    }

    #[inline(never)]
    #[expect(clippy::panic, reason = "C2: a call on a cursor that is not valid is a defect")]
    fn value_of_no_row(&self) -> &[u8] {
        match &self.value {
            Value::None | Value::Row => panic!("C2: the cursor is valid"),
            Value::Lent => self.inner.value(),
            Value::Copied => &self.copied,
            Value::Owned(value) => value,
        }
    }

    /// The value as a slice that may outlive the cursor.
    ///
    /// # Panics
    /// When the cursor is not valid.
    #[expect(clippy::panic, reason = "C2: a call on a cursor that is not valid is a defect")]
    pub fn value_slice(&self) -> Slice {
        match &self.value {
            Value::None => panic!("C2: the cursor is valid"),
            Value::Lent => self.inner.value_slice(),
            Value::Copied => Slice::copy_from(&self.copied),
            Value::Row => self.rows.value_slice(),
            Value::Owned(value) => value.clone(),
        }
    }
}

/// Whether a range tombstone deletes version `seq` of `user_key` (V3).
///
/// A function of the fields it needs: the key is borrowed from the cursor beside them.
#[inline]
fn covered(
    tombstones: &mut impl TombstoneSource,
    coverage: &mut Option<Coverage>,
    visibility: &Visibility,
    user_key: &[u8],
    seq: SeqNo,
) -> Result<bool> {
    if let Some(coverage) = coverage.as_ref().filter(|coverage| coverage.holds_for(user_key)) {
        return Ok(coverage.deletes(seq));
    }
    *coverage = None;
    let mut fresh = Coverage::none();
    tombstones.coverage(user_key, visibility.seq, &mut fresh)?;
    Ok(coverage.insert(fresh).deletes(seq))
}

#[inline]
fn parse(internal_key: &[u8]) -> Result<ParsedKey<'_>> {
    ParsedKey::parse(internal_key).ok_or_else(|| {
        let kind = internal_key.len().checked_sub(key::TRAILER_BYTES).map_or(0xff, |split| internal_key[split]);
        Error::unsupported(format!("{}: value type 0x{kind:02x}", Kind::describe_byte(kind)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::testing::VecCursor;
    use crate::merge::MergeCursor;
    use crate::range_tombstone::{RangeTombstone, RangeTombstones};
    use quickcheck::{Arbitrary, Gen, quickcheck};
    use std::collections::BTreeMap;
    use std::ops::Range;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Append;

    impl MergeOperator for Append {
        fn name(&self) -> &str {
            "append"
        }

        fn full_merge(&self, _key: &[u8], existing: Option<&[u8]>, operands: &[&[u8]]) -> Option<Vec<u8>> {
            Some([existing.unwrap_or_default(), &operands.concat()].concat())
        }
    }

    #[derive(Clone, Debug)]
    enum Write {
        Put(u8, u8),
        Delete(u8),
        DeleteRange(u8, u8),
        Merge(u8, u8),
    }

    impl Arbitrary for Write {
        fn arbitrary(g: &mut Gen) -> Write {
            let key = u8::arbitrary(g) % 12;
            match u8::arbitrary(g) % 8 {
                0..4 => Write::Put(key, u8::arbitrary(g)),
                4 => Write::Delete(key),
                5 => Write::DeleteRange(key, key + u8::arbitrary(g) % 6),
                _ => Write::Merge(key, u8::arbitrary(g)),
            }
        }
    }

    /// The naive reader: applies the first `visible` writes in order.
    fn state_at(writes: &[Write], visible: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut state = BTreeMap::new();
        for write in &writes[..visible] {
            match *write {
                Write::Put(key, value) => drop(state.insert(vec![key], vec![value])),
                Write::Delete(key) => drop(state.remove(&vec![key])),
                Write::DeleteRange(start, end) => {
                    state.retain(|key: &Vec<u8>, _| !(vec![start]..vec![end]).contains(key));
                }
                Write::Merge(key, operand) => state.entry(vec![key]).or_insert_with(Vec::new).push(operand),
            }
        }
        state
    }

    fn cursor_at(
        writes: &[Write],
        visibility: Visibility,
    ) -> VisibleCursor<MergeCursor<VecCursor>, Arc<RangeTombstones>> {
        let mut entries = Vec::new();
        let mut tombstones = Vec::new();
        for (index, write) in writes.iter().enumerate() {
            let seq = SeqNo::new(index as u64 + 1);
            let mut entry =
                |key, kind, value| entries.push((InternalKey::new(&[key], seq, kind).as_bytes().to_vec(), value));
            match *write {
                Write::Put(key, value) => entry(key, Kind::Value, vec![value]),
                Write::Delete(key) => entry(key, Kind::Deletion, vec![]),
                Write::Merge(key, operand) => entry(key, Kind::Merge, vec![operand]),
                Write::DeleteRange(start, end) => {
                    tombstones.push(RangeTombstone { start: vec![start], end: vec![end], seq });
                }
            }
        }
        // Two children, so that rows of one end where the other has the next key.
        let (few, many) = entries.into_iter().enumerate().partition::<Vec<_>, _>(|(index, _)| index % 5 == 0);
        let child = |part: Vec<(usize, _)>| VecCursor::new(part.into_iter().map(|(_, entry)| entry).collect());
        let merged = MergeCursor::new(vec![child(few), child(many)]);
        VisibleCursor::new(merged, Arc::new(RangeTombstones::new(tombstones)), visibility)
    }

    quickcheck! {
        fn walks_like_a_map(writes: Vec<Write>, visible: usize, bounds: (Option<u8>, Option<u8>), moves: Vec<(u8, u8)>) -> bool {
            let visible = visible % (writes.len() + 1);
            let (from, to) = (bounds.0.map(|key| vec![key % 12]), bounds.1.map(|key| vec![key % 12]));
            let mut state = state_at(&writes, visible);
            state.retain(|key, _| from.as_ref().is_none_or(|from| from <= key) && to.as_ref().is_none_or(|to| key < to));
            let visibility = Visibility { seq: SeqNo::new(visible as u64), from, to, merge_operator: Some(Arc::new(Append)), dead: None };
            let mut cursor = cursor_at(&writes, visibility);
            let mut expected: Option<(Vec<u8>, Vec<u8>)>;
            let owned = |entry: Option<(&Vec<u8>, &Vec<u8>)>| entry.map(|(key, value)| (key.clone(), value.clone()));
            // A walk takes several rows at once only if it goes on in one direction.
            let moves = moves.into_iter().flat_map(|(which, key)| {
                std::iter::repeat_n((which, key), if which % 8 < 4 { 1 } else { usize::from(key % 9) })
            });
            for (which, key) in moves {
                let target = vec![key % 13];
                match which % 8 {
                    0 => { cursor.seek_to_first().unwrap(); expected = owned(state.iter().next()); }
                    1 => { cursor.seek_to_last().unwrap(); expected = owned(state.iter().next_back()); }
                    2 => { cursor.seek(&target).unwrap(); expected = owned(state.range(target..).next()); }
                    3 => { cursor.seek_for_prev(&target).unwrap(); expected = owned(state.range(..=target).next_back()); }
                    which if cursor.valid() => {
                        let current = cursor.key().to_vec();
                        if which < 6 {
                            cursor.next().unwrap();
                            expected = owned(state.iter().find(|(key, _)| **key > current));
                        } else {
                            cursor.prev().unwrap();
                            expected = owned(state.iter().rev().find(|(key, _)| **key < current));
                        }
                    }
                    _ => continue,
                }
                let found = cursor.valid().then(|| (cursor.key().to_vec(), cursor.value().to_vec()));
                if found != expected || cursor.valid() && cursor.value_slice() != cursor.value() {
                    return false;
                }
            }
            true
        }
    }

    /// `walks_like_a_map` meets this shape by chance only.
    #[test]
    fn rows_taken_at_once_leave_out_what_a_tombstone_covers() {
        let before = (1..12).step_by(2).map(|key| Write::Put(key, 1));
        let behind = (0..12).step_by(2).map(|key| Write::Put(key, 2));
        let writes: Vec<Write> = before.chain([Write::DeleteRange(2, 11)]).chain(behind).collect();
        let visibility = Visibility { seq: SeqNo::new(writes.len() as u64), ..Visibility::default() };
        let expected: Vec<_> = state_at(&writes, writes.len()).into_iter().collect();
        for forward in [true, false] {
            let mut cursor = cursor_at(&writes, visibility.clone());
            let mut found = Vec::new();
            if forward {
                cursor.seek_to_first().unwrap()
            } else {
                cursor.seek_to_last().unwrap()
            }
            while cursor.valid() {
                found.push((cursor.key().to_vec(), cursor.value().to_vec()));
                if forward { cursor.next().unwrap() } else { cursor.prev().unwrap() }
            }
            if !forward {
                found.reverse();
            }
            assert_eq!(found, expected, "forward: {forward}");
        }
    }

    /// Keeps stretches in a list, and checks what it is told.
    #[derive(Default)]
    struct Kept {
        stretches: Mutex<Vec<(Range<Vec<u8>>, SeqNo)>>,
        /// The live keys of the reader that walks now.
        live: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
        asked: AtomicUsize,
    }

    impl DeadStretches for Kept {
        fn around(&self, user_key: &[u8], seq: SeqNo) -> Option<Range<Vec<u8>>> {
            let stretches = self.stretches.lock().unwrap();
            let known = stretches.iter().find(|(stretch, known)| stretch.contains(&user_key.to_vec()) && *known <= seq);
            self.asked.fetch_add(usize::from(known.is_some()), Ordering::Relaxed);
            known.map(|(stretch, _)| stretch.clone())
        }

        fn note(&self, stretch: Range<Vec<u8>>, seq: SeqNo) {
            assert_eq!(self.live.lock().unwrap().range(stretch.clone()).next(), None, "D1: {stretch:?} is not dead");
            let mut stretches = self.stretches.lock().unwrap();
            stretches.retain(|(known, _)| known.start < stretch.start || stretch.end < known.end);
            stretches.push((stretch, seq));
        }
    }

    // Blocks of keys are put and deleted; after each one, walks begin anywhere.
    #[test]
    fn known_stretches_hide_nothing_that_is_live() {
        fn holds(blocks: Vec<(bool, u8, u8)>, targets: Vec<(u8, bool)>) -> bool {
            let kept = Arc::new(Kept::default());
            let mut writes = Vec::new();
            blocks.iter().take(16).all(|&(put, first, count)| {
                for key in first..=first.saturating_add(count % 64) {
                    writes.push(if put { Write::Put(key, count) } else { Write::Delete(key) });
                    kept.stretches.lock().unwrap().retain(|(stretch, _)| !put || !stretch.contains(&vec![key]));
                }
                let state = state_at(&writes, writes.len());
                kept.live.lock().unwrap().clone_from(&state);
                targets.iter().all(|&(target, forward)| {
                    let seq = SeqNo::new(writes.len() as u64);
                    let visibility = Visibility { seq, dead: Some(Arc::clone(&kept) as _), ..Visibility::default() };
                    let mut cursor = cursor_at(&writes, visibility);
                    let target = vec![target];
                    let expected = match forward {
                        true => state.range(target.clone()..).next(),
                        false => state.range(..=target.clone()).next_back(),
                    };
                    if forward {
                        cursor.seek(&target).unwrap()
                    } else {
                        cursor.seek_for_prev(&target).unwrap()
                    }
                    cursor.valid().then(|| cursor.key()) == expected.map(|(key, _)| key.as_slice())
                })
            })
        }
        quickcheck::quickcheck(holds as fn(Vec<(bool, u8, u8)>, Vec<(u8, bool)>) -> bool);

        let kept = Arc::new(Kept::default());
        let mut writes: Vec<Write> = (0..250).map(|key| Write::Put(key, 0)).collect();
        writes.extend((10..240).map(Write::Delete));
        kept.live.lock().unwrap().clone_from(&state_at(&writes, writes.len()));
        for _ in 0..2 {
            let seq = SeqNo::new(writes.len() as u64);
            let visibility = Visibility { seq, dead: Some(Arc::clone(&kept) as _), ..Visibility::default() };
            let mut cursor = cursor_at(&writes, visibility);
            cursor.seek(&[10]).unwrap();
            assert_eq!(cursor.key(), [240]);
            cursor.seek_for_prev(&[239]).unwrap();
            assert_eq!(cursor.key(), [9]);
        }
        assert_eq!(kept.asked.load(Ordering::Relaxed), 3, "all but the first walk know the way");
    }

    #[test]
    fn hot_keys_are_sought_over() {
        let mut writes = vec![Write::Put(0, 0)];
        writes.extend((0..100).map(|value| Write::Put(1, value)));
        writes.push(Write::Put(2, 2));
        for seq in [1, 50, 102] {
            let expected = state_at(&writes, seq);
            let mut cursor = cursor_at(&writes, Visibility { seq: SeqNo::new(seq as u64), ..Visibility::default() });
            cursor.seek_to_first().unwrap();
            let mut forward = Vec::new();
            while cursor.valid() {
                forward.push((cursor.key().to_vec(), cursor.value().to_vec()));
                cursor.next().unwrap();
            }
            cursor.seek_to_last().unwrap();
            let mut backward = Vec::new();
            while cursor.valid() {
                backward.push((cursor.key().to_vec(), cursor.value().to_vec()));
                cursor.prev().unwrap();
            }
            backward.reverse();
            assert_eq!(forward, Vec::from_iter(expected.clone()));
            assert_eq!(backward, Vec::from_iter(expected));
        }
    }

    #[test]
    fn operands_without_an_operator_are_an_error() {
        let mut cursor = cursor_at(&[Write::Merge(1, 1)], Visibility { seq: SeqNo::new(1), ..Visibility::default() });
        assert!(cursor.seek_to_first().is_err());
        assert!(!cursor.valid());
        assert!(cursor.seek_to_last().is_err());
        assert!(!cursor.valid());
    }
}
