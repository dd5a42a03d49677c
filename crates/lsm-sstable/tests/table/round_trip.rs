//! A table holds exactly what was added, whatever the options.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lsm_core::key::InternalKey;
use lsm_core::range_tombstone::RangeTombstone;
use lsm_core::{Cursor, Error, Kind, ReadAt, SeqNo};
use lsm_sstable::{BlockCache, BuilderOptions, Probe, ReadOptions, Table, TableBuilder, TableOptions, filter_hash};
use quickcheck::{TestResult, quickcheck};

use crate::naive::{AnyOptions, Entries, open, scan, scan_backward};

/// Room for more than any of the tables here.
const EVERYTHING: usize = 64 << 20;

#[test]
fn fresh_blocks_that_nobody_opens_leave_their_room() {
    let cache = BlockCache::new(1 << 20);
    let options = BuilderOptions { fresh: Some(cache.fresh()), block_bytes: 100, ..BuilderOptions::default() };
    let mut builder = TableBuilder::new(Vec::new(), options);
    for key in 0..100_u8 {
        builder.add(InternalKey::new(&[key], SeqNo::new(1), Kind::Value).as_bytes(), &[key; 50]).unwrap();
    }
    assert!(cache.used_bytes() > 5_000);
    drop(builder);
    assert_eq!(cache.used_bytes(), 0, "F1");
}

quickcheck! {
    fn lookups_agree_with_a_list(entries: Entries, absent: Vec<Vec<u8>>, options: AnyOptions) -> bool {
        let table = entries.open(&options.0);
        let keys = entries.0.iter().map(|(key, _)| key.user_key().to_vec()).chain(absent);
        keys.into_iter().all(|key| {
            (0..17).all(|seq| table.get(&key, SeqNo::new(seq)).unwrap() == entries.get(&key, SeqNo::new(seq)))
        })
    }

    // Three rounds: from the file, from the cache, and by directories. L1, L2.
    fn many_lookups_at_once_agree_with_a_list(entries: Entries, absent: Vec<Vec<u8>>, options: AnyOptions) -> bool {
        let (bytes, _) = entries.build(&options.0, &[]);
        let options = TableOptions { cache: Some(BlockCache::new(1 << 20)), ..TableOptions::default() };
        let table = Table::open(Arc::new(bytes), options).unwrap();
        let mut keys: Vec<_> = entries.0.iter().map(|(key, _)| key.user_key().to_vec()).chain(absent).collect();
        keys.sort_unstable();
        (0..3).all(|_| (0..17).map(SeqNo::new).all(|seq| {
            let mut probes: Vec<_> = keys.iter().map(|key| Probe::new(key, filter_hash(key))).collect();
            table.multi_get(&mut probes, seq).unwrap();
            let agrees = |(key, probe): (&Vec<u8>, &Probe<'_>)| {
                let expected = entries.get(key, seq);
                probe.found == expected && table.get(key, seq).unwrap() == expected
            };
            keys.iter().zip(&probes).all(agrees)
        }))
    }

    // F1, F2 and F3: what fits of the blocks is there at once, and is what the file holds.
    fn fresh_blocks_are_those_of_the_file(entries: Entries, options: AnyOptions, room: Option<u16>) -> bool {
        let room = room.map_or(EVERYTHING, usize::from);
        let cache = BlockCache::new(room);
        let fresh = cache.fresh();
        let builder = BuilderOptions { fresh: Some(Arc::clone(&fresh)), ..options.0 };
        let (bytes, _) = entries.build(&builder, &[]);
        drop(builder);
        let kept = cache.used_bytes();
        let options = TableOptions { cache: Some(Arc::clone(&cache)), fresh: Some(fresh), ..TableOptions::default() };
        let table = Arc::new(Table::open(Arc::new(bytes), options).unwrap());
        let agrees = kept <= cache.capacity() && cache.used_bytes() == kept && scan(&table).unwrap() == entries.0;
        let all = room != EVERYTHING || cache.misses() == 0;
        drop(table);
        agrees && all && cache.used_bytes() == 0
    }

    fn scans_agree_with_a_list(entries: Entries, options: AnyOptions) -> bool {
        let table = entries.open(&options.0);
        scan(&table).unwrap() == entries.0 && scan_backward(&table).unwrap() == entries.0
    }

    fn walks_agree_with_a_list(entries: Entries, options: AnyOptions, moves: Vec<(u8, Vec<u8>, u8)>) -> TestResult {
        let table = entries.open(&options.0);
        let mut cursor = table.cursor_with(ReadOptions { fill_cache: true, readahead: usize::from(options.0.format_version == 6) * 1000 });
        let keys: Vec<&InternalKey> = entries.0.iter().map(|(key, _)| key).collect();
        let mut expected: Option<usize> = None;
        for (choice, word, seq) in moves {
            // Targets near and between the keys that are there.
            let near = keys.get(usize::from(choice) * 7 % keys.len().max(1)).map_or(&[][..], |key| key.user_key());
            let target = InternalKey::for_seek(&[near, &word[..word.len().min(2)]].concat(), SeqNo::new(u64::from(seq % 17)));
            match (choice % 6, expected) {
                (0, _) => { cursor.seek_to_first().unwrap(); expected = Some(0); }
                (1, _) => { cursor.seek_to_last().unwrap(); expected = keys.len().checked_sub(1); }
                (2, _) => {
                    cursor.seek(target.as_bytes()).unwrap();
                    expected = Some(keys.partition_point(|key| **key < target));
                }
                (3, _) => {
                    cursor.seek_for_prev(target.as_bytes()).unwrap();
                    expected = keys.partition_point(|key| **key <= target).checked_sub(1);
                }
                (4, Some(index)) => { cursor.prev().unwrap(); expected = index.checked_sub(1); }
                (_, Some(index)) => { cursor.next().unwrap(); expected = Some(index + 1); }
                _ => {}
            }
            expected = expected.filter(|&index| index < keys.len());
            let found = cursor.valid().then(|| (cursor.key(), cursor.value_slice()));
            let wanted = expected.map(|index| (keys[index].as_bytes(), entries.0[index].1.as_slice().into()));
            if found != wanted {
                return TestResult::error(format!("at {found:?}, expected {wanted:?}"));
            }
        }
        TestResult::passed()
    }

    fn tables_verify_and_describe_themselves(entries: Entries, options: AnyOptions) -> bool {
        let (bytes, summary) = entries.build(&options.0, &[]);
        let table = open(bytes.clone()).unwrap();
        let verified = table.verify().unwrap();
        let seqs = || entries.0.iter().map(|(key, _)| key.seq());
        verified.entries == entries.0.len() as u64
            && verified.context_checksums == (options.0.format_version == 6)
            && summary.bytes == bytes.len() as u64
            && table.bytes() == summary.bytes
            && table.format_version() == options.0.format_version
            && summary.smallest.as_ref() == entries.0.first().map(|(key, _)| key)
            && summary.largest.as_ref() == entries.0.last().map(|(key, _)| key)
            && summary.smallest_seq == seqs().min().unwrap_or_default()
            && summary.largest_seq == seqs().max().unwrap_or_default()
            && summary.tail_bytes == summary.bytes - table.properties().tail_start
            && table.properties().raw_value_bytes == entries.0.iter().map(|(_, value)| value.len() as u64).sum::<u64>()
    }

    fn anchors_and_offsets_follow_the_keys(entries: Entries, options: AnyOptions, count: u8) -> bool {
        let table = entries.open(&options.0);
        let anchors = table.anchors(usize::from(count % 20)).unwrap();
        let offsets: Vec<u64> = entries.0.iter().map(|(key, _)| table.approximate_offset(key.user_key()).unwrap()).collect();
        let covered = match anchors.last() {
            None => true,
            Some(last) => {
                let bytes: u64 = anchors.iter().map(|anchor| anchor.bytes).sum();
                bytes == table.properties().data_bytes && entries.0.iter().all(|(key, _)| key.user_key() <= last.user_key.as_slice())
            }
        };
        covered && anchors.windows(2).all(|pair| pair[0].user_key < pair[1].user_key)
            && offsets.is_sorted()
            && offsets.iter().all(|&offset| offset <= table.properties().data_bytes)
    }
}

fn tombstone(start: &[u8], end: &[u8], seq: u64) -> RangeTombstone {
    RangeTombstone { start: start.into(), end: end.into(), seq: SeqNo::new(seq) }
}

fn value(key: &[u8], seq: u64) -> (InternalKey, Vec<u8>) {
    (InternalKey::new(key, SeqNo::new(seq), Kind::Value), b"value".to_vec())
}

#[test]
fn tombstones_widen_the_bounds() {
    let entries = Entries(vec![value(b"d", 5), value(b"f", 6)]);
    let tombstones = [tombstone(b"e", b"g", 3), tombstone(b"b", b"c", 9), tombstone(b"b", b"c", 9)];
    let (bytes, summary) = entries.build(&BuilderOptions::default(), &tombstones);
    assert_eq!(summary.smallest, Some(InternalKey::new(b"b", SeqNo::new(9), Kind::RangeDeletion)));
    assert_eq!(summary.largest, Some(InternalKey::exclusive_end(b"g")));
    assert_eq!((summary.smallest_seq, summary.largest_seq), (SeqNo::new(3), SeqNo::new(9)));
    assert_eq!(
        (summary.properties.entries, summary.properties.range_deletions, summary.properties.deletions),
        (4, 2, 2)
    );
    let table = open(bytes).unwrap();
    assert_eq!(table.tombstones().newest(b"f", SeqNo::MAX), Some(SeqNo::new(3)));
    assert_eq!(table.tombstones().newest(b"b", SeqNo::new(8)), None);
    assert_eq!(scan(&table).unwrap(), entries.0);
    assert_eq!(table.verify().unwrap().range_deletions, 2);
}

#[test]
fn a_table_of_tombstones_alone_and_an_empty_one_open() {
    let (bytes, summary) = Entries::default().build(&BuilderOptions::default(), &[tombstone(b"a", b"b", 1)]);
    assert_eq!(summary.largest, Some(InternalKey::exclusive_end(b"b")));
    let table = open(bytes).unwrap();
    assert!(scan(&table).unwrap().is_empty() && table.tombstones().len() == 1);
    let (bytes, summary) = Entries::default().build(&BuilderOptions::default(), &[]);
    assert_eq!((summary.smallest, summary.largest), (None, None));
    let table = open(bytes).unwrap();
    assert!(table.get(b"a", SeqNo::MAX).unwrap().is_none() && scan(&table).unwrap().is_empty());
    table.verify().unwrap();
}

#[test]
fn what_cannot_be_written_is_refused() {
    let mut builder = TableBuilder::new(Vec::new(), BuilderOptions::default());
    let refused = |result: lsm_core::Result<()>| {
        assert!(matches!(result, Err(Error::InvalidArgument(_))), "{result:?}");
        // A key may be a secret, an error text goes to a log.
        let text = result.unwrap_err().to_string();
        assert!(!text.contains("secret"), "{text}");
    };
    let key = |key: &[u8], seq, kind| InternalKey::new(key, SeqNo::new(seq), kind);
    builder.add(key(b"secret b", 5, Kind::Value).as_bytes(), b"").unwrap();
    refused(builder.add(key(b"secret a", 5, Kind::Value).as_bytes(), b""));
    refused(builder.add(key(b"secret b", 5, Kind::Value).as_bytes(), b""));
    refused(builder.add(key(b"secret b", 6, Kind::Value).as_bytes(), b""));
    refused(builder.add(key(b"secret c", 6, Kind::RangeDeletion).as_bytes(), b""));
    refused(builder.add(b"secret!", b""));
    refused(builder.add_range_tombstone(&tombstone(b"secret b", b"secret a", 1)));
    builder.add(key(b"secret b", 4, Kind::Value).as_bytes(), b"").unwrap();
    assert_eq!(builder.finish().unwrap().1.properties.entries, 2);
    for options in [
        BuilderOptions { format_version: 7, ..BuilderOptions::default() },
        BuilderOptions { format_version: 4, ..BuilderOptions::default() },
    ] {
        let mut builder = TableBuilder::new(Vec::new(), options);
        builder.add(key(b"b", 5, Kind::Value).as_bytes(), b"").unwrap();
        refused(builder.finish().map(|_| ()));
    }
}

#[test]
fn entries_of_an_ingested_file_have_the_manifest_s_sequence_number() {
    let entries = Entries((0..100_u8).map(|key| value(&[key], 0)).collect());
    let options = BuilderOptions { external: true, block_bytes: 100, ..BuilderOptions::default() };
    let (bytes, _) = entries.build(&options, &[tombstone(b"x", b"z", 0)]);
    let with = |global_seq| TableOptions { global_seq, ..TableOptions::default() };
    let table = Arc::new(Table::open(Arc::new(bytes), with(Some(SeqNo::new(77)))).unwrap());
    assert_eq!(table.get(&[5], SeqNo::new(76)).unwrap(), None);
    assert_eq!(table.get(&[5], SeqNo::new(77)).unwrap().unwrap().seq, SeqNo::new(77));
    assert_eq!(table.tombstones().newest(b"y", SeqNo::MAX), Some(SeqNo::new(77)));
    let expected: Vec<_> = entries.0.iter().map(|(key, _)| value(key.user_key(), 77)).collect();
    assert_eq!(scan(&table).unwrap(), expected);
    assert_eq!(scan_backward(&table).unwrap(), expected);
    let mut cursor = table.cursor();
    cursor.seek(InternalKey::for_seek(&[5], SeqNo::new(76)).as_bytes()).unwrap();
    assert_eq!(cursor.key(), expected[6].0.as_bytes());
    cursor.seek_for_prev(InternalKey::for_seek(&[5], SeqNo::new(76)).as_bytes()).unwrap();
    assert_eq!(cursor.key(), expected[5].0.as_bytes());
    table.verify().unwrap();
    // An ordinary table keeps its own numbers.
    let (bytes, _) = Entries(vec![value(b"k", 3)]).build(&BuilderOptions::default(), &[]);
    let table = Table::open(Arc::new(bytes), with(Some(SeqNo::new(9)))).unwrap();
    assert_eq!(table.get(b"k", SeqNo::MAX).unwrap().unwrap().seq, SeqNo::new(3));
}

/// All that such a file holds gets one sequence number: other numbers would be lost, and two entries of a key be one.
#[test]
fn what_cannot_be_ingested_is_not_written() {
    let key = |user: &[u8], seq, kind| InternalKey::new(user, SeqNo::new(seq), kind);
    let mut builder = TableBuilder::new(Vec::new(), BuilderOptions { external: true, ..BuilderOptions::default() });
    let refused = |result: Result<(), Error>| assert!(matches!(result, Err(Error::InvalidArgument(_))), "{result:?}");
    refused(builder.add(key(b"a", 1, Kind::Value).as_bytes(), b""));
    builder.add(key(b"a", 0, Kind::Value).as_bytes(), b"").unwrap();
    refused(builder.add(key(b"a", 0, Kind::Deletion).as_bytes(), b""));
    refused(builder.add_range_tombstone(&tombstone(b"a", b"b", 1)));
    builder.add_range_tombstone(&tombstone(b"a", b"b", 0)).unwrap();
    builder.add(key(b"ab", 0, Kind::Value).as_bytes(), b"").unwrap();
    assert_eq!(builder.finish().unwrap().1.properties.entries, 3);
}

#[test]
fn blocks_come_from_the_cache_the_second_time() {
    let entries = Entries((0..=255_u8).map(|key| value(&[key], 1)).collect());
    let options = BuilderOptions { block_bytes: 100, ..BuilderOptions::default() };
    let (bytes, summary) = entries.build(&options, &[]);
    let cache = BlockCache::new(1 << 20);
    let options = TableOptions { cache: Some(Arc::clone(&cache)), ..TableOptions::default() };
    let table = Arc::new(Table::open(Arc::new(bytes), options).unwrap());
    let mut cursor = table.cursor_with(ReadOptions { fill_cache: false, readahead: 4096 });
    cursor.seek_to_last().unwrap();
    assert_eq!((cache.used_bytes(), cache.hits()), (0, 0));
    let data_blocks = summary.properties.data_blocks;
    for (round, expected) in [(1, 256 - data_blocks), (2, 512 - data_blocks), (3, 768 - data_blocks)] {
        entries.0.iter().for_each(|(key, _)| assert!(table.get(key.user_key(), SeqNo::MAX).unwrap().is_some()));
        assert_eq!(cache.hits(), expected, "round {round}");
    }
    assert!(cache.used_bytes() > 100 * data_blocks as usize);
    drop((table, cursor));
    assert_eq!(cache.used_bytes(), 0);
}

/// A file that counts how often it is read.
struct Counted(Vec<u8>, AtomicUsize);

impl ReadAt for Counted {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.read_at(offset, buffer)
    }

    fn size(&self) -> std::io::Result<u64> {
        self.0.size()
    }
}

#[test]
fn keys_of_one_block_read_it_once() {
    let entries = Entries((0..=255_u8).map(|key| value(&[key], 1)).collect());
    let (bytes, summary) = entries.build(&BuilderOptions { block_bytes: 100, ..BuilderOptions::default() }, &[]);
    let file = Arc::new(Counted(bytes, AtomicUsize::new(0)));
    let options = TableOptions { cache: Some(BlockCache::new(1 << 20)), ..TableOptions::default() };
    let table = Table::open(Arc::clone(&file) as Arc<dyn ReadAt>, options).unwrap();
    let opening = file.1.load(Ordering::Relaxed);
    let keys: Vec<_> = entries.0.iter().map(|(key, _)| key.user_key()).collect();
    let mut probes: Vec<_> = keys.iter().map(|key| Probe::new(key, filter_hash(key))).collect();
    table.multi_get(&mut probes, SeqNo::MAX).unwrap();
    assert!(probes.iter().all(|probe| probe.found.is_some()));
    assert_eq!((file.1.load(Ordering::Relaxed) - opening) as u64, summary.properties.data_blocks);
}

#[test]
fn values_outlive_the_table_without_a_copy() {
    let long = vec![7; 1000];
    let entries = Entries(vec![(value(b"k", 1).0, long.clone())]);
    let table = entries.open(&BuilderOptions::default());
    let found = table.get(b"k", SeqNo::MAX).unwrap().unwrap().value;
    let mut cursor = table.cursor();
    cursor.seek_to_first().unwrap();
    let slice = cursor.value_slice();
    drop((cursor, table));
    assert!(found == long && slice == long);
}

/// Such an index would decompress to far more than a reader believes of so small a file.
#[test]
fn an_index_of_long_keys_that_compress_well_is_read() {
    let long_key = |last: u8| [vec![b'k'; 8_000_000], vec![last]].concat();
    let entries = Entries((0..9).map(|number| value(&long_key(number), 1)).collect());
    let compression = lsm_sstable::Compression::Zstd { level: 1 };
    let options = BuilderOptions { block_bytes: 1, bloom_bits_per_key: 0.0, compression, ..BuilderOptions::default() };
    let table = entries.open(&options);
    assert_eq!(table.blocks(), 9);
    assert!(table.get(&long_key(4), SeqNo::MAX).unwrap().is_some());
}

#[test]
fn values_larger_than_a_block_are_read() {
    let large: Vec<u8> = (0..3_000_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let entries = Entries(vec![value(b"a", 1), (value(b"b", 1).0, large), (value(b"c", 1).0, vec![0; 2_000_000])]);
    for compression in [lsm_sstable::Compression::Lz4, lsm_sstable::Compression::Zstd { level: 1 }] {
        let table = entries.open(&BuilderOptions { compression, ..BuilderOptions::default() });
        assert!(scan(&table).unwrap() == entries.0 && scan_backward(&table).unwrap() == entries.0);
        table.verify().unwrap();
    }
}
