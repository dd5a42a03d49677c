//! What the writing process writes: each batch follows from the seed, its thread and its number, so that the
//! parent knows what a store must hold from the numbers of the batches alone.
//!
//! # Invariants
//! S1. A batch makes the same changes in both families; only the first byte of a value tells them apart.
//! S2. Each batch puts a *marker*, a key that no other batch touches. Batches of different threads touch
//!     different keys, so that the order among threads does not matter.
//! S3. A marker's value says what was acknowledged to the other threads before the batch began: all of that
//!     comes before it in the order of commits.

use std::collections::BTreeMap;

use lsm_engine::{Compression, Db, Options, WriteBatch};
use lsm_testkit::Choices;

use crate::history::setting::{ALL, Setting};

/// The second column family.
pub(crate) const OTHER: &str = "other";

/// What a value begins with, by family.
pub(crate) const FAMILY_BYTES: [u8; 2] = *b"DO";

/// Keys of a thread, beside the markers.
const SLOTS: usize = 3000;

/// Slots that a range deletion covers at most.
const RANGE_SLOTS_MAX: usize = 20;

/// The newest table format that RocksDB's tools of today's distributions read.
pub(crate) const FORMAT_OF_LDB: u32 = 5;

/// How the writing process works in one directory.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) setting: Setting,
    /// Whether each thread submits its batches instead of waiting for each.
    pub(crate) submits: Vec<bool>,
    /// One in so many batches asks for a sync; none for 0.
    pub(crate) sync_one_in: usize,
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Plan {
        let mut choices = Choices::from_seed(seed ^ 0x9fb2_1c65_1e98_df25);
        let mut setting = ALL[(seed % ALL.len() as u64) as usize];
        setting.write_buffer = *choices.pick(&[16 << 10, 64 << 10, 256 << 10]);
        if choices.one_in(2) {
            setting.format_version = FORMAT_OF_LDB;
        }
        let threads = choices.within(1..=4);
        let submits = (0..threads).map(|_| choices.one_in(3)).collect();
        let sync_one_in = *choices.pick(&[1, 4, 30, 300, 0]);
        Plan { seed, setting, submits, sync_one_in }
    }

    pub(crate) fn threads(&self) -> usize {
        self.submits.len()
    }

    /// The store's options, with threads and clock of its own.
    pub(crate) fn options(&self) -> Options {
        let at_once = if self.seed.is_multiple_of(2) { 1 } else { 4 };
        self.setting.base().bottommost_compression(Compression::Lz4).concurrent_writers(at_once)
    }

    /// Whether a batch asks for a sync.
    pub(crate) fn syncs(&self, thread: usize, number: u64) -> bool {
        self.sync_one_in > 0 && of_batch(self.seed, thread, number).one_in(self.sync_one_in)
    }
}

/// One change of a batch, in either family.
pub(crate) enum Change {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    DeleteRange(Vec<u8>, Vec<u8>),
}

fn of_batch(seed: u64, thread: usize, number: u64) -> Choices {
    Choices::from_seed((seed << 34) ^ ((thread as u64) << 32) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Where a batch's marker stands.
pub(crate) fn marker(thread: usize, number: u64) -> Vec<u8> {
    [&[b'm', thread as u8], number.to_be_bytes().as_slice()].concat()
}

/// The thread and number of a marker's key.
pub(crate) fn of_marker(key: &[u8]) -> Option<(usize, u64)> {
    let [b'm', thread, number @ ..] = key else { return None };
    Some((usize::from(*thread), u64::from_be_bytes(number.try_into().ok()?)))
}

fn slot(thread: usize, slot: usize) -> Vec<u8> {
    [&[b'd', thread as u8], (slot as u16).to_be_bytes().as_slice()].concat()
}

/// What a batch changes beside its marker.
pub(crate) fn changes(plan: &Plan, thread: usize, number: u64) -> Vec<Change> {
    let mut choices = of_batch(plan.seed, thread, number);
    // The first choice is that of the sync.
    let _ = choices.number();
    let count = choices.within(1..=4);
    let mut change = || {
        let at = choices.below(SLOTS);
        match choices.weighted(&[80, 16, 4, 1]) {
            0 => Change::Put(slot(thread, at), choices.bytes(0..=500)),
            1 => Change::Delete(slot(thread, at)),
            2 => {
                let end = at + choices.within(1..=RANGE_SLOTS_MAX);
                Change::DeleteRange(slot(thread, at), slot(thread, end))
            }
            _ => Change::Put(slot(thread, at), choices.bytes(4_000..=40_000)),
        }
    };
    (0..count).map(|_| change()).collect()
}

/// The batch itself. `seen` has the last acknowledged number of each thread (S3).
pub(crate) fn batch(plan: &Plan, db: &Db, thread: usize, number: u64, seen: &[u64]) -> lsm_engine::Result<WriteBatch> {
    let other = db.column_family(OTHER)?;
    let seen: Vec<u8> = seen.iter().flat_map(|number| number.to_le_bytes()).collect();
    let in_family = |family: usize, body: &[u8]| [&[FAMILY_BYTES[family]], body].concat();
    let mut batch = WriteBatch::new();
    batch.put(marker(thread, number), in_family(0, &seen));
    batch.put_cf(&other, marker(thread, number), in_family(1, &seen));
    for change in changes(plan, thread, number) {
        match change {
            Change::Put(key, value) => {
                batch.put(&key, in_family(0, &value));
                batch.put_cf(&other, &key, in_family(1, &value));
            }
            Change::Delete(key) => {
                batch.delete(&key);
                batch.delete_cf(&other, &key);
            }
            Change::DeleteRange(from, to) => {
                batch.delete_range(from.as_slice()..to.as_slice());
                batch.delete_range_cf(&other, from.as_slice()..to.as_slice());
            }
        }
    }
    Ok(batch)
}

/// Makes a batch's changes in `content`, which holds values without the family's byte.
pub(crate) fn apply(plan: &Plan, thread: usize, number: u64, content: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    for change in changes(plan, thread, number) {
        match change {
            Change::Put(key, value) => drop(content.insert(key, value)),
            Change::Delete(key) => drop(content.remove(&key)),
            Change::DeleteRange(from, to) => {
                let gone: Vec<_> = content.range(from..to).map(|(key, _)| key.clone()).collect();
                gone.iter().for_each(|key| drop(content.remove(key)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_holds_what_the_numbers_of_its_batches_say() {
        let plan = Plan::of(3);
        let fs = lsm_fs::MemFs::new();
        let db = plan.options().fs(std::sync::Arc::new(fs)).open("/db").unwrap();
        let mut content = BTreeMap::new();
        for number in 1..=300 {
            db.write(batch(&plan, &db, 0, number, &[number - 1, 0]).unwrap()).unwrap();
            apply(&plan, 0, number, &mut content);
        }
        let found: BTreeMap<Vec<u8>, Vec<u8>> =
            db.range("d".."e").map(Result::unwrap).map(|(key, value)| (key.to_vec(), value[1..].to_vec())).collect();
        assert!(found == content && !content.is_empty());
        assert_eq!(of_marker(&marker(2, 77)), Some((2, 77)));
    }
}
