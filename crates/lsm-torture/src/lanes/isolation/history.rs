//! What concurrent clients did and saw, with the order in which calls began and ended.

use std::sync::atomic::{AtomicU64, Ordering};

/// A key, by its number.
pub(crate) type Key = usize;

/// A batch, by its number.
pub(crate) type BatchId = u64;

/// Something that was appended to a key's list: which batch did it, and as its which part.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Element {
    pub(crate) batch: BatchId,
    /// 0 for the first element that the batch appends to the key.
    pub(crate) part: u8,
}

impl Element {
    pub(crate) const BYTES: usize = 8;

    pub(crate) fn encode(self) -> [u8; Element::BYTES] {
        (self.batch << 8 | u64::from(self.part)).to_be_bytes()
    }

    pub(crate) fn decode(bytes: [u8; Element::BYTES]) -> Element {
        let number = u64::from_be_bytes(bytes);
        Element { batch: number >> 8, part: number as u8 }
    }
}

/// A key's whole list as a read found it.
pub(crate) type List = Vec<Element>;

/// What a transaction did.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// One atomic batch: how many elements it appended to each key.
    Write { batch: BatchId, keys: Vec<(Key, u8)> },
    /// One moment of several keys.
    Read { seen: Vec<(Key, List)> },
}

/// A call, from before it was made until after it returned, on one clock for all clients.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) how: &'static str,
    pub(crate) what: What,
}

/// The clock of a history: a counter, so that no two moments are the same.
#[derive(Default)]
pub(crate) struct Moments(AtomicU64);

impl Moments {
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}
