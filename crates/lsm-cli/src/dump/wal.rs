//! A log: its records, and in each the writes of one batch.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use lsm_core::batch::{self, Entry, Record};
use lsm_core::filename::FileKind;
use lsm_core::{Kind, ReadAt};
use lsm_wal::{Facts, HeaderStyle, ManifestFact, Outcome, Predecessor, RecordReader};

use crate::Answer;
use crate::text::{Quoted, note};

pub(super) fn dump(source: Arc<dyn ReadAt>, file: &Path, out: &mut impl Write) -> anyhow::Result<Answer> {
    let Some(FileKind::Log(number)) = super::name(file) else {
        bail!("{}: the name of a log is a number and .log, and the number is part of the format", file.display());
    };
    let mut reader = RecordReader::new(source, HeaderStyle::Log(number), file)?;
    writeln!(out, "log {}, {} bytes", file.display(), reader.file_bytes())?;
    let mut answer = Answer::Yes;
    loop {
        match reader.next()? {
            Outcome::Record { offset, payload } => {
                if let Err(error) = batch::validate(payload) {
                    note(&format!("lsm: {}: record at offset {offset}: {error}", file.display()));
                    answer = Answer::No;
                }
                record(offset, payload, out)?;
            }
            Outcome::Damaged { offset, detail } => {
                note(&format!("lsm: {}: damaged behind offset {offset}: {detail}", file.display()));
                answer = Answer::No;
            }
            Outcome::Torn { offset, detail } => {
                writeln!(out, "torn at offset {offset}, as by a crash: {detail}")?;
                return Ok(answer);
            }
            Outcome::End { offset } => {
                writeln!(out, "end at offset {offset}")?;
                return Ok(answer);
            }
        }
    }
}

/// Prints what is readable of a batch.
fn record(offset: u64, payload: &[u8], out: &mut impl Write) -> io::Result<()> {
    let Ok((first, count)) = batch::header(payload) else { return Ok(()) };
    writeln!(out, "record at {offset}: {} bytes, {count} writes from sequence number {first}", payload.len())?;
    let facts = Facts::of_batch(payload);
    if let Some(Predecessor { number, bytes, crc }) = facts.predecessor {
        writeln!(out, "  fact: the log before is {number}, {bytes} bytes with crc {crc:08x}")?;
    }
    if let Some(ManifestFact { number, synced_bytes, crc }) = facts.manifest {
        writeln!(out, "  fact: the manifest is {number}, {synced_bytes} bytes of it are synced, with crc {crc:08x}")?;
    }
    if let Some(identity) = facts.identity {
        writeln!(out, "  fact: the store's id is {}", Quoted(identity.as_bytes()))?;
    }
    for record in batch::records(payload).into_iter().flatten().map_while(Result::ok) {
        match record {
            Record::LogData(bytes) => writeln!(out, "  log data {}", Quoted(bytes))?,
            Record::Entry(entry) => writeln!(out, "  {}", shown(entry))?,
        }
    }
    Ok(())
}

fn shown(Entry { family, kind, key, value }: Entry<'_>) -> String {
    let (key, value) = (Quoted(key), Quoted(value));
    let family = if family.0 == 0 { String::new() } else { format!("family {} ", family.0) };
    match kind {
        Kind::Value => format!("{family}put {key} => {value}"),
        Kind::Deletion => format!("{family}delete {key}"),
        Kind::SingleDeletion => format!("{family}single delete {key}"),
        Kind::Merge => format!("{family}merge {key} => {value}"),
        Kind::RangeDeletion => format!("{family}delete range {key}..{value}"),
    }
}
