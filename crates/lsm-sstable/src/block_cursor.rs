//! Walks the entries of one block in both directions.
//!
//! Keys are put together only going forward, from a restart point on. Going backward, the entries of one
//! restart interval are decoded once and then handed out last to first: what each step forward cut off a key is
//! kept, so that a step back puts it on again. Whole keys would take the square of a hostile block's size. Where all of
//! an interval are wanted at once, they go to the rows as they are decoded, which hold few.
//!
//! # Invariants
//! P1. While valid, `key` is the whole key of the entry at `entry..next`.
//! P2. Keys are strictly ascending: an entry that is not larger than the one before it is corruption.
//! P3. `behind`, unless empty, holds exactly the entries from a restart point up to (not with) the one at
//!     `entry`, in no more bytes than a constant times the block's.

use std::cmp::Ordering;
use std::ops::Range;

use lsm_core::key::{Kind, TRAILER_BYTES, compare, is_same_key, kind_byte, trailer, user_key};
use lsm_core::rows::{Direction, Rows, Wanted};
use lsm_core::{Error, Result, Slice};

use crate::block::{Block, damaged_entry};
use crate::directory::{Directory, Stand};

/// A position in a block.
pub(crate) struct BlockCursor {
    block: Block,
    valid: bool,
    entry: usize,
    value: usize,
    next: usize,
    key: Vec<u8>,
    /// Whether the last step forward has seen that it went to another user key.
    is_other_key: bool,
    behind: Behind,
}

/// What a step has come to: to read that back at once from where it was written would make the machine wait.
struct Step {
    value: Range<usize>,
    trailer: u64,
    /// How much of the key before the key begins with.
    shared: usize,
}

/// Decoded entries before the current one (P3).
#[derive(Default)]
struct Behind {
    /// What the step from each to the next cut off its key, one after the other.
    cut: Vec<u8>,
    entries: Vec<Passed>,
}

struct Passed {
    cut_start: usize,
    /// How much of its key the next one begins with.
    kept: usize,
    entry: usize,
    value: usize,
    next: usize,
}

impl BlockCursor {
    pub(crate) fn new(block: Block) -> BlockCursor {
        let (key, behind) = Default::default();
        BlockCursor { block, valid: false, entry: 0, value: 0, next: 0, key, is_other_key: false, behind }
    }

    /// Turns to another block, keeping the buffers.
    pub(crate) fn reset(&mut self, block: Block) {
        self.block = block;
        self.invalidate();
    }

    pub(crate) fn invalidate(&mut self) {
        self.valid = false;
        self.behind.clear();
    }

    #[inline]
    pub(crate) fn valid(&self) -> bool {
        self.valid
    }

    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    #[inline]
    pub(crate) fn value(&self) -> &[u8] {
        &self.block.data()[self.value_range()]
    }

    #[inline]
    pub(crate) fn value_range(&self) -> Range<usize> {
        self.value..self.next
    }

    pub(crate) fn value_slice(&self) -> Slice {
        Slice::from_shared(self.block.data(), self.value_range())
    }

    pub(crate) fn seek_to_first(&mut self) -> Result<()> {
        self.start_at(0);
        self.step().map(drop)
    }

    pub(crate) fn seek_to_last(&mut self) -> Result<()> {
        match self.block.restart_count() {
            0 => self.invalidate(),
            count => {
                self.start_at(self.block.restart(count - 1));
                self.step()?;
                while self.valid && self.next < self.block.entries_end() {
                    self.step()?;
                }
            }
        }
        Ok(())
    }

    /// Moves to the first entry at or after `target`.
    pub(crate) fn seek(&mut self, target: &[u8]) -> Result<()> {
        // A seek that fails shows nothing, rather than the entry before it.
        self.invalidate();
        if self.block.restart_count() == 0 {
            return Ok(());
        }
        let restart = self.block.last_restart(|key| {
            check_key(key)?;
            Ok(compare(key, target) == Ordering::Less)
        })?;
        self.seek_from(self.block.restart(restart), |key| compare(key, target) == Ordering::Less)
    }

    /// The same, led by the block's directory.
    pub(crate) fn seek_by(&mut self, directory: &Directory, target: &[u8]) -> Result<()> {
        self.invalidate();
        let offset = match directory.seek(&self.block, target, &mut self.key)? {
            Stand::Behind => return Ok(()),
            Stand::Unknown => return self.seek(target),
            Stand::On(offset) => offset,
        };
        let entry = self.block.entry(offset)?;
        check_key(&self.key)?;
        (self.entry, self.value, self.next) = (offset, entry.value, entry.end);
        self.valid = true;
        Ok(())
    }

    /// Moves to the first entry from the restart point at `offset` on for which `before` does not hold.
    pub(crate) fn seek_from(&mut self, offset: usize, mut before: impl FnMut(&[u8]) -> bool) -> Result<()> {
        self.start_at(offset);
        self.step()?;
        while self.valid && before(&self.key) {
            self.step()?;
        }
        Ok(())
    }

    pub(crate) fn next(&mut self) -> Result<()> {
        debug_assert!(self.valid, "C2: next on a cursor that is not valid");
        self.behind.clear();
        self.step().map(drop)
    }

    pub(crate) fn prev(&mut self) -> Result<()> {
        debug_assert!(self.valid, "C2: prev on a cursor that is not valid");
        if self.behind.entries.is_empty() {
            self.decode_behind()?;
        }
        match self.behind.entries.pop() {
            None => self.valid = false,
            Some(passed) => {
                self.key.truncate(passed.kept);
                self.key.extend_from_slice(&self.behind.cut[passed.cut_start..]);
                self.behind.cut.truncate(passed.cut_start);
                (self.entry, self.value, self.next) = (passed.entry, passed.value, passed.next);
            }
        }
        Ok(())
    }

    /// Gives entries away, of which one is left to stand on (C6).
    pub(crate) fn take(&mut self, wanted: &Wanted<'_>, rows: &mut Rows) -> Result<()> {
        debug_assert!(self.valid, "C2: take on a cursor that is not valid");
        match wanted.direction() {
            Direction::Forward => self.take_forward(wanted, rows)?,
            Direction::Backward => self.take_backward(wanted, rows)?,
        }
        if !rows.is_empty() {
            rows.set_buffer(self.block.data());
        }
        Ok(())
    }

    fn take_forward(&mut self, wanted: &Wanted<'_>, rows: &mut Rows) -> Result<()> {
        self.behind.clear();
        let mut at = Step { value: self.value_range(), trailer: trailer(&self.key), shared: 0 };
        let mut matched = wanted.matched(user_key(&self.key));
        while let Some(bytes) = matched
            && self.next < self.block.entries_end()
            && rows.has_room(wanted)
            && wanted.takes_version(at.trailer)
            && !self.is_version_of(rows)
        {
            rows.push(&self.key, at.value);
            at = self.step()?;
            if at.shared <= bytes {
                matched = wanted.matched(user_key(&self.key));
            }
        }
        Ok(())
    }

    /// An older version of a key is met first, so a row is taken only if what comes next is of another key.
    fn take_backward(&mut self, wanted: &Wanted<'_>, rows: &mut Rows) -> Result<()> {
        while self.entry > 0 && rows.has_room(wanted) && wanted.takes(&self.key) {
            if self.behind.entries.is_empty() {
                if self.take_interval(wanted, rows)? {
                    continue;
                }
                self.decode_behind()?;
            }
            if self.behind.is_of_key(&self.key) {
                break;
            }
            rows.push(&self.key, self.value_range());
            self.prev()?;
        }
        Ok(())
    }

    /// Gives away the current entry and those before it down to the one at a restart point, to stand on that, if all of
    /// them are wanted: so each is decoded once, and its key put together once. Says whether they were. If not, the
    /// cursor has only kept its `entry`, for [`BlockCursor::decode_behind`].
    fn take_interval(&mut self, wanted: &Wanted<'_>, rows: &mut Rows) -> Result<bool> {
        let here = self.entry;
        let Some(start) = self.interval_before(here) else { return Ok(false) };
        let len = rows.len();
        rows.push(&self.key, self.value_range());
        self.start_at(start);
        let mut at = self.step()?;
        // The others have larger keys.
        let mut are_wanted = self.valid && wanted.is_before_end(user_key(&self.key));
        while are_wanted && self.valid && self.entry < here {
            rows.push(&self.key, at.value);
            at = self.step()?;
            are_wanted = rows.has_room(wanted) && !self.is_version_of(rows) && wanted.takes_version(at.trailer);
        }
        if !are_wanted {
            rows.truncate(len);
            self.entry = here;
            return Ok(false);
        }
        if !self.valid || self.entry != here {
            return Err(self.fail(damaged_entry(here)));
        }
        rows.turn_round(len + 1);
        rows.truncate(rows.len() - 1);
        self.start_at(start);
        self.step()?;
        Ok(true)
    }

    /// Whether the entry is another version of the key of the last row, which was pushed at the entry before.
    #[inline]
    fn is_version_of(&self, rows: &Rows) -> bool {
        !self.is_other_key && rows.last_key().is_some_and(|last| is_same_key(last, user_key(&self.key)))
    }

    /// Fills `behind` with the entries before the current one, down to a restart point.
    fn decode_behind(&mut self) -> Result<()> {
        let here = self.entry;
        let Some(start) = self.interval_before(here) else { return Ok(()) };
        self.start_at(start);
        self.step()?;
        let Behind { mut cut, mut entries } = std::mem::take(&mut self.behind);
        while self.valid && self.entry < here {
            let (entry, value, next) = (self.entry, self.value, self.next);
            let cut_start = cut.len();
            self.step_seeing(|key, kept| {
                cut.extend_from_slice(&key[kept..]);
                entries.push(Passed { cut_start, kept, entry, value, next });
            })?;
        }
        self.behind = Behind { cut, entries };
        match self.valid && self.entry == here {
            true => Ok(()),
            false => Err(self.fail(damaged_entry(here))),
        }
    }

    /// The last restart point before `here`. Asks for the entries from there on, and from the one before it: no machine sees
    /// a walk coming that goes up piece by piece through lower and lower ones.
    #[inline]
    fn interval_before(&self, here: usize) -> Option<usize> {
        let restart = self.restart_before(here)?;
        self.block.ask_for(self.block.restart(restart.saturating_sub(1))..here);
        Some(self.block.restart(restart))
    }

    /// Number of the last restart point before `offset`.
    fn restart_before(&self, offset: usize) -> Option<usize> {
        let (mut low, mut high) = (0, self.block.restart_count());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.block.restart(middle) < offset {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low.checked_sub(1)
    }

    /// Makes the entry at the restart point at `offset` the next one.
    fn start_at(&mut self, offset: usize) {
        self.invalidate();
        self.key.clear();
        self.next = offset;
    }

    /// Moves on to the entry at `next`. Always inlined, as are those that it calls: a walk comes here for every row.
    #[inline(always)]
    fn step(&mut self) -> Result<Step> {
        self.step_seeing(|_, _| ())
    }

    /// The same; shows the key before the step, and how much of it the next one begins with.
    #[inline(always)]
    fn step_seeing(&mut self, see: impl FnOnce(&[u8], usize)) -> Result<Step> {
        if self.next >= self.block.entries_end() {
            self.valid = false;
            return Ok(Step { value: 0..0, trailer: 0, shared: 0 });
        }
        let entry = match self.block.entry(self.next) {
            Ok(entry) if entry.shared <= self.key.len() => entry,
            Ok(_) => return Err(self.fail(damaged_entry(self.next))),
            Err(error) => return Err(self.fail(error)),
        };
        self.is_other_key = is_larger_user_key(&self.key, entry.shared, entry.key);
        let ascending = self.is_other_key || is_ascending(&self.key, entry.shared, entry.key);
        (self.entry, self.value) = (self.next, entry.value);
        see(&self.key, entry.shared);
        self.key.truncate(entry.shared);
        self.key.extend_from_slice(entry.key);
        self.next = entry.end;
        if !ascending {
            return Err(self.fail(Error::corruption("keys of a block are not ascending")));
        }
        let trailer = match entry.key.last_chunk() {
            Some(bytes) => check_kind(bytes[0]).map(|_| u64::from_le_bytes(*bytes)),
            None => check_key(&self.key).map(|()| trailer(&self.key)),
        };
        match trailer {
            Ok(trailer) => {
                self.valid = true;
                Ok(Step { value: entry.value..entry.end, trailer, shared: entry.shared })
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    #[cold]
    fn fail(&mut self, error: Error) -> Error {
        self.invalidate();
        error
    }
}

impl Behind {
    /// Whether the entry before the one with this internal key is another version of its key.
    fn is_of_key(&self, internal_key: &[u8]) -> bool {
        let Some(passed) = self.entries.last() else { return false };
        let cut = &self.cut[passed.cut_start..];
        let user_key = user_key(internal_key);
        let kept = passed.kept.min(user_key.len());
        passed.kept + cut.len() == internal_key.len() && cut[..user_key.len() - kept] == user_key[kept..]
    }

    fn clear(&mut self) {
        self.cut.clear();
        self.entries.clear();
    }
}

/// Whether the user key of `before[..shared]` followed by `rest` is larger than that of `before` because of its first byte
/// that is not shared, which almost always decides.
#[inline(always)]
fn is_larger_user_key(before: &[u8], shared: usize, rest: &[u8]) -> bool {
    shared + TRAILER_BYTES < before.len() && TRAILER_BYTES < rest.len() && before[shared] < rest[0]
}

/// Whether `before[..shared]` followed by `rest` is larger than `before` (P2); true after no key at all.
#[inline(never)]
fn is_ascending(before: &[u8], shared: usize, rest: &[u8]) -> bool {
    let (Some(before_user), Some(user)) =
        (before.len().checked_sub(TRAILER_BYTES), (shared + rest.len()).checked_sub(TRAILER_BYTES))
    else {
        // There is nothing to compare; a key without a trailer is refused for that.
        return true;
    };
    let order = match shared >= before_user.min(user) {
        true => before_user.cmp(&user),
        false => before[shared..before_user].cmp(&rest[..user - shared]),
    };
    order.then_with(|| {
        let mut bytes = [0; TRAILER_BYTES];
        let kept = TRAILER_BYTES.saturating_sub(rest.len());
        bytes[..kept].copy_from_slice(&before[shared - kept..shared]);
        bytes[kept..].copy_from_slice(&rest[rest.len() + kept - TRAILER_BYTES..]);
        u64::from_le_bytes(bytes).cmp(&trailer(before))
    }) == Ordering::Less
}

/// Checks that a key has a trailer of a kind that may stand among point entries.
#[inline(always)]
pub(crate) fn check_key(key: &[u8]) -> Result<()> {
    if key.len() < TRAILER_BYTES {
        return Err(Error::corruption(format!("key of {} bytes has no room for a trailer", key.len())));
    }
    check_kind(kind_byte(key)).map(|_| ())
}

/// The kind with this number, if it may stand among point entries.
#[inline]
pub(crate) fn check_kind(byte: u8) -> Result<Kind> {
    match Kind::from_byte(byte) {
        Some(Kind::RangeDeletion) => Err(Error::corruption("range deletion among point entries")),
        Some(kind) => Ok(kind),
        None => Err(Error::unsupported(format!("value type {byte:#04x}: {}", Kind::describe_byte(byte)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_builder::BlockBuilder;
    use lsm_core::SeqNo;
    use lsm_core::key::InternalKey;
    use quickcheck::quickcheck;

    fn cursor_over(keys: &[InternalKey], restart_interval: usize) -> BlockCursor {
        let mut builder = BlockBuilder::new(restart_interval);
        keys.iter().for_each(|key| builder.add(key.as_bytes(), key.user_key()));
        BlockCursor::new(Block::new(builder.finish().to_vec()).unwrap())
    }

    fn at(cursor: &BlockCursor) -> Option<InternalKey> {
        cursor.valid().then(|| InternalKey::from_encoded(cursor.key()).unwrap())
    }

    /// Key and value.
    type Row = (Vec<u8>, Vec<u8>);

    /// The rows that `wanted` says from entry `position` on, one by one, up to `count`, and the entry that comes then.
    fn wanted_from(keys: &[InternalKey], mut position: usize, wanted: &Wanted<'_>, count: usize) -> (Vec<Row>, usize) {
        let mut rows: Vec<Row> = Vec::new();
        loop {
            let user_key = keys[position].user_key();
            let next = match wanted.direction() {
                Direction::Forward => position + 1,
                Direction::Backward => position.wrapping_sub(1),
            };
            let Some(behind) = keys.get(next) else { return (rows, position) };
            let other = match wanted.direction() {
                Direction::Forward => rows.last().map(|(key, _)| key.as_slice()),
                Direction::Backward => Some(behind.user_key()),
            };
            if rows.len() == count || other == Some(user_key) || !wanted.takes(keys[position].as_bytes()) {
                return (rows, position);
            }
            rows.push((user_key.to_vec(), user_key.to_vec()));
            position = next;
        }
    }

    quickcheck! {
        fn any_walk_agrees_with_a_list(words: Vec<(Vec<u8>, u8)>, moves: Vec<u8>, interval: u8) -> bool {
            let mut keys: Vec<InternalKey> = words.into_iter()
                .map(|(word, seq)| InternalKey::new(&word, SeqNo::new(u64::from(seq % 4)), Kind::Value))
                .collect();
            keys.sort_unstable();
            keys.dedup();
            let mut cursor = cursor_over(&keys, usize::from(interval % 18));
            let mut expected: Option<usize> = None;
            moves.into_iter().all(|choice| {
                match (choice % 8, expected) {
                    (0, _) => { cursor.seek_to_first().unwrap(); expected = Some(0); }
                    (1, _) => { cursor.seek_to_last().unwrap(); expected = keys.len().checked_sub(1); }
                    (2, _) if !keys.is_empty() => {
                        let target = &keys[usize::from(choice) % keys.len()];
                        cursor.seek(target.as_bytes()).unwrap();
                        expected = keys.iter().position(|key| key >= target);
                    }
                    (3..=5, Some(index)) => { cursor.prev().unwrap(); expected = index.checked_sub(1); }
                    (_, Some(index)) => { cursor.next().unwrap(); expected = Some(index + 1); }
                    _ => {}
                }
                expected = expected.filter(|&index| index < keys.len());
                let key = expected.map(|index| keys[index].clone());
                at(&cursor) == key && key.is_none_or(|key| cursor.value() == key.user_key())
            })
        }

        fn takes_what_is_wanted_and_alone(
            words: Vec<(u8, u8, bool)>, limits: (u8, u8, u8), end: Option<u8>, interval: u8
        ) -> bool {
            let user_key = |word: u8| vec![word % 4; 1 + usize::from(word / 4 % 3)];
            let mut keys: Vec<InternalKey> = words.into_iter()
                .map(|(word, seq, is_value)| {
                    // Most are values, or there would be no rows to end too late.
                    let kind = if is_value || seq % 5 > 0 { Kind::Value } else { Kind::Deletion };
                    InternalKey::new(&user_key(word), SeqNo::new(u64::from(seq % 8)), kind)
                })
                .collect();
            keys.sort_unstable();
            keys.dedup();
            let (count, oldest, newest) = limits;
            let count = usize::from(count % 20);
            let end = end.map(user_key);
            [Direction::Forward, Direction::Backward].into_iter().all(|direction| {
                let wanted = Wanted::new(direction, count)
                    .of_versions(SeqNo::new(u64::from(oldest % 3)), SeqNo::new(u64::from(5 + newest % 4)));
                let wanted = end.as_deref().map_or(wanted, |end| wanted.before(end));
                (0..keys.len()).all(|start| {
                    let mut cursor = cursor_over(&keys, usize::from(interval % 18));
                    cursor.seek(keys[start].as_bytes()).unwrap();
                    let mut rows = Rows::default();
                    cursor.take(&wanted, &mut rows).unwrap();
                    let mut taken = Vec::new();
                    while taken.len() < rows.len() {
                        taken.push((rows.key().to_vec(), rows.value().to_vec()));
                        rows.advance();
                    }
                    let (expected, stand) = wanted_from(&keys, start, &wanted, count);
                    taken == expected && at(&cursor).as_ref() == Some(&keys[stand])
                })
            })
        }

        fn hostile_blocks_give_errors_or_entries(bytes: Vec<u8>) -> bool {
            let data = [bytes, vec![0, 0, 0, 0, 1, 0, 0, 0]].concat();
            let mut cursor = BlockCursor::new(Block::new(data).unwrap());
            let mut steps = 0;
            let mut outcome = cursor.seek_to_first();
            while outcome.is_ok() && cursor.valid() {
                outcome = cursor.next();
                steps += 1;
            }
            let _ = cursor.seek_to_last();
            let _ = cursor.seek(b"12345678");
            steps < 100
        }
    }

    /// A step back once kept whole keys: a block of a megabyte whose keys share half of it took gigabytes.
    #[test]
    fn stepping_back_takes_no_more_memory_than_the_block() {
        // Covers P3.
        let long = vec![b'k'; 20_000];
        let keys: Vec<InternalKey> = (0..2_000_u32)
            .map(|number| InternalKey::new(&[&long[..], &number.to_be_bytes()].concat(), SeqNo::new(1), Kind::Value))
            .collect();
        let mut builder = BlockBuilder::new(usize::MAX);
        keys.iter().for_each(|key| builder.add(key.as_bytes(), b""));
        let block_bytes = builder.finish().len();
        let mut cursor = cursor_over(&keys, usize::MAX);
        cursor.seek_to_last().unwrap();
        for key in keys.iter().rev() {
            assert_eq!(at(&cursor).as_ref(), Some(key));
            cursor.prev().unwrap();
            assert!(cursor.behind.cut.capacity() <= 2 * block_bytes, "{}", cursor.behind.cut.capacity());
        }
        assert!(!cursor.valid());
    }

    fn check_refused(entries: &[(&[u8], &str)]) {
        let mut builder = BlockBuilder::new(16);
        entries.iter().for_each(|(key, _)| builder.add(key, b""));
        let mut cursor = BlockCursor::new(Block::new(builder.finish().to_vec()).unwrap());
        let mut outcome = cursor.seek_to_first();
        while outcome.is_ok() && cursor.valid() {
            outcome = cursor.next();
        }
        let (_, expected) = entries.last().unwrap();
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!cursor.valid());
    }

    #[test]
    fn a_seek_that_fails_leaves_no_entry() {
        let mut builder = BlockBuilder::new(1);
        for key in [b"a", b"b", b"c"] {
            builder.add(InternalKey::new(key, SeqNo::ZERO, Kind::Value).as_bytes(), b"");
        }
        let mut data = builder.finish().to_vec();
        // The second entry claims a byte of the key before, across a restart point.
        data[3 + 1 + TRAILER_BYTES] = 1;
        let mut cursor = BlockCursor::new(Block::new(data).unwrap());
        cursor.seek_to_first().unwrap();
        assert!(cursor.valid());
        assert!(cursor.seek(InternalKey::for_seek(b"c", SeqNo::MAX).as_bytes()).is_err());
        assert!(!cursor.valid());
    }

    #[test]
    fn disorder_and_foreign_kinds_are_refused() {
        // Covers P2.
        check_refused(&[(b"b\x01\0\0\0\0\0\0\0", ""), (b"a\x01\0\0\0\0\0\0\0", "not ascending")]);
        check_refused(&[(b"b\x01\0\0\0\0\0\0\0", ""), (b"b\x01\0\0\0\0\0\0\0", "not ascending")]);
        check_refused(&[(b"b\x01\x01\0\0\0\0\0\0", ""), (b"b\x01\x02\0\0\0\0\0\0", "not ascending")]);
        check_refused(&[(b"b\x11\0\0\0\0\0\0\0", "blob")]);
        check_refused(&[(b"b\x0f\0\0\0\0\0\0\0", "range deletion among")]);
        check_refused(&[(b"short", "no room for a trailer")]);
    }
}
