//! The manifest is sound: only tables that are damaged or gone are replaced.

use super::Patient;
use crate::open::assemble;
use crate::verify::check_table;
use crate::{ErrorKind, Result};
use lsm_compaction::Cut;
use lsm_core::filename::FileKind;
use lsm_manifest::{State, TableMeta, VersionEdit};
use std::sync::Arc;

impl Patient<'_> {
    /// The state without what is damaged, and with what could be read of it in its place.
    pub(super) fn mend(&mut self, mut state: State) -> Result<State> {
        let store = Arc::new(assemble(self.directory, self.options.clone(), &state, None)?);
        let mut edits = Vec::new();
        for family in store.families.load().values() {
            let view = family.view.load_full();
            for (level, meta) in view.version.tables() {
                let handle = store.tables.handle(meta);
                let error = match check_table(&handle) {
                    Ok(_) => {
                        self.report.whole_tables += 1;
                        continue;
                    }
                    Err(error) => error,
                };
                let is_gone = !self.names.contains(&FileKind::Table(meta.number).to_string());
                let mut edit = VersionEdit { family: family.id, ..VersionEdit::default() };
                edit.deleted.push((level, meta.number));
                if is_gone {
                    self.report.lose(&handle.path(), "the whole table: it is missing");
                } else if error.kind() == ErrorKind::Corruption {
                    edit.added = self.replace(&store, family, level, meta)?;
                } else {
                    return Err(error); // F4
                }
                edits.push(edit);
            }
        }
        state.next_file = store.background.numbers().next();
        Ok(state.apply(&edits)?)
    }

    /// Writes what can be read of a table to a new one, which takes its place.
    fn replace(
        &mut self,
        store: &crate::store::Store,
        family: &crate::family::Family,
        level: usize,
        meta: &TableMeta,
    ) -> Result<Vec<(usize, Arc<TableMeta>)>> {
        let reported = self.report.lost.len();
        let (rescued, salvaged) = self.salvage(meta.number, Some(meta))?;
        // If each part is whole it is the wrong table too: its keys or its size are not what the manifest says.
        let foreign = meta.identity != 0 && !salvaged.may_be(meta.identity);
        if foreign || self.report.lost.len() == reported {
            let detail = "the whole table: it is not the one that the manifest names";
            self.report.lose(&self.path(FileKind::Table(meta.number)), detail);
            return Ok(Vec::new());
        }
        let written = rescued.write(store, family, Vec::new(), meta.epoch, Cut::Never)?;
        store.sync_directory()?;
        Ok(written.tables.into_iter().map(|table| (level, table.meta)).collect())
    }
}
