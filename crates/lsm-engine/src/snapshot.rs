//! Snapshots: a moment of the store that stays readable.
//!
//! # Invariants
//! S1. A snapshot's sequence number is read and registered under one lock, the one under which
//!     compaction reads the live snapshots: a compaction either knows a snapshot or began before it,
//!     and then its inputs stay in the snapshot's views or hold nothing newer than it replaced.

use crate::column_family::ColumnFamily;
use crate::db::Handle;
use crate::family::Family;
use crate::publish::Publisher;
use crate::read::{Reader, read_calls};
use crate::sync::Mutex;
use lsm_core::SeqNo;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The live snapshots of a store.
#[derive(Default)]
pub(crate) struct Snapshots {
    live: Mutex<BTreeMap<SeqNo, usize>>,
}

impl Snapshots {
    /// Registers the present moment (S1).
    fn take(&self, publisher: &Publisher) -> SeqNo {
        let mut live = self.live.lock();
        let seq = publisher.visible();
        *live.entry(seq).or_default() += 1;
        seq
    }

    fn release(&self, seq: SeqNo) {
        let mut live = self.live.lock();
        if let Some(count) = live.get_mut(&seq) {
            *count -= 1;
            if *count == 0 {
                live.remove(&seq);
            }
        }
    }

    /// Sequence numbers of the live snapshots, ascending (S1).
    pub(crate) fn seqs(&self) -> Vec<SeqNo> {
        self.live.lock().keys().copied().collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.live.lock().values().sum()
    }
}

/// One moment of a store, across all its column families. Cheap to clone; keeps what it shows alive.
///
/// ```
/// # fn main() -> lsm_engine::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = lsm_engine::Db::open(dir.path())?;
/// db.put("key", "old")?;
/// let snapshot = db.snapshot();
/// db.put("key", "new")?;
/// assert_eq!(snapshot.get("key")?.unwrap(), "old");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Snapshot(Arc<Registered>);

struct Registered {
    handle: Arc<Handle>,
    default_family: Arc<Family>,
    seq: SeqNo,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.handle.store.snapshots.release(self.seq);
    }
}

impl Snapshot {
    pub(crate) fn take(handle: &Arc<Handle>, default_family: Arc<Family>) -> Snapshot {
        let seq = handle.store.snapshots.take(&handle.store.publisher);
        Snapshot(Arc::new(Registered { handle: Arc::clone(handle), default_family, seq }))
    }

    /// The snapshot's view of `family`.
    ///
    /// # Panics
    /// When the family is of another store.
    pub fn column_family(&self, family: &ColumnFamily) -> FamilySnapshot {
        assert_eq!(family.store_id(), self.0.handle.store.id, "the family is of another store than the snapshot");
        FamilySnapshot { snapshot: self.clone(), family: Arc::clone(family.family()) }
    }

    /// Sequence number of the last commit that the snapshot shows.
    pub fn sequence(&self) -> u64 {
        self.0.seq.get()
    }

    fn reader(&self) -> Reader<'_> {
        Reader { store: &self.0.handle.store, family: &self.0.default_family, seq: Some(self.0.seq) }
    }
}

/// One moment of one column family.
#[derive(Clone)]
pub struct FamilySnapshot {
    snapshot: Snapshot,
    family: Arc<Family>,
}

impl FamilySnapshot {
    fn reader(&self) -> Reader<'_> {
        Reader { family: &self.family, ..self.snapshot.reader() }
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("sequence", &self.sequence()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for FamilySnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sequence = self.snapshot.sequence();
        f.debug_struct("FamilySnapshot").field("family", &self.family.name).field("sequence", &sequence).finish()
    }
}

read_calls!(Snapshot);
read_calls!(FamilySnapshot);

#[cfg(all(test, shuttle))]
mod shuttle_models;
