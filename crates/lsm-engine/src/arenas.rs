//! Memory for memtables: mapped in large pages, and used again.
//!
//! A search in a memtable goes to some twenty places far apart. With pages of 4 KiB the processor has to look up most
//! of them in the system's tables first, and in a virtual machine in the host's, too; those of 2 MiB it knows by heart.
//! The system clears a page when it is first touched, which takes longer than filling it does: what a flushed memtable
//! gives back is kept for the next one.
//!
//! # Invariants
//! M1. Memory comes back when neither a view nor a cursor reads the memtable in it any more: the memtable owns it.
//! M2. No more bytes are kept than memtables of one family that wait for their flush may take: what one huge batch
//!     took goes back to the system.

use std::sync::{Arc, Weak};

use lsm_fs::Pages;
use lsm_memtable::{KeyShape, Memtable};

use crate::sync::Mutex;

/// See the module.
pub(crate) struct Arenas {
    kept_bytes_max: usize,
    kept: Mutex<Vec<Pages>>,
}

/// A memtable's memory.
struct Memory {
    /// There until the drop.
    pages: Option<Pages>,
    home: Weak<Arenas>,
}

impl Arenas {
    /// Keeps up to so many bytes.
    pub(crate) fn new(kept_bytes_max: usize) -> Arc<Arenas> {
        Arc::new(Arenas { kept_bytes_max, kept: Mutex::default() })
    }

    /// An empty memtable of this capacity, or what it takes to be empty, for keys most of which look like `shape`.
    pub(crate) fn memtable(self: &Arc<Self>, bytes: usize, shape: &KeyShape) -> Arc<Memtable> {
        let bytes = bytes.max(Memtable::required_bytes(std::iter::empty()));
        Arc::new(Memtable::expecting(self.take(bytes), shape))
    }

    fn take(self: &Arc<Self>, bytes: usize) -> Box<dyn AsMut<[u8]> + Send> {
        let kept = {
            let mut kept = self.kept.lock();
            let fitting = kept.iter().position(|pages| pages.bytes() == bytes);
            fitting.map(|index| kept.remove(index))
        };
        match kept.map_or_else(|| Pages::map(bytes), Ok) {
            Ok(pages) => Box::new(Memory { pages: Some(pages), home: Arc::downgrade(self) }),
            // The system may allow no more mappings; if it has no memory either, nothing is left to do.
            Err(_) => Box::new(vec![0; bytes]),
        }
    }
}

impl AsMut<[u8]> for Memory {
    fn as_mut(&mut self) -> &mut [u8] {
        self.pages.as_mut().expect("M1: they are there until the drop").as_mut()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let Some((arenas, pages)) = self.home.upgrade().zip(self.pages.take()) else { return };
        if pages.bytes() > arenas.kept_bytes_max {
            return;
        }
        let mut kept = arenas.kept.lock();
        kept.push(pages);
        // M2. The oldest go: sizes may have changed since.
        let mut surplus = Vec::new();
        while kept.iter().map(Pages::bytes).sum::<usize>() > arenas.kept_bytes_max {
            surplus.push(kept.remove(0));
        }
        // Giving memory back to the system takes a while.
        drop(kept);
        drop(surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(arenas: &Arenas) -> Vec<usize> {
        arenas.kept.lock().iter_mut().map(|pages| pages.as_mut().as_ptr().addr()).collect()
    }

    #[test]
    fn memory_is_used_again_once_nobody_reads_it() {
        // Covers M1.
        let arenas = Arenas::new(12 << 20);
        let memtable = arenas.memtable(5 << 20, &KeyShape::default());
        let cursor = memtable.cursor();
        drop(memtable);
        assert!(addresses(&arenas).is_empty());
        drop(cursor);
        let kept = addresses(&arenas);
        assert_eq!(kept.len(), 1);
        let other_size = arenas.memtable(6 << 20, &KeyShape::default());
        assert_eq!(addresses(&arenas), kept);
        let again = arenas.memtable(5 << 20, &KeyShape::default());
        assert!(addresses(&arenas).is_empty());
        drop((again, other_size));
        assert_eq!(addresses(&arenas)[0], kept[0]);
    }

    #[test]
    fn only_some_are_kept_and_none_outlives_the_store() {
        // Covers M2.
        let arenas = Arenas::new(15 << 20);
        let memtables: Vec<_> =
            (1..8).map(|mebibytes| arenas.memtable(mebibytes << 20, &KeyShape::default())).collect();
        let (last, large) =
            (arenas.memtable(8 << 20, &KeyShape::default()), arenas.memtable(16 << 20, &KeyShape::default()));
        let kept = || arenas.kept.lock().iter().map(|pages| pages.bytes() >> 20).collect::<Vec<usize>>();
        drop(memtables);
        assert_eq!(kept(), [6, 7]);
        drop(large);
        assert_eq!(kept(), [6, 7]);
        drop(arenas);
        drop(last);
    }
}
