//! The manifest that is written: a fresh one at every open, then edits, each synced before it counts.
//!
//! # Invariants
//! W1. The state in memory changes after the edit is durable, never before.
//! W2. Nothing is appended behind a record that may be torn: after a failed write the next edit goes into a fresh
//!     manifest. After a failed sync, or a failed step between the sync of a fresh manifest and the sync of its
//!     `CURRENT`, nothing is written any more, for nobody knows which manifest recovery will find.
//! W3. Every edit carries the next file number, so a number in it or before it is never given out again.
//! W4. What recovery would refuse is not written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_core::filename::{FileKind, FileNumber};
use lsm_core::{Error, Result};
use lsm_fs::{FileWriter, Fs};
use lsm_wal::RecordWriter;

use crate::edit::{COMPARATOR, FamilyChange, VersionEdit};
use crate::numbers::FileNumbers;
use crate::output::{Failure, Output};
use crate::state::State;
use crate::{current, group, identity};

/// A manifest up to this size is never replaced because of its size.
const SMALL_BYTES: u64 = 4 << 20;

/// The open manifest of a store.
pub struct Manifest {
    fs: Arc<dyn Fs>,
    directory: PathBuf,
    numbers: Arc<FileNumbers>,
    state: State,
    records: RecordWriter<Output>,
    /// Size of the snapshot that the file begins with.
    fresh_bytes: u64,
    condition: Condition,
}

/// What the next edit can rely on (W2).
enum Condition {
    Sound,
    /// The file may end in a torn record.
    Torn,
    /// A sync or rename failed.
    Failed(Error),
}

impl Manifest {
    /// Writes `state` to a fresh manifest and makes `CURRENT` name it; writes `IDENTITY` if it is missing.
    ///
    /// Call [`State::mark_used`] for the files of the directory first.
    ///
    /// # Errors
    /// `Io`; the directory then still holds the store that it held, in the state that it had or in `state`.
    pub fn create(fs: Arc<dyn Fs>, directory: &Path, state: State) -> Result<Manifest> {
        let numbers = Arc::new(FileNumbers::new(state.next_file));
        Manifest::create_sharing(fs, directory, state, numbers)
    }

    /// As [`Manifest::create`], for a store that has already given out `numbers`: recovery writes tables before
    /// there is a manifest that names them.
    ///
    /// # Errors
    /// As for [`Manifest::create`].
    pub fn create_sharing(
        fs: Arc<dyn Fs>,
        directory: &Path,
        mut state: State,
        numbers: Arc<FileNumbers>,
    ) -> Result<Manifest> {
        state.next_file = state.next_file.max(numbers.next());
        match write_fresh(&*fs, directory, &numbers, state) {
            Ok((records, state)) => {
                let fresh_bytes = state.manifest_bytes;
                let directory = directory.to_owned();
                Ok(Manifest { fs, directory, numbers, state, records, fresh_bytes, condition: Condition::Sound })
            }
            Err(Failure::Undone(error) | Failure::Unknown(error)) => Err(error),
        }
    }

    /// What the store consists of now.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Where new files get their numbers.
    pub fn numbers(&self) -> &Arc<FileNumbers> {
        &self.numbers
    }

    /// The error after which nothing is written any more, if there was one (W2).
    pub fn failure(&self) -> Option<&Error> {
        match &self.condition {
            Condition::Failed(error) => Some(error),
            Condition::Sound | Condition::Torn => None,
        }
    }

    /// Carries out `edits`, of one family or several, together or not at all. They are durable when this returns.
    ///
    /// Counters that the edits do not set are filled in, the last sequence from the added tables. A manifest that
    /// has grown too large is replaced by a fresh one on this occasion.
    ///
    /// # Errors
    /// `Corruption` if the edits do not fit the state (W4); nothing happened then. `Io`: if
    /// [`Manifest::failure`] is `None` nothing happened either, otherwise recovery may find the edits or not, and no
    /// file that they name or free may be removed.
    pub fn apply(&mut self, edits: Vec<VersionEdit>) -> Result<()> {
        if let Condition::Failed(error) = &self.condition {
            return Err(error.duplicate());
        }
        if edits.is_empty() {
            return Ok(());
        }
        let edits = self.complete(edits);
        let state = self.state.apply(&edits)?;
        let renew = matches!(self.condition, Condition::Torn) || self.is_large();
        match if renew { self.renew(state) } else { self.append(&edits, state) } {
            Ok(()) => Ok(()),
            Err(Failure::Undone(error)) => {
                self.condition = Condition::Torn;
                Err(error)
            }
            Err(Failure::Unknown(error)) => {
                self.condition = Condition::Failed(error.duplicate());
                Err(error)
            }
        }
    }

    fn is_large(&self) -> bool {
        self.state.manifest_bytes > SMALL_BYTES.max(2 * self.fresh_bytes)
    }

    fn append(&mut self, edits: &[VersionEdit], state: State) -> Result<(), Failure> {
        append_all(&mut self.records, edits)?;
        let output = self.records.get_mut();
        output.commit()?;
        let (manifest_bytes, manifest_crc) = (output.synced_bytes(), output.synced_crc());
        self.state = State { manifest_bytes, manifest_crc, ..state };
        Ok(())
    }

    fn renew(&mut self, state: State) -> Result<(), Failure> {
        (self.records, self.state) = write_fresh(&*self.fs, &self.directory, &self.numbers, state)?;
        self.fresh_bytes = self.state.manifest_bytes;
        self.condition = Condition::Sound;
        Ok(())
    }

    /// `edits` as they are written: with counters, split where RocksDB wants it, and marked as a group.
    fn complete(&self, edits: Vec<VersionEdit>) -> Vec<VersionEdit> {
        let mut edits: Vec<_> = edits.into_iter().flat_map(split_wal_fields).collect();
        for edit in &mut edits {
            edit.group_remaining = None;
            if matches!(edit.family_change, Some(FamilyChange::Add(_))) {
                edit.comparator = Some(COMPARATOR.to_owned());
            }
            // So that the number is not used again once the family is gone.
            if edit.family_change.is_some() {
                edit.max_family = Some(self.state.max_family.max(edit.family.0));
            }
        }
        let in_tables = edits.iter().flat_map(|edit| &edit.added).map(|(_, table)| table.largest_seq);
        let last_seq = edits.iter().filter_map(|edit| edit.last_seq).chain(in_tables).max();
        let last = edits.last_mut().expect("the caller has edits");
        last.last_seq = last_seq.max(Some(self.state.last_seq));
        last.prev_log = Some(FileNumber(0));
        last.next_file = Some(self.numbers.next());
        group::mark(&mut edits);
        edits
    }
}

/// RocksDB does not look at families and tables in an edit about logs, so those become an edit of their own.
fn split_wal_fields(mut edit: VersionEdit) -> Vec<VersionEdit> {
    let wal_edit = VersionEdit {
        wal_additions: std::mem::take(&mut edit.wal_additions),
        wals_deleted_below: edit.wals_deleted_below.take(),
        ..VersionEdit::default()
    };
    let mut edits = Vec::new();
    if !wal_edit.wal_additions.is_empty() {
        edits.push(VersionEdit { wals_deleted_below: None, ..wal_edit.clone() });
    }
    if wal_edit.wals_deleted_below.is_some() {
        edits.push(VersionEdit { wal_additions: Vec::new(), ..wal_edit });
    }
    if edits.is_empty() || edit != VersionEdit::default() {
        edits.push(edit);
    }
    edits
}

/// Writes `state` as a manifest of its own and puts it in force.
fn write_fresh(
    fs: &dyn Fs,
    directory: &Path,
    numbers: &FileNumbers,
    mut state: State,
) -> Result<(RecordWriter<Output>, State), Failure> {
    let (number, file) = create_file(fs, directory, numbers).map_err(Failure::Undone)?;
    let path = FileKind::Manifest(number).path(directory);
    state.next_file = numbers.next();
    state.manifest = number;
    state.torn_tail = None;
    let mut records = RecordWriter::new(Output::new(file, path.clone()));
    let written = append_all(&mut records, &state.snapshot()).and_then(|()| records.get_mut().commit());
    if let Err(failure) = written {
        // Nobody will ever look at it; that it may stay behind is harmless.
        let _ = fs.remove(&path);
        return Err(failure);
    }
    put_in_force(fs, directory, &state).map_err(Failure::Unknown)?;
    state.manifest_bytes = records.get_mut().synced_bytes();
    state.manifest_crc = records.get_mut().synced_crc();
    Ok((records, state))
}

fn append_all(records: &mut RecordWriter<Output>, edits: &[VersionEdit]) -> Result<(), Failure> {
    for edit in edits {
        let appended = records.append(&edit.encode());
        appended.map_err(|source| Failure::Undone(Error::io("write", "manifest", source)))?;
    }
    Ok(())
}

/// A new file under the first free number. One that is taken belongs to a manifest that a crash kept from being
/// put in force.
fn create_file(fs: &dyn Fs, directory: &Path, numbers: &FileNumbers) -> Result<(FileNumber, Box<dyn FileWriter>)> {
    loop {
        let number = numbers.allocate();
        let path = FileKind::Manifest(number).path(directory);
        match fs.create(&path) {
            Ok(file) => return Ok((number, file)),
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(Error::io("create", path, source)),
        }
    }
}

fn put_in_force(fs: &dyn Fs, directory: &Path, state: &State) -> Result<()> {
    if let Some(id) = &state.db_id {
        identity::write_if_missing(fs, directory, id, state.manifest)?;
    }
    // The new manifest's name must not be lost when `CURRENT` already has it (C2).
    current::sync_directory(fs, directory)?;
    current::swap(fs, directory, state.manifest)
}
