//! The index of a table in memory: a sorted array with one element for each data block.
//!
//! On disk an index is a block (or, partitioned, a block of blocks) of separators and handles. It is decoded
//! once when the table is opened, all partitions included: about 40 bytes for each 4 KiB block buy a search
//! that touches a few cache lines of one array and no block at all.
//!
//! # Invariants
//! X1. Separators are strictly ascending; separator i is at least the last key of block i and smaller than
//!     the first key of block i + 1.
//! X2. Handles are ascending, do not overlap and end where the file's blocks do or before, so that a walk along the
//!     index always makes progress, and no more blocks are counted than the file has room for.
//! X3. `prefixes[i]` holds the first eight bytes of separator i behind what all separators share; if it is
//!     smaller (larger) than that of a target, the separator is smaller (larger).
//! X4. The separators take no more memory than [`KeyBudget::of_index`] allows, nor does any block of them: both may
//!     have been compressed to next to nothing.

use std::cmp::Ordering;

use lsm_core::coding::Decoder;
use lsm_core::key::{TRAILER_BYTES, common_prefix, leading_bytes, trailer, user_key};
use lsm_core::words::count_before;
use lsm_core::{Error, Result};

use crate::block::{Block, KeyBudget, damaged_entry};
use crate::handle::BlockHandle;

/// How the entries of an index block are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IndexFormat {
    /// Separators are user keys, not internal keys.
    pub(crate) user_keys: bool,
    /// Values have no length; where a key shares bytes, only the difference of sizes is stored.
    pub(crate) value_delta: bool,
    /// Handles are followed by the first internal key of the block.
    pub(crate) first_keys: bool,
}

/// Separators and handles, searchable.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Bytes that all separators begin with.
    shared: usize,
    prefixes: Vec<u64>,
    /// All separators' user keys, one after the other.
    keys: Vec<u8>,
    key_ends: Vec<u32>,
    /// Separators' trailers; in an index of user keys all are 0, behind every entry of the key.
    trailers: Vec<u64>,
    offsets: Vec<u64>,
    sizes: Vec<u32>,
    /// Where the file's blocks end.
    blocks_end: u64,
}

impl Index {
    /// An index without entries, of a file whose blocks end at `blocks_end`.
    pub(crate) fn of_file(blocks_end: u64) -> Index {
        Index { blocks_end, ..Index::default() }
    }

    /// Appends the entries of an index block; all blocks of one index share a budget (X4).
    pub(crate) fn append(&mut self, block: &Block, format: IndexFormat, budget: &mut KeyBudget) -> Result<()> {
        let entries = &block.data()[..block.entries_end()];
        let mut decoder = Decoder::new(entries);
        let (mut key, mut previous) = (Vec::new(), None);
        while !decoder.is_empty() {
            let offset = entries.len() - decoder.rest().len();
            let entry = next_entry(&mut decoder, format, &mut key, previous);
            let handle = entry.ok_or_else(|| damaged_entry(offset))?;
            budget.spend(key.len())?;
            self.push(&key, handle, format)?;
            previous = Some(handle);
        }
        Ok(())
    }

    fn push(&mut self, separator: &[u8], handle: BlockHandle, format: IndexFormat) -> Result<()> {
        let (key, trailer) = match (format.user_keys, separator.len()) {
            (true, _) => (separator, 0),
            (false, TRAILER_BYTES..) => (user_key(separator), trailer(separator)),
            (false, len) => {
                return Err(Error::corruption(format!("separator of {len} bytes has no room for a trailer")));
            }
        };
        if handle.end().is_none_or(|end| end > self.blocks_end) {
            let BlockHandle { offset, bytes } = handle;
            let end = self.blocks_end;
            return Err(Error::corruption(format!("index leads to {bytes} bytes at {offset}, blocks end at {end}"))); // X2
        }
        if let Some(last) = self.len().checked_sub(1) {
            if self.compare(last, key, trailer) != Ordering::Less {
                return Err(Error::corruption("separators of an index are not ascending")); // X1
            }
            if self.handle(last).end().is_none_or(|end| handle.offset < end) {
                return Err(Error::corruption(format!("index leads back to offset {}", handle.offset))); // X2
            }
        }
        let too_large = |_| Error::corruption(format!("index with a block of {} bytes", handle.bytes));
        self.keys.extend_from_slice(key);
        self.key_ends.push(u32::try_from(self.keys.len()).map_err(too_large)?);
        self.sizes.push(u32::try_from(handle.bytes).map_err(too_large)?);
        self.offsets.push(handle.offset);
        if !format.user_keys {
            self.trailers.push(trailer);
        }
        Ok(())
    }

    /// Makes the index searchable after the last [`Index::append`].
    pub(crate) fn finish(&mut self) {
        let len = self.len();
        if len > 0 {
            // Sorted, so what the first and the last share, all share.
            self.shared = common_prefix(self.key(0), self.key(len - 1));
        }
        self.prefixes = (0..len).map(|block| leading_bytes(&self.key(block)[self.shared..])).collect();
        self.keys.shrink_to_fit();
        self.key_ends.shrink_to_fit();
        self.trailers.shrink_to_fit();
        self.offsets.shrink_to_fit();
        self.sizes.shrink_to_fit();
    }

    /// How many blocks the index leads to.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.offsets.len()
    }

    #[inline]
    pub(crate) fn handle(&self, block: usize) -> BlockHandle {
        BlockHandle { offset: self.offsets[block], bytes: u64::from(self.sizes[block]) }
    }

    /// The user key of a separator.
    #[inline]
    pub(crate) fn key(&self, block: usize) -> &[u8] {
        let start = block.checked_sub(1).map_or(0, |before| self.key_ends[before]);
        &self.keys[start as usize..self.key_ends[block] as usize]
    }

    /// What all targets begin with for which [`Index::seek`] finds block `number`, and the user keys of that: they lie between
    /// its separator and the one before.
    pub(crate) fn shared_around(&self, number: usize) -> &[u8] {
        let key = self.key(number);
        &key[..number.checked_sub(1).map_or(0, |before| common_prefix(self.key(before), key))]
    }

    /// Whether entries of the separator's own user key may follow in the next block.
    #[inline]
    pub(crate) fn continues_behind(&self, block: usize, key: &[u8]) -> bool {
        !self.trailers.is_empty() && self.key(block) == key
    }

    /// How separator `block` compares with an internal key.
    #[inline]
    pub(crate) fn compare(&self, block: usize, key: &[u8], trailer: u64) -> Ordering {
        let own = self.trailers.get(block).copied().unwrap_or(0);
        self.key(block).cmp(key).then_with(|| trailer.cmp(&own))
    }

    /// Number of the first block whose separator is at or after the internal key: the only one that can hold
    /// the first entry at or after it, unless that is the first entry of the next one. [`Index::len`] where
    /// there is none.
    #[inline]
    pub(crate) fn seek(&self, key: &[u8], trailer: u64) -> usize {
        let shared = if self.shared > 0 { &self.key(0)[..self.shared] } else { &[] };
        count_before(shared, &self.prefixes, key, |block| self.compare(block, key, trailer) == Ordering::Less)
    }

    /// Bytes of memory that the index takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.keys.capacity()
            + 8 * (self.prefixes.capacity() + self.trailers.capacity() + self.offsets.capacity())
            + 4 * (self.key_ends.capacity() + self.sizes.capacity())
    }
}

/// Reads one entry; its key replaces the one before in `key`. Returns its handle.
fn next_entry(
    decoder: &mut Decoder<'_>,
    format: IndexFormat,
    key: &mut Vec<u8>,
    previous: Option<BlockHandle>,
) -> Option<BlockHandle> {
    let shared = decoder.varint32()? as usize;
    let unshared = decoder.varint32()? as usize;
    let value_bytes = if format.value_delta { None } else { Some(decoder.varint32()? as usize) };
    if shared > key.len() {
        return None;
    }
    key.truncate(shared);
    key.extend_from_slice(decoder.bytes(unshared)?);
    if let Some(value_bytes) = value_bytes {
        // Whatever follows the handle (a first key) is not needed.
        return BlockHandle::decode(&mut Decoder::new(decoder.bytes(value_bytes)?));
    }
    let handle = match shared {
        0 => BlockHandle::decode(decoder)?,
        _ => {
            let previous = previous?;
            let bytes = previous.bytes.checked_add_signed(decoder.varsigned64()?)?;
            BlockHandle { offset: previous.end()?, bytes }
        }
    };
    if format.first_keys {
        decoder.length_prefixed()?;
    }
    Some(handle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_builder::BlockBuilder;
    use lsm_core::key::InternalKey;
    use lsm_core::{Kind, SeqNo};
    use quickcheck::quickcheck;

    const USER_KEYS: IndexFormat = IndexFormat { user_keys: true, value_delta: true, first_keys: false };
    const INTERNAL_KEYS: IndexFormat = IndexFormat { user_keys: false, value_delta: false, first_keys: false };

    const FILE_BYTES: u64 = 1 << 20;

    fn budget() -> KeyBudget {
        KeyBudget::of_index(FILE_BYTES)
    }

    fn handle_of(number: usize) -> BlockHandle {
        BlockHandle { offset: 100 * number as u64, bytes: 95 }
    }

    fn index_of(separators: &[Vec<u8>], restart_interval: usize) -> Result<Index> {
        let mut builder = BlockBuilder::new(restart_interval);
        for (number, separator) in separators.iter().enumerate() {
            builder.add_handle(separator, handle_of(number), number.checked_sub(1).map(handle_of));
        }
        let mut index = Index::of_file(FILE_BYTES);
        index.append(&Block::new(builder.finish().to_vec()).unwrap(), USER_KEYS, &mut budget())?;
        index.finish();
        Ok(index)
    }

    quickcheck! {
        fn a_search_agrees_with_a_list(shared: Vec<u8>, keys: Vec<Vec<u8>>, target: Vec<u8>, interval: u8) -> bool {
            // Covers X3.
            let mut keys: Vec<Vec<u8>> = keys.into_iter().map(|key| [shared.clone(), key].concat()).collect();
            keys.sort_unstable();
            keys.dedup();
            let index = index_of(&keys, usize::from(interval % 5)).unwrap();
            let agrees = |target: &[u8]| {
                let expected = keys.iter().position(|key| key.as_slice() >= target).unwrap_or(keys.len());
                index.seek(target, u64::MAX) == expected
            };
            let handles = (0..keys.len()).all(|number| index.handle(number) == handle_of(number));
            handles && agrees(&target) && agrees(&[shared.clone(), target.clone()].concat()) && keys.iter().all(|key| agrees(key))
        }

        fn hostile_index_blocks_are_refused_without_a_panic(bytes: Vec<u8>, user_keys: bool, value_delta: bool) -> bool {
            let block = Block::new([bytes, vec![0, 0, 0, 0, 1, 0, 0, 0]].concat()).unwrap();
            let mut index = Index::of_file(FILE_BYTES);
            let _ = index.append(&block, IndexFormat { user_keys, value_delta, first_keys: value_delta }, &mut budget());
            index.finish();
            index.seek(b"key", 0) <= index.len()
        }
    }

    #[test]
    fn internal_separators_order_versions_of_a_key() {
        let mut builder = BlockBuilder::new(1);
        for (number, seq) in [9, 5, 2].into_iter().enumerate() {
            let mut value = Vec::new();
            handle_of(number).encode(&mut value);
            builder.add(InternalKey::new(b"k", SeqNo::new(seq), Kind::Value).as_bytes(), &value);
        }
        let mut index = Index::of_file(FILE_BYTES);
        index.append(&Block::new(builder.finish().to_vec()).unwrap(), INTERNAL_KEYS, &mut budget()).unwrap();
        index.finish();
        let seek = |seq| {
            let target = InternalKey::for_seek(b"k", SeqNo::new(seq));
            index.seek(target.user_key(), trailer(target.as_bytes()))
        };
        assert_eq!((seek(10), seek(9), seek(8), seek(5), seek(1)), (0, 0, 1, 1, 3));
        assert!(index.continues_behind(0, b"k") && !index.continues_behind(0, b"j"));
    }

    /// Separators that share all but a few bytes once took gigabytes when a file of half a megabyte was opened.
    #[test]
    fn separators_that_grow_far_beyond_the_file_are_refused() {
        // Covers X4.
        let shared = vec![b'k'; 100_000];
        let separators: Vec<_> = (0..1_000_u32).map(|number| [&shared[..], &number.to_be_bytes()].concat()).collect();
        let error = index_of(&separators, usize::MAX).map(drop).unwrap_err();
        assert!(error.to_string().contains("many times"), "{error}");
        assert!(index_of(&separators[..100], usize::MAX).is_ok());
    }

    /// Those that share nothing were free, though a compressed block of them takes no more of the file.
    #[test]
    fn whole_separators_count_as_shared_ones_do() {
        // Covers X4.
        let separators: Vec<_> = (0..3_u8).map(|number| vec![number; 100]).collect();
        let mut builder = BlockBuilder::new(1);
        separators.iter().zip(0..).for_each(|(key, number)| builder.add_handle(key, handle_of(number), None));
        let block = Block::new(builder.finish().to_vec()).unwrap();
        let append = |left: usize| {
            let mut budget = KeyBudget::of_index(0);
            budget.spend((64 << 20) - left).unwrap();
            Index::of_file(FILE_BYTES).append(&block, USER_KEYS, &mut budget)
        };
        assert!(append(300).is_ok());
        assert!(append(299).unwrap_err().to_string().contains("many times"));
    }

    #[test]
    fn disorder_and_loops_are_refused() {
        // Covers X1, X2.
        assert!(index_of(&[b"b".to_vec(), b"a".to_vec()], 1).unwrap_err().to_string().contains("ascending"));
        let mut builder = BlockBuilder::new(1);
        builder.add_handle(b"a", handle_of(1), None);
        builder.add_handle(b"b", handle_of(1), None);
        let block = Block::new(builder.finish().to_vec()).unwrap();
        let error = Index::of_file(FILE_BYTES).append(&block, USER_KEYS, &mut budget()).unwrap_err();
        assert!(error.to_string().contains("leads back"), "{error}");
    }

    #[test]
    fn handles_beyond_the_file_are_refused() {
        // Covers X2.
        let append = |handle: BlockHandle| {
            let mut builder = BlockBuilder::new(1);
            builder.add_handle(b"a", handle, None);
            let block = Block::new(builder.finish().to_vec()).unwrap();
            Index::of_file(FILE_BYTES).append(&block, USER_KEYS, &mut budget())
        };
        append(BlockHandle { offset: FILE_BYTES - 105, bytes: 100 }).unwrap();
        for (offset, bytes) in [(FILE_BYTES - 105, 101), (FILE_BYTES, 0), (u64::MAX, 1), (0, u64::MAX)] {
            assert!(append(BlockHandle { offset, bytes }).unwrap_err().to_string().contains("index leads to"));
        }
    }
}
