//! What a table must agree with: a sorted list of entries.

use std::sync::Arc;

use lsm_core::key::InternalKey;
use lsm_core::range_tombstone::RangeTombstone;
use lsm_core::{Cursor, Kind, SeqNo};
use lsm_sstable::{BuilderOptions, Compression, Entry, Table, TableBuilder, TableOptions, TableSummary};
use quickcheck::{Arbitrary, Gen};

/// Entries of a table, strictly ascending.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries(pub(crate) Vec<(InternalKey, Vec<u8>)>);

impl Arbitrary for Entries {
    /// Few distinct user keys with many versions, keys with common prefixes, values of many sizes.
    fn arbitrary(g: &mut Gen) -> Entries {
        let prefix = *g.choose(&[&b""[..], b"user", b"a rather long prefix of a key/"]).unwrap();
        let narrow = bool::arbitrary(g);
        let mut entries: Vec<(InternalKey, Vec<u8>)> = Vec::<(Vec<u8>, u8, u8, u16)>::arbitrary(g)
            .into_iter()
            .map(|(word, seq, _, value_bytes)| {
                let word: Vec<u8> = match narrow {
                    true => word.into_iter().take(3).map(|byte| byte % 3).collect(),
                    false => word,
                };
                let kind = [Kind::Value, Kind::Value, Kind::Deletion, Kind::Merge, Kind::SingleDeletion];
                let key = InternalKey::new(
                    &[prefix, &word].concat(),
                    SeqNo::new(u64::from(seq % 16)),
                    kind[usize::from(value_bytes) % kind.len()],
                );
                (key, vec![seq; usize::from(value_bytes % 300)])
            })
            .collect();
        entries.sort();
        // Two entries of one table never have the same key and sequence number.
        entries.dedup_by(|a, b| a.0.user_key() == b.0.user_key() && a.0.seq() == b.0.seq());
        Entries(entries)
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Entries>> {
        Box::new(self.0.shrink_by_halves().map(Entries))
    }
}

trait ShrinkByHalves {
    fn shrink_by_halves(&self) -> std::vec::IntoIter<Vec<(InternalKey, Vec<u8>)>>;
}

impl ShrinkByHalves for Vec<(InternalKey, Vec<u8>)> {
    fn shrink_by_halves(&self) -> std::vec::IntoIter<Vec<(InternalKey, Vec<u8>)>> {
        let mut smaller = Vec::new();
        let mut step = self.len().div_ceil(2);
        while step > 0 && !self.is_empty() {
            for start in (0..self.len()).step_by(step) {
                let end = (start + step).min(self.len());
                smaller.push([&self[..start], &self[end..]].concat());
            }
            if step == 1 {
                break;
            }
            step = step.div_ceil(2);
        }
        smaller.into_iter()
    }
}

/// Options of many shapes.
#[derive(Clone, Debug)]
pub(crate) struct AnyOptions(pub(crate) BuilderOptions);

impl Arbitrary for AnyOptions {
    fn arbitrary(g: &mut Gen) -> AnyOptions {
        AnyOptions(BuilderOptions {
            format_version: *g.choose(&[5, 6]).unwrap(),
            block_bytes: *g.choose(&[1, 100, 512, 4096]).unwrap(),
            restart_interval: *g.choose(&[1, 2, 16]).unwrap(),
            index_restart_interval: *g.choose(&[1, 4]).unwrap(),
            compression: *g.choose(&[Compression::None, Compression::Lz4, Compression::Zstd { level: 1 }]).unwrap(),
            bloom_bits_per_key: *g.choose(&[0.0, 10.0]).unwrap(),
            ..BuilderOptions::default()
        })
    }
}

impl Entries {
    pub(crate) fn build(&self, options: &BuilderOptions, tombstones: &[RangeTombstone]) -> (Vec<u8>, TableSummary) {
        let mut builder = TableBuilder::new(Vec::new(), options.clone());
        self.0.iter().for_each(|(key, value)| builder.add(key.as_bytes(), value).unwrap());
        tombstones.iter().for_each(|tombstone| builder.add_range_tombstone(tombstone).unwrap());
        builder.finish().unwrap()
    }

    pub(crate) fn open(&self, options: &BuilderOptions) -> Arc<Table> {
        open(self.build(options, &[]).0).unwrap()
    }

    pub(crate) fn get(&self, user_key: &[u8], visible: SeqNo) -> Option<Entry> {
        let (key, value) = self.0.iter().find(|(key, _)| key.user_key() == user_key && key.seq() <= visible)?;
        let kind = Kind::from_byte(lsm_core::key::kind_byte(key.as_bytes())).unwrap();
        Some(Entry { seq: key.seq(), kind, value: value.as_slice().into() })
    }
}

pub(crate) fn open(bytes: Vec<u8>) -> lsm_core::Result<Arc<Table>> {
    Table::open(Arc::new(bytes), TableOptions { file: "table.sst".into(), ..TableOptions::default() }).map(Arc::new)
}

/// All entries from first to last.
pub(crate) fn scan(table: &Arc<Table>) -> lsm_core::Result<Vec<(InternalKey, Vec<u8>)>> {
    let mut cursor = table.cursor();
    let mut entries = Vec::new();
    cursor.seek_to_first()?;
    while cursor.valid() {
        entries.push((InternalKey::from_encoded(cursor.key()).unwrap(), cursor.value().to_vec()));
        cursor.next()?;
    }
    Ok(entries)
}

/// All entries from last to first, returned in ascending order.
pub(crate) fn scan_backward(table: &Arc<Table>) -> lsm_core::Result<Vec<(InternalKey, Vec<u8>)>> {
    let mut cursor = table.cursor();
    let mut entries = Vec::new();
    cursor.seek_to_last()?;
    while cursor.valid() {
        entries.push((InternalKey::from_encoded(cursor.key()).unwrap(), cursor.value().to_vec()));
        cursor.prev()?;
    }
    entries.reverse();
    Ok(entries)
}
