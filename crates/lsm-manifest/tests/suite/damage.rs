//! Every cut, every flipped bit, every lost sector of a small manifest, and well-sealed nonsense.

use std::path::Path;
use std::sync::Arc;

use lsm_core::filename::{FileKind, FileNumber};
use lsm_manifest::{Manifest, State, VersionEdit};
use lsm_wal::{HeaderStyle, Outcome, RecordReader, RecordWriter};

use crate::written::{
    STORE, add, add_family, bytes_of, content, empty, in_family, read, store_with_manifest, table, wal,
};

const MANIFEST: FileNumber = FileNumber(1);
const SECTOR_BYTES: usize = 512;

/// A manifest and what it said after its snapshot and after each edit or group.
struct History {
    bytes: Vec<u8>,
    states: Vec<State>,
}

impl History {
    /// Begins with a snapshot, then applies what `groups` makes of fresh file numbers.
    fn of(groups: impl Fn(&mut dyn FnMut() -> FileNumber) -> Vec<Vec<VersionEdit>>) -> History {
        let fs = empty();
        let mut manifest = Manifest::create(Arc::new(fs.clone()), Path::new(STORE), State::new("id")).unwrap();
        let mut states = vec![manifest.state().clone()];
        let numbers = manifest.numbers().clone();
        for group in groups(&mut || numbers.allocate()) {
            manifest.apply(group).unwrap();
            states.push(manifest.state().clone());
        }
        History { bytes: bytes_of(&fs, FileKind::Manifest(MANIFEST)), states }
    }

    /// A log, a family, a flush of two families, and a compaction.
    fn small() -> History {
        History::of(|number| {
            let (log, one, other, compacted) = (number(), number(), number(), number());
            let flush = vec![add(0, table(one, "a", "f", 5)), in_family(1, add(0, table(other, "b", "c", 6)))];
            let compaction = VersionEdit { deleted: vec![(0, one)], ..add(1, table(compacted, "a", "f", 5)) };
            vec![vec![wal(log, None)], vec![add_family(1, "cities")], flush, vec![compaction]]
        })
    }

    /// Two groups with edits longer than a sector, and one edit that spans blocks.
    fn long() -> History {
        History::of(|number| {
            let mut long = |bytes: usize, seq| {
                let end = "z".repeat(bytes);
                add(0, table(number(), "a", &end, seq))
            };
            vec![vec![long(900, 1), long(700, 2)], vec![long(50_000, 3)], vec![long(1500, 4), long(600, 5)]]
        })
    }

    fn last(&self) -> &State {
        self.states.last().unwrap()
    }
}

#[test]
fn every_cut_gives_the_edits_before_it() {
    // Covers R1, R2.
    let history = History::small();
    for length in 0..=history.bytes.len() {
        let found = read(&store_with_manifest(MANIFEST, &history.bytes[..length]));
        let Some(expected) = history.states.iter().rfind(|state| state.manifest_bytes as usize <= length) else {
            let error = found.expect_err("the snapshot is not whole");
            assert!(error.is_corruption(), "{length}: {error}");
            continue;
        };
        let found = found.unwrap_or_else(|error| panic!("{length}: {error}"));
        let torn_bytes = length as u64 - expected.manifest_bytes;
        assert_eq!(found.torn_tail.as_ref().map_or(0, |tail| tail.bytes), torn_bytes, "{length}");
        assert_eq!(State { torn_tail: None, ..found }, *expected, "{length}");
    }
}

#[test]
fn every_flipped_bit_is_found() {
    // Covers L3: the last record, too, where a torn write would look much the same.
    let history = History::small();
    for bit in 0..history.bytes.len() * 8 {
        let mut bytes = history.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        match read(&store_with_manifest(MANIFEST, &bytes)) {
            Err(error) => assert!(error.is_corruption(), "bit {bit}: {error}"),
            Ok(state) => panic!("bit {bit} of byte {}: {:?}", bit / 8, state.torn_tail),
        }
    }
}

#[test]
fn flipped_bits_of_long_records_are_found() {
    let history = History::long();
    for bit in (0..history.bytes.len() * 8).step_by(997) {
        let mut bytes = history.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let error = read(&store_with_manifest(MANIFEST, &bytes)).expect_err("a bit is wrong");
        assert!(error.is_corruption(), "bit {bit}: {error}");
    }
}

#[test]
fn damage_names_file_and_offset() {
    let history = History::small();
    let flush = history.states[2].manifest_bytes;
    let mut bytes = history.bytes.clone();
    bytes[flush as usize + 20] ^= 1;
    let error = read(&store_with_manifest(MANIFEST, &bytes)).unwrap_err().to_string();
    assert!(error.starts_with(&format!("corruption in /store/MANIFEST-000001 at offset {flush}: ")), "{error}");
}

/// The sectors that the bytes from `start` on touch, as ranges of the file.
fn sectors(start: usize, end: usize) -> Vec<std::ops::Range<usize>> {
    (start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES))
        .map(|sector| (sector * SECTOR_BYTES).max(start)..((sector + 1) * SECTOR_BYTES).min(end))
        .collect()
}

#[test]
fn any_lost_sectors_of_the_last_append_leave_the_edits_before_it() {
    // Covers L1, L2, L4.
    let history = History::long();
    let before = &history.states[history.states.len() - 2];
    let sectors = sectors(before.manifest_bytes as usize, history.bytes.len());
    for lost in 1_u32..1 << sectors.len() {
        let mut bytes = history.bytes.clone();
        for (index, sector) in sectors.iter().enumerate().filter(|(index, _)| lost >> index & 1 == 1) {
            // Now and then a part of a lost sector is there.
            let kept = if (lost as usize + index).is_multiple_of(3) { sector.len() / 2 } else { 0 };
            bytes[sector.start + kept..sector.end].fill(0);
        }
        let found = read(&store_with_manifest(MANIFEST, &bytes)).unwrap_or_else(|error| panic!("{lost:b}: {error}"));
        assert!(found.torn_tail.is_some(), "{lost:b}");
        assert_eq!(State { torn_tail: None, ..found }, *before, "{lost:b}");
    }
}

#[test]
fn a_lost_sector_of_an_earlier_append_is_damage() {
    // Covers L2.
    let history = History::long();
    for pair in history.states[..history.states.len() - 1].windows(2) {
        let (start, end) = (pair[0].manifest_bytes as usize, pair[1].manifest_bytes as usize);
        for sector in sectors(start, end) {
            let mut bytes = history.bytes.clone();
            bytes[sector.clone()].fill(0);
            let error = read(&store_with_manifest(MANIFEST, &bytes)).expect_err("an acknowledged edit is lost");
            assert!(error.is_corruption(), "{sector:?}: {error}");
        }
    }
}

#[test]
fn zeros_behind_the_last_record_are_a_torn_tail() {
    let mut history = History::small();
    history.bytes.extend_from_slice(&[0; 3000]);
    let found = read(&store_with_manifest(MANIFEST, &history.bytes)).unwrap();
    assert_eq!(
        found.torn_tail.as_ref().map(|tail| (tail.offset, tail.bytes)),
        Some((history.last().manifest_bytes, 3000))
    );
    assert_eq!(State { torn_tail: None, ..found }, *history.last());
}

#[test]
fn a_torn_tail_is_remembered_until_the_next_open() {
    let history = History::small();
    let fs = store_with_manifest(MANIFEST, &history.bytes[..history.bytes.len() - 1]);
    let torn = read(&fs).unwrap();
    assert!(torn.torn_tail.is_some());
    let mut manifest = Manifest::create(Arc::new(fs.clone()), Path::new(STORE), torn.clone()).unwrap();
    manifest.apply(vec![VersionEdit::default()]).unwrap();
    assert_eq!(manifest.state().torn_tail, torn.torn_tail);
    assert_eq!(read(&fs).unwrap().torn_tail, None);
}

#[test]
fn the_log_knows_better_than_a_cut_manifest() {
    let history = History::small();
    let fact = |state: &State| (state.manifest, state.manifest_bytes, state.manifest_crc);
    let known = fact(history.last());
    for (index, state) in history.states.iter().enumerate() {
        let fs = store_with_manifest(MANIFEST, &history.bytes[..state.manifest_bytes as usize]);
        let found = read(&fs).unwrap();
        let check = |fact| lsm_manifest::check_fact(&fs, Path::new(STORE), &found, fact);
        for (earlier, state) in history.states.iter().enumerate() {
            assert_eq!(check(fact(state)).is_ok(), earlier <= index, "{index} {earlier}");
        }
        check((FileNumber(0), 99_999, 0)).unwrap();
        assert!(check((FileNumber(2), 0, 0)).unwrap_err().is_corruption());
        assert!(check((known.0, found.manifest_bytes, !found.manifest_crc)).unwrap_err().is_corruption());
    }
}

/// The payloads of all records.
fn payloads(bytes: &[u8]) -> Vec<Vec<u8>> {
    let source = Arc::new(bytes.to_vec());
    let mut reader = RecordReader::new(source, HeaderStyle::Legacy, Path::new("manifest")).unwrap();
    let mut payloads = Vec::new();
    while let Outcome::Record { payload, .. } = reader.next().unwrap() {
        payloads.push(payload.to_vec());
    }
    payloads
}

fn sealed(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = RecordWriter::new(Vec::new());
    payloads.iter().for_each(|payload| writer.append(payload).unwrap());
    writer.into_inner()
}

#[test]
fn wrong_edits_under_right_checksums_are_refused_or_harmless() {
    let history = History::small();
    let payloads = payloads(&history.bytes);
    assert_eq!(sealed(&payloads), history.bytes);
    let mut accepted = 0;
    for index in 0..payloads.len() {
        for bit in 0..payloads[index].len() * 8 {
            let mut payloads = payloads.clone();
            payloads[index][bit / 8] ^= 1 << (bit % 8);
            if let Ok(state) = read(&store_with_manifest(MANIFEST, &sealed(&payloads))) {
                state.families.values().for_each(|family| family.version.check().unwrap());
                accepted += 1;
            }
        }
        // The same record twice, left out, or cut.
        let mut changed = payloads.clone();
        changed.insert(index, payloads[index].clone());
        let _ = read(&store_with_manifest(MANIFEST, &sealed(&changed)));
        changed.drain(index..index + 2);
        let _ = read(&store_with_manifest(MANIFEST, &sealed(&changed)));
        for length in 0..payloads[index].len() {
            let mut payloads = payloads.clone();
            payloads[index].truncate(length);
            let _ = read(&store_with_manifest(MANIFEST, &sealed(&payloads)));
        }
    }
    assert!(accepted > 0, "a larger size or another name is as good as the right one");
}

#[test]
fn a_group_without_its_end_never_happened() {
    let history = History::small();
    let mut payloads = payloads(&history.bytes);
    // Ends with the flush of two families, of which the second record is missing.
    payloads.truncate(payloads.len() - 2);
    let found = read(&store_with_manifest(MANIFEST, &sealed(&payloads))).unwrap();
    assert_eq!(content(&found), content(&history.states[2]));
    assert_eq!(found.torn_tail.unwrap().offset, history.states[2].manifest_bytes);

    // With something behind it, it is damage.
    payloads.push(VersionEdit { next_file: Some(100), ..VersionEdit::default() }.encode());
    let error = read(&store_with_manifest(MANIFEST, &sealed(&payloads))).unwrap_err();
    assert!(error.to_string().contains("an atomic group lacks its last 1 edits"), "{error}");
}
