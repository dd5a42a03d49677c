//! The worked examples of docs/format are what this crate writes.

use lsm_core::key::InternalKey;
use lsm_core::range_tombstone::RangeTombstone;
use lsm_core::{Kind, SeqNo};
use lsm_sstable::{BuilderOptions, Compression, filter_hash};

use crate::naive::{Entries, open};

const SSTABLE: &str = include_str!("../../../../docs/format/sstable.md");
const INTERNAL_KEY: &str = include_str!("../../../../docs/format/internal-key.md");

/// The table of docs/format/sstable.md.
fn example() -> Vec<u8> {
    let entry = |key: &[u8], seq, kind, value: &[u8]| (InternalKey::new(key, SeqNo::new(seq), kind), value.to_vec());
    let entries = Entries(vec![
        entry(b"apple", 3, Kind::Value, b"red"),
        entry(b"apple", 1, Kind::Value, b"green"),
        entry(b"apply", 2, Kind::Deletion, b""),
    ]);
    let tombstone = RangeTombstone { start: b"b".into(), end: b"d".into(), seq: SeqNo::new(4) };
    let options = BuilderOptions { compression: Compression::None, ..BuilderOptions::default() };
    entries.build(&options, &[tombstone]).0
}

/// Offsets and bytes of the lines that look like `0a0  01 02 03   words`.
fn documented_bytes(page: &str) -> Vec<(usize, Vec<u8>)> {
    let line = |line: &str| {
        let (offset, rest) = line.split_once("  ")?;
        let offset = usize::from_str_radix(offset, 16).ok().filter(|_| offset.len() >= 3)?;
        let hex = rest.split("   ").next()?;
        let bytes = hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).ok()).collect::<Option<_>>()?;
        Some((offset, bytes))
    };
    page.lines().filter_map(line).collect()
}

#[test]
fn the_example_of_the_sstable_page_is_what_is_written() {
    let bytes = example();
    let documented = documented_bytes(SSTABLE);
    assert!(documented.len() > 20, "{} lines", documented.len());
    for (offset, expected) in &documented {
        assert_eq!(bytes[*offset..][..expected.len()], *expected, "at {offset:03x}");
    }
    let (last, tail) = documented.last().unwrap();
    assert_eq!(last + tail.len(), bytes.len(), "the page ends where the file ends");
    open(bytes).unwrap().verify().unwrap();
}

#[test]
fn the_examples_of_the_internal_key_page_are_encoded_so() {
    let bytes = [
        InternalKey::new(b"apple", SeqNo::new(3), Kind::Value),
        InternalKey::for_seek(b"apple", SeqNo::new(3)),
        InternalKey::exclusive_end(b"d"),
    ];
    let bytes: Vec<u8> = bytes.iter().flat_map(|key| key.as_bytes().to_vec()).collect();
    let documented = documented_bytes(INTERNAL_KEY);
    assert_eq!(documented.len(), 3);
    for (offset, expected) in documented {
        assert_eq!(bytes[offset..][..expected.len()], expected, "at {offset:03x}");
    }
}

#[test]
fn the_hash_of_the_sstable_page_is_the_filter_s() {
    assert!(SSTABLE.contains(&format!("{:016x}", filter_hash(b"apple"))));
}
