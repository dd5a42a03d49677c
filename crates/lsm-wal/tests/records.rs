//! Records through `RecordWriter` and `RecordReader`: what comes back after cuts and flips.

use std::path::Path;
use std::sync::Arc;

use lsm_wal::{BLOCK_BYTES, HeaderStyle, Outcome, RecordReader, RecordWriter};

fn written(records: &[Vec<u8>]) -> (Vec<u8>, Vec<u64>) {
    let mut writer = RecordWriter::new(Vec::new());
    let mut ends = vec![0];
    for record in records {
        writer.append(record).unwrap();
        ends.push(writer.position());
    }
    (writer.into_inner(), ends)
}

fn reader(bytes: &[u8]) -> RecordReader {
    RecordReader::new(Arc::new(bytes.to_vec()), HeaderStyle::Legacy, Path::new("log")).unwrap()
}

/// All records up to the first outcome that is none, and that outcome.
fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, String) {
    let mut reader = reader(bytes);
    let mut records = Vec::new();
    loop {
        match reader.next().unwrap() {
            Outcome::Record { payload, .. } => records.push(payload.to_vec()),
            other => return (records, format!("{other:?}")),
        }
    }
}

fn of_size(bytes: usize, seed: u8) -> Vec<u8> {
    (0..bytes).map(|index| (index as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

#[test]
fn records_of_every_size_around_a_block_read_back() {
    let sizes = [0, 1, 7, BLOCK_BYTES - 8, BLOCK_BYTES - 7, BLOCK_BYTES, 3, 100_000, 3 << 20, 0, 5];
    let records: Vec<_> = sizes.iter().enumerate().map(|(index, size)| of_size(*size, index as u8)).collect();
    let (bytes, ends) = written(&records);
    let (found, end) = read(&bytes);
    assert!(found == records);
    assert_eq!(end, format!("End {{ offset: {} }}", ends.last().unwrap()));
}

#[test]
fn a_header_at_each_of_the_last_bytes_of_a_block_reads_back() {
    for left in 0..16 {
        let records = [of_size(BLOCK_BYTES - 7 - left, 1), of_size(20, 2), of_size(40_000, 3)];
        let (found, _) = read(&written(&records).0);
        assert!(found == records, "{left}");
    }
}

#[test]
fn rolling_crcs_of_both_sides_agree() {
    let mut writer = RecordWriter::new(Vec::new());
    for size in [10, 50_000, 0] {
        writer.append(&of_size(size, 1)).unwrap();
    }
    let crc = writer.rolling_crc();
    let bytes = writer.into_inner();
    let mut reader = reader(&bytes);
    while let Outcome::Record { .. } = reader.next().unwrap() {}
    assert_eq!(reader.rolling_crc(), crc);
    assert_ne!(crc, 0);
}

#[test]
fn every_cut_leaves_the_records_before_it() {
    let records = [of_size(20, 1), of_size(0, 2), of_size(33, 3)];
    let (bytes, ends) = written(&records);
    for cut in 0..bytes.len() {
        let (found, end) = read(&bytes[..cut]);
        let whole = ends.iter().rposition(|end| *end as usize <= cut).unwrap();
        assert!(found == records[..whole], "{cut}");
        let expected = if ends[whole] as usize == cut { "End" } else { "Torn" };
        assert!(end.starts_with(&format!("{expected} {{ offset: {}", ends[whole])), "{cut}: {end}");
    }
}

#[test]
fn every_flipped_bit_is_torn_or_damaged_and_later_records_resume() {
    let records = [of_size(20, 1), of_size(40_000, 2), of_size(9, 3), of_size(33, 4)];
    let (bytes, ends) = written(&records);
    for bit in (0..ends[1] as usize * 8).chain((ends[2] as usize - 40) * 8..bytes.len() * 8) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let hit = ends.iter().rposition(|end| *end as usize <= bit / 8).unwrap();
        let mut reader = reader(&flipped);
        for record in &records[..hit] {
            assert!(matches!(reader.next().unwrap(), Outcome::Record { payload, .. } if payload == record), "{bit}");
        }
        match reader.next().unwrap() {
            Outcome::Damaged { offset, .. } => assert!(offset == ends[hit] && hit < 3, "{bit}"),
            Outcome::Torn { offset, .. } => assert!(offset == ends[hit] && hit == 3, "{bit}"),
            other => panic!("{bit}: {other:?}"),
        }
        // What comes afterwards is one of the later records, never anything else.
        while let Outcome::Record { payload, .. } = reader.next().unwrap() {
            assert!(records[hit + 1..].iter().any(|record| record == payload), "{bit}");
        }
    }
}

#[test]
fn zero_tails_of_any_length_end_the_file() {
    for zeros in [1, 6, 7, 11, 100, BLOCK_BYTES, 70 << 10, 1 << 20] {
        let records = [of_size(20, 1), of_size(40_000, 2)];
        let (mut bytes, ends) = written(&records);
        bytes.resize(bytes.len() + zeros, 0);
        let (found, end) = read(&bytes);
        assert!(found == records);
        assert_eq!(end, format!("End {{ offset: {} }}", ends[2]), "{zeros}");
    }
}

#[test]
fn a_zero_hole_before_records_is_damage() {
    let records = [of_size(600, 1), of_size(700, 2), of_size(800, 3)];
    let (mut bytes, ends) = written(&records);
    bytes[ends[1] as usize..ends[2] as usize].fill(0);
    let (found, end) = read(&bytes);
    assert_eq!(found.len(), 1);
    assert!(end.starts_with(&format!("Damaged {{ offset: {}", ends[1])), "{end}");
}

#[test]
fn a_search_finds_what_a_damaged_length_hides() {
    let records = [of_size(600, 1), of_size(700, 2), of_size(800, 3)];
    let (mut bytes, ends) = written(&records);
    bytes[4] ^= 1;
    let mut reader = reader(&bytes);
    let found = reader.search(1).unwrap().unwrap();
    assert_eq!((found.offset, found.end, found.payload), (ends[1], ends[2], records[1].as_slice()));
    assert_eq!(reader.search(ends[2] + 1).unwrap(), None);
}

#[test]
fn garbage_is_read_in_bounded_time_and_never_returned() {
    let mut state = 1_u64;
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(2 << 20)
    .collect();
    assert!(read(&bytes).1.starts_with("Torn"));
    bytes.fill(1);
    assert!(read(&bytes).1.starts_with("Torn"));
    // Every other byte starts a header whose payload is half a block.
    for pair in bytes.chunks_exact_mut(2) {
        pair.copy_from_slice(&[1, 0x40]);
    }
    assert!(read(&bytes).1.starts_with("Torn"));
}
