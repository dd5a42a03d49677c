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
    pub(crate) const OLD_LOG_ADDITION: u32 = IGNORABLE + 4;
    pub(crate) const OLD_LOG_DELETION: u32 = IGNORABLE + 5;
    pub(crate) const LOG_ADDITION: u32 = IGNORABLE + 7;
    pub(crate) const LOG_DELETION: u32 = IGNORABLE + 8;
}

/// Tags inside a log addition.
mod log_tag {
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
    pub log_additions: Vec<LogAddition>,
    /// Logs below this number are gone.
    pub logs_deleted_below: Option<FileNumber>,
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
pub struct LogAddition {
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
        self.encode_log_fields(&mut out);
        self.encode_family_fields(&mut out);
        if let Some(remaining) = self.group_remaining {
            put_varint32(&mut out, tag::IN_ATOMIC_GROUP);
            put_varint32(&mut out, remaining);
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
            (tag::NEXT_FILE, self.next_file),
            (tag::LAST_SEQ, self.last_seq.map(SeqNo::get)),
            (tag::MAX_FAMILY, self.max_family.map(u64::from)),
            (tag::MIN_LOG_TO_KEEP, self.min_log_to_keep.map(|number| number.0)),
        ] {
            if let Some(number) = number {
                put_varint32(out, tag);
                put_varint64(out, number);
            }
        }
    }

    fn encode_log_fields(&self, out: &mut Vec<u8>) {
        for addition in &self.log_additions {
            let mut content = Vec::new();
            put_varint64(&mut content, addition.number.0);
            if let Some(bytes) = addition.synced_bytes {
                put_varint32(&mut content, log_tag::SYNCED_BYTES);
                put_varint64(&mut content, bytes);
            }
            put_varint32(&mut content, log_tag::END);
            put_varint32(out, tag::LOG_ADDITION);
            put_length_prefixed(out, &content);
        }
        if let Some(number) = self.logs_deleted_below {
            let mut content = Vec::new();
            put_varint64(&mut content, number.0);
            put_varint32(out, tag::LOG_DELETION);
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
            tag::OLD_LOG_ADDITION => self.log_additions.push(decode_log_addition(fields)?),
            tag::OLD_LOG_DELETION => self.logs_deleted_below = Some(FileNumber(fields.varint64("deleted log")?)),
            tag::LOG_ADDITION => {
                let mut content = fields.nested("log addition")?;
                self.log_additions.push(decode_log_addition(&mut content)?);
            }
            tag::LOG_DELETION => {
                let number = fields.nested("log deletion")?.varint64("deleted log")?;
                self.logs_deleted_below = Some(FileNumber(number));
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

fn decode_log_addition(fields: &mut Fields<'_>) -> Result<LogAddition> {
    let number = FileNumber(fields.varint64("log number")?);
    let mut synced_bytes = None;
    loop {
        match fields.varint32("log addition tag")? {
            log_tag::END => return Ok(LogAddition { number, synced_bytes }),
            log_tag::SYNCED_BYTES => synced_bytes = Some(fields.varint64("synced bytes of a log")?),
            tag => return Err(Error::unsupported(format!("field {tag} of log {number} in the manifest"))),
        }
    }
}

fn encoded_level(level: usize) -> u32 {
    assert!(level < LEVELS, "a version has {LEVELS} levels, not a level {level}");
    level as u32
}
