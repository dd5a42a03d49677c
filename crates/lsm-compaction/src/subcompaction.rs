//! Splits a job's key range so that several threads can work on it.
//!
//! The boundaries come from the inputs' indexes: each table names keys at about equal distances in
//! bytes (*anchors*). Sorted together and summed up they show where a share of the bytes is complete.

use lsm_sstable::Anchor;

/// Keys that a table is asked for.
pub(crate) const ANCHORS_PER_TABLE: usize = 128;

/// User keys that cut `anchors` into at most `parts` ranges of at least about `bytes_min` each; ascending.
pub(crate) fn boundaries(mut anchors: Vec<Anchor>, parts: usize, bytes_min: u64) -> Vec<Vec<u8>> {
    if parts < 2 {
        return Vec::new();
    }
    let total: u64 = anchors.iter().map(|anchor| anchor.bytes).sum();
    let share = (total / parts as u64).max(bytes_min).max(1);
    anchors.sort_by(|a, b| a.user_key.cmp(&b.user_key));
    let mut boundaries: Vec<Vec<u8>> = Vec::new();
    let mut sum = 0;
    let mut next = share;
    for anchor in anchors {
        sum += anchor.bytes;
        if sum > next && boundaries.len() + 1 < parts && boundaries.last() != Some(&anchor.user_key) {
            next += share;
            boundaries.push(anchor.user_key);
        }
    }
    boundaries
}
