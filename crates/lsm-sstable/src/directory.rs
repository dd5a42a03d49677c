//! Where the entries of a block are: made in memory for blocks that lookups come to, and on no disk.
//!
//! ```text
//! word = six bytes of a user key behind what all user keys of the block begin with, offset of the entry: u16
//! ```
//!
//! A search by restart points touches a line of the block for each step and then walks through entries. Here it stays
//! within a few neighbouring lines, and meets only entries whose first bytes are the target's.
//!
//! # Invariants
//! N1. `common` bytes begin every user key of the block. Of them `given` also begin every target that the index leads
//!     here, so that nobody compares them; the others are `first` and `more`, padded with zeros.
//! N2. The upper 48 bits of `words[i]` are bytes `common..common + 6` of user key `i`, padded with zeros; the lower 16
//!     are where entry `i` begins. Words ascend.

use std::cmp::Ordering;

use lsm_core::key::{TRAILER_BYTES, common_prefix, leading_bytes, trailer, user_key};
use lsm_core::{Result, memory};

use crate::block::{Block, Entry, damaged_entry};
use crate::block_search::Search;

/// Bytes of a key in a word.
const PREFIX_BYTES: usize = 6;
/// Who seeks will read on: about so much memory is waited for together with the first entry.
const ASKED_BYTES: usize = 1 << 10;
/// A longer entry is not asked for as a whole: the machine sees by itself that it is read on.
const ASKED_ENTRY_BYTES: usize = 1280;
/// As many words as blocks of ordinary size and rows of a hundred bytes have, and some more.
const ASKED_WORDS: usize = 64;
const OFFSET_BITS: u32 = 16;
const OFFSETS: u64 = (1 << OFFSET_BITS) - 1;

/// The entries of one block.
pub(crate) struct Directory {
    /// Eight bytes of the common part behind those that are given, as a number that orders as they do.
    first: u64,
    /// The bytes of the common part behind those: hardly any block has any.
    more: Box<[u8]>,
    given: u32,
    common: u32,
    words: Box<[u64]>,
}

/// Where a cursor stands after a seek.
pub(crate) enum Stand {
    /// On the entry that begins here.
    On(usize),
    /// All entries are smaller.
    Behind,
    /// Only a walk from a restart point can tell.
    Unknown,
}

impl Directory {
    /// The directory of `block`, to which the index leads only targets that begin with `given`, as its keys should; `None`
    /// where offsets do not fit, or the block is not as it should be.
    pub(crate) fn of(block: &Block, given: &[u8]) -> Option<Directory> {
        if block.entries_end() > usize::from(u16::MAX) {
            return None;
        }
        let first = user_part(block.restart_key(0).ok()?)?;
        let last_restart = block.restart(block.restart_count().checked_sub(1)?);
        let last = block.walk(last_restart, |_, _, _| Ok(())).ok()?;
        let common = common_prefix(first, user_part(&last)?);
        let mut words: Vec<u64> = Vec::new();
        let add = |offset: usize, key: &[u8], _: Entry<'_>| {
            let rest = user_part(key).and_then(|user_key| user_key.get(common..));
            let word = leading_bytes(rest.ok_or_else(|| damaged_entry(offset))?) & !OFFSETS | offset as u64;
            if words.last().is_some_and(|&before| before >= word) {
                return Err(damaged_entry(offset)); // N2
            }
            words.push(word);
            Ok(())
        };
        block.walk(0, add).ok()?;
        // Of a block that is not where the index has it, only what its keys have is given.
        let given = common_prefix(given, &first[..common]);
        let (first, more) = first[given..common].split_at((common - given).min(size_of::<u64>()));
        let (given, common) = (u32::try_from(given).ok()?, u32::try_from(common).ok()?);
        Some(Directory { first: leading_bytes(first), more: more.into(), given, common, words: words.into() })
    }

    /// The newest entry of `target` with a trailer up to `newest`; `None` where only a walk from a restart point can
    /// tell.
    pub(crate) fn search(&self, block: &Block, target: &[u8], newest: u64) -> Result<Option<Search>> {
        match self.compare_common(target) {
            Ordering::Less => return Ok(Some(Search::Absent)),
            Ordering::Greater => return Ok(Some(Search::Behind)),
            Ordering::Equal => {}
        }
        let (prefix, from) = self.first_of(&target[self.common()..]);
        for (&word, next) in self.words[from..].iter().zip(from + 1..) {
            if word & !OFFSETS != prefix {
                return Ok(Some(Search::Absent));
            }
            // Whoever asked for the value is going to read it.
            self.ask_for_entry(block, word, next);
            let entry = Entry::at(block.entry_bytes(), (word & OFFSETS) as usize)?;
            match compare(&entry, target, self.common() + PREFIX_BYTES) {
                None => return Ok(None),
                Some(Ordering::Less) => {}
                Some(Ordering::Greater) => return Ok(Some(Search::Absent)),
                Some(Ordering::Equal) if trailer(entry.key) > newest => {}
                Some(Ordering::Equal) => {
                    return Ok(Some(Search::Found { trailer: trailer(entry.key), value: entry.value..entry.end }));
                }
            }
        }
        Ok(Some(Search::Behind))
    }

    /// Stands on the first entry at or behind `target`, an internal key: where it begins, and its whole key in `key`.
    pub(crate) fn seek(&self, block: &Block, target: &[u8], key: &mut Vec<u8>) -> Result<Stand> {
        let (target, newest) = (user_key(target), trailer(target));
        let (prefix, from) = match self.compare_common(target) {
            Ordering::Less => (None, 0),
            Ordering::Greater => return Ok(Stand::Behind),
            Ordering::Equal => {
                let (prefix, from) = self.first_of(&target[self.common()..]);
                (Some(prefix), from)
            }
        };
        if let Some(word) = self.words.get(from) {
            let offset = (word & OFFSETS) as usize;
            block.ask_for(offset..offset + ASKED_BYTES);
        }
        let entries = block.entry_bytes();
        for &word in &self.words[from..] {
            let offset = (word & OFFSETS) as usize;
            let entry = Entry::at(entries, offset)?;
            let order = match prefix == Some(word & !OFFSETS) {
                true => compare(&entry, target, self.common() + PREFIX_BYTES),
                false => Some(Ordering::Greater),
            };
            match order {
                None => return Ok(Stand::Unknown),
                Some(Ordering::Less) => {}
                Some(Ordering::Equal) if trailer(entry.key) > newest => {}
                Some(_) => {
                    return Ok(self.key_of(word, &entry, target, key).map_or(Stand::Unknown, |()| Stand::On(offset)));
                }
            }
        }
        Ok(Stand::Behind)
    }

    /// Puts a key together from what a target with the same common part and the directory know of it, and what the entry
    /// has; `None` if that is not all. Of a smaller target nothing is asked: the first entry has its whole key.
    fn key_of(&self, word: u64, entry: &Entry<'_>, target: &[u8], key: &mut Vec<u8>) -> Option<()> {
        let from_target = target.get(..entry.shared.min(self.common()))?;
        let from_word = entry.shared - from_target.len();
        let word = word.to_be_bytes();
        let known = word[..PREFIX_BYTES].get(..from_word)?;
        entry.key.len().checked_sub(TRAILER_BYTES)?;
        key.clear();
        key.extend_from_slice(from_target);
        key.extend_from_slice(known);
        key.extend_from_slice(entry.key);
        Some(())
    }

    /// The part of a word that a target which goes on with `rest` behind the common part would have, and the number of
    /// the first word at or behind it.
    #[inline]
    fn first_of(&self, rest: &[u8]) -> (u64, usize) {
        let prefix = leading_bytes(rest) & !OFFSETS;
        (prefix, self.words.partition_point(|&word| word < prefix))
    }

    /// Asks for the words, of which a search looks at one in the middle first.
    #[inline]
    pub(crate) fn ask_for_words(&self) {
        let middle = self.words.len() / 2;
        let around = middle.saturating_sub(ASKED_WORDS / 2)..(middle + ASKED_WORDS / 2).min(self.words.len());
        memory::ask_for(&self.words[around]);
    }

    /// Asks for the entry that a search comes to first.
    #[inline]
    pub(crate) fn ask_for_first(&self, block: &Block, target: &[u8]) {
        let (_, from) = self.first_of(target.get(self.common()..).unwrap_or_default());
        if let Some(&word) = self.words.get(from) {
            self.ask_for_entry(block, word, from + 1);
        }
    }

    /// Asks for the entry of a word, which goes on to where that of the word `next` begins.
    #[inline]
    fn ask_for_entry(&self, block: &Block, word: u64, next: usize) {
        let start = (word & OFFSETS) as usize;
        let end = self.words.get(next).map_or(usize::MAX, |next| (next & OFFSETS) as usize);
        block.ask_for(start..end.min(start + ASKED_ENTRY_BYTES));
    }

    /// How `target` compares with all keys by their common part: what is shorter than that and equal is smaller.
    #[inline]
    fn compare_common(&self, target: &[u8]) -> Ordering {
        let known = target.len().min(self.common());
        let own = &target[known.min(self.given as usize)..known];
        let (first, more) = own.split_at(own.len().min(size_of::<u64>()));
        let by_bytes = leading_bytes(first).cmp(&self.first).then_with(|| more.cmp(&self.more));
        by_bytes.then(known.cmp(&self.common()))
    }

    #[inline]
    fn common(&self) -> usize {
        self.common as usize
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.words) + self.more.len()
    }
}

/// How the user key of an entry compares with `target`, of whose first `known` bytes it has those that both have;
/// `None` if it shares more than those with the key before, or a part of its trailer.
fn compare(entry: &Entry<'_>, target: &[u8], known: usize) -> Option<Ordering> {
    let own = entry.key.split_last_chunk::<TRAILER_BYTES>()?.0;
    let is_known = entry.shared <= known.min(target.len());
    is_known.then(|| own.cmp(&target[entry.shared..]))
}

fn user_part(key: &[u8]) -> Option<&[u8]> {
    key.len().checked_sub(TRAILER_BYTES).map(|bytes| &key[..bytes])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_cursor::BlockCursor;
    use crate::block_search::search;
    use crate::block_search::tests::{block_of, small_keys};
    use lsm_core::key::{InternalKey, pack_trailer};
    use lsm_core::{Kind, SeqNo};
    use quickcheck::quickcheck;

    /// What the directory says, or the restart points where it cannot tell.
    fn found(block: &Block, given: &[u8], target: &[u8], visible: SeqNo) -> Search {
        let newest = pack_trailer(visible, u8::MAX);
        let directory = Directory::of(block, given).unwrap();
        let found = directory.search(block, target, newest).unwrap();
        found.unwrap_or_else(|| search(block, target, visible).unwrap())
    }

    quickcheck! {
        fn agrees_with_a_search_by_restart_points(
            words: Vec<(Vec<u8>, u8)>, targets: Vec<Vec<u8>>, common: u8, visible: u8, interval: u8
        ) -> bool {
            // What all keys share makes the common part longer than a word, or stop within one.
            let before = vec![1; usize::from(common % 20)];
            let keys = small_keys(words, &before);
            let block = block_of(&keys, usize::from(interval % 20));
            if keys.is_empty() {
                return Directory::of(&block, b"").is_none();
            }
            let visible = SeqNo::new(u64::from(visible % 9));
            let agrees = |target: &[u8], given: &[u8]| {
                found(&block, given, target, visible) == search(&block, target, visible).unwrap()
            };
            targets.iter().all(|target| {
                let target: Vec<u8> = target.iter().map(|byte| byte % 3).collect();
                let long = [&before[..], &target].concat();
                agrees(&target, b"") && (0..=before.len()).all(|given| agrees(&long, &before[..given]))
                    // A block that lies where others should.
                    && (0..=target.len()).all(|given| agrees(&target, &target[..given]))
            }) && keys.iter().all(|key| (0..=before.len()).all(|given| agrees(key.user_key(), &before[..given])))
        }

        fn stands_where_a_walk_from_a_restart_point_does(
            words: Vec<(Vec<u8>, u8)>, targets: Vec<(Vec<u8>, u8)>, common: u8, interval: u8
        ) -> bool {
            let before = vec![1; usize::from(common % 20)];
            let keys = small_keys(words, &before);
            let block = block_of(&keys, usize::from(interval % 20));
            if keys.is_empty() {
                return Directory::of(&block, b"").is_none();
            }
            let agrees = |target: &InternalKey, given: &[u8]| {
                let directory = Directory::of(&block, given).unwrap();
                let mut expected = BlockCursor::new(block.clone());
                expected.seek(target.as_bytes()).unwrap();
                let mut found = BlockCursor::new(block.clone());
                found.seek_by(&directory, target.as_bytes()).unwrap();
                let at = |cursor: &BlockCursor| cursor.valid().then(|| (cursor.key().to_vec(), cursor.value_range()));
                at(&found) == at(&expected)
            };
            targets.iter().all(|(target, seq)| {
                let target: Vec<u8> = target.iter().map(|byte| byte % 3).collect();
                let [long, short] = [[&before[..], &target].concat(), target.clone()]
                    .map(|user_key| InternalKey::for_seek(&user_key, SeqNo::new(u64::from(seq % 9))));
                agrees(&short, b"") && (0..=before.len()).all(|given| agrees(&long, &before[..given]))
                    && (0..=target.len()).all(|given| agrees(&short, &target[..given]))
            }) && keys.iter().all(|key| (0..=before.len()).all(|given| agrees(key, &before[..given])))
        }

        fn no_bytes_make_it_panic(bytes: Vec<u8>, target: Vec<u8>, given: Vec<u8>) -> bool {
            let data = [bytes, vec![0, 0, 0, 0, 1, 0, 0, 0]].concat();
            let block = Block::new(data).unwrap();
            let Some(directory) = Directory::of(&block, &given) else { return true };
            let target = InternalKey::for_seek(&target, SeqNo::MAX);
            // A cursor may also meet an entry of a foreign kind.
            let _ = BlockCursor::new(block.clone()).seek_by(&directory, target.as_bytes());
            directory.search(&block, target.user_key(), u64::MAX).is_ok()
        }
    }

    #[test]
    fn keys_that_differ_late_need_no_walk() {
        let keys: Vec<_> =
            (0..100).map(|n| InternalKey::new(format!("user{n:020}").as_bytes(), SeqNo::new(1), Kind::Value)).collect();
        let block = block_of(&keys, 16);
        let directory = Directory::of(&block, b"").unwrap();
        for key in &keys {
            let found = directory.search(&block, key.user_key(), u64::MAX).unwrap();
            assert!(matches!(found, Some(Search::Found { .. })), "{key:?}");
        }
        assert!(directory.memory_bytes() <= 100 * 8 + 24);
    }
}
