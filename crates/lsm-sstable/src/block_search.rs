//! Finds one key in a block without putting any key together.
//!
//! Walking from a restart point, it is enough to remember how many bytes of the target the key before
//! matched: a key that shares more than that with its predecessor is smaller than the target for the same
//! reason as its predecessor, and any other key differs from it in bytes that the entry holds itself.

use std::cmp::Ordering;

use lsm_core::key::{TRAILER_BYTES, common_prefix, pack_trailer, trailer, user_key};
use lsm_core::{Error, Result, SeqNo};

use crate::block::{Block, Entry, damaged_entry};
use crate::block_cursor::BlockCursor;

/// What a search came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Search {
    /// The newest visible entry of the key: its trailer, and where its value lies in the block.
    Found { trailer: u64, value: std::ops::Range<usize> },
    /// The block holds a larger key, so the key has no visible entry.
    Absent,
    /// All entries are smaller than the target: if it exists, then in the next block.
    Behind,
}

/// The newest entry of `target` with a sequence number up to `visible`.
pub(crate) fn search(block: &Block, target: &[u8], visible: SeqNo) -> Result<Search> {
    let newest = pack_trailer(visible, u8::MAX);
    if block.restart_count() == 0 {
        return Ok(Search::Behind);
    }
    let restart = block.last_restart(|key| {
        let key = with_trailer(key)?;
        Ok(match user_key(key).cmp(target) {
            Ordering::Less => true,
            Ordering::Equal => trailer(key) > newest,
            Ordering::Greater => false,
        })
    })?;
    Walk { block, target, newest, offset: block.restart(restart) }.run()
}

fn with_trailer(key: &[u8]) -> Result<&[u8]> {
    match key.len() {
        TRAILER_BYTES.. => Ok(key),
        len => Err(Error::corruption(format!("key of {len} bytes has no room for a trailer"))),
    }
}

struct Walk<'a> {
    block: &'a Block,
    target: &'a [u8],
    newest: u64,
    offset: usize,
}

/// What the walk remembers of the key before; both are 0 before the first.
#[derive(Clone, Copy, Default)]
struct Before {
    /// Bytes of the whole key.
    bytes: usize,
    /// How many bytes of the target its user key begins with.
    matched: usize,
}

impl<'a> Walk<'a> {
    fn run(mut self) -> Result<Search> {
        let start = self.offset;
        let mut before = Before::default();
        while self.offset < self.block.entries_end() {
            let entry = self.block.entry(self.offset)?;
            let bytes = entry.shared + entry.key.len();
            if entry.shared > before.bytes || bytes < TRAILER_BYTES {
                return Err(damaged_entry(self.offset));
            }
            let user_bytes = bytes - TRAILER_BYTES;
            if entry.shared > before.matched {
                // The entry begins with the byte in which its predecessor differs from the target, unless the
                // predecessor's user key ended there and trailer bytes are shared: rare, and left to a cursor.
                if before.matched + TRAILER_BYTES >= before.bytes || user_bytes <= before.matched {
                    return self.run_by_cursor(start);
                }
                before.bytes = bytes;
            } else if entry.shared > user_bytes {
                return self.run_by_cursor(start);
            } else {
                let own = &entry.key[..user_bytes - entry.shared];
                let wanted = &self.target[entry.shared..];
                let common = common_prefix(own, wanted);
                match (own.get(common), wanted.get(common)) {
                    (None, None) => return self.versions(entry),
                    (Some(_), None) => return Ok(Search::Absent),
                    (Some(own), Some(wanted)) if own > wanted => return Ok(Search::Absent),
                    _ => before = Before { bytes, matched: entry.shared + common },
                }
            }
            self.offset = entry.end;
        }
        Ok(Search::Behind)
    }

    /// Goes through the entries of the target itself, newest first, from `entry`, which holds a whole trailer.
    fn versions(mut self, mut entry: Entry<'a>) -> Result<Search> {
        let mut bytes = [0; TRAILER_BYTES];
        let user_bytes = self.target.len();
        loop {
            let kept = entry.shared.saturating_sub(user_bytes);
            let own = entry.key.len().checked_sub(TRAILER_BYTES - kept).ok_or_else(|| damaged_entry(self.offset))?;
            bytes[kept..].copy_from_slice(&entry.key[own..]);
            let trailer = u64::from_le_bytes(bytes);
            if trailer <= self.newest {
                return Ok(Search::Found { trailer, value: entry.value..entry.end });
            }
            self.offset = entry.end;
            if self.offset >= self.block.entries_end() {
                return Ok(Search::Behind);
            }
            entry = self.block.entry(self.offset)?;
            if !self.is_version(&entry)? {
                return Ok(Search::Absent);
            }
        }
    }

    /// Whether `entry`, which follows an entry of the target, is one too.
    fn is_version(&self, entry: &Entry<'_>) -> Result<bool> {
        let user_bytes = self.target.len();
        if entry.shared > user_bytes + TRAILER_BYTES {
            return Err(damaged_entry(self.offset));
        }
        if entry.shared + entry.key.len() != user_bytes + TRAILER_BYTES {
            return Ok(false);
        }
        let unshared = &self.target[entry.shared.min(user_bytes)..];
        Ok(entry.key.starts_with(unshared))
    }

    /// The same by putting keys together.
    #[cold]
    fn run_by_cursor(self, start: usize) -> Result<Search> {
        let mut cursor = BlockCursor::new(self.block.clone());
        cursor.seek_from(start, |key| match user_key(key).cmp(self.target) {
            Ordering::Equal => trailer(key) > self.newest,
            order => order == Ordering::Less,
        })?;
        if !cursor.valid() {
            return Ok(Search::Behind);
        }
        match user_key(cursor.key()) == self.target {
            true => Ok(Search::Found { trailer: trailer(cursor.key()), value: cursor.value_range() }),
            false => Ok(Search::Absent),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::block_builder::BlockBuilder;
    use lsm_core::Kind;
    use lsm_core::key::InternalKey;
    use quickcheck::quickcheck;

    pub(crate) fn block_of(keys: &[InternalKey], restart_interval: usize) -> Block {
        let mut builder = BlockBuilder::new(restart_interval);
        keys.iter().enumerate().for_each(|(number, key)| builder.add(key.as_bytes(), &[number as u8; 30]));
        Block::new(builder.finish().to_vec()).unwrap()
    }

    /// Bytes from {0, 1, 2} make prefixes, versions and trailer-like user keys meet often.
    fn small(word: Vec<u8>) -> Vec<u8> {
        word.into_iter().take(5).map(|byte| byte % 3).collect()
    }

    /// Sorted keys that begin with `before`.
    pub(crate) fn small_keys(words: Vec<(Vec<u8>, u8)>, before: &[u8]) -> Vec<InternalKey> {
        let key = |(word, seq): (Vec<u8>, u8)| {
            InternalKey::new(&[before, &small(word)].concat(), SeqNo::new(u64::from(seq % 8)), Kind::Value)
        };
        let mut keys: Vec<InternalKey> = words.into_iter().map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn naive(keys: &[InternalKey], target: &[u8], visible: SeqNo) -> Option<u64> {
        keys.iter().find(|key| key.user_key() == target && key.seq() <= visible).map(|key| trailer(key.as_bytes()))
    }

    quickcheck! {
        fn agrees_with_a_list(words: Vec<(Vec<u8>, u8)>, target: Vec<u8>, visible: u8, interval: u8) -> bool {
            let keys = small_keys(words, &[]);
            let block = block_of(&keys, usize::from(interval % 20));
            let mut targets: Vec<Vec<u8>> = keys.iter().map(|key| key.user_key().to_vec()).collect();
            targets.push(small(target));
            targets.iter().all(|target| {
                let visible = SeqNo::new(u64::from(visible % 9));
                let found = search(&block, target, visible).unwrap();
                let all_smaller = keys.last().is_none_or(|last| *last < InternalKey::for_seek(target, visible));
                match (found, naive(&keys, target, visible)) {
                    (Search::Found { trailer, .. }, Some(expected)) => trailer == expected,
                    (Search::Absent, None) => !all_smaller,
                    (Search::Behind, None) => all_smaller,
                    _ => false,
                }
            })
        }
    }

    #[test]
    fn a_shared_trailer_byte_is_not_taken_for_a_user_key() {
        // "ab"#9 ends in the bytes 01 09 00 ..; the user key "ab\x01" shares the first of them.
        let keys = [
            InternalKey::new(b"ab", SeqNo::new(9), Kind::Value),
            InternalKey::new(b"ab", SeqNo::new(8), Kind::Value),
            InternalKey::new(b"ab\x01", SeqNo::new(7), Kind::Value),
        ];
        let block = block_of(&keys, 16);
        let expected = Search::Found { trailer: pack_trailer(SeqNo::new(7), 1), value: 0..0 };
        let Search::Found { trailer, .. } = expected else { unreachable!() };
        assert!(matches!(search(&block, b"ab\x01", SeqNo::MAX), Ok(Search::Found { trailer: t, .. }) if t == trailer));
        assert_eq!(search(&block, b"ab\0", SeqNo::MAX).unwrap(), Search::Absent);
    }
}
