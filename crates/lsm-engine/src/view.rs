//! What a reader of one column family sees, swapped as one value.
//!
//! A view names the memtables and tables that together hold the family. It is immutable: rotation, flush
//! and compaction put a new one in its place, and readers that still hold the old one keep its
//! memtables and files alive.
//!
//! # Invariants
//! W1. A reader takes the view first and the visible sequence number second: the view then holds every
//!     entry up to that number, or was replaced by one that does before the number was reached.
//! W2. Sources of a view from newest to oldest: active memtable, frozen memtables, level 0 from newest,
//!     deeper levels. Sequence numbers of one key fall in this order.
//! W3. A memtable leaves the view in the same swap in which its tables enter.

use crate::options::MEMTABLES_MAX;
use crate::run::Run;
use crate::tables::Tables;
use lsm_core::filename::FileNumber;
use lsm_core::{Kind, SeqNo};
use lsm_manifest::Version;
use lsm_memtable::Memtable;
use std::sync::Arc;

/// A memtable that takes no more writes and waits for its flush.
#[derive(Clone)]
pub(crate) struct Frozen {
    pub(crate) memtable: Arc<Memtable>,
    /// The oldest log that may hold its entries.
    pub(crate) log: FileNumber,
    /// Every commit into it has a sequence number up to this one.
    pub(crate) last_seq: SeqNo,
}

#[derive(Clone)]
pub(crate) struct View {
    pub(crate) active: Arc<Memtable>,
    /// The oldest log that may hold entries of `active`.
    pub(crate) active_log: FileNumber,
    /// Newest first.
    pub(crate) frozen: Vec<Frozen>,
    pub(crate) version: Arc<Version>,
    /// The version's tables with their open readers; level 0 newest first, deeper ones by key.
    pub(crate) levels: Arc<Vec<Level>>,
}

/// Tables of one level.
pub(crate) type Level = Arc<Run>;

impl View {
    /// A view of `version` with nothing in memory yet.
    pub(crate) fn new(version: Arc<Version>, tables: &Tables, active: Arc<Memtable>, active_log: FileNumber) -> View {
        let levels = tables.levels_of(&version);
        View { active, active_log, frozen: Vec::new(), version, levels }
    }

    /// The memtables from newest to oldest (W2).
    pub(crate) fn memtables(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        std::iter::once(&self.active).chain(self.frozen.iter().map(|frozen| &frozen.memtable))
    }

    /// Whether no further memtable may be frozen before one is flushed.
    pub(crate) fn is_crowded(&self) -> bool {
        self.frozen.len() + 1 >= MEMTABLES_MAX
    }

    /// Whether memtables fill about as fast as they are flushed: one waits, or was flushed while the next became half full.
    pub(crate) fn is_filling(&self) -> bool {
        !self.frozen.is_empty() || self.active.bytes_used() > self.active.capacity() / 2
    }

    /// The oldest log that may hold entries which are in no table.
    pub(crate) fn oldest_log(&self) -> FileNumber {
        self.frozen.last().map_or(self.active_log, |frozen| frozen.log)
    }

    /// A view with `active` frozen and `fresh` in its place.
    pub(crate) fn rotated(&self, fresh: Arc<Memtable>, log: FileNumber, last_seq: SeqNo) -> View {
        let mut next = self.clone();
        let retired = std::mem::replace(&mut next.active, fresh);
        retired.freeze();
        let retired_log = std::mem::replace(&mut next.active_log, log);
        next.frozen.insert(0, Frozen { memtable: retired, log: retired_log, last_seq });
        next
    }

    /// A view of `version` without the `flushed` oldest memtables (W3).
    pub(crate) fn installed(&self, version: Arc<Version>, tables: &Tables, flushed: usize) -> View {
        let mut next = self.clone();
        next.frozen.truncate(self.frozen.len() - flushed);
        next.levels = tables.levels_of(&version);
        next.version = version;
        next
    }

    /// Opens all tables that are not open yet.
    pub(crate) fn open_tables(&self) -> lsm_core::Result<()> {
        self.levels.iter().flat_map(|level| level.iter()).try_for_each(|handle| handle.table().map(drop))
    }

    /// The key behind the last one that any source may hold, or `None` for an empty family.
    pub(crate) fn end_key(&self) -> Option<Vec<u8>> {
        let in_memory = self.memtables().filter_map(|memtable| memtable.bounds()).map(|(_, last)| last);
        let on_disk = self.version.tables().map(|(_, table)| table.largest.user_key().to_vec());
        in_memory.chain(on_disk).max().map(|last| lsm_core::key::successor(&last))
    }
}

/// What one source says about a key.
pub(crate) struct Found<V> {
    pub(crate) seq: SeqNo,
    pub(crate) kind: Kind,
    pub(crate) value: V,
}
