//! A block in memory: sorted entries whose keys leave out what they share with the key before.
//!
//! ```text
//! block = entries, restart offsets fixed32[count], [hash index], packed fixed32
//! entry = varint32 shared, varint32 unshared, varint32 value bytes, key[shared..], value
//! packed: bits 0..27 restart count, bit 29 uniform keys, bit 31 hash index
//! ```
//!
//! At a *restart point* (every 16 entries in data blocks) `shared` is 0, so that keys there can be
//! compared in place: a search is a binary search over restart points and a short walk.
//!
//! # Invariants
//! D1. Restart offsets are strictly ascending, begin with 0 and lie inside the entries.
//! D2. An entry that was decoded lies inside the entries: its key and its value can be sliced.
//! D3. Keys that are put together and kept take no more memory than a [`KeyBudget`] allows: each may share all
//!     but one byte with the key before, so that whole keys can take the square of the block's size.

use std::ops::Range;
use std::ptr;
use std::sync::{Arc, LazyLock};

use lsm_core::coding::Decoder;
use lsm_core::{Error, Result, memory};

const HASH_INDEX_BIT: u32 = 1 << 31;
const RESERVED_BIT: u32 = 1 << 30;
const UNIFORM_KEYS_BIT: u32 = 1 << 29;
const SEPARATED_BIT: u32 = 1 << 28;
const RESTART_BYTES: usize = 4;

/// Between two restart points lie 16 entries at most, of this many bytes together where they are long.
const LONG_STRETCH_BYTES: usize = 3 << 10;

/// Most bytes of a block that are asked for: an ordinary one, or a long one's beginning.
const ASKED_BYTES_MAX: usize = 8 << 10;

/// Bytes of a block of short entries with which a walk forward begins.
const FRONT_BYTES: usize = 512;

/// Immutable bytes of one block, decompressed and checked; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    data: Arc<Vec<u8>>,
    /// Where in memory the bytes begin, to ask for them before `data` itself is there.
    address: usize,
    /// Where the entries end and the restart offsets begin.
    entries_end: u32,
    restart_count: u32,
}

impl Block {
    /// Takes over the payload of a block whose checksum was verified.
    ///
    /// # Errors
    /// Corruption where the restart offsets do not hold D1; Unsupported for a layout of a later RocksDB.
    pub(crate) fn new(data: Vec<u8>) -> Result<Block> {
        let Layout { entries_end, restart_count } = Layout::of(&data)?;
        let block = Block { address: data.as_ptr().addr(), data: Arc::new(data), entries_end, restart_count };
        block.check_restarts()?;
        Ok(block)
    }

    /// A block without entries.
    pub(crate) fn empty() -> Block {
        static EMPTY: LazyLock<Block> =
            LazyLock::new(|| Block { data: Arc::default(), address: 0, entries_end: 0, restart_count: 0 });
        EMPTY.clone()
    }

    fn check_restarts(&self) -> Result<()> {
        let mut least = 0;
        for index in 0..self.restart_count() {
            let restart = self.restart(index);
            // The one restart point of an empty block stands where the entries end.
            let outside = restart >= self.entries_end() && self.entries_end > 0;
            if outside || restart < least || (index == 0 && restart != 0) {
                return Err(Error::corruption(format!("restart point {index} of a block at {restart}")));
            }
            least = restart + 1;
        }
        match self.restart_count {
            0 if self.entries_end > 0 => Err(Error::corruption("block with entries but no restart points")),
            _ => Ok(()),
        }
    }

    /// Bytes of memory that the block takes, to be charged to a cache.
    pub(crate) fn bytes(&self) -> usize {
        self.data.capacity() + size_of::<Vec<u8>>() + size_of::<Block>()
    }

    /// The buffer behind the block, for values that outlive a cursor.
    #[inline]
    pub(crate) fn data(&self) -> &Arc<Vec<u8>> {
        &self.data
    }

    #[inline]
    pub(crate) fn entries_end(&self) -> usize {
        self.entries_end as usize
    }

    #[inline]
    pub(crate) fn restart_count(&self) -> usize {
        self.restart_count as usize
    }

    /// Offset of the entry at restart point `index`.
    #[inline]
    #[expect(clippy::expect_used, reason = "D1 was checked when the block was made")]
    pub(crate) fn restart(&self, index: usize) -> usize {
        let at = self.entries_end() + RESTART_BYTES * index;
        let bytes = self.data[at..].first_chunk::<RESTART_BYTES>().expect("D1: restart offsets lie in the block");
        u32::from_le_bytes(*bytes) as usize
    }

    /// The entries' bytes.
    #[inline]
    pub(crate) fn entry_bytes(&self) -> &[u8] {
        &self.data[..self.entries_end()]
    }

    /// The entry at `offset`, which is smaller than the end of the entries.
    #[inline(always)]
    pub(crate) fn entry(&self, offset: usize) -> Result<Entry<'_>> {
        Entry::at(self.entry_bytes(), offset)
    }

    /// Asks for the memory of these bytes, as far as they are entries: each entry only tells where the next one is.
    #[inline]
    pub(crate) fn ask_for(&self, bytes: Range<usize>) {
        let bytes = bytes.start..bytes.end.min(self.entries_end());
        memory::ask_for_place(ptr::without_provenance(self.address + bytes.start), bytes.len());
    }

    /// Asks for `data`, and for a line in the middle of the bytes: to find its page takes as long as to fetch it.
    #[inline]
    pub(crate) fn ask_for_place(&self) {
        memory::ask_for(&*self.data);
        let middle = self.entries_end() / 2;
        self.ask_for(middle..middle + 1);
    }

    /// Asks ahead for where a walk backward begins: restart points and last entries.
    pub(crate) fn ask_for_end(&self, bytes: usize) {
        memory::ask_for(&*self.data);
        let restart_bytes = RESTART_BYTES * self.restart_count();
        let start = self.entries_end().saturating_sub(bytes);
        let place = ptr::without_provenance(self.address + start);
        memory::ask_ahead(place, self.entries_end() - start + restart_bytes);
    }

    /// Asks ahead for where a walk forward begins. Behind that the machine takes care of it, unless the entries are so long that
    /// they are read faster than it can.
    pub(crate) fn ask_for_front(&self) {
        memory::ask_for(&*self.data);
        self.ask_for_first(if self.has_few_entries() { ASKED_BYTES_MAX } else { FRONT_BYTES });
    }

    /// Whether entries take some lines of memory each.
    #[inline]
    fn has_few_entries(&self) -> bool {
        self.entries_end() > self.restart_count() * LONG_STRETCH_BYTES
    }

    /// Asks for all entries if they are few, so that a walk would wait for each of them.
    pub(crate) fn ask_for_few(&self) {
        if self.has_few_entries() {
            self.ask_for_first(ASKED_BYTES_MAX);
        }
    }

    /// Asks ahead for so many bytes of entries, if there are as many.
    fn ask_for_first(&self, bytes: usize) {
        memory::ask_ahead(ptr::without_provenance(self.address), bytes.min(self.entries_end()));
    }

    /// All entries with whole keys, for the small blocks that are read once (D3).
    pub(crate) fn entries(&self) -> Result<Vec<(Vec<u8>, &[u8])>> {
        let mut entries = Vec::new();
        let mut budget = KeyBudget::of_block(self.entries_end() as u64);
        self.walk(0, |_, key, entry| {
            // What an entry holds itself is no more than the block, which is there already.
            budget.spend(entry.shared)?;
            entries.push((key.to_vec(), &self.data[entry.value..entry.end]));
            Ok(())
        })?;
        Ok(entries)
    }

    /// Shows offset, whole key and entry, one after the other from the restart point at `offset` on, and returns the
    /// last key.
    pub(crate) fn walk(
        &self,
        mut offset: usize,
        mut show: impl FnMut(usize, &[u8], Entry<'_>) -> Result<()>,
    ) -> Result<Vec<u8>> {
        let mut key = Vec::new();
        while offset < self.entries_end() {
            let entry = self.entry(offset)?;
            if entry.shared > key.len() {
                return Err(damaged_entry(offset));
            }
            key.truncate(entry.shared);
            key.extend_from_slice(entry.key);
            show(offset, &key, entry)?;
            offset = entry.end;
        }
        Ok(key)
    }

    /// Checks that every restart point is the start of an entry that shares nothing, which a search relies on and a
    /// walk does not look at.
    pub(crate) fn check_restart_entries(&self) -> Result<()> {
        let (mut offset, mut index) = (0, 0);
        while offset < self.entries_end() {
            let entry = self.entry(offset)?;
            if index < self.restart_count() && self.restart(index) == offset {
                self.restart_key(index)?;
                index += 1;
            }
            offset = entry.end;
        }
        match self.entries_end() > 0 && index < self.restart_count() {
            true => Err(Error::corruption(format!("restart point {index} of a block lies inside an entry"))),
            false => Ok(()),
        }
    }

    /// The whole key at restart point `index`.
    #[inline]
    pub(crate) fn restart_key(&self, index: usize) -> Result<&[u8]> {
        let offset = self.restart(index);
        match self.entry(offset)? {
            Entry { shared: 0, key, .. } => Ok(key),
            _ => Err(Error::corruption(format!("entry at {offset} in a block shares its key across a restart point"))),
        }
    }

    /// Number of the last restart point for which `before` holds of its key, which it does for a prefix of
    /// them; 0 where it holds for none.
    pub(crate) fn last_restart(&self, mut before: impl FnMut(&[u8]) -> Result<bool>) -> Result<usize> {
        let (mut low, mut high) = (0, self.restart_count());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match before(self.restart_key(middle)?)? {
                true => low = middle,
                false => high = middle,
            }
        }
        Ok(low)
    }
}

/// How many bytes keys may take that are put together (D3).
pub(crate) struct KeyBudget {
    left: u64,
}

impl KeyBudget {
    /// For a block that is read once: its writers share next to nothing between keys, or have few of them.
    fn of_block(block_bytes: u64) -> KeyBudget {
        KeyBudget { left: block_bytes.saturating_mul(2).saturating_add(8 << 20) }
    }

    /// For the index of a file: long keys may share much, and so may the data compress well.
    pub(crate) fn of_index(file_bytes: u64) -> KeyBudget {
        KeyBudget { left: index_bytes_max(file_bytes) }
    }

    /// Takes these bytes of a key out of the budget.
    pub(crate) fn spend(&mut self, key_bytes: usize) -> Result<()> {
        match self.left.checked_sub(key_bytes as u64) {
            Some(left) => self.left = left,
            None => return Err(Error::corruption("keys of a block take many times its size")),
        }
        Ok(())
    }
}

/// Most bytes of an index, in a block that is compressed and in memory, whatever a block of a few bytes decompresses to.
/// A builder whose index is larger does not compress it.
pub(crate) fn index_bytes_max(file_bytes: u64) -> u64 {
    file_bytes.saturating_mul(16).saturating_add(64 << 20)
}

#[cold]
pub(crate) fn damaged_entry(offset: usize) -> Error {
    Error::corruption(format!("entry at {offset} in a block runs past its end"))
}

/// What the last bytes of a block say about it.
struct Layout {
    entries_end: u32,
    restart_count: u32,
}

impl Layout {
    fn of(data: &[u8]) -> Result<Layout> {
        let damaged = || Error::corruption(format!("block of {} bytes has no room for its restart points", data.len()));
        let (rest, packed) = data.split_last_chunk::<4>().ok_or_else(damaged)?;
        let packed = u32::from_le_bytes(*packed);
        if packed & SEPARATED_BIT != 0 {
            return Err(Error::unsupported("blocks with keys and values apart"));
        }
        if packed & RESERVED_BIT != 0 {
            return Err(Error::unsupported("block layout of a later RocksDB (bit 30)"));
        }
        // Uniform keys are a hint to the search, no different layout.
        let restart_count = packed & !(HASH_INDEX_BIT | UNIFORM_KEYS_BIT);
        let rest = match packed & HASH_INDEX_BIT {
            0 => rest,
            _ => without_hash_index(rest).ok_or_else(damaged)?,
        };
        let restart_bytes = (restart_count as usize).checked_mul(RESTART_BYTES).ok_or_else(damaged)?;
        let entries_end = rest.len().checked_sub(restart_bytes).ok_or_else(damaged)?;
        let entries_end = u32::try_from(entries_end).map_err(|_| damaged())?;
        Ok(Layout { entries_end, restart_count })
    }
}

/// The hash index (`bucket u8[count], count fixed16`) only speeds up RocksDB's point lookups.
fn without_hash_index(rest: &[u8]) -> Option<&[u8]> {
    let (rest, count) = rest.split_last_chunk::<2>()?;
    rest.get(..rest.len().checked_sub(usize::from(u16::from_le_bytes(*count)))?)
}

/// One entry, still without the part of its key that it shares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// How many bytes of the key before begin this key.
    pub(crate) shared: usize,
    /// The rest of the key.
    pub(crate) key: &'a [u8],
    /// Where the value begins; it ends at `end`.
    pub(crate) value: usize,
    /// Where the next entry begins.
    pub(crate) end: usize,
}

impl<'a> Entry<'a> {
    /// The entry at `offset` of the entries' bytes.
    #[inline(always)]
    pub(crate) fn at(entries: &'a [u8], offset: usize) -> Result<Entry<'a>> {
        Entry::decode(entries, offset).ok_or_else(|| damaged_entry(offset))
    }

    #[inline(always)]
    fn decode(entries: &'a [u8], offset: usize) -> Option<Entry<'a>> {
        let rest = entries.get(offset..)?;
        let (shared, key_bytes, value_bytes, header) = match *rest {
            // Nearly all entries: three lengths of one byte each.
            [shared, key, value, ..] if (shared | key | value) < 0x80 => {
                (usize::from(shared), usize::from(key), usize::from(value), 3)
            }
            _ => {
                let mut decoder = Decoder::new(rest);
                let lengths = (decoder.varint32()?, decoder.varint32()?, decoder.varint32()?);
                (lengths.0 as usize, lengths.1 as usize, lengths.2 as usize, rest.len() - decoder.rest().len())
            }
        };
        let key_start = offset + header;
        let value = key_start.checked_add(key_bytes)?;
        let end = value.checked_add(value_bytes)?;
        if end > entries.len() {
            return None;
        }
        Some(Entry { shared, key: &entries[key_start..value], value, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(entries: &[u8], restarts: &[u32], packed: u32) -> Result<Block> {
        let mut data = entries.to_vec();
        restarts.iter().for_each(|restart| data.extend_from_slice(&restart.to_le_bytes()));
        data.extend_from_slice(&packed.to_le_bytes());
        Block::new(data)
    }

    #[test]
    fn restart_points_outside_the_entries_are_corruption() {
        // Covers D1.
        for (restarts, packed) in
            [(&[0, 9][..], 2), (&[1], 1), (&[0, 4, 4], 3), (&[], 0), (&[0], 1000), (&[0], 0x0fff_ffff)]
        {
            assert!(block(&[0; 9], restarts, packed).unwrap_err().is_corruption(), "{restarts:?} {packed}");
        }
        assert!(block(&[0; 9], &[0, 4], 2).is_ok());
        assert!(block(&[], &[0], 1).is_ok());
        assert!(block(&[], &[], 0).is_ok());
    }

    /// Keys that share all they have once took the square of the block's size: gigabytes for half a megabyte.
    #[test]
    fn keys_that_grow_far_beyond_their_block_are_refused() {
        // Covers D3.
        let shared = 100_000;
        let mut builder = crate::block_builder::BlockBuilder::new(usize::MAX);
        let mut key = vec![b'k'; shared];
        for number in 0..1_000_u32 {
            key.truncate(shared);
            key.extend_from_slice(&number.to_be_bytes());
            builder.add(&key, b"");
        }
        let error = Block::new(builder.finish().to_vec()).unwrap().entries().map(drop).unwrap_err();
        assert!(error.is_corruption() && error.to_string().contains("many times"), "{error}");
    }

    #[test]
    fn restart_points_inside_entries_or_with_shared_keys_are_found() {
        // Two entries of one letter each; the second shares nothing, or the first one's byte.
        let entries = |shared: u8| [0, 1, 0, b'a', shared, 1, 0, b'b'];
        let check = |shared, restarts: &[u32]| block(&entries(shared), restarts, 2).unwrap().check_restart_entries();
        assert!(check(0, &[0, 4]).is_ok());
        assert!(check(0, &[0, 3]).unwrap_err().to_string().contains("inside an entry"));
        assert!(check(1, &[0, 4]).unwrap_err().to_string().contains("shares its key"));
        assert!(block(&[], &[0], 1).unwrap().check_restart_entries().is_ok());
    }

    #[test]
    fn later_layouts_are_refused_and_hints_are_skipped() {
        for bit in [28, 30] {
            assert!(matches!(block(&[0; 9], &[0], 1 | 1 << bit), Err(Error::Unsupported { .. })));
        }
        assert_eq!(block(&[0; 9], &[0], 1 | 1 << 29).unwrap().entries_end(), 9);
        // One restart, three buckets.
        let data = [&[0; 9][..], &[0; 4], &[255; 3], &[3, 0], &0x8000_0001_u32.to_le_bytes()].concat();
        assert_eq!(Block::new(data).unwrap().entries_end(), 9);
        assert!(block(&[], &[0], 0x8000_0001).is_err());
    }
}
