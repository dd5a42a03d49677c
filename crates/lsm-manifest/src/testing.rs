//! Short ways to write tables and edits down in tests.

use std::sync::Arc;

use lsm_core::filename::FileNumber;
use lsm_core::key::{InternalKey, SeqNo};
use lsm_core::{ColumnFamilyId, Kind};
use quickcheck::{Arbitrary, Gen};

use crate::edit::{COMPARATOR, FamilyChange, VersionEdit, WalAddition};
use crate::meta::{TABLE_NUMBER_MAX, TableMeta};
use crate::version::LEVELS;

/// A table over a range such as `"a-m"`, or `"a-m)"` with an exclusive end, all written at `seq`.
pub(crate) fn table(number: u64, range: &str, seq: u64) -> TableMeta {
    let (from, to) = range.split_once('-').expect("a range has a dash");
    let seq = SeqNo::new(seq);
    let smallest = InternalKey::new(from.as_bytes(), seq, Kind::Value);
    let largest = match to.strip_suffix(')') {
        Some(to) => InternalKey::exclusive_end(to.as_bytes()),
        None => InternalKey::new(to.as_bytes(), seq, Kind::Value),
    };
    TableMeta::new(FileNumber(number), 1000 + number, smallest, largest, (seq, seq))
}

/// An edit of the default family that adds `tables`.
pub(crate) fn added(tables: impl IntoIterator<Item = (usize, TableMeta)>) -> VersionEdit {
    let added = tables.into_iter().map(|(level, table)| (level, Arc::new(table))).collect();
    VersionEdit { added, ..VersionEdit::default() }
}

/// An edit of the default family that deletes the tables with these levels and numbers.
pub(crate) fn deleted(tables: impl IntoIterator<Item = (usize, u64)>) -> VersionEdit {
    let deleted = tables.into_iter().map(|(level, number)| (level, FileNumber(number))).collect();
    VersionEdit { deleted, ..VersionEdit::default() }
}

impl Arbitrary for VersionEdit {
    fn arbitrary(g: &mut Gen) -> VersionEdit {
        VersionEdit {
            family: ColumnFamilyId(u32::arbitrary(g)),
            comparator: bool::arbitrary(g).then(|| COMPARATOR.to_owned()),
            log_number: Option::<u64>::arbitrary(g).map(FileNumber),
            prev_log: Option::<u64>::arbitrary(g).map(FileNumber),
            next_file: Option::arbitrary(g),
            last_seq: bool::arbitrary(g).then(|| arbitrary_seq(g)),
            max_family: Option::arbitrary(g),
            min_log_to_keep: Option::<u64>::arbitrary(g).map(FileNumber),
            db_id: Option::arbitrary(g),
            family_change: Option::<String>::arbitrary(g)
                .map(|name| if bool::arbitrary(g) { FamilyChange::Add(name) } else { FamilyChange::Drop }),
            deleted: Vec::<u64>::arbitrary(g)
                .into_iter()
                .map(|number| (arbitrary_level(g), FileNumber(number)))
                .collect(),
            added: (0..u8::arbitrary(g) % 4).map(|_| (arbitrary_level(g), Arc::new(arbitrary_table(g)))).collect(),
            wal_additions: Vec::<(u64, Option<u64>)>::arbitrary(g)
                .into_iter()
                .map(|(number, synced_bytes)| WalAddition { number: FileNumber(number), synced_bytes })
                .collect(),
            wals_deleted_below: Option::<u64>::arbitrary(g).map(FileNumber),
            group_remaining: Option::arbitrary(g),
        }
    }
}

fn arbitrary_level(g: &mut Gen) -> usize {
    usize::arbitrary(g) % LEVELS
}

fn arbitrary_seq(g: &mut Gen) -> SeqNo {
    SeqNo::new(u64::arbitrary(g) & SeqNo::MAX.get())
}

fn arbitrary_key(g: &mut Gen) -> InternalKey {
    let kinds = [Kind::Deletion, Kind::Value, Kind::Merge, Kind::SingleDeletion, Kind::RangeDeletion];
    InternalKey::new(&Vec::arbitrary(g), arbitrary_seq(g), *g.choose(&kinds).expect("there are kinds"))
}

/// A table with possible facts (M1, M3).
fn arbitrary_table(g: &mut Gen) -> TableMeta {
    let mut keys = [arbitrary_key(g), arbitrary_key(g)];
    keys.sort();
    let [smallest, largest] = keys;
    let mut seqs = [arbitrary_seq(g), arbitrary_seq(g)];
    seqs.sort();
    let number = FileNumber(u64::arbitrary(g) % TABLE_NUMBER_MAX + 1);
    let bytes = u64::arbitrary(g) % i64::MAX as u64 + 1;
    TableMeta {
        epoch: u64::arbitrary(g),
        oldest_ancestor_time: u64::arbitrary(g),
        file_creation_time: u64::arbitrary(g),
        identity: if bool::arbitrary(g) { u64::arbitrary(g) } else { 0 },
        unique_id: Option::<(u64, u64)>::arbitrary(g).filter(|id| *id != (0, 0)).map(|(first, second)| [first, second]),
        tail_bytes: u64::arbitrary(g) % bytes,
        compensated_range_deletion_bytes: u64::arbitrary(g),
        marked_for_compaction: bool::arbitrary(g),
        other_fields: Vec::<(u8, Vec<u8>)>::arbitrary(g)
            .into_iter()
            .map(|(tag, content)| (u32::from(tag % 32 + 16), content))
            .collect(),
        ..TableMeta::new(number, bytes, smallest, largest, (seqs[0], seqs[1]))
    }
}
