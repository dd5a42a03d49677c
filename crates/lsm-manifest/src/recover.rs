//! Reads a manifest back into a state, without changing anything.
//!
//! Appended edits are synced before they count, and a fresh manifest is synced before `CURRENT` names it. So what a
//! power cut tore off belongs to an edit that nobody was told has happened: it is left out, and the state
//! says so ([`TornTail`]). Anything else that is damaged was whole once: `Corruption`. `tail.rs` tells them apart.
//!
//! A manifest cut exactly behind a record looks whole. Only the log can tell: see [`check_fact`].
//!
//! # Invariants
//! R1. Every record up to the state's `manifest_bytes` was verified and took effect, nothing behind them did.
//! R2. A state without the counters that end every snapshot is refused, so a torn tail never reaches into one.

use std::io;
use std::path::Path;
use std::sync::Arc;

use lsm_core::checksum::crc32c_append;
use lsm_core::filename::{FileKind, FileNumber};
use lsm_core::{Error, ReadAt, Result};
use lsm_fs::Fs;
use lsm_wal::{HeaderStyle, Outcome, RecordReader};

use crate::edit::VersionEdit;
use crate::group::Group;
use crate::state::{State, TornTail};
use crate::state_draft::StateDraft;
use crate::tail::{TORN_BYTES_MAX, is_torn};
use crate::{current, identity};

/// The state of the store in `directory`. Takes no lock, changes nothing, and opens no table.
///
/// # Errors
/// `Io` when a file cannot be read, also when there is no store; otherwise `Corruption` or `Unsupported` with the
/// file, and with the offset of the record where there is one.
pub fn read(fs: &dyn Fs, directory: &Path) -> Result<State> {
    let mut number = current::read(fs, directory)?;
    loop {
        let path = FileKind::Manifest(number).path(directory);
        match fs.open(&path) {
            Ok(source) => {
                let mut state = recover(&source, &path, number).map_err(|error| error.in_file(&path))?;
                if state.db_id.is_none() {
                    state.db_id = identity::read(fs, directory)?;
                }
                return Ok(state);
            }
            Err(source) if source.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::io("open", path, source)),
        }
        // Who only reads takes no lock: the owner may have moved on between the two calls.
        let again = current::read(fs, directory)?;
        if again == number {
            return Err(Error::corruption("CURRENT names this manifest, it is missing").in_file(&path));
        }
        number = again;
    }
}

/// Refuses a manifest that says less than the log knows it said: number, synced bytes and their crc32c, as a record
/// of the log has them.
///
/// # Errors
/// `Corruption` if the manifest in force is older than the fact, shorter, or different; `Io`.
pub fn check_fact(fs: &dyn Fs, directory: &Path, state: &State, fact: (FileNumber, u64, u32)) -> Result<()> {
    let (number, bytes, crc) = fact;
    let path = FileKind::Manifest(state.manifest).path(directory);
    // An older manifest was replaced by the one in force, which holds all that it said.
    if number < state.manifest {
        return Ok(());
    }
    if number > state.manifest {
        return Err(Error::corruption(format!("the log knows of a newer manifest, {number}")).in_file(&path));
    }
    if bytes > state.manifest_bytes {
        let found = state.manifest_bytes;
        return Err(Error::corruption(format!("{found} valid bytes, the log knows of {bytes}")).in_file(&path));
    }
    let source = fs.open(&path).map_err(|source| Error::io("open", &path, source))?;
    match crc_of_front(&*source, bytes).map_err(|source| Error::io("read", &path, source))? {
        found if found == crc => Ok(()),
        found => Err(Error::corruption(format!(
            "crc32c of the first {bytes} bytes is {found:08x}, the log knows of {crc:08x}"
        ))
        .in_file(&path)),
    }
}

fn recover(source: &Arc<dyn ReadAt>, path: &Path, manifest: FileNumber) -> Result<State> {
    let mut reader = RecordReader::new(source.clone(), HeaderStyle::Legacy, path)?;
    let mut recovery = Recovery::new();
    let (end, detail) = replay(&mut reader, &mut recovery)?;
    let io = |source| Error::io("read", path, source);
    let rest = read_rest(&**source, end, reader.file_bytes()).map_err(io)?;
    if !is_torn(&mut reader, end, &rest)? {
        return Err(Error::corruption(detail).at(end));
    }
    // A group without its end goes as a whole.
    let good_bytes = recovery.open_group().unwrap_or(end);
    let torn_bytes = reader.file_bytes() - good_bytes;
    let mut state = recovery.finish().map_err(|error| error.at(good_bytes))?;
    state.manifest = manifest;
    state.manifest_bytes = good_bytes;
    state.manifest_crc = crc_of_front(&**source, good_bytes).map_err(io)?;
    state.torn_tail = (torn_bytes > 0).then_some(TornTail { offset: good_bytes, bytes: torn_bytes, detail });
    state.mark_used(manifest);
    Ok(state)
}

/// Runs all good records through `recovery`. Returns where they end, and what is there instead of another one.
fn replay(reader: &mut RecordReader, recovery: &mut Recovery) -> Result<(u64, String)> {
    loop {
        match reader.next()? {
            Outcome::Record { offset, payload } => {
                recovery.record(offset, payload).map_err(|error| error.at(offset))?
            }
            Outcome::End { offset } => return Ok((offset, "neither a record nor the end of the file".to_owned())),
            Outcome::Torn { offset, detail } | Outcome::Damaged { offset, detail } => return Ok((offset, detail)),
        }
    }
}

fn read_rest(source: &dyn ReadAt, offset: u64, file_bytes: u64) -> io::Result<Vec<u8>> {
    let mut rest = vec![0; (file_bytes - offset).min(TORN_BYTES_MAX + 1) as usize];
    source.read_exact_at(offset, &mut rest)?;
    Ok(rest)
}

fn crc_of_front(source: &dyn ReadAt, bytes: u64) -> io::Result<u32> {
    let mut buffer = vec![0; 64 * 1024];
    let (mut crc, mut offset) = (0, 0);
    while offset < bytes {
        let count = buffer.len().min((bytes - offset) as usize);
        source.read_exact_at(offset, &mut buffer[..count])?;
        crc = crc32c_append(crc, &buffer[..count]);
        offset += count as u64;
    }
    Ok(crc)
}

/// What a manifest has said up to some record.
struct Recovery {
    draft: StateDraft,
    group: Group,
    /// Where the last group or single edit begins.
    group_offset: u64,
    /// The counters that a whole snapshot has (R2).
    has_next_file: bool,
    has_last_seq: bool,
    has_log_number: bool,
}

impl Recovery {
    fn new() -> Recovery {
        Recovery {
            draft: StateDraft::new(State::without_id()),
            group: Group::default(),
            group_offset: 0,
            has_next_file: false,
            has_last_seq: false,
            has_log_number: false,
        }
    }

    fn record(&mut self, offset: u64, payload: &[u8]) -> Result<()> {
        if !self.group.is_open() {
            self.group_offset = offset;
        }
        for edit in self.group.push(VersionEdit::decode(payload)?)? {
            self.has_next_file |= edit.next_file.is_some();
            self.has_last_seq |= edit.last_seq.is_some();
            self.has_log_number |= edit.log_number.is_some();
            self.draft.apply(&edit)?;
        }
        Ok(())
    }

    /// Where the group begins that lacks its end.
    fn open_group(&self) -> Option<u64> {
        self.group.is_open().then_some(self.group_offset)
    }

    fn finish(self) -> Result<State> {
        for (given, name) in [
            (self.has_next_file, "next file number"),
            (self.has_last_seq, "last sequence"),
            (self.has_log_number, "log number"),
        ] {
            if !given {
                return Err(Error::corruption(format!("the manifest ends without a {name}")));
            }
        }
        self.draft.finish()
    }
}
