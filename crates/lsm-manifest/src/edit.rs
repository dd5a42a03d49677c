//! One change of a store's state, and its bytes in the manifest.
//!
//! An edit is a sequence of fields, each a varint32 tag and a content whose shape the tag implies. This
//! module reads and writes that sequence and checks what a field says by itself; whether an edit fits the
//! state before it is `version.rs`'s and `state.rs`'s question. Byte layout: docs/format/manifest.md
//! (source: RocksDB `db/version_edit.{h,cc}`, `db/wal_edit.{h,cc}`).
//!
//! # Invariants
//! E1. `decode(encode(edit)) == edit` for every edit whose tables have possible facts.
//! E2. A tag this store does not know is skipped only if it says that it may be ([`IGNORABLE`]); otherwise
//!     the edit is refused as `Unsupported`, with the tag in the message.
//! E3. Decoding allocates no more than a constant times the bytes it was given.
//! E4. An encoded edit ends in a byte with at least two bits set: zeros at the end of a record mean that its end was never
//!     written, and one byte that was never written is told from one flipped bit.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use std::sync::Arc;

use lsm_core::coding::{put_length_prefixed, put_varint32, put_varint64};
use lsm_core::filename::FileNumber;
use lsm_core::key::SeqNo;
use lsm_core::{ColumnFamilyId, Error, Result};

use crate::meta::TableMeta;
use crate::table_field::{decode_table, encode_table};
use crate::{LEVELS, fields::Fields};

/// The only key order this store knows: bytes, ascending.
pub const COMPARATOR: &str = "leveldb.BytewiseComparator";

/// A set bit in a tag that allows readers who do not know the tag to skip it.
const IGNORABLE: u32 = 1 << 13;

/// Tags of an edit's fields; the numbers are RocksDB's.
pub(crate) mod tag {
    use super::IGNORABLE;
    pub(crate) const COMPARATOR: u32 = 1;
    pub(crate) const LOG_NUMBER: u32 = 2;
    pub(crate) const NEXT_FILE: u32 = 3;
    pub(crate) const LAST_SEQ: u32 = 4;
    pub(crate) const COMPACT_CURSOR: u32 = 5;
    pub(crate) const DELETED_TABLE: u32 = 6;
    pub(crate) const NEW_TABLE: u32 = 7;
    pub(crate) const PREV_LOG: u32 = 9;
    pub(crate) const MIN_LOG_TO_KEEP: u32 = 10;
    pub(crate) const NEW_TABLE_2: u32 = 100;
    pub(crate) const NEW_TABLE_3: u32 = 102;
    pub(crate) const NEW_TABLE_4: u32 = 103;
    pub(crate) const FAMILY: u32 = 200;
    pub(crate) const FAMILY_ADD: u32 = 201;
    pub(crate) const FAMILY_DROP: u32 = 202;
    pub(crate) const MAX_FAMILY: u32 = 203;
    pub(crate) const IN_ATOMIC_GROUP: u32 = 300;
    pub(crate) const BLOB_ADDITION: u32 = 400;
    pub(crate) const BLOB_GARBAGE: u32 = 401;
    pub(crate) const DB_ID: u32 = IGNORABLE + 1;
    pub(crate) const OLD_BLOB_ADDITION: u32 = IGNORABLE + 2;
    pub(crate) const OLD_BLOB_GARBAGE: u32 = IGNORABLE + 3;
    pub(crate) const BARE_WAL_ADDITION: u32 = IGNORABLE + 4;
    pub(crate) const BARE_WAL_DELETION: u32 = IGNORABLE + 5;
    pub(crate) const ROCKSDB_WAL_ADDITION: u32 = IGNORABLE + 7;
    pub(crate) const ROCKSDB_WAL_DELETION: u32 = IGNORABLE + 8;
    // Of this store, far from where RocksDB counts on.
    pub(crate) const WAL_ADDITION: u32 = IGNORABLE + 0xf01;
    pub(crate) const WAL_DELETION: u32 = IGNORABLE + 0xf02;
    pub(crate) const FILLER: u32 = IGNORABLE + 0xf03;
}

/// What a filler holds.
const FILLING: u8 = 0xff;

/// Tags inside a log addition.
mod wal_tag {
    pub(super) const END: u32 = 1;
    pub(super) const SYNCED_BYTES: u32 = 2;
}

/// One change. Whatever is `None` or empty stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionEdit {
    /// The family that the fields about tables, the log number and [`FamilyChange`] are for.
    pub family: ColumnFamilyId,
    /// Name of the key order.
    pub comparator: Option<String>,
    /// Logs below this number hold nothing that the family's tables do not hold.
    pub log_number: Option<FileNumber>,
    /// LevelDB's second live log; zero since RocksDB 2.
    pub prev_log: Option<FileNumber>,
    /// Files from this number on were not there when the edit was written.
    pub next_file: Option<u64>,
    /// No write up to now has a larger sequence number in a table.
    pub last_seq: Option<SeqNo>,
    /// Largest number that a family ever had.
    pub max_family: Option<u32>,
    /// Logs below this number are not needed, not even for prepared transactions.
    pub min_log_to_keep: Option<FileNumber>,
    /// The store's id.
    pub db_id: Option<String>,
    /// The family comes or goes.
    pub family_change: Option<FamilyChange>,
    /// Level and number of tables that leave; they go before the added ones come.
    pub deleted: Vec<(usize, FileNumber)>,
    /// Level and facts of tables that come.
    pub added: Vec<(usize, Arc<TableMeta>)>,
    /// Logs that exist, or how much of one is synced.
    pub wal_additions: Vec<WalAddition>,
    /// Logs below this number are gone.
    pub wals_deleted_below: Option<FileNumber>,
    /// Set in an edit of an atomic group: how many more edits of the group follow.
    pub group_remaining: Option<u32>,
}

/// What happens to a column family as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FamilyChange {
    /// The family is created, with this name.
    Add(String),
    /// The family and its tables are gone.
    Drop,
}

/// A log that the manifest keeps track of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalAddition {
    /// The log's number.
    pub number: FileNumber,
    /// How many of its bytes are known to be on disk; `None` when it is created.
    pub synced_bytes: Option<u64>,
}

impl VersionEdit {
    /// The edit as a manifest record's payload.
    ///
    /// # Panics
    /// When a level is not below [`LEVELS`].
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(remaining) = self.group_remaining {
            put_varint32(&mut out, tag::IN_ATOMIC_GROUP);
            put_varint32(&mut out, remaining);
        }
        self.encode_store_fields(&mut out);
        for &(level, number) in &self.deleted {
            put_varint32(&mut out, tag::DELETED_TABLE);
            put_varint32(&mut out, encoded_level(level));
            put_varint64(&mut out, number.0);
        }
        for (level, table) in &self.added {
            put_varint32(&mut out, tag::NEW_TABLE_4);
            put_varint32(&mut out, encoded_level(*level));
            encode_table(&mut out, table);
        }
        self.encode_wal_fields(&mut out);
        self.encode_family_fields(&mut out);
        // E4.
        if out.last().is_some_and(|last| last.count_ones() < 2) {
            lengthen(&mut out);
        }
        out
    }

    fn encode_store_fields(&self, out: &mut Vec<u8>) {
        for (tag, text) in [(tag::DB_ID, &self.db_id), (tag::COMPARATOR, &self.comparator)] {
            if let Some(text) = text {
                put_varint32(out, tag);
                put_length_prefixed(out, text.as_bytes());
            }
        }
        for (tag, number) in [
            (tag::LOG_NUMBER, self.log_number.map(|number| number.0)),
            (tag::PREV_LOG, self.prev_log.map(|number| number.0)),
            (tag::MIN_LOG_TO_KEEP, self.min_log_to_keep.map(|number| number.0)),
            (tag::MAX_FAMILY, self.max_family.map(u64::from)),
            (tag::LAST_SEQ, self.last_seq.map(SeqNo::get)),
            (tag::NEXT_FILE, self.next_file),
        ] {
            if let Some(number) = number {
                put_varint32(out, tag);
                put_varint64(out, number);
            }
        }
    }

    /// Under tags of this store's own: RocksDB 7.8.3 crashes when it opens a directory read-only whose manifest lists
    /// logs under RocksDB's tags, unless it is told to track logs, which is not the default.
    fn encode_wal_fields(&self, out: &mut Vec<u8>) {
        for addition in &self.wal_additions {
            let mut content = Vec::new();
            put_varint64(&mut content, addition.number.0);
            if let Some(bytes) = addition.synced_bytes {
                put_varint32(&mut content, wal_tag::SYNCED_BYTES);
                put_varint64(&mut content, bytes);
            }
            put_varint32(&mut content, wal_tag::END);
            put_varint32(out, tag::WAL_ADDITION);
            put_length_prefixed(out, &content);
        }
        if let Some(number) = self.wals_deleted_below {
            let mut content = Vec::new();
            put_varint64(&mut content, number.0);
            put_varint32(out, tag::WAL_DELETION);
            put_length_prefixed(out, &content);
        }
    }

    fn encode_family_fields(&self, out: &mut Vec<u8>) {
        // The default family is meant when the field is missing.
        if self.family != ColumnFamilyId::DEFAULT {
            put_varint32(out, tag::FAMILY);
            put_varint32(out, self.family.0);
        }
        match &self.family_change {
            Some(FamilyChange::Add(name)) => {
                put_varint32(out, tag::FAMILY_ADD);
                put_length_prefixed(out, name.as_bytes());
            }
            Some(FamilyChange::Drop) => put_varint32(out, tag::FAMILY_DROP),
            None => {}
        }
    }

    /// Reads a manifest record's payload.
    ///
    /// # Errors
    /// `Corruption` for a field that is cut or impossible, `Unsupported` for a feature this store does not
    /// have: another comparator, blob files, a second path, more than [`LEVELS`] levels, unknown tags (E2).
    pub fn decode(payload: &[u8]) -> Result<VersionEdit> {
        let mut edit = VersionEdit::default();
        let mut fields = Fields::new(payload);
        while !fields.is_empty() {
            let tag = fields.varint32("tag")?;
            edit.decode_field(tag, &mut fields)?;
        }
        Ok(edit)
    }

    fn decode_field(&mut self, tag: u32, fields: &mut Fields<'_>) -> Result<()> {
        match tag {
            tag::COMPARATOR => self.comparator = Some(decode_comparator(fields)?),
            tag::LOG_NUMBER => self.log_number = Some(FileNumber(fields.varint64("log number")?)),
            tag::NEXT_FILE => self.next_file = Some(fields.varint64("next file number")?),
            tag::LAST_SEQ => self.last_seq = Some(fields.seq("last sequence")?),
            tag::COMPACT_CURSOR => {
                // LevelDB's round-robin position: a hint that this store's pickers do not use.
                fields.level("compact cursor level")?;
                fields.length_prefixed("compact cursor key")?;
            }
            tag::DELETED_TABLE => {
                let level = fields.level("deleted table's level")?;
                self.deleted.push((level, FileNumber(fields.varint64("deleted table's number")?)));
            }
            tag::NEW_TABLE | tag::NEW_TABLE_2 | tag::NEW_TABLE_3 | tag::NEW_TABLE_4 => {
                let level = fields.level("table's level")?;
                let (table, min_log_to_keep) = decode_table(tag, fields)?;
                self.added.push((level, Arc::new(table)));
                self.min_log_to_keep = min_log_to_keep.or(self.min_log_to_keep);
            }
            tag::PREV_LOG => self.prev_log = Some(FileNumber(fields.varint64("previous log number")?)),
            tag::MIN_LOG_TO_KEEP => self.min_log_to_keep = Some(FileNumber(fields.varint64("min log to keep")?)),
            tag::FAMILY => self.family = ColumnFamilyId(fields.varint32("column family")?),
            tag::FAMILY_ADD => self.change_family(FamilyChange::Add(fields.text("column family name")?))?,
            tag::FAMILY_DROP => self.change_family(FamilyChange::Drop)?,
            tag::MAX_FAMILY => self.max_family = Some(fields.varint32("largest column family")?),
            tag::IN_ATOMIC_GROUP => self.group_remaining = Some(fields.varint32("rest of atomic group")?),
            tag::BLOB_ADDITION | tag::BLOB_GARBAGE | tag::OLD_BLOB_ADDITION | tag::OLD_BLOB_GARBAGE => {
                return Err(Error::unsupported(format!("blob files (manifest tag {tag})")));
            }
            tag::DB_ID => self.db_id = Some(fields.text("database id")?),
            tag::BARE_WAL_ADDITION => self.wal_additions.push(decode_wal_addition(fields)?),
            tag::BARE_WAL_DELETION => self.wals_deleted_below = Some(FileNumber(fields.varint64("deleted log")?)),
            tag::WAL_ADDITION | tag::ROCKSDB_WAL_ADDITION => {
                let mut content = fields.nested("log addition")?;
                self.wal_additions.push(decode_wal_addition(&mut content)?);
            }
            tag::WAL_DELETION | tag::ROCKSDB_WAL_DELETION => {
                let number = fields.nested("log deletion")?.varint64("deleted log")?;
                self.wals_deleted_below = Some(FileNumber(number));
            }
            tag if tag & IGNORABLE != 0 => {
                fields.length_prefixed("ignorable field")?;
            }
            tag => return Err(Error::unsupported(format!("manifest tag {tag}"))),
        }
        Ok(())
    }

    fn change_family(&mut self, change: FamilyChange) -> Result<()> {
        match self.family_change.replace(change) {
            None => Ok(()),
            Some(_) => Err(Error::corruption("an edit adds or drops its column family twice")),
        }
    }
}

fn decode_comparator(fields: &mut Fields<'_>) -> Result<String> {
    let name = fields.text("comparator name")?;
    if name == COMPARATOR { Ok(name) } else { Err(Error::unsupported(format!("comparator {}", name.escape_debug()))) }
}

fn decode_wal_addition(fields: &mut Fields<'_>) -> Result<WalAddition> {
    let number = FileNumber(fields.varint64("log number")?);
    let mut synced_bytes = None;
    loop {
        match fields.varint32("log addition tag")? {
            wal_tag::END => return Ok(WalAddition { number, synced_bytes }),
            wal_tag::SYNCED_BYTES => synced_bytes = Some(fields.varint64("synced bytes of a log")?),
            tag => return Err(Error::unsupported(format!("field {tag} of log {number} in the manifest"))),
        }
    }
}

/// Adds a field that says nothing to an encoded edit; E4 holds afterwards.
pub(crate) fn lengthen(encoded: &mut Vec<u8>) {
    put_varint32(encoded, tag::FILLER);
    put_length_prefixed(encoded, &[FILLING]);
}

fn encoded_level(level: usize) -> u32 {
    assert!(level < LEVELS, "a version has {LEVELS} levels, not a level {level}");
    level as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{added, table};
    use lsm_core::coding::{put_fixed64, put_length_prefixed};
    use lsm_core::key::InternalKey;
    use quickcheck::quickcheck;

    quickcheck! {
        // Covers E1.
        fn edits_read_back(edit: VersionEdit) -> bool {
            VersionEdit::decode(&edit.encode()).unwrap() == edit
        }

        // Covers E4.
        fn encoded_edits_end_in_several_bits(edit: VersionEdit, group_remaining: Option<u8>) -> bool {
            let group_remaining = group_remaining.map(u32::from);
            let short = VersionEdit { group_remaining, max_family: Some(0), ..VersionEdit::default() };
            edit.encode().last().is_some_and(|last| last.count_ones() >= 2) && short.encode().last() == Some(&FILLING)
        }

        // Covers E3 as far as panics go.
        fn hostile_bytes_never_panic(bytes: Vec<u8>) -> bool {
            VersionEdit::decode(&bytes).is_ok_and(|edit| edit.added.len() <= bytes.len()) || !bytes.is_empty()
        }

        fn damaged_edits_never_panic(edit: VersionEdit, at: usize, bit: u8) -> bool {
            let mut bytes = edit.encode();
            if let Some(at) = at.checked_rem(bytes.len()) {
                bytes[at] ^= 1 << (bit % 8);
            }
            VersionEdit::decode(&bytes).is_ok_and(|edit| edit.added.len() <= bytes.len()) || !bytes.is_empty()
        }

        fn cut_edits_are_refused_or_shorter(edit: VersionEdit, length: usize) -> bool {
            let bytes = edit.encode();
            let Some(length) = length.checked_rem(bytes.len()) else { return true };
            match VersionEdit::decode(&bytes[..length]) {
                Ok(prefix) => prefix != edit,
                Err(error) => error.is_corruption(),
            }
        }
    }

    /// Fields written down by hand: numbers are varints, text is length-prefixed.
    #[derive(Default)]
    struct Bytes(Vec<u8>);

    impl Bytes {
        fn numbers(mut self, numbers: &[u64]) -> Bytes {
            numbers.iter().for_each(|&number| put_varint64(&mut self.0, number));
            self
        }

        fn text(mut self, bytes: &[u8]) -> Bytes {
            put_length_prefixed(&mut self.0, bytes);
            self
        }

        fn bounds(self) -> Bytes {
            self.text(b"a\x01\x05\0\0\0\0\0\0").text(b"b\x01\x07\0\0\0\0\0\0")
        }
    }

    fn numbers(numbers: &[u64]) -> Bytes {
        Bytes::default().numbers(numbers)
    }

    fn decode(bytes: Bytes) -> Result<VersionEdit> {
        VersionEdit::decode(&bytes.0)
    }

    #[test]
    fn all_generations_of_added_tables_are_read() {
        let plain = |seqs| {
            let bound = |key: &[u8], seq| InternalKey::new(key, SeqNo::new(seq), lsm_core::Kind::Value);
            TableMeta::new(FileNumber(9), 100, bound(b"a", 5), bound(b"b", 7), seqs)
        };
        let seqs = (SeqNo::new(3), SeqNo::new(8));
        let from_bounds = (SeqNo::ZERO, SeqNo::new(7));
        let unknown = [SeqNo::MAX.get(), 0];
        for (bytes, expected) in [
            (numbers(&[7, 2, 9, 100]).bounds(), plain(from_bounds)),
            (numbers(&[100, 2, 9, 100]).bounds().numbers(&[3, 8]), plain(seqs)),
            (numbers(&[102, 2, 9, 0, 100]).bounds().numbers(&[3, 8]), plain(seqs)),
            (numbers(&[103, 2, 9, 100]).bounds().numbers(&[3, 8, 1]), plain(seqs)),
            (numbers(&[103, 2, 9, 100]).bounds().numbers(&unknown).numbers(&[1]), plain(from_bounds)),
            (numbers(&[103, 2, 9, 100]).bounds().numbers(&[3, 8, 65]).text(&[0]).numbers(&[1]), plain(seqs)),
        ] {
            let edit = decode(bytes).unwrap();
            assert_eq!(edit.added, [(2, Arc::new(expected))]);
        }
    }

    #[test]
    fn the_log_to_keep_travels_beside_a_table_too() {
        let mut fixed = Vec::new();
        put_fixed64(&mut fixed, 14);
        let bytes = numbers(&[103, 0, 9, 100]).bounds().numbers(&[3, 8, 3]).text(&fixed).numbers(&[1]);
        let edit = decode(bytes).unwrap();
        assert_eq!(edit.min_log_to_keep, Some(FileNumber(14)));
        assert!(edit.added[0].1.other_fields.is_empty());
    }

    #[test]
    fn log_additions_are_read_with_and_without_a_length() {
        let synced = WalAddition { number: FileNumber(8), synced_bytes: Some(300) };
        let created = WalAddition { number: FileNumber(9), synced_bytes: None };
        let bare = numbers(&[8196, 8, 2, 300, 1, 8196, 9, 1, 8197, 7]);
        let framed = |add, delete| {
            let first = numbers(&[add]).text(&[8, 2, 0xac, 2, 1]);
            first.numbers(&[add]).text(&[9, 1]).numbers(&[delete]).text(&[7])
        };
        for bytes in [bare, framed(8199, 8200), framed(0x2f01, 0x2f02)] {
            let edit = decode(bytes).unwrap();
            assert_eq!(edit.wal_additions, [synced, created]);
            assert_eq!(edit.wals_deleted_below, Some(FileNumber(7)));
        }
    }

    #[test]
    fn what_may_be_skipped_is_skipped() {
        // Covers E2.
        let cursor = numbers(&[5, 1]).text(b"key-----");
        assert_eq!(decode(cursor).unwrap(), VersionEdit::default());
        let low = numbers(&[8198]).text(b"timestamp").numbers(&[8201]).text(&[1]);
        assert_eq!(decode(low).unwrap(), VersionEdit::default());
        let future = numbers(&[8192 + 4000]).text(b"anything").numbers(&[3, 10]);
        assert_eq!(decode(future).unwrap(), VersionEdit { next_file: Some(10), ..VersionEdit::default() });
    }

    #[test]
    fn what_must_be_understood_is_refused_by_name() {
        // Covers E2.
        let custom = |tag: u64, content: &[u8]| numbers(&[103, 0, 9, 100]).bounds().numbers(&[3, 8, tag]).text(content);
        for (bytes, name) in [
            (numbers(&[8]), "manifest tag 8"),
            (numbers(&[400, 1]), "blob files (manifest tag 400)"),
            (numbers(&[401, 1]), "blob files (manifest tag 401)"),
            (numbers(&[8194, 1]), "blob files (manifest tag 8194)"),
            (custom(4, &[10]), "blob files (a table refers to blob file 10)"),
            (custom(65, &[1]), "second directory (path 1)"),
            (custom(66, &[1]), "custom field 66 of table 000009"),
            (numbers(&[102, 0, 9, 2, 100]), "second directory (path 2)"),
            (numbers(&[1]).text(b"rocksdb.ReverseBytewiseComparator"), "comparator rocksdb.ReverseBytewiseComparator"),
            (numbers(&[6, 7, 1]), "more than 7 levels"),
            (numbers(&[103, u64::from(u32::MAX), 1]), "more than 7 levels"),
            (numbers(&[8196, 8, 3, 1]), "field 3 of log 000008"),
            (numbers(&[103, 0, 9, 100]).text(b"a\x11\x05\0\0\0\0\0\0"), "blob index"),
            (numbers(&[103, 0, 9, 100]).text(b"a\x16\x05\0\0\0\0\0\0"), "wide-column entity"),
        ] {
            let error = decode(bytes).unwrap_err();
            assert!(matches!(error, Error::Unsupported { .. }), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn impossible_fields_are_corruption() {
        for (bytes, message) in [
            (numbers(&[3]), "next file number at byte 1 of the record is cut short"),
            (numbers(&[4, 1 << 56]), "last sequence 72057594037927936 has more than 56 bits"),
            (numbers(&[8193]).text(b"\xff"), "database id at byte 2 of the record is not UTF-8"),
            (numbers(&[201]).text(b"a").numbers(&[202]), "adds or drops its column family twice"),
            (numbers(&[103, 0, 9, 100]).text(b"short"), "table's smallest key has 5 bytes"),
            (numbers(&[103, 0, 9, 100]).text(b"a\x7f\x05\0\0\0\0\0\0"), "unknown value type 0x7f"),
            (numbers(&[103, 0, 0, 100]).bounds().numbers(&[3, 8, 1]), "table number 0"),
            (numbers(&[103, 0, 9, 100]).bounds().numbers(&[8, 3, 1]), "sequences from 8 to 3"),
            (numbers(&[103, 0, 9, 100]).bounds().numbers(&[3, 8, 12]).text(&[0; 15]), "unique id"),
        ] {
            let error = decode(bytes).unwrap_err();
            assert!(error.is_corruption() && error.to_string().contains(message), "{error}");
        }
    }

    #[test]
    fn fields_that_are_not_understood_survive_a_rewrite() {
        // Covers F1: RocksDB's file checksum (7, 8) and temperature (9).
        let mut edit = added([(0, table(1, "a-b", 1))]);
        let fields = vec![(7, b"sum".to_vec()), (8, b"crc32c".to_vec()), (9, vec![4])];
        Arc::make_mut(&mut edit.added[0].1).other_fields = fields.clone();
        let decoded = VersionEdit::decode(&edit.encode()).unwrap();
        assert_eq!(decoded.added[0].1.other_fields, fields);
    }
}
