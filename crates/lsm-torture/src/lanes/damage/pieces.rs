//! Which entries lie where in an undamaged store, and what it shows without some of them.
//!
//! # Invariants
//! P1. A piece is the least that a repair may lose: a data block, the range deletions of a table, a record of a log.

use std::collections::BTreeSet;
use std::ops::{Bound, Range};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use lsm_core::batch::{self, Record};
use lsm_core::filename::{FileKind, FileNumber};
use lsm_core::key::ParsedKey;
use lsm_core::{ColumnFamilyId, Cursor, Kind, SeqNo, WriteBatch};
use lsm_fs::{Fs, MemFs};
use lsm_sstable::{Table, TableOptions};
use lsm_testkit::{AppendOperator, Model};
use lsm_wal::{LogToReplay, RecoveryMode};

use super::golden::{DIRECTORY, FAMILIES, Files, Rows, file_system};

/// Some bytes of a file, and the entries in them.
pub(super) struct Piece {
    pub(super) file: String,
    pub(super) bytes: Range<usize>,
    /// Whether these are a table's range deletions, which lie somewhere among the parts behind the data blocks.
    pub(super) is_range_deletions: bool,
    /// Whether it is in a log that the manifest no longer asks for. Only who makes a new manifest looks there.
    pub(super) is_stale: bool,
    entries: Vec<Entry>,
}

/// One write. Its order is that of the writes, and what is found twice is the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    seq: SeqNo,
    family: ColumnFamilyId,
    key: Vec<u8>,
    kind: Kind,
    value: Vec<u8>,
}

/// All pieces of a store's tables and logs.
pub(super) fn of(files: &Files) -> Result<Vec<Piece>> {
    let fs = file_system(files)?;
    let first_log = lsm_manifest::read(&fs, Path::new(DIRECTORY))?.first_log();
    let mut pieces = Vec::new();
    for (name, content) in files {
        match FileKind::parse(name) {
            Some(FileKind::Table(_)) => pieces.extend(of_table(&fs, name)?),
            Some(FileKind::Log(number)) => pieces.extend(of_log(&fs, name, number, content, number < first_log)?),
            _ => {}
        }
    }
    Ok(pieces)
}

fn of_table(fs: &MemFs, name: &str) -> Result<Vec<Piece>> {
    let path = Path::new(DIRECTORY).join(name);
    let file = fs.open(&path)?;
    let size = usize::try_from(file.size()?)?;
    let table = Arc::new(Table::open(file, TableOptions { file: path, ..TableOptions::default() })?);
    let family = ColumnFamilyId(u32::try_from(table.properties().column_family_id)?);
    let mut pieces: Vec<Piece> = Vec::new();
    let mut end = 0;
    for anchor in table.anchors(usize::MAX)? {
        let bytes = end..end + usize::try_from(anchor.bytes)?;
        end = bytes.end;
        pieces.push(Piece {
            file: name.to_owned(),
            bytes,
            is_range_deletions: false,
            is_stale: false,
            entries: Vec::new(),
        });
    }
    let mut cursor = table.cursor();
    cursor.seek_to_first()?;
    while cursor.valid() {
        let ParsedKey { user_key, seq, kind } = ParsedKey::parse(cursor.key()).context("a key without a kind")?;
        let block = usize::try_from(table.approximate_offset(user_key)?)?;
        let piece =
            pieces.iter_mut().find(|piece| piece.bytes.start == block).context("a key outside of the blocks")?;
        piece.entries.push(Entry { seq, family, key: user_key.to_vec(), kind, value: cursor.value().to_vec() });
        cursor.next()?;
    }
    let deletions = table.tombstones().per_stripe(&[SeqNo::MAX]).into_iter();
    let kind = Kind::RangeDeletion;
    let entries = deletions.map(|one| Entry { seq: one.seq, family, key: one.start, kind, value: one.end }).collect();
    pieces.push(Piece { file: name.to_owned(), bytes: end..size, is_range_deletions: true, is_stale: false, entries });
    Ok(pieces)
}

fn of_log(fs: &MemFs, name: &str, number: FileNumber, content: &[u8], is_stale: bool) -> Result<Vec<Piece>> {
    let mut pieces: Vec<Piece> = Vec::new();
    let log = [LogToReplay { number, synced_bytes: None }];
    let directory = Path::new(DIRECTORY);
    lsm_wal::replay(fs, directory, number, &log, RecoveryMode::SkipDamaged, &mut |_, offset, bytes| {
        let (mut seq, _) = batch::header(bytes)?;
        let start = offset as usize;
        if let Some(before) = pieces.last_mut() {
            before.bytes.end = start;
        }
        let mut entries = Vec::new();
        for record in batch::records(bytes)? {
            let Record::Entry(entry) = record? else { continue };
            let (key, value) = (entry.key.to_vec(), entry.value.to_vec());
            entries.push(Entry { seq, family: entry.family, key, kind: entry.kind, value });
            seq = seq.plus(1);
        }
        pieces.push(Piece { file: name.to_owned(), bytes: start..start, is_range_deletions: false, is_stale, entries });
        Ok(())
    })?;
    if let Some(last) = pieces.last_mut() {
        // Behind it is room for more.
        last.bytes.end = content.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    }
    Ok(pieces)
}

/// What a store shows that has all pieces but those that `is_lost` names.
pub(super) fn shown_without(pieces: &[Piece], is_lost: impl Fn(&Piece) -> bool) -> Rows {
    let entries: BTreeSet<&Entry> =
        pieces.iter().filter(|piece| !is_lost(piece)).flat_map(|piece| &piece.entries).collect();
    let mut batch = WriteBatch::new();
    for Entry { family, key, kind, value, .. } in entries {
        batch.push(batch::Entry { family: *family, kind: *kind, key, value });
    }
    let mut model = Model::new(Arc::new(AppendOperator));
    let last = model.apply(&batch);
    let of_family = |(id, name): (u32, &'static str)| {
        let rows = model.scan_at(ColumnFamilyId(id), (Bound::Unbounded, Bound::Unbounded), last);
        rows.into_iter().map(move |(key, value)| ((name, key), value))
    };
    (0..).zip(FAMILIES).flat_map(of_family).collect()
}
