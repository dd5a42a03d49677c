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
    let (mut part, mut rest) = (0, total);
    for anchor in anchors {
        part += anchor.bytes;
        rest -= anchor.bytes;
        if rest == 0 || boundaries.len() + 1 == parts {
            break;
        }
        if part >= share && boundaries.last() != Some(&anchor.user_key) {
            boundaries.push(anchor.user_key);
            part = 0;
        }
    }
    boundaries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(anchors: &[(&str, u64)], parts: usize, bytes_min: u64, expected: &[&str]) {
        let anchors = anchors.iter().map(|&(key, bytes)| Anchor { user_key: key.into(), bytes }).collect();
        let expected: Vec<Vec<u8>> = expected.iter().map(|&key| key.into()).collect();
        assert_eq!(boundaries(anchors, parts, bytes_min), expected);
    }

    #[test]
    fn boundaries_stand_where_a_share_is_complete() {
        let two_tables = [("b", 10), ("d", 10), ("f", 10), ("a", 10), ("c", 10), ("e", 10)];
        check(&two_tables, 1, 0, &[]);
        check(&two_tables, 2, 0, &["c"]);
        check(&two_tables, 3, 0, &["b", "d"]);
        check(&two_tables, 100, 0, &["a", "b", "c", "d", "e"]);
        // Parts of less than the minimum are not worth a thread.
        check(&two_tables, 100, 25, &["c"]);
        check(&two_tables, 100, 60, &[]);
    }

    #[test]
    fn one_key_with_many_bytes_is_one_boundary() {
        check(&[("a", 1), ("k", 50), ("k", 50), ("z", 1)], 4, 0, &["k"]);
        check(&[], 4, 0, &[]);
    }
}
