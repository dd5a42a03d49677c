//! Tables of one level, and the way to those that may hold a key.
//!
//! The bounds of a table lie three steps away: handle, description, key. In a store of a thousand tables a search among them
//! would wait for memory thirty times, which is more than all that follows in the table that it finds. So the bytes that tell
//! bounds apart lie side by side here, as they do for the blocks of a table.
//!
//! # Invariants
//! F1. Where there are words, the tables are sorted and do not overlap (R1 in `level.rs`), and S1 of [`lsm_core::words`] holds
//!     for their smallest and for their largest user keys.

use crate::tables::TableHandle;
use lsm_core::key::{common_prefix, leading_bytes};
use lsm_core::words::count_before;
use std::ops::Deref;
use std::sync::Arc;

pub(crate) struct Run {
    tables: Box<[Arc<TableHandle>]>,
    shared: Box<[u8]>,
    smallest: Box<[u64]>,
    largest: Box<[u64]>,
}

impl Run {
    /// The tables of a level below level 0.
    pub(crate) fn sorted(tables: Vec<Arc<TableHandle>>) -> Run {
        let (Some(first), Some(last)) = (tables.first(), tables.last()) else { return Run::unsorted(tables) };
        // What lies between two keys begins with what both begin with.
        let shared = &first.first_key()[..common_prefix(first.first_key(), last.meta.largest.user_key())];
        let word = |key: &[u8]| leading_bytes(&key[shared.len()..]);
        let smallest = tables.iter().map(|table| word(table.first_key())).collect();
        let largest = tables.iter().map(|table| word(table.meta.largest.user_key())).collect();
        Run { shared: shared.into(), smallest, largest, tables: tables.into() }
    }

    /// Tables of level 0, newest first, or one of them.
    pub(crate) fn unsorted(tables: Vec<Arc<TableHandle>>) -> Run {
        Run { tables: tables.into(), shared: Box::default(), smallest: Box::default(), largest: Box::default() }
    }

    /// Of sorted tables, or of one alone, the number of the first that does not end before `user_key`.
    pub(crate) fn first_from(&self, user_key: &[u8]) -> usize {
        let ends_before = |table: &TableHandle| table.meta.ends_before(user_key);
        match self.largest.is_empty() {
            true => self.tables.partition_point(|table| ends_before(table)),
            false => count_before(&self.shared, &self.largest, user_key, |number| ends_before(&self.tables[number])),
        }
    }

    /// Whether `user_key` lies within table `number`.
    pub(crate) fn covers(&self, number: usize, user_key: &[u8]) -> bool {
        self.is_inside(number, user_key).unwrap_or(false) || self.tables[number].meta.covers(user_key)
    }

    /// Whether the words say that already.
    fn is_inside(&self, number: usize, user_key: &[u8]) -> Option<bool> {
        let (smallest, largest) = (self.smallest.get(number)?, self.largest.get(number)?);
        let word = leading_bytes(user_key.strip_prefix(&*self.shared)?);
        Some(*smallest < word && word < *largest)
    }
}

impl Deref for Run {
    type Target = [Arc<TableHandle>];

    #[inline]
    fn deref(&self) -> &[Arc<TableHandle>] {
        &self.tables
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::Tables;
    use lsm_core::filename::FileNumber;
    use lsm_core::key::InternalKey;
    use lsm_core::{Kind, SeqNo};
    use lsm_fs::MemFs;
    use lsm_manifest::TableMeta;
    use quickcheck::quickcheck;
    use std::path::Path;

    /// Tables between each two of these keys, of which neighbours share one where `joins` says so; every third ends before
    /// its last key.
    fn tables(keys: &[Vec<u8>], joins: bool) -> Vec<Arc<TableHandle>> {
        let tables = Tables::new(Arc::new(MemFs::new()), Path::new("/store"), 1 << 20, false);
        let bounds = keys.windows(2).step_by(if joins { 1 } else { 2 });
        let handle = |(number, bounds): (usize, &[Vec<u8>])| {
            let smallest = InternalKey::new(&bounds[0], SeqNo::new(5), Kind::Value);
            let largest = match number % 3 {
                0 => InternalKey::exclusive_end(&bounds[1]),
                _ => InternalKey::new(&bounds[1], SeqNo::new(9), Kind::Value),
            };
            let number = FileNumber(number as u64);
            tables.handle(&Arc::new(TableMeta::new(number, 1000, smallest, largest, (SeqNo::new(5), SeqNo::new(9)))))
        };
        bounds.enumerate().map(handle).collect()
    }

    quickcheck! {
        // F1.
        fn words_lead_to_the_tables_that_their_bounds_do(
            keys: Vec<(u8, Vec<u8>)>, others: Vec<(u8, Vec<u8>)>, common: u8, joins: bool
        ) -> bool {
            // Keys of which many differ behind eight bytes only, and others that do not begin as they do.
            let key = |(long, rest): &(u8, Vec<u8>)| {
                let rest: Vec<u8> = rest.iter().take(4).map(|byte| byte % 3).collect();
                [&vec![1; usize::from(common % 12)], &vec![2; usize::from(long % 2 * 9)][..], &rest].concat()
            };
            let mut sorted: Vec<_> = keys.iter().map(key).collect();
            sorted.sort_unstable();
            sorted.dedup();
            let handles = tables(&sorted, joins);
            let runs = [Run::sorted(handles.clone()), Run::unsorted(handles)];
            sorted.iter().cloned().chain(others.iter().flat_map(|one| [key(one), one.1.clone()])).all(|user_key| {
                runs.iter().all(|run| {
                    let first = run.partition_point(|handle| handle.meta.ends_before(&user_key));
                    let covers = |number: usize| run.covers(number, &user_key) == run[number].meta.covers(&user_key);
                    run.first_from(&user_key) == first && (0..run.len()).all(covers)
                })
            })
        }
    }
}
