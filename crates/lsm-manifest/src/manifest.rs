//! The manifest that is written: a fresh one at every open, then edits, each synced before it counts.
//!
//! # Invariants
//! W1. The state in memory changes after the edit is durable, never before.
//! W2. Nothing is appended behind a record that may be torn: when a disk was full, the next edit goes into a fresh
//!     manifest. After any other failure from which recovery may find the edit or not (an append, a sync, a step towards
//!     the new `CURRENT`) nothing is written any more.
//! W3. Every append carries the next file number, so a number in it or before it is never given out again.
//! W4. What recovery would refuse is not written.
//! W5. The header of an append's first fragment lies in one sector: what a power cut takes from it then has several
//!     bits (L4 of `tail.rs`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_core::filename::{FileKind, FileNumber};
use lsm_core::{Error, Result};
use lsm_fs::{FileWriter, Fs};
use lsm_wal::RecordWriter;

use crate::current::Replacement;
use crate::edit::{COMPARATOR, FamilyChange, VersionEdit};
use crate::meta::TABLE_NUMBER_MAX;
use crate::numbers::FileNumbers;
use crate::output::Output;
use crate::state::State;
use crate::{current, edit, group, identity, tail};

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
    /// Nobody knows what recovery will find.
    Failed(Error),
}

/// How far a failed step has got.
enum Failure {
    /// Nothing that recovery would take for an edit has been written.
    Undone(Error),
    /// Recovery may find the step done or undone.
    Unknown(Error),
}

impl Manifest {
    /// Writes `state` to a fresh manifest and makes `CURRENT` name it; writes `IDENTITY` if it is missing.
    ///
    /// Call [`State::mark_used`] for the files of the directory first.
    ///
    /// # Errors
    /// `Corruption` if that leaves no number for new files; `Io`. The directory then still holds the store that it held, in the
    /// state that it had or in `state`.
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
        state: State,
        numbers: Arc<FileNumbers>,
    ) -> Result<Manifest> {
        match write_fresh(&*fs, directory, &numbers, state) {
            Ok((records, state)) => {
                let fresh_bytes = state.manifest_bytes;
                let directory = directory.to_owned();
                Ok(Manifest { fs, directory, numbers, state, records, fresh_bytes, condition: Condition::Sound })
            }
            Err(Failure::Undone(error) | Failure::Unknown(error)) => Err(error),
        }
    }

    /// What the store consists of now. Its torn tail, if any, is that of the manifest it was opened from.
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
        // A panic of the file system leaves it open what is on disk, as an error does (W2).
        let interrupted = std::io::Error::other("a panic interrupted an edit");
        self.condition = Condition::Failed(Error::io("write", &self.directory, interrupted));
        match if renew { self.renew(state) } else { self.append(&edits, state) } {
            Ok(()) => {
                self.condition = Condition::Sound;
                Ok(())
            }
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
        frame(&mut self.records, edits);
        let output = self.records.get_mut();
        output
            .deliver()
            .map_err(|error| if is_full(&error) { Failure::Undone(error) } else { Failure::Unknown(error) })?;
        output.sync().map_err(Failure::Unknown)?;
        let (manifest_bytes, manifest_crc) = (output.synced_bytes(), output.synced_crc());
        self.state = State { manifest_bytes, manifest_crc, ..state };
        Ok(())
    }

    fn renew(&mut self, state: State) -> Result<(), Failure> {
        let replaced = self.state.manifest;
        (self.records, self.state) = write_fresh(&*self.fs, &self.directory, &self.numbers, state)?;
        self.fresh_bytes = self.state.manifest_bytes;
        self.remove_replaced(replaced);
        Ok(())
    }

    /// Removes a manifest that `CURRENT` durably names no more: a store that is open for long would collect them. Who reads
    /// without a lock and misses it looks at `CURRENT` again. Nothing is removed from a store that was opened in spite of
    /// a torn tail: that one is evidence.
    fn remove_replaced(&self, replaced: FileNumber) {
        if self.state.torn_tail.is_none() {
            // What cannot be removed now goes when the store is opened the next time.
            let _ = self.fs.remove(&FileKind::Manifest(replaced).path(&self.directory));
        }
    }

    /// `edits` as they are written: marked as a group, and with the counters in the first one, by which the reader
    /// knows where an append begins (L2 of `tail.rs`).
    #[expect(clippy::expect_used, reason = "callers inside this file bring edits")]
    fn complete(&self, mut edits: Vec<VersionEdit>) -> Vec<VersionEdit> {
        let in_tables = edits.iter().flat_map(|edit| &edit.added).map(|(_, table)| table.largest_seq);
        let last_seq = edits.iter().filter_map(|edit| edit.last_seq).chain(in_tables).max();
        let next_file = edits.iter().filter_map(|edit| edit.next_file).chain([self.state.next_file]).max();
        self.numbers.raise_to(next_file.expect("the chain has an end"));
        for edit in &mut edits {
            (edit.next_file, edit.last_seq, edit.group_remaining) = (None, None, None);
            if matches!(edit.family_change, Some(FamilyChange::Add(_))) {
                edit.comparator = Some(COMPARATOR.to_owned());
            }
            // So that the number is not used again once the family is gone.
            if edit.family_change.is_some() {
                edit.max_family = Some(self.state.max_family.max(edit.family.0));
            }
        }
        let first = edits.first_mut().expect("the caller has edits");
        first.prev_log = Some(FileNumber(0));
        first.last_seq = last_seq.max(Some(self.state.last_seq));
        first.next_file = Some(self.numbers.next());
        group::mark(&mut edits);
        edits
    }
}

/// Writes `state` as a manifest of its own and puts it in force.
fn write_fresh(
    fs: &dyn Fs,
    directory: &Path,
    numbers: &FileNumbers,
    mut state: State,
) -> Result<(RecordWriter<Output>, State), Failure> {
    numbers.raise_to(state.next_file);
    let (number, file) = create_file(fs, directory, numbers).map_err(Failure::Undone)?;
    let path = FileKind::Manifest(number).path(directory);
    state.next_file = numbers.next();
    state.manifest = number;
    let mut records = RecordWriter::new(Output::new(file, path.clone()));
    frame(&mut records, &state.snapshot());
    if let Err(error) = records.get_mut().deliver() {
        // Nothing names the file, so it is harmless should it stay.
        let _ = fs.remove(&path);
        return Err(Failure::Undone(error));
    }
    records.get_mut().sync().map_err(Failure::Unknown)?;
    if let Some(id) = &state.db_id {
        identity::write_if_missing(fs, directory, id, number).map_err(Failure::Unknown)?;
    }
    let current = Replacement::of_current(fs, directory, number).map_err(|error| {
        // `CURRENT` names the manifest before, which is whole.
        if !is_full(&error) {
            return Failure::Unknown(error);
        }
        let _ = fs.remove(&path);
        Failure::Undone(error)
    })?;
    put_in_force(fs, directory, current).map_err(Failure::Unknown)?;
    state.manifest_bytes = records.get_mut().synced_bytes();
    state.manifest_crc = records.get_mut().synced_crc();
    Ok((records, state))
}

#[expect(
    clippy::expect_used,
    reason = "an output takes bytes in memory; what goes wrong later shows when it delivers them"
)]
fn frame(records: &mut RecordWriter<Output>, edits: &[VersionEdit]) {
    let (last, others) = edits.split_last().expect("an append has edits");
    for edit in others {
        records.append(&edit.encode()).expect("an output takes bytes in memory");
    }
    let mut payload = last.encode();
    // W5, for the append after this one.
    while !tail::has_room_for_header(records.position_after(payload.len())) {
        edit::lengthen(&mut payload);
    }
    records.append(&payload).expect("an output takes bytes in memory");
}

/// Whether a write failed for want of room. What it could not write it did not write, so the record lacks its end.
fn is_full(error: &Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error, Error::Io(failure) if matches!(failure.source.kind(), StorageFull | QuotaExceeded))
}

/// A new file under the first free number. One that is taken belongs to a manifest that a crash kept from being
/// put in force.
fn create_file(fs: &dyn Fs, directory: &Path, numbers: &FileNumbers) -> Result<(FileNumber, Box<dyn FileWriter>)> {
    loop {
        // The manifest says which number comes after its own (W4).
        if numbers.next() >= TABLE_NUMBER_MAX {
            let detail = format!("file numbers up to {TABLE_NUMBER_MAX} are used up, the next is {}", numbers.next());
            return Err(Error::corruption(detail).in_file(directory));
        }
        let number = numbers.allocate();
        let path = FileKind::Manifest(number).path(directory);
        match fs.create(&path) {
            Ok(file) => return Ok((number, file)),
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(Error::io("create", path, source)),
        }
    }
}

fn put_in_force(fs: &dyn Fs, directory: &Path, current: Replacement) -> Result<()> {
    // The new manifest's name must not be lost when `CURRENT` already has it (C2).
    current::sync_directory(fs, directory)?;
    current.put(fs, directory, FileKind::Current)?;
    current::sync_directory(fs, directory)
}
