//! Collects one separator for each data block and writes the index at the end.
//!
//! Separators are user keys where that is possible: only when two blocks hold entries of one user key must
//! the index tell them apart by sequence number. Which of both it is, is known after the last block; until
//! then whole internal keys are kept.

use lsm_core::SeqNo;
use lsm_core::key::{Kind, common_prefix, pack_trailer, user_key};

use crate::block_builder::BlockBuilder;
use crate::handle::BlockHandle;

#[derive(Default)]
pub(crate) struct IndexBuilder {
    /// Separators as internal keys, one after the other.
    keys: Vec<u8>,
    entries: Vec<(usize, BlockHandle)>,
    needs_internal_keys: bool,
}

impl IndexBuilder {
    /// Adds the block at `handle`, which ends with internal key `last`; `next` is the first one of the next
    /// block.
    pub(crate) fn add(&mut self, last: &[u8], next: Option<&[u8]>, handle: BlockHandle) {
        match next {
            Some(next) => {
                self.needs_internal_keys |= user_key(last) == user_key(next);
                append_separator(last, next, &mut self.keys);
            }
            None => self.keys.extend_from_slice(last),
        }
        self.entries.push((self.keys.len(), handle));
    }

    /// About how many bytes [`IndexBuilder::finish`] will return.
    pub(crate) fn bytes(&self) -> usize {
        self.keys.len() + 8 * self.entries.len()
    }

    /// How many blocks were added.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The payload of the index block, and whether its separators are user keys.
    pub(crate) fn finish(self, restart_interval: usize) -> (Vec<u8>, bool) {
        let user_keys = !self.needs_internal_keys;
        let mut block = BlockBuilder::new(restart_interval);
        let (mut start, mut previous) = (0, None);
        for (end, handle) in self.entries {
            let key = &self.keys[start..end];
            block.add_handle(if user_keys { user_key(key) } else { key }, handle, previous);
            (start, previous) = (end, Some(handle));
        }
        (block.finish().to_vec(), user_keys)
    }
}

/// Appends a short internal key that is at least `last` and smaller than `next`.
fn append_separator(last: &[u8], next: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(user_key(last));
    match shorten(&out[start..], user_key(next)) {
        Some((len, byte)) => {
            out.truncate(start + len);
            out[start + len - 1] = byte;
            // In front of every entry of the shortened key, which is larger than `last` already.
            out.extend_from_slice(&pack_trailer(SeqNo::MAX, Kind::SEEK).to_le_bytes());
        }
        None => {
            out.truncate(start);
            out.extend_from_slice(last);
        }
    }
}

/// How `low` can be cut and its then last byte be raised so that the result lies between `low` (larger than
/// it) and `high` (smaller than it): length and last byte. RocksDB's rule, so that the bytes agree.
fn shorten(low: &[u8], high: &[u8]) -> Option<(usize, u8)> {
    let at = common_prefix(low, high);
    let (own, limit) = (*low.get(at)?, *high.get(at)?);
    if own >= limit {
        return None;
    }
    if own + 1 < limit || at + 1 < high.len() {
        return Some((at + 1, own + 1));
    }
    // One more would reach `high` itself: keep this byte and raise the first one behind it that can be.
    let more = low[at + 1..].iter().position(|&byte| byte < 0xff)?;
    let last = at + 1 + more;
    Some((last + 1, low[last] + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn shortened(low: &[u8], high: &[u8]) -> Vec<u8> {
        match shorten(low, high) {
            Some((len, byte)) => [&low[..len - 1], &[byte]].concat(),
            None => low.to_vec(),
        }
    }

    quickcheck! {
        fn a_separator_lies_between_its_neighbours(shared: Vec<u8>, a: Vec<u8>, b: Vec<u8>) -> bool {
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            let (low, high) = ([shared.clone(), low].concat(), [shared, high].concat());
            let separator = shortened(&low, &high);
            low == high || (low <= separator && separator < high && separator.len() <= low.len())
        }
    }

    #[test]
    fn separators_are_shortened_as_rocksdb_does() {
        assert_eq!(shortened(b"abcdef", b"abzz"), b"abd");
        assert_eq!(shortened(b"abc", b"abcd"), b"abc");
        assert_eq!(shortened(b"ab1xyz", b"ab2"), b"ab1y");
        assert_eq!(shortened(b"ab1xyz", b"ab22"), b"ab2");
        assert_eq!(shortened(b"ab1\xff\xff", b"ab2"), b"ab1\xff\xff");
        assert_eq!(shortened(b"same", b"same"), b"same");
    }
}
