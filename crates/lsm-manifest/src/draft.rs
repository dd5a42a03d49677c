//! A version in the making: edits are carried out on it one by one, each checked where it stands.
//!
//! Recovery replays a whole manifest on one draft per family, so an edit costs two binary searches and the move
//! of a few pointers per table, and the record that breaks an invariant is known when it does. The live store
//! makes a draft per group of edits.
//!
//! # Invariants
//! D1. `numbers` holds exactly the tables of all levels, so V1 holds after every edit.
//! D2. On a touched level from 1 on, V3 holds after every edit.
//! D3. Every touched level is ordered by smallest key, then number: level 0 may hold two tables that start
//!     alike. Its order by age is made at the end.
//! D4. A level that no edit touched is the base version's own.

use std::collections::HashMap;
use std::sync::Arc;

use lsm_core::filename::FileNumber;
use lsm_core::key::InternalKey;
use lsm_core::{Error, Result};

use crate::edit::VersionEdit;
use crate::meta::TableMeta;
use crate::version::{LEVELS, Version, by_age, overlap};

/// A version and the levels of it that have changed.
#[derive(Debug)]
pub(crate) struct Draft {
    base: Version,
    touched: [Option<Vec<Arc<TableMeta>>>; LEVELS],
    numbers: HashMap<FileNumber, (usize, Arc<TableMeta>)>,
}

impl Draft {
    pub(crate) fn new(base: Version) -> Draft {
        let numbers = base.tables().map(|(level, table)| (table.number, (level, table.clone()))).collect();
        Draft { base, touched: Default::default(), numbers }
    }

    /// Carries out the deletions of `edit`, then its additions: a table may move to another level in one edit.
    pub(crate) fn apply(&mut self, edit: &VersionEdit) -> Result<()> {
        for &(level, number) in &edit.deleted {
            self.delete(level, number)?;
        }
        for (level, table) in &edit.added {
            self.add(*level, table)?;
        }
        Ok(())
    }

    fn delete(&mut self, level: usize, number: FileNumber) -> Result<()> {
        let table = match self.numbers.get(&number) {
            Some((found, table)) if *found == level => table.clone(),
            Some((found, _)) => {
                return Err(Error::corruption(format!(
                    "an edit deletes table {number} from level {level}, it is on level {found}"
                )));
            }
            None => {
                return Err(Error::corruption(format!(
                    "an edit deletes table {number} from level {level}, it is not there"
                )));
            }
        };
        self.numbers.remove(&number);
        let tables = self.touch(level);
        let at = position(tables, &table);
        debug_assert!(Arc::ptr_eq(&tables[at], &table), "D1: a numbered table is on its level");
        tables.remove(at);
        Ok(())
    }

    fn add(&mut self, level: usize, table: &Arc<TableMeta>) -> Result<()> {
        table.check()?;
        if let Some((found, _)) = self.numbers.get(&table.number) {
            return Err(Error::corruption(format!(
                "an edit adds table {} to level {level}, it is on level {found} already",
                table.number
            )));
        }
        let tables = self.touch(level);
        let at = position(tables, table);
        if level > 0 {
            if let Some(before) = tables[..at].last().filter(|before| before.largest >= table.smallest) {
                return Err(overlap(level, before, table));
            }
            if let Some(behind) = tables.get(at).filter(|behind| table.largest >= behind.smallest) {
                return Err(overlap(level, table, behind));
            }
        }
        tables.insert(at, table.clone());
        self.numbers.insert(table.number, (level, table.clone()));
        Ok(())
    }

    fn touch(&mut self, level: usize) -> &mut Vec<Arc<TableMeta>> {
        self.touched[level].get_or_insert_with(|| {
            let mut tables = self.base.level(level).to_vec();
            if level == 0 {
                tables.sort_by(|a, b| by_smallest(a).cmp(&by_smallest(b)));
            }
            tables
        })
    }

    /// The version that the edits led to.
    pub(crate) fn finish(self) -> Version {
        let mut version = self.base;
        for (level, tables) in self.touched.into_iter().enumerate() {
            let Some(mut tables) = tables else { continue };
            if level == 0 {
                let by_age = by_age(&tables);
                tables.sort_by(|a, b| by_age(a, b));
            }
            version = version.with_level(level, tables);
        }
        debug_assert!(version.check().is_ok(), "V1 to V4 hold: {:?}", version.check());
        version
    }
}

/// Where `table` is, or would be, on a level in the order of D3.
fn position(tables: &[Arc<TableMeta>], table: &TableMeta) -> usize {
    tables.partition_point(|other| by_smallest(other) < by_smallest(table))
}

fn by_smallest(table: &TableMeta) -> (&InternalKey, FileNumber) {
    (&table.smallest, table.number)
}
