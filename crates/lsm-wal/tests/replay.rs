//! Replay after damage: a prefix, reported, or corruption that names file and offset; never anything else.

mod support;

use std::sync::Arc;

use lsm_core::filename::FileNumber;
use lsm_core::{Error, SeqNo, WriteBatch};
use lsm_fs::{Fs, MemFs};
use lsm_wal::{LogToReplay, Origin, RecordWriter, RecoveryMode, ReplayReport, replay};
use support::*;

/// Four batches; the first two were synced, which the third tells. Returns the file, and where each record starts.
fn small_log() -> (Vec<u8>, Vec<u64>) {
    let fs = new_fs();
    let mut wal = create(&fs, 4, Origin::default());
    let mut ends = vec![0];
    for seq in 0..4 {
        ends.push(wal.append(&batch(seq, 20 + seq as usize)).unwrap().bytes());
        if seq == 1 {
            wal.handle().sync_all().unwrap();
        }
    }
    wal.finish().unwrap();
    (read_file(&*fs, 4), ends)
}

fn replay_bytes(
    bytes: &[u8],
    synced_bytes: Option<u64>,
    mode: RecoveryMode,
) -> Result<(Vec<u64>, ReplayReport), Error> {
    let fs = new_fs();
    write_file(&*fs, 4, bytes);
    replayed(&*fs, &[LogToReplay { number: FileNumber(4), synced_bytes }], mode)
}

fn assert_corruption(error: &Error, file: &str, offset: u64) {
    let Error::Corruption(corruption) = error else { panic!("{error}") };
    assert!(corruption.path.as_ref().unwrap().ends_with(file), "{error}");
    assert_eq!(corruption.offset, Some(offset), "{error}");
}

#[test]
fn every_flipped_bit_is_corruption_where_synced_and_a_reported_end_elsewhere() {
    let (whole, ends) = small_log();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let hit = ends.iter().rposition(|end| *end as usize <= bit / 8).unwrap();
        match replay_bytes(&bytes, None, RecoveryMode::Checked) {
            Err(error) => {
                assert!(hit < 2, "bit {bit}: {error}");
                assert_corruption(&error, "000004.log", ends[hit]);
            }
            Ok((seqs, report)) => {
                assert!(hit >= 2, "bit {bit}: {seqs:?}");
                assert_eq!(seqs, (0..hit as u64).collect::<Vec<_>>(), "bit {bit}");
                assert_eq!(report.dropped[0].offset, ends[hit], "bit {bit}");
                assert_eq!(report.end.unwrap().bytes, ends[hit]);
            }
        }
        let (seqs, report) = replay_bytes(&bytes, None, RecoveryMode::PointInTime).unwrap();
        assert_eq!(seqs, (0..hit as u64).collect::<Vec<_>>(), "bit {bit}");
        assert_eq!(report.dropped.len(), 1);
        let (seqs, report) = replay_bytes(&bytes, None, RecoveryMode::SkipDamaged).unwrap();
        assert!(seqs.is_sorted() && !seqs.contains(&(hit as u64)), "bit {bit}: {seqs:?}");
        assert!(!report.dropped.is_empty());
        // Only a flip in length or type, which give the header's size, hides the records behind it in their block.
        if !(4..7).contains(&(bit as u64 / 8 - ends[hit])) {
            assert_eq!(seqs.len(), 3, "bit {bit}");
        }
    }
}

// Lane `damage` found a repair that said it had lost 0 bytes of a log, where it had lost every record behind a length
// that was damaged: the reader finds no place to go on, and was asked how far it had come.
#[test]
fn records_that_a_damaged_length_hides_are_counted_as_dropped() {
    let (mut bytes, ends) = small_log();
    bytes[ends[1] as usize + 4] ^= 1;
    let (seqs, report) = replay_bytes(&bytes, None, RecoveryMode::SkipDamaged).unwrap();
    assert_eq!((seqs, report.dropped.len()), (vec![0], 1));
    assert_eq!(report.dropped[0].bytes, bytes.len() as u64 - ends[1]);
}

#[test]
fn every_cut_is_a_prefix_unless_the_manifest_knows_better() {
    let (whole, ends) = small_log();
    for cut in 0..whole.len() {
        let hit = ends.iter().rposition(|end| *end as usize <= cut).unwrap();
        let (seqs, report) = replay_bytes(&whole[..cut], None, RecoveryMode::Checked).unwrap();
        assert_eq!(seqs, (0..hit as u64).collect::<Vec<_>>(), "{cut}");
        let is_between_records = ends[hit] as usize == cut;
        assert_eq!(report.dropped.is_empty(), is_between_records, "{cut}");
        let error = replay_bytes(&whole[..cut], Some(whole.len() as u64), RecoveryMode::Checked).unwrap_err();
        assert_corruption(&error, "000004.log", ends[hit]);
        assert!(error.to_string().contains("the manifest says"), "{error}");
    }
    assert!(replay_bytes(&whole, Some(whole.len() as u64), RecoveryMode::Checked).is_ok());
}

#[test]
fn every_byte_set_to_anything_never_panics_and_never_gives_another_batch() {
    let (whole, ends) = small_log();
    for offset in 0..whole.len() {
        let hit = ends.iter().rposition(|end| *end as usize <= offset).unwrap();
        for value in [0, 1, 4, 5, 9, 10, 11, 0x7f, 0x80, 130, 131, 0xff] {
            let mut bytes = whole.clone();
            if bytes[offset] == value {
                continue;
            }
            bytes[offset] = value;
            if let Ok((seqs, _)) = replay_bytes(&bytes, None, RecoveryMode::Checked) {
                assert_eq!(seqs, (0..hit as u64).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn zeros_over_synced_records_are_corruption_and_over_others_the_end() {
    let (whole, ends) = small_log();
    for record in 0..4 {
        let mut bytes = whole.clone();
        bytes[ends[record] as usize..ends[record + 1] as usize].fill(0);
        bytes.resize(bytes.len() + (70 << 10), 0);
        match replay_bytes(&bytes, None, RecoveryMode::Checked) {
            Err(error) => {
                assert!(record < 2);
                assert_corruption(&error, "000004.log", ends[record]);
            }
            Ok((seqs, report)) => {
                assert!(record >= 2);
                assert_eq!(seqs.len(), record);
                // Zeros over the last record look like a log that was never longer.
                assert_eq!(report.dropped.is_empty(), record == 3);
            }
        }
    }
}

#[test]
fn a_synced_place_in_a_log_of_many_blocks_is_found_damaged() {
    let fs = new_fs();
    let mut wal = create(&fs, 4, Origin::default());
    for seq in 0..40 {
        wal.append(&batch(seq, 20_000)).unwrap();
    }
    wal.handle().sync_all().unwrap();
    let synced = wal.handle().synced();
    wal.append(&batch(40, 200_000)).unwrap();
    let whole = read_file(&*fs, 4);
    for offset in (5..synced as usize).step_by(7_919) {
        let mut bytes = whole.clone();
        // A sector that went lost.
        let end = (offset + 512).min(synced as usize);
        bytes[offset..end].fill(0);
        let error = replay_bytes(&bytes, None, RecoveryMode::Checked).unwrap_err();
        assert!(error.is_corruption() && error.to_string().contains("were synced"), "{error}");
        let (seqs, _) = replay_bytes(&bytes, None, RecoveryMode::SkipDamaged).unwrap();
        assert!(seqs.len() >= 38, "{offset}: {}", seqs.len());
    }
}

/// Two logs: 4 with batches 0 and 1, and 5 with batches 2 and 3, of which 2 was synced if `synced`.
fn two_logs(synced: bool) -> Arc<MemFs> {
    let fs = new_fs();
    let mut old = create(&fs, 4, Origin::default());
    old.append(&batch(0, 20)).unwrap();
    old.append(&batch(1, 20)).unwrap();
    let mut new = create(&fs, 5, after(&old, 2));
    let position = new.append(&batch(2, 20)).unwrap();
    if synced {
        new.handle().sync(position).unwrap();
    }
    new.append(&batch(3, 20)).unwrap();
    fs
}

fn check(fs: &dyn Fs) -> Result<(Vec<u64>, ReplayReport), Error> {
    replayed(fs, &all_logs(fs), RecoveryMode::Checked)
}

// Covers P3.
#[test]
fn damage_in_a_log_is_proved_by_a_later_log_that_was_synced() {
    for synced in [false, true] {
        for cut in 0..read_file(&*two_logs(synced), 4).len().min(120) {
            let fs = two_logs(synced);
            let end = check(&*fs).unwrap().1.end.unwrap();
            let bytes = read_file(&*fs, 4);
            write_file(&*fs, 4, &bytes[..cut]);
            match check(&*fs) {
                Err(error) => assert!(synced && error.to_string().contains("000004.log"), "{cut} {error}"),
                Ok((seqs, report)) => {
                    let whole = seqs == [0, 1, 2, 3];
                    assert!(whole || !synced && seqs.len() < 2 && report.dropped.len() == 2, "{cut} {seqs:?}");
                    assert_eq!(whole, report.end == Some(end), "{cut}");
                }
            }
        }
    }
}

#[test]
fn skipping_damage_reports_the_place_once_and_reads_the_later_logs() {
    let fs = two_logs(true);
    let mut bytes = read_file(&*fs, 4);
    bytes[20] ^= 1;
    write_file(&*fs, 4, &bytes);
    let (seqs, report) = replayed(&*fs, &all_logs(&*fs), RecoveryMode::SkipDamaged).unwrap();
    assert_eq!(seqs, [1, 2, 3]);
    assert_eq!(report.dropped.len(), 1, "{report:?}");
    assert_eq!((report.dropped[0].offset, report.dropped[0].bytes), (0, (batch(0, 20).len() + 11) as u64));
}

#[test]
fn a_missing_log_is_damage_if_a_later_one_was_synced_or_the_manifest_lists_it() {
    for synced in [false, true] {
        let fs = two_logs(synced);
        let mut third = create(&fs, 6, after_by_report(&fs));
        third.append(&batch(4, 20)).unwrap();
        if synced {
            third.handle().sync_all().unwrap();
            third.append(&batch(5, 20)).unwrap();
        }
        fs.remove(&log_path(5)).unwrap();
        match check(&*fs) {
            Err(error) => {
                assert!(synced);
                assert_corruption(&error, "000005.log", 0);
            }
            Ok((seqs, report)) => {
                assert!(!synced && seqs == [0, 1], "{seqs:?}");
                assert_eq!(report.dropped.iter().map(|dropped| dropped.log.0).collect::<Vec<_>>(), [5, 6]);
                assert_eq!(report.end.unwrap().number, FileNumber(4));
            }
        }
        let mut logs = all_logs(&*fs);
        logs.insert(1, LogToReplay { number: FileNumber(5), synced_bytes: Some(0) });
        assert_corruption(&replayed(&*fs, &logs, RecoveryMode::Checked).unwrap_err(), "000005.log", 0);
        assert_eq!(replayed(&*fs, &logs, RecoveryMode::PointInTime).unwrap().0, [0, 1]);
        assert_eq!(replayed(&*fs, &logs, RecoveryMode::SkipDamaged).unwrap().0[..3], [0, 1, 4]);
    }
}

/// What a new log starts from after replay, as an engine does it.
fn after_by_report(fs: &Arc<MemFs>) -> Origin {
    let report = check(&**fs).unwrap().1;
    let facts = lsm_wal::Facts { predecessor: report.end, ..Default::default() };
    Origin { facts, next_seq: report.next_seq, ..Origin::default() }
}

// Covers Y4, C1.
#[test]
fn a_second_recovery_finds_what_the_first_one_did() {
    let fs = two_logs(false);
    let bytes = read_file(&*fs, 4);
    let torn = check(&*fs).map(|_| bytes.len()).unwrap().min(100);
    write_file(&*fs, 4, &bytes[..torn]);
    let (first, report) = check(&*fs).unwrap();
    assert!(first == [0] && report.dropped.len() == 2, "{first:?} {report:?}");
    let mut new = create(&fs, 9, after_by_report(&fs));
    new.append(&batch(1, 50)).unwrap();
    new.handle().sync_all().unwrap();
    new.append(&batch(2, 50)).unwrap();
    let (second, report) = check(&*fs).unwrap();
    assert_eq!(second, [0, 1, 2]);
    assert!(report.dropped.is_empty(), "{report:?}");
    assert_eq!(report.end, Some(new.facts()));
}

#[test]
fn another_stores_log_with_the_same_number_is_corruption() {
    let fs = two_logs(true);
    let other = new_fs();
    let mut foreign = create(&other, 4, Origin::default());
    foreign.append(&batch(7, 20)).unwrap();
    foreign.append(&batch(8, 20)).unwrap();
    write_file(&*fs, 4, &read_file(&*other, 4));
    let error = check(&*fs).unwrap_err();
    assert!(error.to_string().contains("the next log says"), "{error}");
    foreign.append(&batch(9, 21)).unwrap();
    write_file(&*fs, 4, &read_file(&*other, 4)[..foreign.len() as usize]);
    check(&*fs).unwrap_err();
}

#[test]
fn copies_of_log_records_in_a_torn_value_prove_nothing() {
    // A value that holds another log with this number and a watermark, as a backup kept in the store would.
    let (inner, _) = small_log();
    let fs = new_fs();
    let mut wal = create(&fs, 4, Origin::default());
    wal.append(&batch(0, 10)).unwrap();
    let before = wal.len();
    let mut value = vec![7; 5];
    // Far enough inside that its watermark could be about this log.
    value.extend_from_slice(&inner);
    let mut holder = WriteBatch::new();
    holder.set_seq(SeqNo::new(1));
    holder.put(lsm_core::ColumnFamilyId::DEFAULT, b"backup", &value);
    wal.append(holder.as_bytes()).unwrap();
    let mut bytes = read_file(&*fs, 4);
    bytes.truncate(wal.len() as usize);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let (seqs, report) = replay_bytes(&bytes, None, RecoveryMode::Checked).unwrap();
    assert_eq!((seqs, report.dropped[0].offset), (vec![0], before));
    // Nor is it taken for data.
    assert_eq!(replay_bytes(&bytes, None, RecoveryMode::SkipDamaged).unwrap().0, [0]);
}

fn legacy(payloads: &[&[u8]]) -> Vec<u8> {
    let mut writer = RecordWriter::new(Vec::new());
    for payload in payloads {
        writer.append(payload).unwrap();
    }
    writer.into_inner()
}

#[test]
fn legacy_records_behind_recyclable_ones_are_refused_and_the_reverse() {
    let (recyclable, ends) = small_log();
    let tail = legacy(&[&batch(9, 20)]);
    let mixed = [&recyclable[..ends[2] as usize], &tail].concat();
    let (seqs, report) = replay_bytes(&mixed, None, RecoveryMode::Checked).unwrap();
    assert_eq!((seqs, report.dropped.len()), (vec![0, 1], 1));
    let mixed = [&tail[..], &recyclable[..ends[2] as usize]].concat();
    let (seqs, report) = replay_bytes(&mixed, None, RecoveryMode::Checked).unwrap();
    assert_eq!((seqs, report.dropped.len()), (vec![9], 1));
}

#[test]
fn a_torn_log_of_rocksdb_goes_on_in_the_next_one_if_the_sequence_does() {
    let torn = legacy(&[&batch(1, 20), &batch(2, 20)]);
    for (next, expected) in [(2, vec![1, 2]), (3, vec![1])] {
        let fs = new_fs();
        write_file(&*fs, 4, &torn[..torn.len() - 3]);
        write_file(&*fs, 5, &legacy(&[&batch(next, 20)]));
        let (seqs, report) = check(&*fs).unwrap();
        assert_eq!(seqs, expected);
        assert_eq!(report.dropped.len(), if next == 2 { 1 } else { 2 });
    }
}

#[test]
fn a_record_that_is_no_batch_is_corruption_though_its_checksum_holds() {
    let wrong_count = {
        let mut bytes = batch(2, 5);
        bytes[8] = 2;
        bytes
    };
    for payload in [b"short".as_slice(), &wrong_count] {
        let bytes = legacy(&[&batch(1, 20), payload, &batch(3, 20)]);
        let offset = legacy(&[&batch(1, 20)]).len() as u64;
        assert_corruption(&replay_bytes(&bytes, None, RecoveryMode::Checked).unwrap_err(), "000004.log", offset);
        assert_eq!(replay_bytes(&bytes, None, RecoveryMode::PointInTime).unwrap().0, [1]);
        assert_eq!(replay_bytes(&bytes, None, RecoveryMode::SkipDamaged).unwrap().0, [1, 3]);
    }
}

#[test]
fn compressed_logs_and_unknown_batch_records_are_refused_by_name() {
    let mut compressed = legacy(&[&[7, 0, 0, 0]]);
    compressed[6] = 9;
    let crc = lsm_core::checksum::masked_crc32c(&compressed[6..]);
    compressed[..4].copy_from_slice(&crc.to_le_bytes());
    let mut two_phase = WriteBatch::new().as_bytes().to_vec();
    two_phase.push(0x09);
    for (bytes, feature) in [(compressed, "compressed log records"), (legacy(&[&two_phase]), "two-phase commit")] {
        for mode in [RecoveryMode::Checked, RecoveryMode::PointInTime, RecoveryMode::SkipDamaged] {
            match replay_bytes(&bytes, None, mode).unwrap_err() {
                Error::Unsupported(found) => {
                    let names = found.path.as_ref().is_some_and(|path| path.ends_with("000004.log"));
                    assert!(names && found.feature.contains(feature), "{found:?}");
                }
                other => panic!("{other}"),
            }
        }
    }
}

#[test]
fn errors_of_the_visitor_and_wrong_orders_come_back() {
    let fs = two_logs(false);
    let logs = all_logs(&*fs);
    let refused = replay(&*fs, dir(), FileNumber(4), &logs, RecoveryMode::Checked, &mut |_, _, _| {
        Err(Error::invalid_argument("no"))
    });
    assert_eq!(refused.unwrap_err().to_string(), "no");
    let reversed: Vec<_> = logs.into_iter().rev().collect();
    assert!(matches!(replayed(&*fs, &reversed, RecoveryMode::Checked), Err(Error::InvalidArgument(_))));
}
