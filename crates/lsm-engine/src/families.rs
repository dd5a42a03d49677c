//! Creating, opening and dropping column families.

use crate::family::Family;
use crate::store::Store;
use crate::view::View;
use crate::{ColumnFamilyOptions, Error, Result};
use lsm_core::ColumnFamilyId;
use lsm_core::filename::FileKind;
use lsm_manifest::{FamilyChange, VersionEdit};
use lsm_memtable::KeyShape;
use std::sync::Arc;

impl Store {
    pub(crate) fn open_family(self: &Arc<Self>, name: &str, options: ColumnFamilyOptions) -> Result<Arc<Family>> {
        self.health.check_open()?;
        let mut guard = self.manifest.lock();
        let existing = self.families.load().values().find(|family| family.name == name).cloned();
        let family = match existing {
            Some(family) => family,
            None => {
                self.health.check_writable()?;
                let manifest = guard.as_mut().ok_or_else(Error::closed)?;
                self.create_family(manifest, name, &options)?
            }
        };
        if let Some(operator) = options.merge_operator {
            family.set_merge_operator(operator);
        }
        if let Some(bytes) = options.write_buffer_size {
            family.set_write_buffer_bytes(bytes);
        }
        Ok(family)
    }

    fn create_family(
        &self,
        manifest: &mut lsm_manifest::Manifest,
        name: &str,
        options: &ColumnFamilyOptions,
    ) -> Result<Arc<Family>> {
        if name.is_empty() {
            return Err(Error::invalid_argument("a column family needs a name"));
        }
        let id = manifest.state().max_family.checked_add(1).map(ColumnFamilyId);
        let id = id.ok_or_else(|| Error::invalid_argument("all numbers of column families are used up"))?;
        // Nothing of the family is in any log before the one that is active now.
        let log = self.writer.lock().as_ref().map(|writer| writer.wal.number()).ok_or_else(Error::closed)?;
        let edit = VersionEdit {
            family: id,
            family_change: Some(FamilyChange::Add(name.to_owned())),
            log_number: Some(log),
            ..VersionEdit::default()
        };
        self.apply_edit(manifest, edit)?;
        self.forget_foreign_options();
        let buffer_bytes = options.write_buffer_size.unwrap_or_else(|| self.options.write_buffer_bytes());
        let view =
            View::new(Arc::default(), &self.tables, self.arenas.memtable(buffer_bytes, &KeyShape::default()), log);
        let family = Arc::new(Family::new(id, name.to_owned(), view, buffer_bytes));
        self.set_families(|families| {
            families.insert(id, Arc::clone(&family));
        });
        Ok(family)
    }

    pub(crate) fn drop_family(self: &Arc<Self>, name: &str) -> Result<()> {
        self.health.check_writable()?;
        let mut guard = self.manifest.lock();
        let manifest = guard.as_mut().ok_or_else(Error::closed)?;
        let family = self.families.load().values().find(|family| family.name == name).cloned();
        let family = family.ok_or_else(|| Error::invalid_argument(format!("no column family is named {name:?}")))?;
        if family.id == ColumnFamilyId::DEFAULT {
            return Err(Error::invalid_argument("the default column family cannot be dropped"));
        }
        // The family may be all that held old logs back. The others may have older log numbers in the manifest than
        // in memory, so it is said apart which logs nobody needs: they must not be missed.
        let families = self.families.load();
        let others = families.values().filter(|other| other.id != family.id);
        let min_log_to_keep = others.map(|other| other.view.load().oldest_log()).min();
        let edit = VersionEdit {
            family: family.id,
            family_change: Some(FamilyChange::Drop),
            min_log_to_keep,
            ..VersionEdit::default()
        };
        self.apply_edit(manifest, edit)?;
        self.forget_foreign_options();
        family.mark_dropped();
        self.set_families(|families| {
            families.remove(&family.id);
        });
        if let Some(writer) = self.writer.lock().as_mut() {
            writer.forget(family.id);
        }
        family.view.load().version.tables().for_each(|(_, table)| self.tables.retire(table));
        drop(guard);
        self.logs.release(min_log_to_keep.unwrap_or_default());
        self.refresh_pressure();
        self.background.wake();
        Ok(())
    }

    /// Removes option files that RocksDB left: its tools would take their list of families for true.
    fn forget_foreign_options(&self) {
        let fs = &self.options.fs;
        for name in fs.read_dir(&self.directory).unwrap_or_default() {
            if let Some(FileKind::Options(_)) = FileKind::parse(&name) {
                let _ = fs.remove(&self.directory.join(name));
            }
        }
    }
}
