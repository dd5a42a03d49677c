//! What a log knows about itself and its surroundings, kept in its own records.
//!
//! Facts let replay tell a write that a crash cut short from damage to what was synced. They are
//! `LogData` entries of write batches, which every version of RocksDB replays past:
//!
//! ```text
//! ┌──────────────┬─────────┬──────────────────────────────────────────────────────────────┐
//! │ b5 'l' 's' 'm'│ kind u8 │ 1 watermark    synced varint64 ‖ log's first crc fixed32      │
//! │              │         │ 2 predecessor  number varint64 ‖ bytes varint64 ‖ crc fixed32  │
//! │              │         │ 3 manifest     number varint64 ‖ synced varint64 ‖ crc fixed32 │
//! │              │         │ 4 identity     length varint32 ‖ id                            │
//! └──────────────┴─────────┴──────────────────────────────────────────────────────────────┘
//! ```
//!
//! Predecessor, manifest and identity stand in the log's first record, a batch that takes no sequence
//! number; watermarks stand at the end of ordinary batches.
//!
//! # Invariants
//! A1. A watermark says no more than what a sync that returned `Ok` made durable.
//! A2. `LogData` that is not exactly one known fact is someone else's and is ignored.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use lsm_core::batch::{HEADER_BYTES, Record, records};
use lsm_core::coding::{Decoder, put_fixed32, put_length_prefixed, put_varint64};
use lsm_core::filename::FileNumber;
use lsm_core::{SeqNo, WriteBatch};

/// No user's `LogData` starts like this by chance: the first byte is not valid UTF-8.
const MAGIC: &[u8] = b"\xb5lsm";

const WATERMARK: u8 = 1;
const PREDECESSOR: u8 = 2;
const MANIFEST: u8 = 3;
const IDENTITY: u8 = 4;

/// What a log says about the log before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Predecessor {
    /// Its number.
    pub number: FileNumber,
    /// Its bytes up to the end of its last record.
    pub bytes: u64,
    /// The crc32c of the stored crcs of all its fragments, which stands for every byte of it.
    pub crc: u32,
}

/// What a log says about the manifest at the time when the log was begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ManifestFact {
    /// The manifest's number.
    pub number: FileNumber,
    /// So many of its bytes were synced.
    pub synced_bytes: u64,
    /// The crc32c of the stored crcs of all fragments in those bytes.
    pub crc: u32,
}

/// What the first record of a log says.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Facts {
    /// The log before, if there is one.
    pub predecessor: Option<Predecessor>,
    /// The manifest.
    pub manifest: Option<ManifestFact>,
    /// The id of the store, as in its `IDENTITY` file.
    pub identity: Option<String>,
}

/// How far a log was synced when a record was written (A1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Watermark {
    pub(crate) synced: u64,
    /// The stored crc of the log's first fragment. It tells the log's own records from a copy of another
    /// log's that a user keeps as a value, which a search through a torn record may come across.
    pub(crate) first_crc: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Fact {
    Watermark(Watermark),
    Predecessor(Predecessor),
    Manifest(ManifestFact),
    Identity(String),
}

impl Facts {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        *self == Facts::default()
    }

    /// The batch that carries the facts. It takes no sequence number, but its header must hold the next
    /// unassigned one: RocksDB sets its counter from it.
    pub fn to_batch(&self, next_seq: SeqNo) -> WriteBatch {
        let mut batch = WriteBatch::new();
        batch.set_seq(next_seq);
        let facts = [
            self.predecessor.map(Fact::Predecessor),
            self.manifest.map(Fact::Manifest),
            self.identity.clone().map(Fact::Identity),
        ];
        for fact in facts.into_iter().flatten() {
            batch.log_data(&fact.encode());
        }
        batch
    }

    /// The facts in an encoded batch.
    pub fn of_batch(batch: &[u8]) -> Facts {
        let mut facts = Facts::default();
        for fact in facts_of(batch) {
            match fact {
                Fact::Predecessor(predecessor) => facts.predecessor = Some(predecessor),
                Fact::Manifest(manifest) => facts.manifest = Some(manifest),
                Fact::Identity(identity) => facts.identity = Some(identity),
                Fact::Watermark(_) => {}
            }
        }
        facts
    }
}

impl Watermark {
    /// Writes the entry to put behind the last one of a batch into `entry`.
    pub(crate) fn encode_entry(self, entry: &mut WriteBatch) {
        entry.clear();
        entry.log_data(&Fact::Watermark(self).encode());
    }

    /// The bytes that [`Watermark::encode_entry`] wrote.
    pub(crate) fn entry_bytes(entry: &WriteBatch) -> &[u8] {
        entry.as_bytes().get(HEADER_BYTES..).unwrap_or_default()
    }

    /// The last watermark in an encoded batch.
    pub(crate) fn of_batch(batch: &[u8]) -> Option<Watermark> {
        let watermarks = facts_of(batch).filter_map(|fact| match fact {
            Fact::Watermark(watermark) => Some(watermark),
            _ => None,
        });
        watermarks.last()
    }
}

impl Fact {
    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        match self {
            Fact::Watermark(Watermark { synced, first_crc }) => {
                out.push(WATERMARK);
                put_varint64(&mut out, *synced);
                put_fixed32(&mut out, *first_crc);
            }
            Fact::Predecessor(Predecessor { number, bytes, crc }) => {
                out.push(PREDECESSOR);
                put_varint64(&mut out, number.0);
                put_varint64(&mut out, *bytes);
                put_fixed32(&mut out, *crc);
            }
            Fact::Manifest(ManifestFact { number, synced_bytes, crc }) => {
                out.push(MANIFEST);
                put_varint64(&mut out, number.0);
                put_varint64(&mut out, *synced_bytes);
                put_fixed32(&mut out, *crc);
            }
            Fact::Identity(id) => {
                out.push(IDENTITY);
                put_length_prefixed(&mut out, id.as_bytes());
            }
        }
        out
    }

    /// A2: `None` for what is not a fact.
    fn decode(data: &[u8]) -> Option<Fact> {
        let mut decoder = Decoder::new(data.strip_prefix(MAGIC)?);
        let fact = match decoder.byte()? {
            WATERMARK => Fact::Watermark(Watermark { synced: decoder.varint64()?, first_crc: decoder.fixed32()? }),
            PREDECESSOR => Fact::Predecessor(Predecessor {
                number: FileNumber(decoder.varint64()?),
                bytes: decoder.varint64()?,
                crc: decoder.fixed32()?,
            }),
            MANIFEST => Fact::Manifest(ManifestFact {
                number: FileNumber(decoder.varint64()?),
                synced_bytes: decoder.varint64()?,
                crc: decoder.fixed32()?,
            }),
            IDENTITY => Fact::Identity(String::from_utf8(decoder.length_prefixed()?.to_vec()).ok()?),
            _ => return None,
        };
        decoder.is_empty().then_some(fact)
    }
}

/// The facts in a batch that may be malformed; a malformed one has none behind its flaw.
fn facts_of(batch: &[u8]) -> impl Iterator<Item = Fact> {
    records(batch).into_iter().flatten().filter_map(|record| match record {
        Ok(Record::LogData(data)) => Fact::decode(data),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lsm_core::ColumnFamilyId;
    use quickcheck::quickcheck;

    fn facts() -> Facts {
        Facts {
            predecessor: Some(Predecessor { number: FileNumber(7), bytes: 70_000, crc: 0xdead_beef }),
            manifest: Some(ManifestFact { number: FileNumber(5), synced_bytes: 1 << 40, crc: 1 }),
            identity: Some("0b5c".to_owned()),
        }
    }

    #[test]
    fn facts_read_back_from_a_batch_that_takes_no_sequence_number() {
        let batch = facts().to_batch(SeqNo::new(42));
        assert_eq!((batch.seq(), batch.count()), (SeqNo::new(42), 0));
        assert_eq!(Facts::of_batch(batch.as_bytes()), facts());
        assert!(Facts::of_batch(Facts::default().to_batch(SeqNo::ZERO).as_bytes()).is_empty());
    }

    // Covers A2.
    #[test]
    fn foreign_log_data_is_no_fact() {
        let whole = Fact::Watermark(Watermark { synced: 300, first_crc: 9 }).encode();
        let longer = [whole.as_slice(), b"x"].concat();
        let unknown = [MAGIC, &[99], &whole[5..]].concat();
        let mut batch = WriteBatch::new();
        batch.put(ColumnFamilyId::DEFAULT, b"k", &whole);
        for data in [b"".as_slice(), b"watermark", &whole[..whole.len() - 1], &longer, &unknown] {
            batch.log_data(data);
        }
        assert_eq!(Watermark::of_batch(batch.as_bytes()), None);
        batch.log_data(&whole);
        assert_eq!(Watermark::of_batch(batch.as_bytes()), Some(Watermark { synced: 300, first_crc: 9 }));
        assert_eq!(Watermark::of_batch(b"short"), None);
    }

    quickcheck! {
        fn hostile_facts_never_panic(kind: u8, rest: Vec<u8>) -> bool {
            let data = [MAGIC, &[kind % 6], &rest].concat();
            Fact::decode(&data).is_none_or(|fact| Fact::decode(&fact.encode()) == Some(fact))
        }
    }
}
