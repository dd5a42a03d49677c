//! The worked examples of `docs/format/{wal,write-batch}.md` are what the code writes.

mod support;

use lsm_core::filename::FileNumber;
use lsm_core::{ColumnFamilyId, SeqNo, WriteBatch};
use lsm_wal::{Facts, Origin, RecordWriter};
use support::*;

const WAL_PAGE: &str = include_str!("../../../docs/format/wal.md");
const BATCH_PAGE: &str = include_str!("../../../docs/format/write-batch.md");

/// The bytes in the page's blocks marked `hex`: pairs of hex digits up to two spaces and an explanation.
fn examples(page: &str) -> Vec<Vec<u8>> {
    let blocks = page.split("```hex\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let bytes = |line: &str| {
        let hex = line.split("  ").next().unwrap().to_owned();
        hex.split_whitespace().map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect::<Vec<_>>()
    };
    blocks.map(|block| block.lines().flat_map(bytes).collect()).collect()
}

#[track_caller]
fn assert_bytes(example: &[u8], written: &[u8]) {
    assert!(example == written, "the page says\n{example:02x?}\nthe code writes\n{written:02x?}");
}

fn put(seq: u64) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.set_seq(SeqNo::new(seq));
    batch.put(ColumnFamilyId::DEFAULT, b"key", b"value");
    batch
}

#[test]
fn the_log_of_the_page_is_what_is_written() {
    let examples = examples(WAL_PAGE);
    let [active, legacy] = examples.as_slice() else { panic!("{} examples", examples.len()) };

    let fs = new_fs();
    let facts = Facts { identity: Some("a1".to_owned()), ..Facts::default() };
    let mut wal = create(&fs, 4, Origin { facts, next_seq: SeqNo::new(1), ..Origin::default() });
    wal.append(put(1).as_bytes()).unwrap();
    wal.handle().sync_all().unwrap();
    let mut delete = WriteBatch::new();
    delete.set_seq(SeqNo::new(2));
    delete.delete(ColumnFamilyId::DEFAULT, b"key");
    wal.append(delete.as_bytes()).unwrap();
    wal.finish().unwrap();
    assert_eq!(wal.number(), FileNumber(4));
    assert_bytes(active, &read_file(&*fs, 4));

    let mut writer = RecordWriter::new(Vec::new());
    writer.append(put(1).as_bytes()).unwrap();
    assert_bytes(legacy, &writer.into_inner());
}

#[test]
fn the_batch_of_the_page_is_what_is_written() {
    let mut batch = WriteBatch::new();
    batch.set_seq(SeqNo::new(300));
    batch.put(ColumnFamilyId::DEFAULT, b"apple", b"red");
    batch.put(ColumnFamilyId(2), b"k", b"v");
    batch.delete(ColumnFamilyId::DEFAULT, b"pear");
    batch.merge(ColumnFamilyId(200), b"n", b"+1");
    batch.delete_range(ColumnFamilyId::DEFAULT, b"x", b"z");
    batch.log_data(b"note");
    let examples = examples(BATCH_PAGE);
    assert_eq!(examples.len(), 1);
    assert_bytes(&examples[0], batch.as_bytes());
    lsm_core::batch::validate(&examples[0]).unwrap();
}
