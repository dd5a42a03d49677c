//! One column family of an open store: its view, its options, and nothing else.

use crate::dead::Stretches;
use crate::options::WRITE_BUFFER_BYTES_MIN;
use crate::sync::{ArcSwap, AtomicBool, AtomicUsize, Mutex, Ordering};
use crate::toll::Toll;
use crate::view::View;
use lsm_core::{ColumnFamilyId, MergeOperator};
use std::sync::{Arc, OnceLock};

pub(crate) struct Family {
    pub(crate) id: ColumnFamilyId,
    pub(crate) name: String,
    /// What readers see now. Read without a lock; replaced through [`Family::update`] only.
    pub(crate) view: ArcSwap<View>,
    /// Held while a view is replaced: rotation and background work both do that.
    updating: Mutex<()>,
    /// What walks found dead; outlives the family with a walk that has it.
    pub(crate) dead: Arc<Stretches>,
    /// What reads pay for level 0; outlives the family with a walk likewise.
    pub(crate) toll: Arc<Toll>,
    merge_operator: OnceLock<Arc<dyn MergeOperator>>,
    write_buffer_bytes: AtomicUsize,
    dropped: AtomicBool,
    /// Whether room was reserved in the active memtable; changed under the writer lock only.
    dirty: AtomicBool,
}

impl Family {
    pub(crate) fn new(id: ColumnFamilyId, name: String, view: View, write_buffer_bytes: usize) -> Family {
        Family {
            id,
            name,
            view: ArcSwap::from_pointee(view),
            updating: Mutex::new(()),
            dead: Arc::new(Stretches::new()),
            toll: Arc::new(Toll::new()),
            merge_operator: OnceLock::new(),
            write_buffer_bytes: AtomicUsize::new(write_buffer_bytes),
            dropped: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
        }
    }

    /// Puts a new view in the old one's place.
    pub(crate) fn update(&self, change: impl FnOnce(&View) -> View) {
        let _one_at_a_time = self.updating.lock();
        let next = change(&self.view.load());
        self.view.store(Arc::new(next));
    }

    pub(crate) fn merge_operator(&self) -> Option<&dyn MergeOperator> {
        self.merge_operator.get().map(|operator| &**operator)
    }

    pub(crate) fn shared_merge_operator(&self) -> Option<Arc<dyn MergeOperator>> {
        self.merge_operator.get().cloned()
    }

    /// Takes `operator` unless the family has one.
    pub(crate) fn set_merge_operator(&self, operator: Arc<dyn MergeOperator>) {
        let _ = self.merge_operator.set(operator);
    }

    pub(crate) fn write_buffer_bytes(&self) -> usize {
        self.write_buffer_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_write_buffer_bytes(&self, bytes: usize) {
        self.write_buffer_bytes.store(bytes.max(WRITE_BUFFER_BYTES_MIN), Ordering::Relaxed);
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }

    pub(crate) fn mark_dropped(&self) {
        self.dropped.store(true, Ordering::Release);
    }

    /// Whether the active memtable holds, or will hold, anything.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Relaxed)
    }

    pub(crate) fn mark_dirty(&self) {
        if !self.is_dirty() {
            self.dirty.store(true, Ordering::Relaxed);
        }
    }

    /// Says that a fresh memtable comes; returns whether the old one held anything.
    pub(crate) fn take_dirty(&self) -> bool {
        self.dirty.swap(false, Ordering::Relaxed)
    }
}
