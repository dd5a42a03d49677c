//! What can be read of a damaged table is handed out, what cannot is reported.

use std::sync::Arc;

use lsm_core::key::InternalKey;
use lsm_core::range_tombstone::RangeTombstone;
use lsm_core::{Kind, SeqNo};
use lsm_sstable::{BuilderOptions, Compression, SalvageReport, TableOptions, salvage};

use crate::naive::Entries;

const BLOCK_BYTES: usize = 512;

fn entries() -> Entries {
    let entry = |number: u32| {
        let key =
            InternalKey::new(format!("key{number:03}").as_bytes(), SeqNo::new(u64::from(1 + number)), Kind::Value);
        (key, format!("the value of number {number}, and that again: {number}").into_bytes())
    };
    Entries((0..80).map(entry).collect())
}

fn tombstone() -> RangeTombstone {
    RangeTombstone { start: b"key003".into(), end: b"key007".into(), seq: SeqNo::new(50) }
}

fn build(format_version: u32, compression: Compression) -> Vec<u8> {
    let options = BuilderOptions { format_version, block_bytes: BLOCK_BYTES, compression, ..BuilderOptions::default() };
    entries().build(&options, &[tombstone()]).0
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

fn salvaged(bytes: Vec<u8>) -> (Rows, SalvageReport) {
    let mut found = Vec::new();
    let report = salvage(Arc::new(bytes), &TableOptions::default(), &mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        Ok(())
    });
    (found, report.unwrap())
}

fn expected() -> Rows {
    entries().0.into_iter().map(|(key, value)| (key.as_bytes().to_vec(), value)).collect()
}

#[test]
fn a_whole_table_comes_back_whole() {
    for (format_version, compression) in [(5, Compression::None), (6, Compression::Lz4)] {
        let (found, report) = salvaged(build(format_version, compression));
        assert_eq!((found, report.lost), (expected(), Vec::new()));
        assert_eq!(report.range_tombstones, [tombstone()]);
    }
}

/// The largest part that a single flipped bit may cost is one block, save where it hits what leads to all blocks.
#[test]
fn a_flipped_bit_costs_one_part_and_the_report_names_it() {
    for (format_version, compression) in [(5, Compression::None), (6, Compression::Lz4)] {
        let bytes = build(format_version, compression);
        let expected = expected();
        let mut walked = 0;
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let (found, report) = salvaged(damaged);
            assert!(found.iter().all(|entry| expected.contains(entry)), "bit {bit}");
            assert!(found.is_sorted(), "bit {bit}");
            let parts: Vec<&str> = report.lost.iter().map(|lost| lost.part).collect();
            match parts.as_slice() {
                ["footer" | "metaindex"] => {}
                ["data block"] => assert!(expected.len() - found.len() <= 16, "bit {bit}"),
                parts => {
                    assert_eq!(found.len(), expected.len(), "bit {bit}: {parts:?}");
                    walked += u32::from(parts == ["index"]);
                }
            }
            let tombstones_lost = parts.iter().any(|part| ["footer", "metaindex", "range deletions"].contains(part));
            assert_eq!(report.range_tombstones.is_empty(), tombstones_lost, "bit {bit}: {parts:?}");
        }
        assert!(walked > 100, "the index was damaged {walked} times");
    }
}

/// What the index leads to was taken for data, so that nothing was found.
#[test]
fn a_partitioned_index_is_understood_without_the_properties() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/rocksdb-9.8/partitioned.sst");
    let mut bytes = std::fs::read(path).unwrap();
    damage_properties(&mut bytes);
    let (found, report) = salvaged(bytes);
    let parts: Vec<&str> = report.lost.iter().map(|lost| lost.part).collect();
    assert_eq!((found.len(), parts.as_slice()), (300, &["properties"][..]), "{report:?}");
}

fn damage_properties(bytes: &mut [u8]) {
    let name = b"rocksdb.block.based.table";
    let at = bytes.windows(name.len()).position(|window| window == name).expect("it has properties");
    bytes[at] ^= 1;
}

#[test]
fn a_cut_table_has_no_footer_and_is_lost() {
    let bytes = build(6, Compression::None);
    let (found, report) = salvaged(bytes[..bytes.len() - 1].to_vec());
    assert!(found.is_empty());
    assert_eq!(report.lost[0].part, "footer");
}
