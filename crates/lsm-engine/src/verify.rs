//! Checks all that can be checked: every block of every table, the manifest, and how they fit together.

use crate::Result;
use crate::store::Store;
use crate::tables::TableHandle;
use lsm_core::{Cursor, key};
use lsm_sstable::{Table, TableCursor};
use std::fmt;
use std::sync::Arc;

/// What [`crate::Db::verify`] has checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Column families.
    pub families: usize,
    /// Tables, all of their blocks.
    pub tables: usize,
    /// Bytes of those tables.
    pub bytes: u64,
    /// Entries in those tables, range tombstones included.
    pub entries: u64,
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let VerifyReport { families, tables, bytes, entries } = self;
        write!(f, "{tables} tables of {families} column families are whole: {entries} entries, {bytes} bytes")
    }
}

/// Reads a whole table, and sees that it is the one that the manifest names.
pub(crate) fn check_table(handle: &TableHandle) -> Result<Arc<Table>> {
    let table = handle.table()?;
    table.verify()?;
    check_range(handle, table.cursor())?;
    Ok(Arc::clone(&table))
}

/// The first and the last entry lie in the range that the manifest gives the table.
fn check_range(handle: &TableHandle, mut cursor: TableCursor) -> Result<()> {
    let meta = &handle.meta;
    let is_inside = |key: &[u8]| {
        key::compare(meta.smallest.as_bytes(), key).is_le() && key::compare(key, meta.largest.as_bytes()).is_le()
    };
    cursor.seek_to_first()?;
    let first_inside = !cursor.valid() || is_inside(cursor.key());
    cursor.seek_to_last()?;
    if first_inside && (!cursor.valid() || is_inside(cursor.key())) {
        return Ok(());
    }
    let detail = "keys lie outside of the range that the manifest gives the table";
    Err(lsm_core::Error::corruption(detail).in_file(&handle.path()).into())
}

impl Store {
    pub(crate) fn verify(&self) -> Result<VerifyReport> {
        self.health.check_open()?;
        // The manifest on disk, checked record by record, and then as a whole.
        lsm_manifest::read(&*self.options.fs, &self.directory)?;
        let mut report = VerifyReport::default();
        for family in self.families.load().values() {
            report.families += 1;
            let view = family.view.load_full();
            view.version.check()?;
            for handle in view.levels.iter().flat_map(|level| level.iter()) {
                let table = check_table(handle)?;
                report.tables += 1;
                report.bytes += handle.meta.bytes;
                report.entries += table.properties().entries;
            }
        }
        Ok(report)
    }
}
