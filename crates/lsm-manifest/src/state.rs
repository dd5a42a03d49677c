//! Everything a manifest says: families with their versions, logs, and the counters of the store.
//!
//! A plain value. How edits change it is `state_draft.rs`'s story, how it gets to disk `manifest.rs`'s.
//!
//! # Invariants
//! S1. The family `default` with number 0 is always there; no two families share a name.
//! S2. Every table's number is below `next_file`, and no table holds a sequence number above `last_seq`.
//! S3. A table's number occurs once in the store, over all families.
//! S4. Every table has an epoch.

use std::collections::BTreeMap;
use std::sync::Arc;

use lsm_core::filename::FileNumber;
use lsm_core::key::SeqNo;
use lsm_core::{ColumnFamilyId, Result};

use crate::edit::{COMPARATOR, FamilyChange, VersionEdit, WalAddition};
use crate::state_draft::StateDraft;
use crate::version::Version;

/// Name of the family that always exists.
pub const DEFAULT_FAMILY: &str = "default";

/// What a store consists of at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The column families, by number.
    pub families: BTreeMap<ColumnFamilyId, Family>,
    /// The lowest number that no file has had.
    pub next_file: u64,
    /// No table holds a write after this one.
    pub last_seq: SeqNo,
    /// LevelDB's second live log; zero since RocksDB 2.
    pub prev_log: FileNumber,
    /// Logs below this number are not needed, whatever the families say.
    pub min_log_to_keep: FileNumber,
    /// Largest number that a family ever had.
    pub max_family: u32,
    /// The store's id, from the manifest or else from `IDENTITY`.
    pub db_id: Option<String>,
    /// Logs that the manifest keeps track of, with their synced bytes if it knows. A live log that is not here is
    /// normal: RocksDB does not list logs unless told to.
    pub wals: BTreeMap<FileNumber, Option<u64>>,
    /// Logs below this number were reported deleted.
    pub wals_deleted_below: FileNumber,
    /// The manifest that this state was read from or written to.
    pub manifest: FileNumber,
    /// Bytes of that manifest which make up this state.
    pub manifest_bytes: u64,
    /// Crc32c of those bytes.
    pub manifest_crc: u32,
    /// What was found behind those bytes, if anything: the tail of an edit that never took effect. Files that no
    /// version names must then be left alone, for the tail may have named them; so this stays when the state is
    /// written to a fresh manifest, until the store is opened again.
    pub torn_tail: Option<TornTail>,
}

/// One column family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// The family's number.
    pub id: ColumnFamilyId,
    /// The family's name.
    pub name: String,
    /// Logs below this number hold nothing of the family that its tables do not hold.
    pub log_number: FileNumber,
    /// The family's tables.
    pub version: Arc<Version>,
}

/// The end of a manifest that was being written when the machine stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Where it begins.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
    /// What is wrong with it.
    pub detail: String,
}

impl Family {
    pub(crate) fn new(id: ColumnFamilyId, name: String) -> Family {
        Family { id, name, log_number: FileNumber(0), version: Arc::default() }
    }
}

impl State {
    /// A store with nothing but the default family.
    pub fn new(db_id: impl Into<String>) -> State {
        State { db_id: Some(db_id.into()), ..State::without_id() }
    }

    /// What a manifest starts from.
    pub(crate) fn without_id() -> State {
        let default = Family::new(ColumnFamilyId::DEFAULT, DEFAULT_FAMILY.to_owned());
        State {
            families: BTreeMap::from([(default.id, default)]),
            next_file: 1,
            last_seq: SeqNo::ZERO,
            prev_log: FileNumber(0),
            min_log_to_keep: FileNumber(0),
            max_family: 0,
            db_id: None,
            wals: BTreeMap::new(),
            wals_deleted_below: FileNumber(0),
            manifest: FileNumber(0),
            manifest_bytes: 0,
            manifest_crc: 0,
            torn_tail: None,
        }
    }

    /// The state after `edits`, which may be of several families.
    ///
    /// # Errors
    /// `Corruption` if an edit does not fit: see [`Version::apply`], and an unknown or doubled family, a log
    /// whose synced bytes shrink, or a breach of S1 to S3.
    pub fn apply(&self, edits: &[VersionEdit]) -> Result<State> {
        let mut draft = StateDraft::new(self.clone());
        for edit in edits {
            draft.apply(edit)?;
        }
        draft.finish()
    }

    /// The family called `name`.
    pub fn family(&self, name: &str) -> Option<&Family> {
        self.families.values().find(|family| family.name == name)
    }

    /// The lowest log that recovery has to replay; older ones, unless they are [`State::prev_log`], hold nothing
    /// new. It still goes by [`Family::log_number`] for every single record.
    pub fn first_log(&self) -> FileNumber {
        let unflushed = self.families.values().map(|family| family.log_number).min();
        unflushed.unwrap_or_default().max(self.min_log_to_keep)
    }

    /// Keeps `number` from being given to a new file. Call it for every file found in the directory: one that a
    /// crash left behind may have a number that no manifest has heard of.
    pub fn mark_used(&mut self, number: FileNumber) {
        self.next_file = self.next_file.max(number.0.saturating_add(1));
    }

    /// Edits that lead from an empty store to this state, one record each.
    ///
    /// The counters that recovery insists on stand in the last one, so no proper prefix of a snapshot passes for
    /// a state.
    pub(crate) fn snapshot(&self) -> Vec<VersionEdit> {
        let addition = |(&number, &synced_bytes)| WalAddition { number, synced_bytes };
        let mut edits = vec![VersionEdit {
            db_id: self.db_id.clone(),
            wal_additions: self.wals.iter().map(addition).collect(),
            wals_deleted_below: Some(self.wals_deleted_below).filter(|&number| number != FileNumber(0)),
            ..VersionEdit::default()
        }];
        for family in self.families.values() {
            edits.extend(family.snapshot());
        }
        edits.push(VersionEdit {
            prev_log: Some(self.prev_log),
            next_file: Some(self.next_file),
            last_seq: Some(self.last_seq),
            max_family: Some(self.max_family),
            min_log_to_keep: Some(self.min_log_to_keep),
            ..VersionEdit::default()
        });
        edits
    }
}

impl Family {
    /// The family's birth and its content. RocksDB wants them in two edits.
    fn snapshot(&self) -> [VersionEdit; 2] {
        let is_default = self.id == ColumnFamilyId::DEFAULT;
        let birth = VersionEdit {
            family: self.id,
            comparator: Some(COMPARATOR.to_owned()),
            family_change: (!is_default).then(|| FamilyChange::Add(self.name.clone())),
            ..VersionEdit::default()
        };
        let content = VersionEdit {
            family: self.id,
            log_number: Some(self.log_number),
            added: self.version.tables().map(|(level, table)| (level, table.clone())).collect(),
            ..VersionEdit::default()
        };
        [birth, content]
    }
}
