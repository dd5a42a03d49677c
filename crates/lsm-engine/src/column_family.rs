//! Handles of column families.

use crate::Result;
use crate::db::Handle;
use crate::family::Family;
use crate::range::KeyRange;
use crate::read::{Reader, read_calls};
use crate::write::{FamilyWriter, write_calls};
use lsm_core::ColumnFamilyId;
use std::sync::Arc;

/// One column family of a store: a key space of its own, with which batches are atomic all the same.
///
/// Cheap to clone; keeps the store open.
///
/// ```
/// # fn main() -> lsm_engine::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = lsm_engine::Db::open(dir.path())?;
/// let users = db.column_family("users")?;
/// users.put("ada", "1815")?;
/// assert_eq!(users.get("ada")?.unwrap(), "1815");
/// assert_eq!(db.get("ada")?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ColumnFamily {
    handle: Arc<Handle>,
    family: Arc<Family>,
}

impl std::fmt::Debug for ColumnFamily {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ColumnFamily").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl ColumnFamily {
    pub(crate) fn new(handle: Arc<Handle>, family: Arc<Family>) -> ColumnFamily {
        ColumnFamily { handle, family }
    }

    /// The family's name.
    pub fn name(&self) -> &str {
        &self.family.name
    }

    /// Makes the data of `range` lie as deep as it can, without deleted and overwritten entries.
    ///
    /// # Errors
    /// Damage or I/O errors of the compaction.
    pub fn compact_range(&self, range: impl KeyRange) -> Result<()> {
        self.handle.store.compact_range(&self.family, &range)
    }

    pub(crate) fn id(&self) -> ColumnFamilyId {
        self.family.id
    }

    pub(crate) fn store_id(&self) -> u64 {
        self.handle.store.id
    }

    pub(crate) fn family(&self) -> &Arc<Family> {
        &self.family
    }

    fn reader(&self) -> Reader<'_> {
        Reader { store: &self.handle.store, family: &self.family, seq: None }
    }

    fn writer(&self) -> FamilyWriter<'_> {
        FamilyWriter { store: &self.handle.store, family: self.family.id }
    }
}

read_calls!(ColumnFamily);
write_calls!(ColumnFamily);
