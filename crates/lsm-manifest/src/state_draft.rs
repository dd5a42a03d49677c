//! A state in the making: edits of all families are carried out on it one by one.
//!
//! Recovery runs a whole manifest through one draft; the live store makes one per group of edits, so both hold
//! edits to the same rules. Decides whether an edit fits the state before it; what an edit says by itself was
//! checked when it was decoded.
//!
//! # Invariants
//! T1. Counters never fall: of two values the larger one stays, as a log that held nothing still holds nothing.
//! T2. `owners` holds exactly the tables of all families (S3), `names` exactly their names (S1).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lsm_core::filename::FileNumber;
use lsm_core::key::SeqNo;
use lsm_core::{ColumnFamilyId, Error, Result};

use crate::draft::Draft;
use crate::edit::{FamilyChange, VersionEdit, WalAddition};
use crate::epoch::infer_epochs;
use crate::meta::TABLE_NUMBER_MAX;
use crate::state::{Family, State};
use crate::version::Version;

/// Most families of a store. Each takes a few bytes of a manifest, and a write buffer as soon as the store is opened:
/// a manifest of a megabyte could ask for more mappings than the system gives to a process.
const FAMILIES_MAX: usize = 10_000;

/// A state and the versions of it that have changed.
#[derive(Debug)]
pub(crate) struct StateDraft {
    state: State,
    versions: BTreeMap<ColumnFamilyId, Draft>,
    owners: HashMap<FileNumber, ColumnFamilyId>,
    names: HashMap<String, ColumnFamilyId>,
}

impl StateDraft {
    pub(crate) fn new(state: State) -> StateDraft {
        let tables_of = |family: &Family| -> Vec<_> {
            family.version.tables().map(|(_, table)| (table.number, family.id)).collect()
        };
        let owners = state.families.values().flat_map(tables_of).collect();
        let names = state.families.values().map(|family| (family.name.clone(), family.id)).collect();
        StateDraft { state, versions: BTreeMap::new(), owners, names }
    }

    /// Carries out one edit. After an error the draft is of no use.
    pub(crate) fn apply(&mut self, edit: &VersionEdit) -> Result<()> {
        match &edit.family_change {
            Some(FamilyChange::Add(name)) => self.add_family(edit, name)?,
            Some(FamilyChange::Drop) => self.drop_family(edit)?,
            None => {}
        }
        if edit.family_change != Some(FamilyChange::Drop) {
            self.change_family(edit)?;
        }
        for addition in &edit.wal_additions {
            self.add_wal(addition)?;
        }
        if let Some(below) = edit.wals_deleted_below {
            self.state.wals_deleted_below = self.state.wals_deleted_below.max(below);
            self.state.wals = self.state.wals.split_off(&below);
        }
        self.count(edit)
    }

    fn add_family(&mut self, edit: &VersionEdit, name: &str) -> Result<()> {
        let id = edit.family;
        refuse_tables(edit)?;
        if self.state.families.len() >= FAMILIES_MAX {
            return Err(Error::unsupported(format!("more than {FAMILIES_MAX} column families")));
        }
        if let Some(family) = self.state.families.get(&id) {
            return Err(Error::corruption(format!(
                "an edit adds column family {} as {name:?}, it is there as {:?}",
                id.0, family.name
            )));
        }
        if let Some(other) = self.names.insert(name.to_owned(), id) {
            return Err(Error::corruption(format!(
                "an edit adds column family {} as {name:?}, which is the name of family {}",
                id.0, other.0
            )));
        }
        self.state.families.insert(id, Family::new(id, name.to_owned()));
        self.state.max_family = self.state.max_family.max(id.0);
        Ok(())
    }

    fn drop_family(&mut self, edit: &VersionEdit) -> Result<()> {
        let id = edit.family;
        refuse_tables(edit)?;
        if id == ColumnFamilyId::DEFAULT {
            return Err(Error::corruption("an edit drops the default column family"));
        }
        let Some(family) = self.state.families.remove(&id) else { return Err(unknown_family(id)) };
        self.names.remove(&family.name);
        let version = match self.versions.remove(&id) {
            Some(draft) => Arc::new(draft.finish()),
            None => family.version,
        };
        for (_, table) in version.tables() {
            self.owners.remove(&table.number);
        }
        Ok(())
    }

    fn change_family(&mut self, edit: &VersionEdit) -> Result<()> {
        let id = edit.family;
        let Some(family) = self.state.families.get_mut(&id) else { return Err(unknown_family(id)) };
        if let Some(log_number) = edit.log_number {
            family.log_number = family.log_number.max(log_number);
        }
        if edit.deleted.is_empty() && edit.added.is_empty() {
            return Ok(());
        }
        let draft = self.versions.entry(id).or_insert_with(|| Draft::new((*family.version).clone()));
        draft.apply(edit)?;
        for (_, number) in &edit.deleted {
            self.owners.remove(number);
        }
        for (_, table) in &edit.added {
            if let Some(owner) = self.owners.insert(table.number, id) {
                let (number, owner, id) = (table.number, owner.0, id.0);
                return Err(Error::corruption(format!(
                    "an edit adds table {number} to column family {id}, it belongs to family {owner}"
                )));
            }
        }
        Ok(())
    }

    fn add_wal(&mut self, addition: &WalAddition) -> Result<()> {
        let WalAddition { number, synced_bytes } = *addition;
        // A late report about a log that is gone already.
        if number < self.state.wals_deleted_below {
            return Ok(());
        }
        let known = self.state.wals.insert(number, synced_bytes).flatten();
        if synced_bytes < known {
            return Err(Error::corruption(format!(
                "synced bytes of log {number} shrink from {} to {}",
                known.unwrap_or(0),
                synced_bytes.unwrap_or(0)
            )));
        }
        Ok(())
    }

    /// Takes over the counters of `edit` (T1).
    fn count(&mut self, edit: &VersionEdit) -> Result<()> {
        let state = &mut self.state;
        state.next_file = edit.next_file.map_or(state.next_file, |number| number.max(state.next_file));
        state.last_seq = edit.last_seq.map_or(state.last_seq, |seq| seq.max(state.last_seq));
        state.max_family = edit.max_family.map_or(state.max_family, |id| id.max(state.max_family));
        state.min_log_to_keep = edit.min_log_to_keep.unwrap_or_default().max(state.min_log_to_keep);
        state.prev_log = edit.prev_log.unwrap_or(state.prev_log);
        if let Some(db_id) = &edit.db_id {
            state.db_id = Some(db_id.clone());
        }
        // Logs and manifests share the numbers of tables; a manifest need not have counted itself.
        let numbers = [edit.log_number, edit.prev_log, edit.min_log_to_keep, edit.wals_deleted_below];
        let wals = edit.wal_additions.iter().map(|addition| addition.number);
        for number in numbers.into_iter().flatten().chain(wals).chain(edit.next_file.map(FileNumber)) {
            if number.0 > TABLE_NUMBER_MAX {
                return Err(Error::corruption(format!("file number {} is above {TABLE_NUMBER_MAX}", number.0)));
            }
        }
        Ok(())
    }

    /// The state that the edits led to.
    ///
    /// # Errors
    /// `Corruption` for a breach of S2.
    #[expect(clippy::expect_used, reason = "T2: holds whatever the edits were")]
    pub(crate) fn finish(mut self) -> Result<State> {
        for (id, draft) in self.versions {
            let family = self.state.families.get_mut(&id).expect("T2: a dropped family has no draft");
            family.version = Arc::new(infer_epochs(draft.finish()));
            check_tables(&family.version, self.state.next_file, self.state.last_seq)?;
        }
        let logs = self.state.families.values().map(|family| family.log_number);
        let logs = logs.chain(self.state.wals.keys().copied()).chain([self.state.prev_log]);
        if let Some(last) = logs.max() {
            self.state.mark_used(last);
        }
        Ok(self.state)
    }
}

/// Refuses tables from outside the store's time (S2).
fn check_tables(version: &Version, next_file: u64, last_seq: SeqNo) -> Result<()> {
    for (_, table) in version.tables() {
        let number = table.number;
        if number.0 >= next_file {
            return Err(Error::corruption(format!("table {number} is not below the next file number {next_file}")));
        }
        if table.largest_seq > last_seq {
            let seq = table.largest_seq;
            return Err(Error::corruption(format!(
                "table {number} has sequence {seq}, the store's last is {last_seq}"
            )));
        }
    }
    Ok(())
}

fn refuse_tables(edit: &VersionEdit) -> Result<()> {
    if edit.added.is_empty() && edit.deleted.is_empty() {
        return Ok(());
    }
    let id = edit.family.0;
    Err(Error::corruption(format!("an edit adds or drops column family {id} and changes its tables")))
}

fn unknown_family(id: ColumnFamilyId) -> Error {
    Error::corruption(format!("an edit is for column family {}, which is not there", id.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{added, deleted, table};

    fn in_family(id: u32, edit: VersionEdit) -> VersionEdit {
        VersionEdit { family: ColumnFamilyId(id), ..edit }
    }

    fn add_family(id: u32, name: &str) -> VersionEdit {
        in_family(id, VersionEdit { family_change: Some(FamilyChange::Add(name.to_owned())), ..VersionEdit::default() })
    }

    fn drop_family(id: u32) -> VersionEdit {
        in_family(id, VersionEdit { family_change: Some(FamilyChange::Drop), ..VersionEdit::default() })
    }

    fn counters(next_file: u64, last_seq: u64) -> VersionEdit {
        VersionEdit { next_file: Some(next_file), last_seq: Some(SeqNo::new(last_seq)), ..VersionEdit::default() }
    }

    fn wal(number: u64, synced_bytes: Option<u64>) -> VersionEdit {
        let wal_additions = vec![WalAddition { number: FileNumber(number), synced_bytes }];
        VersionEdit { wal_additions, ..VersionEdit::default() }
    }

    /// A manifest of a megabyte can name 40,000 of them, and each gets a write buffer when the store is opened.
    #[test]
    fn more_families_than_anyone_has_are_refused() {
        let add = |id: usize| add_family(id as u32, &id.to_string());
        let most: Vec<_> = (1..FAMILIES_MAX).map(add).collect();
        let state = State::new("id").apply(&most).unwrap();
        let error = state.apply(&[add(FAMILIES_MAX)]).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(state.apply(&[drop_family(1), add(FAMILIES_MAX)]).is_ok());
    }

    /// Default family with table 1, family 3 `cities` with table 2, sequences up to 50, files below 10.
    fn small_state() -> State {
        let tables = in_family(3, added([(1, table(2, "a-z", 40))]));
        let edits = [add_family(3, "cities"), added([(0, table(1, "a-z", 50))]), tables, counters(10, 50)];
        State::new("id").apply(&edits).unwrap()
    }

    #[test]
    fn families_come_and_go() {
        let state = small_state();
        assert_eq!(state.family("cities").unwrap().version.table_count(), 1);
        assert_eq!(state.max_family, 3);
        let state = state.apply(&[drop_family(3), add_family(4, "cities")]).unwrap();
        assert_eq!(state.families.keys().map(|id| id.0).collect::<Vec<_>>(), [0, 4]);
        assert_eq!(state.family("cities").unwrap().version.table_count(), 0);
        assert_eq!(state.max_family, 4);
        // A number that a dropped family's table had is free as far as the state goes.
        state.apply(&[added([(0, table(2, "a-z", 40))])]).unwrap();
    }

    #[test]
    fn edits_that_do_not_fit_say_why() {
        // Covers S1, S2, S3.
        let mut drop_with_table = drop_family(3);
        drop_with_table.deleted = vec![(1, FileNumber(2))];
        for (edits, message) in [
            (vec![add_family(0, "default")], "adds column family 0 as \"default\", it is there"),
            (vec![add_family(3, "other")], "adds column family 3 as \"other\", it is there as \"cities\""),
            (vec![add_family(4, "cities")], "which is the name of family 3"),
            (vec![drop_family(0)], "drops the default column family"),
            (vec![drop_family(9)], "column family 9, which is not there"),
            (vec![drop_family(3), in_family(3, counters(11, 50))], "column family 3, which is not there"),
            (vec![drop_with_table], "adds or drops column family 3 and changes its tables"),
            (vec![in_family(3, added([(0, table(1, "a-z", 1))]))], "to column family 3, it belongs to family 0"),
            (vec![in_family(3, deleted([(0, 1)]))], "deletes table 000001 from level 0, it is not there"),
            (vec![added([(0, table(10, "a-z", 1))])], "table 000010 is not below the next file number 10"),
            (vec![added([(0, table(9, "a-z", 51))])], "table 000009 has sequence 51, the store's last is 50"),
            (vec![wal(8, Some(100)), wal(8, Some(99))], "synced bytes of log 000008 shrink from 100 to 99"),
            (vec![wal(8, Some(100)), wal(8, None)], "synced bytes of log 000008 shrink from 100 to 0"),
            (vec![wal(u64::MAX, None)], "file number 18446744073709551615 is above"),
            (vec![counters(u64::MAX, 50)], "file number 18446744073709551615 is above"),
        ] {
            let error = small_state().apply(&edits).unwrap_err();
            assert!(error.is_corruption() && error.to_string().contains(message), "{error}");
        }
    }

    #[test]
    fn logs_are_tracked_until_they_are_deleted() {
        let edits = [wal(7, None), wal(8, None), wal(7, Some(100)), wal(7, Some(300))];
        let state = small_state().apply(&edits).unwrap();
        assert_eq!(state.wals, BTreeMap::from([(FileNumber(7), Some(300)), (FileNumber(8), None)]));
        let deletion = VersionEdit { wals_deleted_below: Some(FileNumber(8)), ..VersionEdit::default() };
        let state = state.apply(&[deletion, wal(7, Some(400))]).unwrap();
        assert_eq!(state.wals, BTreeMap::from([(FileNumber(8), None)]));
    }

    #[test]
    fn counters_never_fall() {
        // Covers T1.
        let older = VersionEdit { log_number: Some(FileNumber(5)), ..counters(6, 7) };
        let newer = VersionEdit { log_number: Some(FileNumber(8)), ..counters(20, 70) };
        let state = small_state().apply(&[newer, older]).unwrap();
        assert_eq!((state.next_file, state.last_seq), (20, SeqNo::new(70)));
        assert_eq!(state.families[&ColumnFamilyId::DEFAULT].log_number, FileNumber(8));
        assert_eq!(state.first_log(), FileNumber(0), "family 3 still needs every log");
    }

    #[test]
    fn numbers_of_logs_are_not_given_out_again() {
        let state = small_state().apply(&[wal(30, None)]).unwrap();
        assert_eq!(state.next_file, 31);
    }

    #[test]
    fn a_snapshot_leads_back_to_its_state() {
        let deletion = VersionEdit { wals_deleted_below: Some(FileNumber(7)), ..VersionEdit::default() };
        let state = small_state().apply(&[wal(7, Some(100)), wal(8, None), deletion]).unwrap();
        let snapshot = state.snapshot();
        assert_eq!(State::new("another").apply(&snapshot).unwrap(), state);
        let counted = snapshot.iter().position(|edit| edit.next_file.is_some());
        assert_eq!(counted, Some(snapshot.len() - 1), "only a whole snapshot has counters");
    }
}
