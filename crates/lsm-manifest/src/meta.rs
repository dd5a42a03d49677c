//! What the manifest records about one table.
//!
//! Immutable once built and shared by every version that holds the table, so that a new version costs
//! one pointer per table. Never opens the file: what only the table itself knows ([`TableStats`]) is
//! filled in once, by whoever built or first opened it.
//!
//! # Invariants
//! M1. `smallest <= largest` as internal keys, and `smallest_seq <= largest_seq`.
//! M2. `largest` may be the exclusive end of a range tombstone (see [`InternalKey::exclusive_end`]): the
//!     table then holds nothing at or behind that user key. It begins before that one: every table spans a user key.
//! M3. The number is neither zero nor above [`TABLE_NUMBER_MAX`], and the table has at least one byte and
//!     no more than an `i64` counts.

use std::cmp::Ordering;
use std::sync::OnceLock;

use lsm_core::filename::FileNumber;
use lsm_core::key::{InternalKey, SeqNo};
use lsm_core::{Error, Result};

/// Largest number a table may have: RocksDB keeps two bits of it for a path.
pub const TABLE_NUMBER_MAX: u64 = (1 << 62) - 1;

/// One table as the manifest describes it.
#[derive(Clone, Debug)]
pub struct TableMeta {
    /// Names the file.
    pub number: FileNumber,
    /// Size of the file.
    pub bytes: u64,
    /// First key, over entries and range tombstones.
    pub smallest: InternalKey,
    /// Last key, over entries and range tombstones; may be exclusive (M2).
    pub largest: InternalKey,
    /// Oldest write inside.
    pub smallest_seq: SeqNo,
    /// Newest write inside.
    pub largest_seq: SeqNo,
    /// Age of the table among the level-0 tables: larger is newer, zero is unknown.
    pub epoch: u64,
    /// Unix seconds of the oldest flush that contributed, zero if unknown.
    pub oldest_ancestor_time: u64,
    /// Unix seconds of the file's creation, zero if unknown.
    pub file_creation_time: u64,
    /// RocksDB's id of the table's content, if recorded.
    pub unique_id: Option<[u64; 2]>,
    /// What tells the table from every other one that this store wrote, zero if unknown: RocksDB's tables have none.
    pub identity: u64,
    /// Bytes behind the data blocks (index, filter, properties, footer), zero if unknown.
    pub tail_bytes: u64,
    /// Estimate of the bytes that the table's range tombstones make obsolete in deeper levels.
    pub compensated_range_deletion_bytes: u64,
    /// Whether the writer asked for a compaction of this table soon.
    pub marked_for_compaction: bool,
    /// Ignorable RocksDB fields that this store does not interpret (file checksum, temperature, …), carried
    /// along as they are: tag and content.
    pub other_fields: Vec<(u32, Vec<u8>)>,
    /// Not in the manifest: set once, when the table is built or first opened.
    pub stats: OnceLock<TableStats>,
}

/// Counts from a table's properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    /// Entries of any kind, range tombstones not counted.
    pub entries: u64,
    /// Entries that are deletions.
    pub deletions: u64,
    /// Range tombstones.
    pub range_deletions: u64,
    /// Bytes of all internal keys before compression.
    pub raw_key_bytes: u64,
    /// Bytes of all values before compression.
    pub raw_value_bytes: u64,
}

impl TableMeta {
    /// A table with these bounds; everything that may be unknown is unknown.
    ///
    /// ```
    /// use lsm_core::filename::FileNumber;
    /// use lsm_core::key::{InternalKey, Kind, SeqNo};
    /// use lsm_manifest::TableMeta;
    ///
    /// let smallest = InternalKey::new(b"apple", SeqNo::new(3), Kind::Value);
    /// let largest = InternalKey::exclusive_end(b"cherry");
    /// let table = TableMeta::new(FileNumber(7), 4096, smallest, largest, (SeqNo::new(1), SeqNo::new(9)));
    /// assert!(table.covers(b"banana"));
    /// assert!(!table.covers(b"cherry"));
    /// ```
    pub fn new(
        number: FileNumber,
        bytes: u64,
        smallest: InternalKey,
        largest: InternalKey,
        (smallest_seq, largest_seq): (SeqNo, SeqNo),
    ) -> TableMeta {
        TableMeta {
            number,
            bytes,
            smallest,
            largest,
            smallest_seq,
            largest_seq,
            epoch: 0,
            oldest_ancestor_time: 0,
            file_creation_time: 0,
            unique_id: None,
            identity: 0,
            tail_bytes: 0,
            compensated_range_deletion_bytes: 0,
            marked_for_compaction: false,
            other_fields: Vec::new(),
            stats: OnceLock::new(),
        }
    }

    /// Whether the table may hold `user_key` or a range tombstone over it.
    pub fn covers(&self, user_key: &[u8]) -> bool {
        !self.starts_behind(user_key) && !self.ends_before(user_key)
    }

    /// Whether everything in the table lies before `user_key`.
    pub fn ends_before(&self, user_key: &[u8]) -> bool {
        match self.largest.user_key().cmp(user_key) {
            Ordering::Less => true,
            Ordering::Equal => self.largest.is_exclusive_end(),
            Ordering::Greater => false,
        }
    }

    /// Whether everything in the table lies behind `user_key`.
    pub fn starts_behind(&self, user_key: &[u8]) -> bool {
        self.smallest.user_key() > user_key
    }

    /// Whether the table may hold anything from `from` up to and including `to`; `None` is open.
    pub fn overlaps(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> bool {
        !from.is_some_and(|from| self.ends_before(from)) && !to.is_some_and(|to| self.starts_behind(to))
    }

    /// Refuses what cannot describe a table (M1, M2, M3).
    pub(crate) fn check(&self) -> Result<()> {
        let number = self.number;
        if number.0 == 0 || number.0 > TABLE_NUMBER_MAX {
            return Err(Error::corruption(format!("table number {} is outside 1..={TABLE_NUMBER_MAX}", number.0)));
        }
        if self.bytes == 0 || i64::try_from(self.bytes).is_err() {
            return Err(Error::corruption(format!("table {number}: a file cannot have {} bytes", self.bytes)));
        }
        if self.tail_bytes > self.bytes {
            let (tail, bytes) = (self.tail_bytes, self.bytes);
            return Err(Error::corruption(format!("table {number}: a tail of {tail} bytes in a file of {bytes}")));
        }
        if self.smallest > self.largest {
            return Err(Error::corruption(format!("table {number}: its smallest key is behind its largest")));
        }
        if self.largest.is_exclusive_end() && self.smallest.user_key() == self.largest.user_key() {
            return Err(Error::corruption(format!("table {number}: it ends before the key that it begins with")));
        }
        if self.smallest_seq > self.largest_seq {
            let (smallest, largest) = (self.smallest_seq, self.largest_seq);
            return Err(Error::corruption(format!("table {number}: sequences from {smallest} to {largest}")));
        }
        Ok(())
    }
}

/// Equal in everything that the manifest records; [`TableMeta::stats`] does not count.
impl PartialEq for TableMeta {
    fn eq(&self, other: &TableMeta) -> bool {
        let facts = |table: &TableMeta| {
            (
                (table.number, table.bytes, table.smallest_seq, table.largest_seq, table.epoch),
                (table.oldest_ancestor_time, table.file_creation_time, table.unique_id, table.tail_bytes),
                (table.compensated_range_deletion_bytes, table.marked_for_compaction, table.identity),
            )
        };
        facts(self) == facts(other)
            && (&self.smallest, &self.largest, &self.other_fields)
                == (&other.smallest, &other.largest, &other.other_fields)
    }
}

impl Eq for TableMeta {}

#[cfg(test)]
mod tests {
    use super::*;
    use lsm_core::Kind;

    fn table(smallest: &[u8], largest: InternalKey) -> TableMeta {
        let smallest = InternalKey::new(smallest, SeqNo::new(5), Kind::Value);
        TableMeta::new(FileNumber(1), 100, smallest, largest, (SeqNo::new(1), SeqNo::new(5)))
    }

    #[test]
    fn an_inclusive_end_is_covered_and_an_exclusive_one_is_not() {
        // Covers M2.
        let inclusive = table(b"b", InternalKey::new(b"d", SeqNo::new(1), Kind::Value));
        let exclusive = table(b"b", InternalKey::exclusive_end(b"d"));
        for (key, in_inclusive, in_exclusive) in
            [(b"a", false, false), (b"b", true, true), (b"c", true, true), (b"d", true, false), (b"e", false, false)]
        {
            assert_eq!(inclusive.covers(key), in_inclusive, "{key:?}");
            assert_eq!(exclusive.covers(key), in_exclusive, "{key:?}");
            assert_eq!(exclusive.overlaps(Some(key), Some(key)), in_exclusive, "{key:?}");
        }
        assert!(exclusive.overlaps(None, None));
        assert!(!exclusive.overlaps(Some(b"d"), None));
        assert!(!exclusive.overlaps(None, Some(b"a")));
    }

    #[test]
    fn impossible_tables_are_refused() {
        // Covers M1, M2, M3.
        let good = table(b"b", InternalKey::exclusive_end(b"d"));
        good.check().unwrap();
        type Spoil = fn(&mut TableMeta);
        let spoiled: [(Spoil, &str); 7] = [
            (|t| t.number = FileNumber(0), "table number 0"),
            (|t| t.number = FileNumber(1 << 62), "table number 4611686018427387904"),
            (|t| t.bytes = 0, "cannot have 0 bytes"),
            (|t| t.tail_bytes = 101, "a tail of 101 bytes"),
            (|t| t.largest = InternalKey::exclusive_end(b"a"), "is behind"),
            (|t| (t.smallest, t.largest) = (t.largest.clone(), t.largest.clone()), "ends before the key"),
            (|t| t.smallest_seq = SeqNo::new(6), "sequences from 6 to 5"),
        ];
        for (spoil, message) in spoiled {
            let mut table = good.clone();
            spoil(&mut table);
            let error = table.check().unwrap_err();
            assert!(error.is_corruption() && error.to_string().contains(message), "{error}");
        }
    }

    #[test]
    fn stats_do_not_make_tables_differ() {
        let (a, b) = (table(b"b", InternalKey::behind(b"d")), table(b"b", InternalKey::behind(b"d")));
        a.stats.set(TableStats { entries: 1, ..TableStats::default() }).unwrap();
        assert_eq!(a, b);
    }
}
