//! The read calls, the same on a store, a column family and a snapshot.
//!
//! A [`Reader`] is one family at one moment, or at the present; every read call of the facade makes one.

use crate::family::Family;
use crate::scan::Source;
use crate::store::Store;
use crate::toll::{LOOK, Round};
use crate::view::View;
use crate::{Result, Slice, get};
use lsm_core::SeqNo;
use lsm_core::dead::DeadStretches;
use std::sync::Arc;

/// Where a read call reads.
pub(crate) struct Reader<'a> {
    pub(crate) store: &'a Arc<Store>,
    pub(crate) family: &'a Arc<Family>,
    /// A snapshot's sequence number, or `None` for the present.
    pub(crate) seq: Option<SeqNo>,
}

impl Reader<'_> {
    pub(crate) fn get(&self, user_key: &[u8]) -> Result<Option<Slice>> {
        self.store.health.check_open()?;
        // W1: the view first, the sequence number second.
        let view = self.family.view.load();
        let seq = self.seq.unwrap_or_else(|| self.store.publisher.visible());
        self.pay(&view, 1);
        Ok(get::get(&view, user_key, seq, self.family.merge_operator())?)
    }

    pub(crate) fn multi_get<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Slice>>> {
        self.store.health.check_open()?;
        let view = self.family.view.load();
        let seq = self.seq.unwrap_or_else(|| self.store.publisher.visible());
        self.pay(&view, keys.len());
        // In key order, so that neighbours find each other's blocks in the cache.
        let mut order: Vec<(&[u8], usize)> = keys.iter().map(AsRef::as_ref).zip(0..).collect();
        order.sort_unstable();
        let sorted: Vec<&[u8]> = order.iter().map(|&(key, _)| key).collect();
        let found = get::multi_get(&view, &sorted, seq, self.family.merge_operator())?;
        let mut values = vec![None; keys.len()];
        order.into_iter().zip(found).for_each(|((_, index), value)| values[index] = value);
        Ok(values)
    }

    pub(crate) fn source(&self) -> Result<Source> {
        self.store.health.check_open()?;
        self.ask_for_compaction();
        let round = Round::of(&self.family.toll);
        let view = self.family.view.load_full();
        let seq = self.seq.unwrap_or_else(|| self.store.publisher.visible());
        // As long as the memtable was not frozen before the number was read, the view holds all writes up to it.
        let is_whole = self.seq.is_some() || Arc::ptr_eq(&view.active, &self.family.view.load().active);
        let dead = is_whole.then(|| Arc::clone(&self.family.dead) as Arc<dyn DeadStretches>);
        Ok(Source { view, seq, merge_operator: self.family.shared_merge_operator(), dead, round })
    }

    /// Pays for the tables of level 0 that `keys` gets look at.
    #[inline]
    fn pay(&self, view: &View, keys: usize) {
        let tables = view.levels[0].len();
        if tables > 0 {
            self.family.toll.pay((keys * tables) as u64 * LOOK);
            self.ask_for_compaction();
        }
    }

    /// Lets the background look for work, if reads have paid for a compaction and nobody has asked yet. Not on this thread:
    /// readers do not wait for the lock of the background's state.
    #[inline]
    fn ask_for_compaction(&self) {
        if self.family.toll.asks() {
            // Nobody waits for this task, and one that is never run shall not keep the store.
            let store = Arc::downgrade(self.store);
            let task = move || store.upgrade().into_iter().for_each(|store| store.schedule());
            self.store.background.executor.execute(Box::new(task));
        }
    }
}

/// Gives a type with a method `reader(&self) -> Reader` the read calls.
macro_rules! read_calls {
    ($type:ty) => {
        impl $type {
            /// The value of `key`.
            ///
            /// # Errors
            /// Damage or I/O errors met on the way, [`crate::ErrorKind::InvalidArgument`] for merge operands in a family without
            /// a merge operator, or a closed store; likewise for all read calls.
            pub fn get(&self, key: impl AsRef<[u8]>) -> crate::Result<Option<crate::Slice>> {
                self.reader().get(key.as_ref())
            }

            /// The values of `keys`, all at the same moment, in the order of `keys`.
            ///
            /// # Errors
            /// As for `get`.
            pub fn multi_get<K: AsRef<[u8]>>(&self, keys: &[K]) -> crate::Result<Vec<Option<crate::Slice>>> {
                self.reader().multi_get(keys)
            }

            /// Whether `key` has a value.
            ///
            /// # Errors
            /// As for `get`.
            pub fn contains_key(&self, key: impl AsRef<[u8]>) -> crate::Result<bool> {
                Ok(self.get(key)?.is_some())
            }

            /// All items in key order. What goes wrong is an item, too, the last one: count only after a look at each.
            pub fn iter(&self) -> crate::Iter {
                self.range(..)
            }

            /// The items of `range` in key order; none if it ends before it starts.
            pub fn range(&self, range: impl crate::KeyRange) -> crate::Iter {
                let (from, to) = (crate::range::first_key(&range), crate::range::end_key(&range));
                crate::Iter::new(self.reader().source(), from, to)
            }

            /// The items whose keys start with `prefix`, in key order.
            pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> crate::Iter {
                let prefix = prefix.as_ref();
                let to = lsm_core::key::prefix_successor(prefix);
                crate::Iter::new(self.reader().source(), Some(prefix.to_vec()), to)
            }

            /// A cursor over all items, not valid until its first move.
            pub fn cursor(&self) -> crate::Cursor {
                crate::Cursor::new(&self.reader())
            }
        }
    };
}

pub(crate) use read_calls;
