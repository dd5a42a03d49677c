//! RocksDB's `WriteBatch` bytes: what one atomic write is made of, and the payload of a log record.
//!
//! ```text
//! ┌─────────────────┬───────────────┬────────────────────────────┐
//! │ fixed64 sequence│ fixed32 count │ records …                  │
//! └─────────────────┴───────────────┴────────────────────────────┘
//! record: kind u8 ‖ [family varint32] ‖ key ‖ [value or operand or end key]     strings length-prefixed
//! ```
//!
//! Records of the default family leave the family out; other families have kinds of their own.
//! A `LogData` record carries bytes that only the log sees and takes no sequence number.
//! Source: RocksDB `db/write_batch.cc`.
//!
//! # Invariants
//! B1. A [`WriteBatch`] is well formed at all times; [`records`] checks bytes from disk.
//! B2. `count` is the number of records that take a sequence number; record *i* of those has
//!     sequence number `sequence + i`.

use crate::coding::{Decoder, put_length_prefixed, put_varint32};
use crate::key::SeqNo;
use crate::{ColumnFamilyId, Error, Kind, Result};

/// Bytes before the first record.
pub const HEADER_BYTES: usize = 12;

/// Longest batch in bytes that a store accepts (1 GiB).
pub const BATCH_BYTES_MAX: usize = 1 << 30;

const COUNT_OFFSET: usize = 8;

/// Record kinds of the log that are not kinds of keys.
const LOG_DATA: u8 = 0x03;
const FAMILY_DELETION: u8 = 0x04;
const FAMILY_VALUE: u8 = 0x05;
const FAMILY_MERGE: u8 = 0x06;
const FAMILY_SINGLE_DELETION: u8 = 0x08;
const NOOP: u8 = 0x0d;
const FAMILY_RANGE_DELETION: u8 = 0x0e;

/// One write in a batch. For a range deletion `key` is the start and `value` the exclusive end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// The family written to.
    pub family: ColumnFamilyId,
    /// What is done.
    pub kind: Kind,
    /// The user key.
    pub key: &'a [u8],
    /// The value, operand or end key; empty for deletions.
    pub value: &'a [u8],
}

/// A record of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    /// A write, which takes a sequence number.
    Entry(Entry<'a>),
    /// Bytes for the log alone.
    LogData(&'a [u8]),
}

/// Writes that happen together or not at all, encoded as RocksDB's log holds them (B1).
///
/// ```
/// use lsm_core::{ColumnFamilyId, WriteBatch};
/// let mut batch = WriteBatch::new();
/// batch.put(ColumnFamilyId::DEFAULT, b"a", b"1");
/// batch.delete(ColumnFamilyId(3), b"b");
/// assert_eq!(batch.count(), 2);
/// assert_eq!(&batch.as_bytes()[12..], b"\x01\x01a\x011\x04\x03\x01b");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct WriteBatch {
    bytes: Vec<u8>,
}

/// A state of a batch to which it can be taken back.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    bytes: usize,
    count: u32,
}

impl WriteBatch {
    /// An empty batch.
    pub fn new() -> WriteBatch {
        WriteBatch::with_capacity(0)
    }

    /// An empty batch with room for `bytes` bytes of records.
    pub fn with_capacity(bytes: usize) -> WriteBatch {
        let mut buffer = Vec::with_capacity(HEADER_BYTES + bytes);
        buffer.resize(HEADER_BYTES, 0);
        WriteBatch { bytes: buffer }
    }

    /// Adds a value.
    pub fn put(&mut self, family: ColumnFamilyId, key: &[u8], value: &[u8]) {
        self.push(Entry { family, kind: Kind::Value, key, value });
    }

    /// Adds a deletion.
    pub fn delete(&mut self, family: ColumnFamilyId, key: &[u8]) {
        self.push(Entry { family, kind: Kind::Deletion, key, value: &[] });
    }

    /// Adds a deletion of a key that was written exactly once.
    pub fn single_delete(&mut self, family: ColumnFamilyId, key: &[u8]) {
        self.push(Entry { family, kind: Kind::SingleDeletion, key, value: &[] });
    }

    /// Adds a deletion of all keys from `start` up to `end`, exclusive.
    pub fn delete_range(&mut self, family: ColumnFamilyId, start: &[u8], end: &[u8]) {
        self.push(Entry { family, kind: Kind::RangeDeletion, key: start, value: end });
    }

    /// Adds an operand for the merge operator.
    pub fn merge(&mut self, family: ColumnFamilyId, key: &[u8], operand: &[u8]) {
        self.push(Entry { family, kind: Kind::Merge, key, value: operand });
    }

    /// Adds any write.
    pub fn push(&mut self, entry: Entry<'_>) {
        let (plain, with_family, has_value) = match entry.kind {
            Kind::Deletion => (Kind::Deletion as u8, FAMILY_DELETION, false),
            Kind::Value => (Kind::Value as u8, FAMILY_VALUE, true),
            Kind::Merge => (Kind::Merge as u8, FAMILY_MERGE, true),
            Kind::SingleDeletion => (Kind::SingleDeletion as u8, FAMILY_SINGLE_DELETION, false),
            Kind::RangeDeletion => (Kind::RangeDeletion as u8, FAMILY_RANGE_DELETION, true),
        };
        if entry.family == ColumnFamilyId::DEFAULT {
            self.bytes.push(plain);
        } else {
            self.bytes.push(with_family);
            put_varint32(&mut self.bytes, entry.family.0);
        }
        put_length_prefixed(&mut self.bytes, entry.key);
        if has_value {
            put_length_prefixed(&mut self.bytes, entry.value);
        }
        self.set_count(self.count() + 1);
    }

    /// Adds bytes that only the log sees.
    pub fn log_data(&mut self, data: &[u8]) {
        self.bytes.push(LOG_DATA);
        put_length_prefixed(&mut self.bytes, data);
    }

    /// How many sequence numbers the batch takes (B2).
    pub fn count(&self) -> u32 {
        header_count(&self.bytes)
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER_BYTES
    }

    /// Encoded size in bytes.
    pub fn byte_size(&self) -> usize {
        self.bytes.len()
    }

    /// The sequence number of the first record.
    pub fn seq(&self) -> SeqNo {
        header_seq(&self.bytes).unwrap_or_default()
    }

    /// Gives the first record its sequence number.
    pub fn set_seq(&mut self, seq: SeqNo) {
        self.bytes[..COUNT_OFFSET].copy_from_slice(&seq.get().to_le_bytes());
    }

    /// Takes everything out again; the memory is kept.
    pub fn clear(&mut self) {
        self.bytes.truncate(HEADER_BYTES);
        self.bytes.fill(0);
    }

    /// The present state, for [`WriteBatch::rollback`].
    pub fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), count: self.count() }
    }

    /// Takes out what was added since `mark`.
    pub fn rollback(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.set_count(mark.count);
    }

    /// The encoded batch.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The records in the order they were added.
    #[expect(clippy::expect_used, reason = "B1: not bytes from disk")]
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        Records { decoder: Decoder::new(&self.bytes[HEADER_BYTES..]) }
            .map(|record| record.expect("B1: a batch is well formed"))
    }

    fn set_count(&mut self, count: u32) {
        self.bytes[COUNT_OFFSET..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
    }
}

impl Default for WriteBatch {
    fn default() -> WriteBatch {
        WriteBatch::new()
    }
}

impl std::fmt::Debug for WriteBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Sizes only: keys and values must not leak into logs.
        write!(f, "WriteBatch {{ seq: {}, count: {}, bytes: {} }}", self.seq(), self.count(), self.byte_size())
    }
}

/// The header of an encoded batch: sequence number of its first record, and count.
///
/// # Errors
/// [`Error::Corruption`] when `bytes` is too short or the sequence number has more than 56 bits.
pub fn header(bytes: &[u8]) -> Result<(SeqNo, u32)> {
    if bytes.len() < HEADER_BYTES {
        return Err(Error::corruption(format!("batch of {} bytes, expected at least {HEADER_BYTES}", bytes.len())));
    }
    let seq = header_seq(bytes).ok_or_else(|| Error::corruption("sequence number of a batch has more than 56 bits"))?;
    Ok((seq, header_count(bytes)))
}

/// The records of an encoded batch that may be damaged; ends after the first error.
///
/// # Errors
/// Per item: [`Error::Corruption`] for a record that is cut or out of shape, [`Error::Unsupported`] for
/// a kind that this store does not have.
pub fn records(bytes: &[u8]) -> Result<Records<'_>> {
    header(bytes)?;
    Ok(Records { decoder: Decoder::new(&bytes[HEADER_BYTES..]) })
}

/// Checks an encoded batch as a whole: every record, and that `count` is right (B2).
///
/// # Errors
/// As for [`records`], and [`Error::Corruption`] for a wrong count.
pub fn validate(bytes: &[u8]) -> Result<()> {
    let (seq, count) = header(bytes)?;
    let mut found = 0_u64;
    for record in records(bytes)? {
        found += u64::from(matches!(record?, Record::Entry(_)));
    }
    if found != u64::from(count) {
        return Err(Error::corruption(format!("batch holds {found} records, its header says {count}")));
    }
    if SeqNo::checked(seq.get() + found).is_none() {
        return Err(Error::corruption("sequence numbers of a batch have more than 56 bits"));
    }
    Ok(())
}

/// Iterator of [`records`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    decoder: Decoder<'a>,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>>;

    // Inlined, as what it calls: a record that comes back by memory is waited for, by whoever looks at it at once.
    #[inline]
    fn next(&mut self) -> Option<Result<Record<'a>>> {
        loop {
            let tag = self.decoder.byte()?;
            if tag == NOOP {
                continue;
            }
            let record = self.record(tag);
            if record.is_err() {
                self.decoder = Decoder::new(&[]);
            }
            return Some(record);
        }
    }
}

impl<'a> Records<'a> {
    #[inline]
    fn record(&mut self, tag: u8) -> Result<Record<'a>> {
        let (kind, has_family) = match tag {
            LOG_DATA => return self.string("log data").map(Record::LogData),
            FAMILY_DELETION => (Kind::Deletion, true),
            FAMILY_VALUE => (Kind::Value, true),
            FAMILY_MERGE => (Kind::Merge, true),
            FAMILY_SINGLE_DELETION => (Kind::SingleDeletion, true),
            FAMILY_RANGE_DELETION => (Kind::RangeDeletion, true),
            _ => match Kind::from_byte(tag) {
                Some(kind) => (kind, false),
                None => return Err(unknown_record(tag)),
            },
        };
        let family = match has_family {
            true => self.decoder.varint32().ok_or_else(|| cut("column family"))?,
            false => 0,
        };
        let key = self.string("key")?;
        let value = match kind {
            Kind::Deletion | Kind::SingleDeletion => &[],
            Kind::Value | Kind::Merge => self.string("value")?,
            Kind::RangeDeletion => self.string("end key")?,
        };
        Ok(Record::Entry(Entry { family: ColumnFamilyId(family), kind, key, value }))
    }

    #[inline]
    fn string(&mut self, what: &str) -> Result<&'a [u8]> {
        self.decoder.length_prefixed().ok_or_else(|| cut(what))
    }
}

#[cold]
fn cut(what: &str) -> Error {
    Error::corruption(format!("a record of a batch ends inside its {what}"))
}

#[cold]
fn unknown_record(tag: u8) -> Error {
    let feature = match tag {
        0x09 | 0x0a | 0x0b | 0x0c | 0x12 | 0x13 => "two-phase commit records in the log",
        0x10 => Kind::describe_byte(0x11),
        0x15 => "commit records with timestamps in the log",
        0x17 => Kind::describe_byte(0x16),
        0x19 => Kind::describe_byte(0x18),
        tag => Kind::describe_byte(tag),
    };
    Error::unsupported(format!("{feature}: record type 0x{tag:02x} in a write batch"))
}

fn header_seq(bytes: &[u8]) -> Option<SeqNo> {
    SeqNo::checked(Decoder::new(bytes).fixed64()?)
}

#[expect(clippy::expect_used, reason = "B1, or the length was checked before")]
fn header_count(bytes: &[u8]) -> u32 {
    Decoder::new(&bytes[COUNT_OFFSET..]).fixed32().expect("B1: a batch has a header")
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::{Arbitrary, Gen, quickcheck};

    #[derive(Clone, Debug)]
    struct OwnedEntry(u32, Kind, Vec<u8>, Vec<u8>);

    impl Arbitrary for OwnedEntry {
        fn arbitrary(g: &mut Gen) -> OwnedEntry {
            let kind = *g
                .choose(&[Kind::Deletion, Kind::Value, Kind::Merge, Kind::SingleDeletion, Kind::RangeDeletion])
                .unwrap();
            let value = match kind {
                Kind::Deletion | Kind::SingleDeletion => Vec::new(),
                _ => Vec::arbitrary(g),
            };
            OwnedEntry(u32::arbitrary(g) % 3, kind, Vec::arbitrary(g), value)
        }
    }

    impl OwnedEntry {
        fn borrow(&self) -> Entry<'_> {
            Entry { family: ColumnFamilyId(self.0), kind: self.1, key: &self.2, value: &self.3 }
        }
    }

    quickcheck! {
        fn records_read_back(entries: Vec<OwnedEntry>) -> bool {
            let mut batch = WriteBatch::new();
            for entry in &entries {
                batch.push(entry.borrow());
                batch.log_data(b"fact");
            }
            let found: Vec<_> = batch.records().filter_map(|record| match record {
                Record::Entry(entry) => Some(entry),
                Record::LogData(data) => { assert_eq!(data, b"fact"); None }
            }).collect();
            validate(batch.as_bytes()).unwrap();
            batch.count() as usize == entries.len() && found.iter().zip(&entries).all(|(found, entry)| *found == entry.borrow())
        }

        fn hostile_bytes_never_panic(bytes: Vec<u8>) -> bool {
            let _ = validate(&bytes);
            true
        }
    }

    #[test]
    fn rollback_takes_out_what_came_since_the_mark() {
        let mut batch = WriteBatch::new();
        batch.put(ColumnFamilyId::DEFAULT, b"a", b"1");
        let before = batch.clone();
        let mark = batch.mark();
        batch.delete(ColumnFamilyId(9), b"b");
        assert_ne!(batch, before);
        batch.rollback(mark);
        assert_eq!(batch, before);
    }

    #[test]
    fn every_cut_of_a_batch_is_an_error() {
        let mut batch = WriteBatch::new();
        batch.put(ColumnFamilyId(200), b"key", b"value");
        batch.delete_range(ColumnFamilyId::DEFAULT, b"a", b"b");
        for len in 0..batch.byte_size() {
            assert!(validate(&batch.as_bytes()[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn foreign_records_are_named() {
        let mut bytes = WriteBatch::new().as_bytes().to_vec();
        bytes.push(0x10);
        let error = validate(&bytes).unwrap_err().to_string();
        assert!(error.contains("blob files"), "{error}");
    }
}
