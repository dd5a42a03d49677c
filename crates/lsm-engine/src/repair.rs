//! Brings back what is left of a damaged store, offline.
//!
//! ```text
//!   manifest sound?  ── yes ─▶ mend: damaged tables give way to what can be read of them
//!        │ no
//!        └─▶ rebuild: all tables and logs that are there, merged into one level
//!   then, as any open does: replay logs ─▶ tables ─▶ one fresh manifest ─▶ CURRENT
//! ```
//!
//! # Invariants
//! F1. Nothing that was there is deleted or overwritten before a manifest in force holds what could be read of
//!     it, and what could not be read whole is kept: it is moved to `lost/` in the store's directory.
//! F2. All of it becomes valid in one step, the swap of `CURRENT`; a repair that was cut short starts over.
//! F3. No entry changes its key, sequence number or kind on the way, so versions of a key meet in their old order,
//!     however they are found. An entry that is found twice counts once (`distinct.rs`).
//! F4. What the files need but this store does not have ends the repair: it is not damage.

mod distinct;
mod mend;
mod rebuild;
mod rescue;

use crate::open::{assemble, begin_writing, latched, prepare_directory, remove_orphans, take_lock};
use crate::recover::Recovery;
use crate::store::Store;
use crate::{Error, ErrorKind, Options, Result};
use lsm_core::Error as CoreError;
use lsm_core::filename::{FileKind, FileNumber};
use lsm_fs::{Fs, Lock};
use lsm_manifest::State;
use lsm_sstable::{Table, TableOptions};
use lsm_wal::{LogToReplay, RecoveryMode, ReplayReport};
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where files go that a repair takes out of a store, inside of its directory.
const LOST: &str = "lost";

/// What a repair found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// Why a new manifest was made of the tables and logs; `None` if the old one is sound.
    ///
    /// Tables that were no longer in use but still there then count again: keys that were deleted long ago may be
    /// back, and column families without a table are called `recovered-` and their number.
    pub rebuilt: Option<String>,
    /// Tables that are whole.
    pub whole_tables: usize,
    /// What could not be brought back.
    pub lost: Vec<Loss>,
    /// Names of the files that are now in `lost/`.
    pub moved: Vec<String>,
}

/// Something that a repair could not bring back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// The file it was in.
    pub file: PathBuf,
    /// What it was, and why it cannot be read.
    pub detail: String,
}

impl RepairReport {
    /// Whether there was nothing to repair.
    pub fn is_sound(&self) -> bool {
        self.rebuilt.is_none() && self.lost.is_empty()
    }

    fn lose(&mut self, file: &Path, detail: impl fmt::Display) {
        self.lost.push(Loss { file: file.to_owned(), detail: detail.to_string() });
    }
}

impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.rebuilt {
            writeln!(f, "made a new manifest of the tables and logs: {why}")?;
        }
        for Loss { file, detail } in &self.lost {
            writeln!(f, "lost from {}: {detail}", file.display())?;
        }
        if !self.moved.is_empty() {
            writeln!(f, "moved to {LOST}/: {}", self.moved.join(", "))?;
        }
        let verdict = if self.is_sound() { "nothing to repair" } else { "repaired" };
        write!(f, "{verdict}: {} tables are whole", self.whole_tables)
    }
}

/// A store under repair: its lock, and what its directory holds.
struct Patient<'a> {
    directory: &'a Path,
    options: Options,
    names: Vec<String>,
    lock: Option<Box<dyn Lock>>,
    report: RepairReport,
    /// Files that go to `lost/` once the new manifest is in force (F1).
    to_move: BTreeSet<String>,
}

/// Repairs the store in `directory`. See [`Options::repair`].
pub(crate) fn repair(directory: &Path, options: Options) -> Result<RepairReport> {
    let options = Options { read_only: false, create_if_missing: false, ..options };
    let options = latched(Options { recovery_mode: RecoveryMode::SkipDamaged, ..options }, directory);
    prepare_directory(&*options.fs, directory, &options)?;
    let lock = Some(take_lock(&*options.fs, directory)?);
    let names = options.fs.read_dir(directory).map_err(|error| CoreError::io("list", directory, error))?;
    let (report, to_move) = Default::default();
    let mut patient = Patient { directory, options, names, lock, report, to_move };
    patient.check_is_a_store()?;
    let state = match patient.sound_manifest()? {
        Ok(state) => patient.mend(state)?,
        Err(why) => patient.rebuild(why)?,
    };
    patient.put_in_force(state)?;
    Ok(patient.report)
}

impl Patient<'_> {
    fn fs(&self) -> &Arc<dyn Fs> {
        &self.options.fs
    }

    fn numbers(&self, of_kind: fn(FileKind) -> bool) -> BTreeSet<FileNumber> {
        let kinds = self.names.iter().filter_map(|name| FileKind::parse(name));
        kinds.filter(|kind| of_kind(*kind)).filter_map(FileKind::number).collect()
    }

    fn path(&self, kind: FileKind) -> PathBuf {
        kind.path(self.directory)
    }

    fn check_is_a_store(&self) -> Result<()> {
        let is_ours = |name: &String| !matches!(FileKind::parse(name), None | Some(FileKind::Lock));
        match self.names.iter().any(is_ours) {
            true => Ok(()),
            false => Err(Error::invalid_argument(format!("{}: no store here", self.directory.display()))),
        }
    }

    /// The state that the manifest tells, or why it cannot be relied on.
    fn sound_manifest(&mut self) -> Result<Result<State, String>> {
        let mut state = match lsm_manifest::read(&**self.fs(), self.directory) {
            Ok(state) => state,
            Err(error) if is_damage(&error) => return Ok(Err(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        state.db_id.get_or_insert_with(|| lsm_manifest::new_db_id(&**self.fs()));
        self.names.iter().filter_map(|name| FileKind::parse(name)?.number()).for_each(|number| state.mark_used(number));
        self.drop_foreign_logs(state.db_id.as_deref().unwrap_or_default())?;
        if self.is_alone(&state) {
            return Ok(Err("it is another store's: no table and no log belongs to it".to_owned()));
        }
        let (first, logs) = crate::recover::live_logs(&state, &self.kept_names());
        let replayed = self.read_logs(first, &logs, &mut |_, _, _| Ok(()))?;
        match replayed.map(|report| crate::recover::check_facts(&**self.fs(), self.directory, &state, &report)) {
            Some(Err(error)) if error.kind() == ErrorKind::Corruption => Ok(Err(error.to_string())),
            Some(Err(error)) => Err(error),
            Some(Ok(())) | None => Ok(Ok(state)),
        }
    }

    /// Whether all logs, of which there are some, belong to another store, and no table is one that `state` names.
    fn is_alone(&self, state: &State) -> bool {
        let logs = self.numbers(|kind| matches!(kind, FileKind::Log(_)));
        let is_foreign = |number: &FileNumber| self.to_move.contains(&FileKind::Log(*number).to_string());
        let named = state.families.values().flat_map(|family| family.version.tables());
        let mut with_identity = named.filter(|(_, table)| table.identity != 0).peekable();
        !logs.is_empty()
            && logs.iter().all(is_foreign)
            && with_identity.peek().is_some()
            && with_identity.all(|(_, table)| self.identity_of_table(table.number) != Some(table.identity))
    }

    /// Which table the file is, as far as it can be read.
    fn identity_of_table(&self, number: FileNumber) -> Option<u64> {
        let path = self.path(FileKind::Table(number));
        let source = self.fs().open(&path).ok()?;
        let table = Table::open(source, TableOptions { file: path, ..TableOptions::default() }).ok()?;
        table.properties().identity()
    }

    /// Names of the files that do not go to `lost/`.
    fn kept_names(&self) -> Vec<String> {
        self.names.iter().filter(|name| !self.to_move.contains(*name)).cloned().collect()
    }

    /// Takes out logs that say that they belong to another store than `db_id`.
    fn drop_foreign_logs(&mut self, db_id: &str) -> Result<()> {
        for number in self.numbers(|kind| matches!(kind, FileKind::Log(_))) {
            let alone = [LogToReplay { number, synced_bytes: None }];
            let replayed = lsm_wal::replay(
                &**self.fs(),
                self.directory,
                number,
                &alone,
                RecoveryMode::SkipDamaged,
                &mut |_, _, _| Ok(()),
            );
            // What is wrong with it otherwise is for later.
            let identity = replayed.ok().and_then(|report| report.facts.identity);
            if let Some(other) = identity.filter(|found| found != db_id) {
                let kind = FileKind::Log(number);
                self.report.lose(&self.path(kind), format!("the whole log: it belongs to the store {other}"));
                self.to_move.insert(kind.to_string());
            }
        }
        Ok(())
    }

    /// Hands out all batches of `logs` that are whole, and reports the rest; `None` if a log is damaged beyond that.
    fn read_logs(
        &mut self,
        first: FileNumber,
        logs: &[LogToReplay],
        visit: &mut lsm_wal::Visit<'_>,
    ) -> Result<Option<ReplayReport>> {
        let fs = Arc::clone(self.fs());
        match lsm_wal::replay(&*fs, self.directory, first, logs, RecoveryMode::SkipDamaged, visit) {
            Ok(report) => Ok(Some(report)),
            Err(error) if is_damage(&error) => {
                let file = error.path().unwrap_or(self.directory).to_owned();
                self.report.lose(&file, error);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Notes what was left out of logs, which go to `lost/`.
    fn note_dropped(&mut self, report: &ReplayReport) {
        for dropped in &report.dropped {
            let kind = FileKind::Log(dropped.log);
            let detail = format!("{} bytes from offset {} on: {}", dropped.bytes, dropped.offset, dropped.reason);
            self.report.lose(&self.path(kind), detail);
            self.to_move.insert(kind.to_string());
        }
    }

    /// From a state in memory to a store on disk, by the way that every open takes (F2).
    fn put_in_force(&mut self, state: State) -> Result<()> {
        let store = Arc::new(assemble(self.directory, self.options.clone(), &state, self.lock.take())?);
        let names = match self.report.rebuilt {
            None => self.kept_names(),
            // What the logs held is in the state's tables.
            Some(_) => Vec::new(),
        };
        let (recovery, replayed) = Recovery::replay(&store, &state, &names)?;
        self.note_dropped(&replayed);
        begin_writing(&store, state, recovery)?;
        self.move_to_lost(&store)?;
        remove_orphans(&store, &self.kept_names());
        store.close()
    }

    /// F1.
    fn move_to_lost(&mut self, store: &Store) -> Result<()> {
        let lost = self.directory.join(LOST);
        let there = self.names.iter().filter(|name| self.to_move.contains(*name)).cloned().collect::<Vec<_>>();
        if there.is_empty() {
            return Ok(());
        }
        match self.fs().create_dir(&lost) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(CoreError::io("create", lost, error).into());
            }
            _ => {}
        }
        for name in there {
            let (from, to) = (self.directory.join(&name), lost.join(&name));
            self.fs().rename(&from, &to).map_err(|error| CoreError::io("move", from, error))?;
            self.report.moved.push(name);
        }
        let synced = self.fs().sync_dir(&lost);
        synced.map_err(|error| CoreError::io("sync", lost, error))?;
        store.sync_directory()
    }
}

/// Whether an error says that something is damaged or gone, and not that the system or this store cannot read it.
fn is_damage(error: &CoreError) -> bool {
    match error {
        CoreError::Corruption(_) => true,
        CoreError::Io(failure) => {
            matches!(failure.source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::UnexpectedEof)
        }
        _ => false,
    }
}
