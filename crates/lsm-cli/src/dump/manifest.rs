//! A manifest: its edits, one after another, and in each only what it changes.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use lsm_core::ReadAt;
use lsm_manifest::{FamilyChange, TableMeta, VersionEdit};
use lsm_wal::{HeaderStyle, Outcome, RecordReader};

use crate::Answer;
use crate::text::Quoted;

pub(super) fn dump(source: Arc<dyn ReadAt>, file: &Path, out: &mut impl Write) -> anyhow::Result<Answer> {
    let mut reader = RecordReader::new(source, HeaderStyle::Legacy, file)?;
    writeln!(out, "manifest {}, {} bytes", file.display(), reader.file_bytes())?;
    loop {
        match reader.next()? {
            Outcome::Record { offset, payload } => {
                writeln!(out, "edit at {offset}: {} bytes", payload.len())?;
                let edit = VersionEdit::decode(payload);
                let edit = edit.with_context(|| format!("{}: edit at offset {offset}", file.display()))?;
                write_edit(&edit, out)?;
            }
            Outcome::End { offset } => {
                writeln!(out, "end at offset {offset}")?;
                return Ok(Answer::Yes);
            }
            Outcome::Torn { offset, detail } | Outcome::Damaged { offset, detail } => {
                bail!("{}: damaged behind offset {offset}: {detail}", file.display());
            }
        }
    }
}

fn write_edit(edit: &VersionEdit, out: &mut impl Write) -> anyhow::Result<()> {
    if edit.family.0 != 0 {
        writeln!(out, "  column family {}", edit.family.0)?;
    }
    match &edit.family_change {
        Some(FamilyChange::Add(name)) => writeln!(out, "  family is created as {}", Quoted(name.as_bytes()))?,
        Some(FamilyChange::Drop) => writeln!(out, "  family is dropped")?,
        None => {}
    }
    for (name, text) in [("comparator", &edit.comparator), ("database id", &edit.db_id)] {
        if let Some(text) = text {
            writeln!(out, "  {name} {}", Quoted(text.as_bytes()))?;
        }
    }
    for (name, number) in [
        ("log number", edit.log_number.map(|number| number.0)),
        ("previous log", edit.prev_log.map(|number| number.0)),
        ("next file", edit.next_file),
        ("last sequence number", edit.last_seq.map(|seq| seq.get())),
        ("largest family", edit.max_family.map(u64::from)),
        ("smallest log to keep", edit.min_log_to_keep.map(|number| number.0)),
        ("logs deleted below", edit.wals_deleted_below.map(|number| number.0)),
        ("more edits in this group", edit.group_remaining.map(u64::from)),
    ] {
        if let Some(number) = number {
            writeln!(out, "  {name} {number}")?;
        }
    }
    for log in &edit.wal_additions {
        match log.synced_bytes {
            Some(bytes) => writeln!(out, "  log {} is synced up to {bytes} bytes", log.number)?,
            None => writeln!(out, "  log {} exists", log.number)?,
        }
    }
    for (level, number) in &edit.deleted {
        writeln!(out, "  - level {level} table {number}")?;
    }
    for (level, table) in &edit.added {
        writeln!(out, "  + level {level} {}", shown(table))?;
    }
    Ok(())
}

fn shown(table: &TableMeta) -> String {
    let TableMeta { number, bytes, smallest, largest, smallest_seq, largest_seq, .. } = table;
    let (from, to) = (Quoted(smallest.user_key()), Quoted(largest.user_key()));
    let exclusive = if largest.is_exclusive_end() { " (exclusive)" } else { "" };
    format!(
        "table {number}: {bytes} bytes, {from} to {to}{exclusive}, sequence numbers {smallest_seq} to {largest_seq}"
    )
}
