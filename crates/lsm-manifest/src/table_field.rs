//! The bytes of one added table inside an edit.
//!
//! Four generations exist: LevelDB's (tag 7), with sequence numbers (100), with a path (102), and with an
//! open list of custom fields (103). All are read, the last is written.
//!
//! # Invariants
//! F1. A custom field this store does not know is carried along, or refused if its tag says that it must be
//!     understood ([`MUST_UNDERSTAND`]); it is never dropped.
//! F2. What is returned has passed [`TableMeta::check`].

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use lsm_core::coding::{put_length_prefixed, put_varint32, put_varint64};
use lsm_core::filename::FileNumber;
use lsm_core::key::{InternalKey, SeqNo};
use lsm_core::{Error, Result};

use crate::edit::tag;
use crate::fields::Fields;
use crate::meta::TableMeta;

/// A set bit in a custom tag that forbids readers who do not know the tag to skip it.
const MUST_UNDERSTAND: u32 = 1 << 6;

/// Tags of the custom fields; the numbers are RocksDB's.
mod custom {
    use super::MUST_UNDERSTAND;
    pub(super) const END: u32 = 1;
    pub(super) const NEED_COMPACTION: u32 = 2;
    pub(super) const MIN_LOG_TO_KEEP: u32 = 3;
    pub(super) const OLDEST_BLOB: u32 = 4;
    pub(super) const OLDEST_ANCESTOR_TIME: u32 = 5;
    pub(super) const FILE_CREATION_TIME: u32 = 6;
    pub(super) const UNIQUE_ID: u32 = 12;
    pub(super) const EPOCH: u32 = 13;
    pub(super) const COMPENSATED_RANGE_DELETION: u32 = 14;
    pub(super) const TAIL_BYTES: u32 = 15;
    // Of this store, far from where RocksDB counts on.
    pub(super) const IDENTITY: u32 = 60;
    pub(super) const PATH: u32 = MUST_UNDERSTAND + 1;
}

/// Appends everything behind the level.
pub(crate) fn encode_table(out: &mut Vec<u8>, table: &TableMeta) {
    put_varint64(out, table.number.0);
    put_varint64(out, table.bytes);
    put_length_prefixed(out, table.smallest.as_bytes());
    put_length_prefixed(out, table.largest.as_bytes());
    put_varint64(out, table.smallest_seq.get());
    put_varint64(out, table.largest_seq.get());
    put_number(out, custom::OLDEST_ANCESTOR_TIME, table.oldest_ancestor_time);
    put_number(out, custom::FILE_CREATION_TIME, table.file_creation_time);
    put_number(out, custom::EPOCH, table.epoch);
    put_number(out, custom::COMPENSATED_RANGE_DELETION, table.compensated_range_deletion_bytes);
    put_number(out, custom::TAIL_BYTES, table.tail_bytes);
    put_number(out, custom::IDENTITY, table.identity);
    if let Some([first, second]) = table.unique_id {
        let bytes: Vec<u8> = [first.to_le_bytes(), second.to_le_bytes()].concat();
        put_field(out, custom::UNIQUE_ID, &bytes);
    }
    if table.marked_for_compaction {
        put_field(out, custom::NEED_COMPACTION, &[1]);
    }
    for (tag, content) in &table.other_fields {
        put_field(out, *tag, content);
    }
    put_varint32(out, custom::END);
}

/// A missing field means zero, which is how "unknown" is kept too.
fn put_number(out: &mut Vec<u8>, tag: u32, number: u64) {
    if number != 0 {
        let mut content = Vec::new();
        put_varint64(&mut content, number);
        put_field(out, tag, &content);
    }
}

fn put_field(out: &mut Vec<u8>, tag: u32, content: &[u8]) {
    put_varint32(out, tag);
    put_length_prefixed(out, content);
}

/// Reads everything behind the level. The number beside the table is a fact about the store that RocksDB
/// sends along in a custom field: logs below it are not needed.
pub(crate) fn decode_table(generation: u32, fields: &mut Fields<'_>) -> Result<(TableMeta, Option<FileNumber>)> {
    let number = FileNumber(fields.varint64("table's number")?);
    if generation == tag::NEW_TABLE_3 {
        refuse_path(u64::from(fields.varint32("table's path")?))?;
    }
    let bytes = fields.varint64("table's size")?;
    let smallest = fields.internal_key("table's smallest key")?;
    let largest = fields.internal_key("table's largest key")?;
    let seqs = match generation {
        tag::NEW_TABLE => None,
        _ => Some((fields.seq("table's smallest sequence")?, fields.seq("table's largest sequence")?)),
    };
    let seqs = known_seqs(seqs, &smallest, &largest);
    let mut table = TableMeta::new(number, bytes, smallest, largest, seqs);
    let min_log_to_keep = match generation {
        tag::NEW_TABLE_4 => decode_custom_fields(&mut table, fields)?,
        _ => None,
    };
    table.check()?;
    Ok((table, min_log_to_keep))
}

/// LevelDB recorded no sequence numbers; RocksDB, when it rewrites such a manifest, records them as
/// "from the largest possible to zero". The bounds then give a range that orders such tables by age: flushes
/// of one store never interleave in sequence.
fn known_seqs(seqs: Option<(SeqNo, SeqNo)>, smallest: &InternalKey, largest: &InternalKey) -> (SeqNo, SeqNo) {
    match seqs {
        Some(seqs) if seqs != (SeqNo::MAX, SeqNo::ZERO) => seqs,
        _ if largest.is_exclusive_end() => (SeqNo::ZERO, smallest.seq()),
        _ => (SeqNo::ZERO, smallest.seq().max(largest.seq())),
    }
}

fn decode_custom_fields(table: &mut TableMeta, fields: &mut Fields<'_>) -> Result<Option<FileNumber>> {
    let mut min_log_to_keep = None;
    loop {
        let tag = fields.varint32("custom field's tag")?;
        if tag == custom::END {
            return Ok(min_log_to_keep);
        }
        let mut content = fields.nested("custom field")?;
        match tag {
            custom::NEED_COMPACTION => table.marked_for_compaction = content.byte("need compaction")? == 1,
            custom::MIN_LOG_TO_KEEP => min_log_to_keep = Some(FileNumber(content.fixed64("min log to keep")?)),
            custom::OLDEST_BLOB => refuse_blob(content.varint64("oldest blob file")?)?,
            custom::OLDEST_ANCESTOR_TIME => table.oldest_ancestor_time = content.varint64("oldest ancestor time")?,
            custom::FILE_CREATION_TIME => table.file_creation_time = content.varint64("file creation time")?,
            custom::UNIQUE_ID => table.unique_id = decode_unique_id(&mut content)?,
            custom::EPOCH => table.epoch = content.varint64("epoch number")?,
            custom::COMPENSATED_RANGE_DELETION => {
                table.compensated_range_deletion_bytes = content.varint64("compensated range deletion size")?;
            }
            custom::TAIL_BYTES => table.tail_bytes = content.varint64("tail size")?,
            custom::IDENTITY => table.identity = content.varint64("identity")?,
            custom::PATH => refuse_path(u64::from(content.byte("table's path")?))?,
            tag if tag & MUST_UNDERSTAND != 0 => {
                return Err(Error::unsupported(format!(
                    "custom field {tag} of table {} in the manifest",
                    table.number
                )));
            }
            tag => table.other_fields.push((tag, content.rest().to_vec())),
        }
    }
}

fn decode_unique_id(content: &mut Fields<'_>) -> Result<Option<[u64; 2]>> {
    let id = [content.fixed64("unique id")?, content.fixed64("unique id")?];
    // RocksDB's null id means that nobody computed one.
    Ok((id != [0, 0]).then_some(id))
}

fn refuse_blob(number: u64) -> Result<()> {
    match number {
        0 => Ok(()),
        number => Err(Error::unsupported(format!("blob files (a table refers to blob file {number})"))),
    }
}

fn refuse_path(path: u64) -> Result<()> {
    match path {
        0 => Ok(()),
        path => Err(Error::unsupported(format!("tables in a second directory (path {path})"))),
    }
}
