//! Lays entries out as a block (see [`crate::block`] for the bytes).

use lsm_core::coding::{put_varint32, put_varsigned64};
use lsm_core::key::common_prefix;

use crate::handle::BlockHandle;

/// Builds block after block, reusing its memory.
pub(crate) struct BlockBuilder {
    restart_interval: usize,
    buffer: Vec<u8>,
    restarts: Vec<u32>,
    entries_since_restart: usize,
    entries: usize,
    last_key: Vec<u8>,
}

impl BlockBuilder {
    pub(crate) fn new(restart_interval: usize) -> BlockBuilder {
        BlockBuilder {
            restart_interval: restart_interval.max(1),
            buffer: Vec::new(),
            restarts: Vec::new(),
            entries_since_restart: 0,
            entries: 0,
            last_key: Vec::new(),
        }
    }

    /// Appends an entry.
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.add_sharing(common_prefix(&self.last_key, key), key, value);
    }

    /// Appends an entry whose key begins as the one before it does, for `shared` bytes at least.
    pub(crate) fn add_sharing(&mut self, shared: usize, key: &[u8], value: &[u8]) {
        self.add_key(shared, key, Some(value.len()));
        self.buffer.extend_from_slice(value);
    }

    /// Appends an entry of an index with delta-encoded values: no value length, and the whole handle only
    /// where the key is whole too. `previous` is the handle of the entry before.
    pub(crate) fn add_handle(&mut self, key: &[u8], handle: BlockHandle, previous: Option<BlockHandle>) {
        let shared = self.add_key(common_prefix(&self.last_key, key), key, None);
        match previous.filter(|_| shared > 0) {
            Some(previous) => put_varsigned64(&mut self.buffer, handle.bytes.wrapping_sub(previous.bytes) as i64),
            None => handle.encode(&mut self.buffer),
        }
    }

    /// Appends lengths and key, and returns how many bytes it left out because the key shares them with the one before.
    #[expect(clippy::expect_used, reason = "what is written, not what is read")]
    fn add_key(&mut self, shared: usize, key: &[u8], value_bytes: Option<usize>) -> usize {
        debug_assert!(shared <= common_prefix(&self.last_key, key), "the keys begin alike");
        let at_restart = self.entries == 0 || self.entries_since_restart == self.restart_interval;
        let shared = if at_restart { 0 } else { shared };
        if at_restart {
            self.restarts.push(u32::try_from(self.buffer.len()).expect("a block is cut long before 4 GiB"));
            self.entries_since_restart = 0;
        }
        self.entries_since_restart += 1;
        self.entries += 1;
        let unshared = key.len() - shared;
        match value_bytes {
            // As nearly always: a byte for each.
            Some(value_bytes) if shared | unshared | value_bytes < 0x80 => {
                self.buffer.extend_from_slice(&[shared as u8, unshared as u8, value_bytes as u8]);
            }
            _ => {
                let lengths = [Some(shared), Some(unshared), value_bytes];
                lengths.into_iter().flatten().for_each(|length| put_varint32(&mut self.buffer, length as u32));
            }
        }
        self.buffer.extend_from_slice(&key[shared..]);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(&key[shared..]);
        shared
    }

    /// The key of the last entry.
    pub(crate) fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Size that the block would have if it were finished now.
    pub(crate) fn bytes(&self) -> usize {
        self.buffer.len() + 4 * self.restarts.len().max(1) + 4
    }

    /// Appends the restart points and returns the payload; [`BlockBuilder::clear`] begins the next block.
    pub(crate) fn finish(&mut self) -> &[u8] {
        if self.restarts.is_empty() {
            self.restarts.push(0);
        }
        for restart in &self.restarts {
            self.buffer.extend_from_slice(&restart.to_le_bytes());
        }
        self.buffer.extend_from_slice(&(self.restarts.len() as u32).to_le_bytes());
        &self.buffer
    }

    /// Forgets everything but the last key and the memory.
    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.restarts.clear();
        self.entries_since_restart = 0;
        self.entries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_share_prefixes_up_to_the_next_restart_point() {
        let mut builder = BlockBuilder::new(2);
        builder.add(b"apple", b"1");
        builder.add(b"apply", b"2");
        builder.add(b"apt", b"3");
        let expected = b"\0\x05\x01apple1\x04\x01\x01y2\0\x03\x01apt3\0\0\0\0\x0e\0\0\0\x02\0\0\0";
        assert_eq!(builder.bytes(), expected.len());
        assert_eq!(builder.finish(), expected);
        builder.clear();
        assert_eq!(builder.finish(), b"\0\0\0\0\x01\0\0\0");
    }

    #[test]
    fn handles_follow_as_differences_where_keys_share_bytes() {
        let mut builder = BlockBuilder::new(4);
        let handle = |offset, bytes| BlockHandle { offset, bytes };
        builder.add_handle(b"aa", handle(0, 100), None);
        builder.add_handle(b"ab", handle(105, 98), Some(handle(0, 100)));
        builder.add_handle(b"b", handle(208, 5), Some(handle(105, 98)));
        assert_eq!(builder.finish(), b"\0\x02aa\0\x64\x01\x01b\x03\0\x01b\xd0\x01\x05\0\0\0\0\x01\0\0\0");
    }
}
