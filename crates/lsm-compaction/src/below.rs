//! What lies deeper than a result: whether a key can still have an older version there.
//!
//! Tombstones go and sequence numbers become zero only where nothing is below. Points and range
//! tombstones ask the same question of the same tables, which R6 of `retain.rs` relies on.

use lsm_core::key::successor;
use lsm_manifest::TableMeta;
use std::cmp::Ordering;
use std::sync::Arc;

/// The tables deeper than a result, as far as they are known.
#[derive(Clone, Default, Debug)]
pub struct Below {
    /// Sorted levels; `None` if anything may lie below.
    levels: Option<Vec<Vec<Arc<TableMeta>>>>,
}

impl Below {
    /// Anything may lie below: for flushes and merges within level 0.
    pub fn unknown() -> Below {
        Below { levels: None }
    }

    /// These tables and no others lie below, each level sorted by key.
    pub fn tables(levels: Vec<Vec<Arc<TableMeta>>>) -> Below {
        Below { levels: Some(levels.into_iter().filter(|level| !level.is_empty()).collect()) }
    }

    /// Answers for keys in ascending order.
    pub(crate) fn cursor(&self) -> BelowCursor<'_> {
        let levels = self.levels.as_deref();
        BelowCursor { levels, positions: vec![0; levels.map_or(0, <[_]>::len)] }
    }

    /// The parts of `[start, end)` that tables below cover, in order and apart from each other.
    pub(crate) fn parts(&self, start: &[u8], end: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let Some(levels) = &self.levels else { return vec![(start.to_vec(), end.to_vec())] };
        let mut parts: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for level in levels {
            let first = level.partition_point(|table| table.ends_before(start));
            for table in level[first..].iter().take_while(|table| table.smallest.user_key() < end) {
                let from = table.smallest.user_key().max(start).to_vec();
                let to = end_behind(table).min(end.to_vec());
                parts.push((from, to));
            }
        }
        parts.sort_unstable();
        parts.dedup_by(|next, last| {
            let joins = next.0 <= last.1;
            if joins && next.1 > last.1 {
                std::mem::swap(&mut last.1, &mut next.1);
            }
            joins
        });
        parts
    }

    /// Bytes of the tables below that lie wholly in `[start, end)`: what a tombstone over it frees.
    pub(crate) fn bytes_within(&self, start: &[u8], end: &[u8]) -> u64 {
        let tables = self.levels.iter().flatten().flat_map(|level| {
            let first = level.partition_point(|table| table.smallest.user_key() < start);
            level[first..].iter().take_while(|table| table.largest.user_key().cmp(end) == Ordering::Less)
        });
        tables.map(|table| table.bytes).sum()
    }
}

/// The first user key behind `table`.
pub(crate) fn end_behind(table: &TableMeta) -> Vec<u8> {
    let largest = &table.largest;
    if largest.is_exclusive_end() { largest.user_key().to_vec() } else { successor(largest.user_key()) }
}

/// Asks [`Below`] for one key after the other.
pub(crate) struct BelowCursor<'a> {
    levels: Option<&'a [Vec<Arc<TableMeta>>]>,
    /// For each level, its first table that does not end before the last key asked for.
    positions: Vec<usize>,
}

impl BelowCursor<'_> {
    /// Whether an older version of `user_key` may lie below; keys are asked for in ascending order.
    pub(crate) fn may_hold(&mut self, user_key: &[u8]) -> bool {
        let Some(levels) = self.levels else { return true };
        levels.iter().zip(&mut self.positions).any(|(level, position)| {
            while level.get(*position).is_some_and(|table| table.ends_before(user_key)) {
                *position += 1;
            }
            level.get(*position).is_some_and(|table| !table.starts_behind(user_key))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{open_table, table};
    use quickcheck::quickcheck;

    fn two_levels() -> Below {
        let upper = vec![table(1, "b", "d", 10), open_table(2, "f", "h", 20), table(3, "h", "i", 30)];
        let lower = vec![table(4, "c", "e", 40), table(5, "p", "q", 50)];
        Below::tables([upper, Vec::new(), lower].map(|level| level.into_iter().map(Arc::new).collect()).to_vec())
    }

    #[test]
    fn a_key_may_be_below_where_a_table_covers_it() {
        let below = two_levels();
        let mut cursor = below.cursor();
        let covered: String = ('a'..='z').filter(|key| cursor.may_hold(key.to_string().as_bytes())).collect();
        assert_eq!(covered, "bcdefghipq");
        assert!(Below::unknown().cursor().may_hold(b"a") && !Below::tables(Vec::new()).cursor().may_hold(b"a"));
    }

    #[test]
    fn parts_are_what_tables_cover_and_a_tombstone_frees_whole_tables() {
        let below = two_levels();
        let parts = |start: &str, end: &str| -> Vec<(String, String)> {
            let text = |key: Vec<u8>| String::from_utf8(key).unwrap();
            below.parts(start.as_bytes(), end.as_bytes()).into_iter().map(|(a, b)| (text(a), text(b))).collect()
        };
        let expected = [("b", "e\0"), ("f", "i\0"), ("p", "q\0")].map(|(a, b)| (a.to_string(), b.to_string()));
        assert_eq!(parts("a", "z"), expected);
        assert_eq!(parts("d", "ee"), [("d".to_string(), "e\0".to_string())]);
        assert_eq!(parts("j", "p"), []);
        assert_eq!(below.bytes_within(b"a", b"z"), 150);
        assert_eq!(below.bytes_within(b"c", b"g"), 40);
        assert_eq!(Below::unknown().parts(b"a", b"b"), [(b"a".to_vec(), b"b".to_vec())]);
    }

    quickcheck! {
        fn points_and_parts_agree(tables: Vec<(u8, u8, bool)>, start: u8, end: u8) -> bool {
            // R6 of `retain.rs` needs this: a key is covered by a part iff it may be below.
            let levels = tables.chunks(3).map(|level| {
                let mut bounds: Vec<(u8, u8, bool)> = level.to_vec();
                bounds.iter_mut().for_each(|table| *table = (table.0.min(table.1) / 2, table.0.max(table.1) / 2 + 1, table.2));
                bounds.sort();
                bounds.dedup_by(|next, last| next.0 <= last.1);
                let text = |key: u8| format!("{key:03}");
                bounds.into_iter().map(|(first, last, open)| Arc::new(match open {
                    true => open_table(1, &text(first), &text(last), 1),
                    false => table(1, &text(first), &text(last), 1),
                })).collect()
            });
            let below = Below::tables(levels.collect());
            let text = |key: u8| format!("{key:03}").into_bytes();
            let parts = below.parts(&text(start), &text(end));
            let mut cursor = below.cursor();
            parts.is_sorted_by(|a, b| a.1 < b.0) && (0..=255).all(|key| {
                let in_part = parts.iter().any(|(from, to)| *from <= text(key) && text(key) < *to);
                let below = cursor.may_hold(&text(key));
                in_part == (below && (start..end).contains(&key))
            })
        }
    }
}
