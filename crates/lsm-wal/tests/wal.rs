//! The active log: what it writes reads back, under every access, size and failure.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use lsm_core::filename::FileNumber;
use lsm_core::{Error, SeqNo};
use lsm_fs::{Crash, Fs, MemFs, OsFs, SegmentAccess};
use lsm_wal::{Facts, LogToReplay, ManifestFact, Origin, RecoveryMode, Wal, WalOptions, replay};
use support::*;

const BOTH: [SegmentAccess; 2] = [SegmentAccess::Mapped, SegmentAccess::Positioned];

fn wal(fs: &Arc<dyn Fs>, number: u64, access: SegmentAccess, origin: Origin) -> Wal {
    Wal::create(Arc::clone(fs), dir(), FileNumber(number), &options(access), origin).unwrap()
}

fn seqs(fs: &dyn Fs) -> Vec<u64> {
    let (seqs, report) = replayed(fs, &all_logs(fs), RecoveryMode::Checked).unwrap();
    assert!(report.dropped.is_empty(), "{:?}", report.dropped);
    seqs
}

#[test]
fn batches_of_every_size_read_back_under_both_accesses() {
    let sizes = [0, 1, 140, 32_700, 32_768, 100 << 10, 5, 3 << 20, 9];
    for access in BOTH {
        let mem = new_fs();
        let fs: Arc<dyn Fs> = Arc::clone(&mem) as _;
        let mut wal = wal(&fs, 4, access, Origin::default());
        for (seq, bytes) in sizes.into_iter().enumerate() {
            let position = wal.append(&batch(seq as u64, bytes)).unwrap();
            assert_eq!(position.bytes(), wal.len());
        }
        wal.handle().deliver(wal.append(&batch(9, 9)).unwrap()).unwrap();
        let crashed = mem.crash(Crash::KeepAll);
        assert_eq!(seqs(&crashed), (0..10).collect::<Vec<_>>(), "{access:?}");
    }
}

#[test]
fn a_record_header_fits_at_each_of_the_last_bytes_of_a_block() {
    for left in 0..26 {
        let fs = new_fs();
        let mut wal = create(&fs, 4, Origin::default());
        let overhead = batch(1, 20_000).len() - 20_000;
        wal.append(&batch(1, 32_768 - 11 - overhead - left)).unwrap();
        assert_eq!(wal.len(), 32_768 - left as u64);
        wal.append(&batch(2, 40_000)).unwrap();
        assert_eq!(seqs(&*fs), [1, 2], "{left}");
    }
}

#[test]
fn the_real_file_system_holds_a_log_too() {
    for access in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let fs = Arc::new(OsFs);
        let options = WalOptions { access, ..WalOptions::default() };
        let mut wal = Wal::create(fs.clone(), dir.path(), FileNumber(7), &options, Origin::default()).unwrap();
        for seq in 0..500 {
            let position = wal.append(&batch(seq, seq as usize * 3)).unwrap();
            if seq % 100 == 0 {
                wal.handle().sync(position).unwrap();
            }
        }
        let end = wal.finish().unwrap();
        let path = dir.path().join("000007.log");
        assert_eq!(std::fs::metadata(path).unwrap().len(), end, "{access:?}");
        let logs = [LogToReplay { number: FileNumber(7), synced_bytes: Some(end) }];
        let mut count = 0;
        let report = replay(&*fs, dir.path(), FileNumber(7), &logs, RecoveryMode::Checked, &mut |_, _, _| {
            count += 1;
            Ok(())
        });
        assert_eq!((report.unwrap().end.unwrap(), count), (wal.facts(), 500));
    }
}

// Covers L2.
#[test]
fn the_first_record_tells_the_facts_and_the_next_sequence_number() {
    let fs = new_fs();
    let manifest = ManifestFact { number: FileNumber(3), synced_bytes: 99, crc: 8 };
    let facts = Facts { predecessor: None, manifest: Some(manifest), identity: Some("id-1".to_owned()) };
    let wal = create(&fs, 4, Origin { facts: facts.clone(), next_seq: SeqNo::new(77), ..Origin::default() });
    let (found, report) = replayed(&*fs, &all_logs(&*fs), RecoveryMode::Checked).unwrap();
    assert!(found.is_empty());
    assert_eq!((report.records, report.next_seq, report.facts), (1, SeqNo::new(77), facts));
    assert_eq!(report.end, Some(wal.facts()));
}

// Covers L2, L3.
#[test]
fn a_watermark_follows_each_sync_once() {
    let fs = new_fs();
    let mut wal = create(&fs, 4, Origin::default());
    let plain = wal.append(&batch(1, 10)).unwrap().bytes();
    assert_eq!(wal.append(&batch(2, 10)).unwrap().bytes(), 2 * plain);
    wal.handle().sync_all().unwrap();
    assert!(wal.handle().is_fully_synced());
    let with_watermark = wal.append(&batch(3, 10)).unwrap().bytes() - 2 * plain;
    assert!(with_watermark > plain && with_watermark <= plain + 20, "{with_watermark}");
    let before = wal.len();
    assert_eq!(wal.append(&batch(4, 10)).unwrap().bytes() - before, plain);
    assert_eq!(seqs(&*fs), [1, 2, 3, 4]);
    let report = replayed(&*fs, &all_logs(&*fs), RecoveryMode::Checked).unwrap().1;
    assert_eq!(report.end, Some(wal.facts()));
}

#[test]
fn stale_records_of_a_recycled_file_are_never_replayed() {
    for access in BOTH {
        for fresh in 0..12 {
            let mem = new_fs();
            let fs: Arc<dyn Fs> = Arc::clone(&mem) as _;
            let mut old = wal(&fs, 4, access, Origin::default());
            // Records of equal size: old ones begin exactly where new ones end.
            for seq in 100..3000 {
                old.append(&batch(seq, 30)).unwrap();
            }
            old.finish().unwrap();
            drop(old);
            let recycled = Some(FileNumber(4));
            let mut new = wal(&fs, 5, access, Origin { recycled, ..Origin::default() });
            for seq in 0..fresh {
                new.append(&batch(seq, if seq % 5 == 4 { 31 } else { 30 })).unwrap();
            }
            new.handle().deliver(new.append(&batch(fresh, 33)).unwrap()).unwrap();
            assert!(fs.open(&log_path(4)).is_err());
            let logs = all_logs(&*fs);
            let (found, report) = replayed(&*fs, &logs, RecoveryMode::SkipDamaged).unwrap();
            assert_eq!(found, (0..=fresh).collect::<Vec<_>>(), "{access:?}");
            // A mapped log marks its end; behind a written one stands the middle of an old record.
            assert!(report.dropped.len() <= usize::from(access == SegmentAccess::Positioned), "{report:?}");
        }
    }
}

#[test]
fn a_recycled_file_with_a_second_link_is_left_alone() {
    let fs = new_fs();
    let mut old = create(&fs, 4, Origin::default());
    old.append(&batch(1, 30)).unwrap();
    old.finish().unwrap();
    fs.hard_link(&log_path(4), &log_path(99)).unwrap();
    let mut new = create(&fs, 5, Origin { recycled: Some(FileNumber(4)), ..Origin::default() });
    new.append(&batch(2, 30)).unwrap();
    assert_eq!(seqs(&*fs), [1, 2]);
}

// Covers L1.
#[test]
fn a_full_disk_leaves_the_log_at_its_last_good_record() {
    for access in BOTH {
        let mem = new_fs();
        let fs: Arc<dyn Fs> = Arc::clone(&mem) as _;
        let mut wal = wal(&fs, 4, access, Origin::default());
        mem.set_capacity(Some(10_000));
        wal.append(&batch(1, 100)).unwrap();
        let before = wal.facts();
        match wal.append(&batch(2, 50_000)) {
            Err(Error::Io(failure)) => assert_eq!(failure.source.kind(), std::io::ErrorKind::StorageFull),
            other => panic!("{other:?}"),
        }
        assert_eq!(wal.facts(), before);
        let position = wal.append(&batch(3, 100)).unwrap();
        mem.set_capacity(None);
        let last = wal.append(&batch(4, 50_000)).unwrap();
        wal.handle().sync(position).unwrap();
        wal.handle().sync(last).unwrap();
        assert_eq!(seqs(&*fs), [1, 3, 4], "{access:?}");
        assert_eq!(replayed(&*fs, &all_logs(&*fs), RecoveryMode::Checked).unwrap().1.end, Some(wal.facts()));
    }
}

#[test]
fn a_log_that_cannot_be_created_leaves_no_file() {
    let fs = new_fs();
    fs.set_capacity(Some(4096));
    let facts = Facts { identity: Some("x".repeat(9000)), ..Facts::default() };
    let options = options(SegmentAccess::Mapped);
    let number = FileNumber(4);
    let origin = Origin { facts, ..Origin::default() };
    Wal::create(Arc::<MemFs>::clone(&fs), dir(), number, &options, origin.clone()).unwrap_err();
    assert!(all_logs(&*fs).is_empty());
    fs.set_capacity(None);
    Wal::create(Arc::<MemFs>::clone(&fs), dir(), number, &options, origin.clone()).unwrap();
    let error = Wal::create(fs, dir(), number, &options, origin).unwrap_err();
    assert!(error.to_string().contains("000004.log"), "{error}");
}

#[test]
fn abandon_forgets_what_was_not_delivered_and_nothing_else() {
    let faulty = Faulty::new();
    let fs: Arc<dyn Fs> = Arc::clone(&faulty) as _;
    let mut wal = wal(&fs, 4, SegmentAccess::Positioned, Origin::default());
    let handle = wal.handle();
    handle.deliver(wal.append(&batch(1, 30)).unwrap()).unwrap();
    handle.sync(wal.append(&batch(2, 40_000)).unwrap()).unwrap();
    let kept = wal.facts();
    let lost = wal.append(&batch(3, 30)).unwrap();
    faulty.switches.deliver_fails.store(true, Ordering::SeqCst);
    let error = handle.deliver(lost).unwrap_err();
    assert!(matches!(&error, Error::Io(failure) if failure.source.kind() == std::io::ErrorKind::StorageFull));
    // Not latched: a full disk was found before any sync.
    assert!(handle.sync(lost).is_err() && faulty.switches.syncs.load(Ordering::SeqCst) == 1);
    assert!(wal.abandon(lost, &error).unwrap());
    assert_eq!((wal.facts(), wal.is_abandoned()), (kept, true));
    faulty.switches.deliver_fails.store(false, Ordering::SeqCst);
    // Who waits for what was forgotten never hears that it is safe.
    assert!(handle.deliver(lost).is_err() && handle.sync(lost).is_err());
    let mut next = Wal::create(Arc::clone(&fs), dir(), FileNumber(5), &options(SegmentAccess::Mapped), after(&wal, 3));
    let next = next.as_mut().unwrap();
    next.handle().sync(next.append(&batch(3, 10)).unwrap()).unwrap();
    assert_eq!(seqs(&*fs), [1, 2, 3]);
}

#[test]
fn a_log_is_not_given_up_when_somebody_else_has_delivered_the_bytes() {
    let faulty = Faulty::new();
    let fs: Arc<dyn Fs> = Arc::clone(&faulty) as _;
    let mut wal = wal(&fs, 4, SegmentAccess::Positioned, Origin::default());
    let first = wal.append(&batch(1, 30)).unwrap();
    faulty.switches.deliver_fails.store(true, Ordering::SeqCst);
    let error = wal.handle().deliver(first).unwrap_err();
    faulty.switches.deliver_fails.store(false, Ordering::SeqCst);
    wal.handle().deliver(wal.append(&batch(2, 30)).unwrap()).unwrap();
    assert!(!wal.abandon(first, &error).unwrap() && !wal.is_abandoned());
    wal.handle().sync(wal.append(&batch(3, 30)).unwrap()).unwrap();
    assert_eq!(seqs(&*fs), [1, 2, 3]);
}

#[test]
fn finish_cuts_and_syncs() {
    let fs = new_fs();
    let mut wal = create(&fs, 4, Origin::default());
    wal.append(&batch(1, 10_000)).unwrap();
    let bytes = wal.finish().unwrap();
    assert!(wal.handle().is_fully_synced());
    let crashed = fs.crash(Crash::DropUnsynced);
    assert_eq!(crashed.metadata(&log_path(4)).unwrap().bytes, bytes);
    assert_eq!(seqs(&crashed), [1]);
}
