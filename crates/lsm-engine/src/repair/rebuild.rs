//! The manifest is lost: a new one is made of all tables and logs that are there.
//!
//! Nothing tells the levels of tables any more, nor which of two tables is the newer one for a key that is in
//! both; sequence numbers tell it of two entries, so all are merged, and go to one sorted level. They do not where a
//! compaction has made the newer one's zero (R6 of `lsm-compaction/src/retain.rs`) and one of its inputs, with the older
//! entry, was not removed yet: the older one comes back then.

use super::Patient;
use super::rescue::Rescued;
use crate::open::assemble;
use crate::{Error, ErrorKind, Result};
use lsm_compaction::Cut;
use lsm_core::batch::{self, Record};
use lsm_core::filename::{FileKind, FileNumber};
use lsm_core::{ColumnFamilyId, Cursor, Error as CoreError, SeqNo};
use lsm_manifest::{DEFAULT_FAMILY, FamilyChange, LEVELS, State, VersionEdit};
use lsm_sstable::{Properties, Table, TableOptions};
use lsm_wal::LogToReplay;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What was found of one family.
#[derive(Default)]
struct Found {
    name: Option<String>,
    tables: Vec<Arc<Table>>,
    rescued: Rescued,
}

/// What was found of all families.
#[derive(Default)]
struct Finds {
    families: BTreeMap<ColumnFamilyId, Found>,
    last_seq: SeqNo,
    db_id: Option<String>,
}

impl Finds {
    fn family(&mut self, id: ColumnFamilyId) -> &mut Found {
        self.families.entry(id).or_default()
    }

    /// The family that a table's properties name.
    fn family_of(&mut self, properties: &Properties) -> &mut Found {
        if !properties.db_id.is_empty() {
            self.db_id.get_or_insert_with(|| properties.db_id.clone());
        }
        // RocksDB writes a number that fits no family where it does not know one.
        let known = u32::try_from(properties.column_family_id).ok().filter(|&id| id < i32::MAX as u32);
        let id = known.filter(|_| properties.records("rocksdb.column.family.id")).unwrap_or(0);
        let found = self.family(ColumnFamilyId(id));
        if !properties.column_family_name.is_empty() {
            found.name.get_or_insert_with(|| properties.column_family_name.clone());
        }
        found
    }

    fn note(&mut self, seq: SeqNo) {
        self.last_seq = self.last_seq.max(seq);
    }
}

impl Patient<'_> {
    pub(super) fn rebuild(&mut self, why: String) -> Result<State> {
        // What logs were found to be by the word of that manifest.
        self.to_move.clear();
        self.report.lost.clear();
        let mut finds = Finds::default();
        for number in self.numbers(|kind| matches!(kind, FileKind::Table(_))) {
            self.find_table(number, &mut finds)?;
        }
        if let Some(db_id) = finds.db_id.clone() {
            self.drop_foreign_logs(&db_id)?;
        }
        self.find_in_logs(&mut finds)?;
        self.report.rebuilt = Some(why);
        let old = self.names.iter().filter(|name| {
            matches!(FileKind::parse(name), Some(FileKind::Table(_) | FileKind::Log(_) | FileKind::Manifest(_)))
        });
        self.to_move.extend(old.cloned());
        self.write_anew(finds)
    }

    fn find_table(&mut self, number: FileNumber, finds: &mut Finds) -> Result<()> {
        let path = self.path(FileKind::Table(number));
        let source = self.fs().open(&path).map_err(|error| CoreError::io("open", &path, error))?;
        let options = TableOptions { file: path.clone(), ..TableOptions::default() };
        let whole = Table::open(source, options).and_then(|table| table.verify().map(|_| table));
        match whole.map_err(Error::from) {
            Ok(table) => {
                self.report.whole_tables += 1;
                self.check_sequence_number(&path, table.properties());
                let (tombstones, table) = (table.tombstones().per_stripe(&[SeqNo::MAX]), Arc::new(table));
                let found = finds.family_of(table.properties());
                found.rescued.add_tombstones(&tombstones);
                found.tables.push(table);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Corruption => {
                let (rescued, salvaged) = self.salvage(number, None)?;
                match &salvaged.properties {
                    Some(properties) => {
                        self.check_sequence_number(&path, properties);
                        finds.family_of(properties).rescued.append(rescued);
                    }
                    None if salvaged.entries > 0 => {
                        self.report.lose(&path, "the whole table: nothing says which column family it belongs to");
                    }
                    None => {}
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// An ingested file stores 0 for each entry and may leave it to the manifest which number that stands for. What is in
    /// other files then wins over it, which is wrong if that is older.
    fn check_sequence_number(&mut self, path: &Path, properties: &Properties) {
        let is_ingested = properties.external_version.is_some_and(|version| version >= 2);
        if is_ingested && properties.external_global_seq.unwrap_or(0) == 0 {
            self.report
                .lose(path, "its sequence number, which the manifest had: it was ingested, and counts as oldest now");
        }
    }

    fn find_in_logs(&mut self, finds: &mut Finds) -> Result<()> {
        let mut numbers = self.numbers(|kind| matches!(kind, FileKind::Log(_)));
        numbers.retain(|&number| !self.to_move.contains(&FileKind::Log(number).to_string()));
        let logs: Vec<_> = numbers.iter().map(|&number| LogToReplay { number, synced_bytes: None }).collect();
        let first = numbers.first().copied().unwrap_or(FileNumber(0));
        let report = self.read_logs(first, &logs, &mut |_, _, bytes| {
            let (mut seq, _) = batch::header(bytes)?;
            for record in batch::records(bytes)? {
                let Record::Entry(entry) = record? else { continue };
                finds.family(entry.family).rescued.add(entry.key, seq, entry.kind, entry.value);
                finds.note(seq);
                let next = SeqNo::checked(seq.get() + 1);
                seq = next.ok_or_else(|| CoreError::corruption("sequence numbers have more than 56 bits"))?;
            }
            Ok(())
        })?;
        if let Some(report) = report {
            finds.note(SeqNo::new(report.next_seq.get().saturating_sub(1)));
            self.note_dropped(&report);
        }
        Ok(())
    }

    /// Writes all that was found to tables of the last level, and a state that names them.
    fn write_anew(&mut self, finds: Finds) -> Result<State> {
        let mut state = State::new(finds.db_id.unwrap_or_else(|| lsm_manifest::new_db_id(&**self.fs())));
        self.names.iter().filter_map(|name| FileKind::parse(name)?.number()).for_each(|number| state.mark_used(number));
        let births: Vec<VersionEdit> = finds.families.iter().filter_map(|(&id, found)| birth(id, found)).collect();
        state = state.apply(&births)?;
        let store = Arc::new(assemble(self.directory, self.options.clone(), &state, None)?);
        let mut edits = Vec::new();
        for (id, found) in finds.families {
            let family = Arc::clone(&store.families.load()[&id]);
            let cursors = found.tables.iter().map(|table| Box::new(table.cursor()) as Box<dyn Cursor>).collect();
            let table_bytes_target = self.options.table_bytes_target();
            let cut = Cut::Leveled { table_bytes_target, job_bytes_max: u64::MAX, grandparents: &[] };
            let written = found.rescued.write(&store, &family, cursors, 1, cut)?;
            let largest = written.tables.iter().map(|table| table.meta.largest_seq).max();
            let last_seq = Some(finds.last_seq.max(largest.unwrap_or_default()));
            let added = written.tables.into_iter().map(|table| (LEVELS - 1, table.meta)).collect();
            edits.push(VersionEdit { family: id, added, last_seq, ..VersionEdit::default() });
        }
        store.sync_directory()?;
        state.next_file = store.background.numbers().next();
        Ok(state.apply(&edits)?)
    }
}

/// The edit that creates a family; `default` is always there.
fn birth(id: ColumnFamilyId, found: &Found) -> Option<VersionEdit> {
    if id == ColumnFamilyId::DEFAULT {
        return None;
    }
    let name = found.name.clone().filter(|name| name != DEFAULT_FAMILY);
    let name = name.unwrap_or_else(|| format!("recovered-{}", id.0));
    Some(VersionEdit {
        family: id,
        comparator: Some(lsm_manifest::COMPARATOR.to_owned()),
        family_change: Some(FamilyChange::Add(name)),
        max_family: Some(id.0),
        ..VersionEdit::default()
    })
}
