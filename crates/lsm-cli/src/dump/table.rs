//! A table: what it says about itself, its range tombstones, its entries.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use lsm_core::key::{ParsedKey, SeqNo};
use lsm_core::{Cursor, ReadAt};
use lsm_sstable::{Properties, Table, TableOptions};

use crate::Answer;
use crate::text::Quoted;

pub(super) fn dump(source: Arc<dyn ReadAt>, file: &Path, out: &mut impl Write) -> anyhow::Result<Answer> {
    let table = Arc::new(Table::open(source, TableOptions { file: file.to_owned(), ..TableOptions::default() })?);
    writeln!(out, "table {}, {} bytes, format version {}", file.display(), table.bytes(), table.format_version())?;
    properties(table.properties(), out)?;
    // Seen by a reader of the present: of tombstones over the same keys only the newest.
    for tombstone in table.tombstones().per_stripe(&[SeqNo::MAX]) {
        let (start, end) = (Quoted(&tombstone.start), Quoted(&tombstone.end));
        writeln!(out, "range deletion {start}..{end} @ {}", tombstone.seq)?;
    }
    let mut cursor = table.cursor();
    cursor.seek_to_first()?;
    while cursor.valid() {
        let key = ParsedKey::parse(cursor.key()).context("an entry's key has no valid trailer")?;
        writeln!(out, "{} @ {} {:?} => {}", Quoted(key.user_key), key.seq, key.kind, Quoted(cursor.value()))?;
        cursor.next()?;
    }
    Ok(Answer::Yes)
}

fn properties(properties: &Properties, out: &mut impl Write) -> anyhow::Result<()> {
    for (name, number) in [
        ("entries", properties.entries),
        ("deletions", properties.deletions),
        ("range deletions", properties.range_deletions),
        ("merge operands", properties.merge_operands),
        ("raw key bytes", properties.raw_key_bytes),
        ("raw value bytes", properties.raw_value_bytes),
        ("data blocks", properties.data_blocks),
        ("data bytes", properties.data_bytes),
        ("index bytes", properties.index_bytes),
        ("filter bytes", properties.filter_bytes),
        ("creation time", properties.creation_time),
    ] {
        writeln!(out, "  {name}: {number}")?;
    }
    for (name, text) in [
        ("comparator", &properties.comparator),
        ("filter policy", &properties.filter_policy),
        ("compression", &properties.compression),
        ("merge operator", &properties.merge_operator),
        ("column family", &properties.column_family_name),
    ] {
        writeln!(out, "  {name}: {}", Quoted(text.as_bytes()))?;
    }
    for (name, bytes) in &properties.other {
        writeln!(out, "  {name}: {}", Quoted(bytes))?;
    }
    Ok(())
}
