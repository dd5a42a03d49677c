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

#[cfg(test)]
mod tests {
    use super::*;
    use lsm_core::{Error, Kind, SeqNo};
    use quickcheck::quickcheck;

    /// A sorted list of keys that may fail to move.
    struct List {
        keys: Vec<InternalKey>,
        position: Option<usize>,
        broken: bool,
    }

    fn key(number: u8) -> InternalKey {
        InternalKey::new(&[number], SeqNo::new(1), Kind::Value)
    }

    fn list(numbers: &[u8]) -> (InternalKey, List) {
        let keys: Vec<InternalKey> = numbers.iter().map(|&number| key(number)).collect();
        let largest = keys.last().cloned().unwrap_or_else(|| key(0));
        (largest, List { keys, position: None, broken: false })
    }

    impl List {
        fn stand(&mut self, position: Option<usize>) -> Result<()> {
            self.position = position.filter(|&position| position < self.keys.len() && !self.broken);
            if self.broken { Err(Error::corruption("broken")) } else { Ok(()) }
        }
    }

    impl Cursor for List {
        fn seek_to_first(&mut self) -> Result<()> {
            self.stand(Some(0))
        }

        fn seek_to_last(&mut self) -> Result<()> {
            self.stand(self.keys.len().checked_sub(1))
        }

        fn seek(&mut self, target: &[u8]) -> Result<()> {
            self.stand(Some(self.keys.partition_point(|key| lsm_core::key::compare(key.as_bytes(), target).is_lt())))
        }

        fn seek_for_prev(&mut self, target: &[u8]) -> Result<()> {
            let behind = self.keys.partition_point(|key| lsm_core::key::compare(key.as_bytes(), target).is_le());
            self.stand(behind.checked_sub(1))
        }

        fn next(&mut self) -> Result<()> {
            self.stand(self.position.map(|position| position + 1))
        }

        fn prev(&mut self) -> Result<()> {
            self.stand(self.position.and_then(|position| position.checked_sub(1)))
        }

        fn valid(&self) -> bool {
            self.position.is_some()
        }

        fn key(&self) -> &[u8] {
            self.keys[self.position.unwrap()].as_bytes()
        }

        fn value(&self) -> &[u8] {
            b"value"
        }
    }

    quickcheck! {
        fn walks_like_one_list(numbers: Vec<u8>, cuts: Vec<u8>, moves: Vec<(u8, u8)>) -> bool {
            let mut numbers = numbers;
            numbers.sort_unstable();
            numbers.dedup();
            let mut rest: &[u8] = &numbers;
            let mut parts = Vec::new();
            // An empty part has a bound, too: a table of tombstones only.
            let mut largest = InternalKey::for_seek(&[], SeqNo::MAX);
            for length in cuts.into_iter().map(|cut| usize::from(cut % 4)).chain([256]) {
                let (part, behind) = rest.split_at(length.min(rest.len()));
                largest = part.last().map_or(largest, |&last| key(last));
                parts.push((largest.clone(), list(part).1));
                rest = behind;
            }
            let (mut concat, mut whole) = (ConcatCursor::new(parts), list(&numbers).1);
            for (kind, target) in moves {
                let target = key(target);
                match kind % 6 {
                    0 => { concat.seek_to_first().unwrap(); whole.seek_to_first().unwrap(); }
                    1 => { concat.seek_to_last().unwrap(); whole.seek_to_last().unwrap(); }
                    2 => { concat.seek(target.as_bytes()).unwrap(); whole.seek(target.as_bytes()).unwrap(); }
                    3 => { concat.seek_for_prev(target.as_bytes()).unwrap(); whole.seek_for_prev(target.as_bytes()).unwrap(); }
                    4 if whole.valid() => { concat.next().unwrap(); whole.next().unwrap(); }
                    5 if whole.valid() => { concat.prev().unwrap(); whole.prev().unwrap(); }
                    _ => {}
                }
                if concat.valid() != whole.valid() || (whole.valid() && concat.key() != whole.key()) {
                    return false;
                }
            }
            true
        }
    }

    #[test]
    fn an_error_is_not_taken_for_the_end() {
        let (mut first, mut second) = (list(&[1, 2]), list(&[3, 4]));
        second.1.broken = true;
        let mut concat = ConcatCursor::new(vec![first, second]);
        concat.seek(key(2).as_bytes()).unwrap();
        assert!(concat.valid());
        assert!(concat.next().is_err() && !concat.valid());
        assert!(concat.seek_to_last().is_err() && !concat.valid());
        concat.seek_to_first().unwrap();
        assert_eq!(concat.value_slice(), b"value");

        first = list(&[1, 2]);
        first.1.broken = true;
        let mut concat = ConcatCursor::new(vec![first, list(&[3])]);
        concat.seek_to_last().unwrap();
        assert!(concat.prev().is_err() && !concat.valid());
    }
}
