//! Blocks that stay in memory when what they hold is written anew.
//!
//! A flush takes rows out of a memtable, a compaction out of tables that readers have in the cache; without more ado the
//! first readers of the new tables would have to read and decompress each block again. Where readers have use of it the
//! blocks of new tables are therefore put into the cache while they are at hand, and the tables opened before a view shows
//! them.
//!
//! # Invariants
//! M1. Nothing is copied for a store that nobody reads: it takes reads of what the new tables replace or join.
//! M2. Nothing but speed comes of it: a table that could not be opened here is opened by its first reader, who hears why.

use crate::output::TableFiles;
use crate::tables::{TableHandle, Tables};
use crate::view::View;
use lsm_compaction::Plan;
use lsm_manifest::TableMeta;
use std::sync::Arc;

/// Blocks are kept if one of so many was read lately: to copy a block takes a quarter of the time that it takes to read and
/// decompress it, and there will be some more readers before it is replaced in turn.
const READ_SHARE: u64 = 4;

impl Tables {
    /// Whether readers will have use of what a flush into `view` writes: they have read what the flushes before wrote.
    pub(crate) fn will_read_flushed(&self, view: &View) -> bool {
        let newest = view.levels.iter().find(|level| !level.is_empty());
        newest.is_some_and(|level| are_read(level.iter().cloned()))
    }

    /// Whether readers will have use of what `plan` writes: they have read what it takes.
    pub(crate) fn will_read_compacted(&self, plan: &Plan) -> bool {
        are_read(plan.tables().map(|(_, meta)| self.handle(meta)))
    }
}

/// Whether a good part of these tables was read lately (M1).
fn are_read(tables: impl Iterator<Item = Arc<TableHandle>>) -> bool {
    let (mut read, mut all) = (0, 0);
    for table in tables {
        read += table.bytes_read_lately();
        all += table.meta.bytes;
    }
    read > 0 && read.saturating_mul(READ_SHARE) >= all
}

impl TableFiles {
    /// Opens the tables of which blocks were kept. They stay open as long as what is returned is held, and then for as long
    /// as a view has them.
    pub(crate) fn open_warm<'a>(
        &self,
        tables: &Tables,
        made: impl Iterator<Item = &'a Arc<TableMeta>>,
    ) -> Vec<Arc<TableHandle>> {
        let open = |meta: &Arc<TableMeta>| {
            let fresh = self.take_fresh(meta.number)?;
            let handle = tables.handle(meta);
            let _ = handle.open(Some(fresh)); // M2
            Some(handle)
        };
        made.filter_map(open).collect()
    }
}
