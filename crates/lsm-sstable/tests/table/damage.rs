//! Damaged tables give errors or the right data: never wrong data, never a panic.

use std::sync::Arc;

use lsm_core::key::InternalKey;
use lsm_core::range_tombstone::RangeTombstone;
use lsm_core::{Error, Kind, ReadAt, Result, SeqNo};
use lsm_sstable::raw::{RawTable, STORED, block_of, handle};
use lsm_sstable::{BuilderOptions, Compression, Table, TableOptions};
use quickcheck::quickcheck;

use crate::naive::{AnyOptions, Entries, open, scan, scan_backward};

fn small_entries() -> Entries {
    let entry = |number: u32| {
        let kind = if number.is_multiple_of(5) { Kind::Deletion } else { Kind::Value };
        let key =
            InternalKey::new(format!("key{:03}", number / 2).as_bytes(), SeqNo::new(u64::from(100 - number)), kind);
        (key, format!("the value of number {number}, and that again: {number}").into_bytes())
    };
    Entries((0..40).map(entry).collect())
}

fn tombstone() -> RangeTombstone {
    RangeTombstone { start: b"key003".into(), end: b"key007".into(), seq: SeqNo::new(50) }
}

/// Everything that can be asked of a table; `None` where one of the answers is an error.
type Answers = (Vec<(InternalKey, Vec<u8>)>, Vec<Option<lsm_sstable::Entry>>, Option<SeqNo>);

fn ask(bytes: Vec<u8>) -> Result<Answers> {
    let table = open(bytes)?;
    let entries = scan(&table)?;
    assert_eq!(scan_backward(&table)?, entries);
    let gets =
        (0..25).map(|number| table.get(format!("key{number:03}").as_bytes(), SeqNo::new(80))).collect::<Result<_>>()?;
    Ok((entries, gets, table.tombstones().newest(b"key004", SeqNo::MAX)))
}

/// Each answer is an error or right, lookups one by one.
fn check(bytes: Vec<u8>, expected: &Answers, what: &str) {
    let Ok(table) = open(bytes) else { return };
    assert_eq!(table.tombstones().newest(b"key004", SeqNo::MAX), expected.2, "{what}");
    if let Ok(entries) = scan(&table) {
        assert_eq!(entries, expected.0, "{what}");
    }
    for (number, expected) in expected.1.iter().enumerate() {
        if let Ok(found) = table.get(format!("key{number:03}").as_bytes(), SeqNo::new(80)) {
            assert_eq!(found, *expected, "{what}");
        }
    }
}

fn options(compression: Compression) -> BuilderOptions {
    BuilderOptions { block_bytes: 512, compression, ..BuilderOptions::default() }
}

#[test]
fn every_flipped_bit_is_noticed_or_harmless() {
    for compression in [Compression::None, Compression::Lz4] {
        let (bytes, _) = small_entries().build(&options(compression), &[tombstone()]);
        let expected = ask(bytes.clone()).unwrap();
        let mut unnoticed = 0;
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            check(damaged.clone(), &expected, &format!("bit {bit} of {}", bytes.len() * 8));
            unnoticed += u64::from(open(damaged).is_ok_and(|table| table.verify().is_ok()));
        }
        // Only a footer that denies that there are checksums reads as whole.
        assert!(unnoticed <= 1, "{unnoticed} flipped bits were not noticed");
    }
}

#[test]
fn every_truncation_is_noticed() {
    let (bytes, _) = small_entries().build(&options(Compression::Lz4), &[tombstone()]);
    for len in 0..bytes.len() {
        let error = open(bytes[..len].to_vec()).unwrap_err();
        assert!(matches!(error, Error::Corruption(_) | Error::Unsupported { .. }), "{len}: {error}");
        assert_eq!(error.path(), Some("table.sst".as_ref()), "{len}: {error}");
    }
}

#[test]
fn errors_name_the_file_and_the_block() {
    let (mut bytes, summary) = small_entries().build(&options(Compression::None), &[]);
    assert!(summary.properties.data_blocks > 3);
    bytes[600] ^= 1;
    let table = open(bytes).unwrap();
    let error = scan(&table).unwrap_err();
    let Error::Corruption(corruption) = &error else { panic!("{error}") };
    assert_eq!(corruption.path.as_deref(), Some("table.sst".as_ref()));
    assert!(corruption.offset.is_some_and(|offset| offset > 0 && offset <= 600), "{error}");
    assert!(error.to_string().contains("block checksum"), "{error}");
    assert!(table.verify().unwrap_err().to_string().contains("block checksum"));
}

#[test]
fn a_block_of_another_place_or_table_is_noticed() {
    // Version 6 keys checksums with table and offset; two tables of equal layout, equal blocks swapped.
    let entries = small_entries();
    let build = |file_number| entries.build(&BuilderOptions { file_number, ..options(Compression::None) }, &[]).0;
    let (mine, other) = (build(1), build(2));
    assert_eq!(mine.len(), other.len());
    let mut mixed = mine.clone();
    mixed[..500].copy_from_slice(&other[..500]);
    let error = scan(&open(mixed).unwrap()).err();
    assert!(error.is_some_and(|error| error.is_corruption()));
    // Without that, version 5 cannot tell: the bytes are the same.
    let build = |file_number| {
        let options = BuilderOptions { file_number, format_version: 5, ..options(Compression::None) };
        entries.build(&options, &[]).0
    };
    assert_eq!(build(1)[..500], build(2)[..500]);
}

quickcheck! {
    fn overwritten_tables_never_panic(entries: Entries, options: AnyOptions, at: u16, junk: Vec<u8>) -> bool {
        let (mut bytes, _) = entries.build(&options.0, &[]);
        let start = usize::from(at) % bytes.len();
        let end = (start + junk.len()).min(bytes.len());
        let right = bytes.clone();
        bytes[start..end].copy_from_slice(&junk[..end - start]);
        let changed = bytes != right;
        match open(bytes) {
            Err(_) => changed,
            Ok(table) => {
                let scanned = scan(&table);
                let verified = table.verify();
                scanned.is_ok_and(|scanned| scanned == entries.0) || (changed && verified.is_err())
            }
        }
    }
}

/// Fails every read from the n-th on.
struct Failing {
    bytes: Vec<u8>,
    reads_left: std::sync::atomic::AtomicI64,
}

impl ReadAt for Failing {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.reads_left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) {
            1.. => self.bytes.read_at(offset, buffer),
            _ => Err(std::io::Error::from_raw_os_error(5)),
        }
    }

    fn size(&self) -> std::io::Result<u64> {
        self.bytes.size()
    }
}

#[test]
fn failed_reads_are_errors_that_pass() {
    let entries = small_entries();
    let (bytes, _) = entries.build(&options(Compression::None), &[]);
    let mut failures = 0;
    for reads in 0..20 {
        let file = Arc::new(Failing { bytes: bytes.clone(), reads_left: reads.into() });
        let options = TableOptions { file: "table.sst".into(), ..TableOptions::default() };
        match Table::open(file.clone(), options).map(Arc::new) {
            Err(error) => {
                assert!(matches!(&error, Error::Io { .. }) && error.path() == Some("table.sst".as_ref()), "{error}");
                failures += 1;
            }
            Ok(table) => {
                failures += usize::from(scan(&table).is_err_and(|error| matches!(error, Error::Io { .. })));
                // The next call may succeed: nothing of the failure was kept.
                file.reads_left.store(i64::MAX, std::sync::atomic::Ordering::Relaxed);
                assert_eq!(scan(&table).unwrap(), entries.0);
            }
        }
    }
    assert!((3..20).contains(&failures), "{failures}");
}

/// A fuzzer swapped the keys of two blocks, with sound checksums: forward was an error, backward showed them out of
/// order. Both are errors now, since a merge over a cursor that goes astray gives wrong answers in silence.
#[test]
fn blocks_in_disorder_are_corruption_both_ways() {
    let keys = [b"b", b"y", b"x"].map(|key| InternalKey::new(key, SeqNo::new(5), Kind::Value).as_bytes().to_vec());
    let mut table = RawTable::default();
    let blocks = keys.each_ref().map(|key| table.block(&block_of(&[(key, b"value")]), STORED).unwrap());
    let separators = [b"c", b"w", b"z"].map(|key| InternalKey::new(key, SeqNo::ZERO, Kind::Deletion));
    let handles = blocks.map(handle);
    let index: Vec<_> = separators.iter().zip(&handles).map(|(key, at)| (key.as_bytes(), at.as_slice())).collect();
    let index = table.block(&block_of(&index), STORED).unwrap();
    let table = open(table.finish(index).unwrap()).unwrap();
    assert!(scan(&table).unwrap_err().is_corruption());
    assert!(scan_backward(&table).unwrap_err().is_corruption());
    assert!(table.verify().unwrap_err().is_corruption());
}
