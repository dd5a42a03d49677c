//! The shared side of the log: order of syncs, sharing, and failures that are final.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use lsm_core::filename::FileNumber;
use lsm_fs::{Crash, Fs, SegmentAccess};
use lsm_wal::{Origin, RecoveryMode, Wal};
use support::*;

fn wal(fs: &Arc<Faulty>, number: u64, origin: Origin) -> Wal {
    wal_with(fs, number, origin, SegmentAccess::Mapped)
}

fn wal_with(fs: &Arc<Faulty>, number: u64, origin: Origin, access: SegmentAccess) -> Wal {
    let fs: Arc<dyn Fs> = Arc::clone(fs) as _;
    Wal::create(fs, dir(), FileNumber(number), &options(access), origin).unwrap()
}

#[test]
fn concurrent_callers_share_a_sync() {
    let fs = Faulty::new();
    let mut wal = wal(&fs, 4, Origin::default());
    let handle = wal.handle();
    let held = fs.switches.sync_waits.lock();
    let threads: Vec<_> = (0..8)
        .map(|seq| {
            let position = wal.append(&batch(seq, 10)).unwrap();
            let handle = Arc::clone(&handle);
            std::thread::spawn(move || {
                handle.sync(position).unwrap();
                assert!(handle.synced() >= position.bytes());
            })
        })
        .collect();
    while fs.switches.syncs.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    drop(held);
    for thread in threads {
        thread.join().unwrap();
    }
    // All was committed before the first sync could end, so one more serves all who came late.
    assert!(fs.switches.syncs.load(Ordering::SeqCst) <= 2);
    assert_eq!(fs.switches.dir_syncs.load(Ordering::SeqCst), 1);
}

#[test]
fn a_position_that_is_delivered_or_synced_costs_no_call() {
    // What was copied into a mapping is delivered.
    for (access, delivers) in [(SegmentAccess::Mapped, 0), (SegmentAccess::Positioned, 1)] {
        let fs = Faulty::new();
        let mut wal = wal_with(&fs, 4, Origin::default(), access);
        let first = wal.append(&batch(1, 10)).unwrap();
        let second = wal.append(&batch(2, 10)).unwrap();
        assert_eq!(wal.is_delivered(second), access == SegmentAccess::Mapped);
        wal.handle().deliver(second).unwrap();
        wal.handle().deliver(first).unwrap();
        assert_eq!(fs.switches.delivers.load(Ordering::SeqCst), delivers);
        assert!(wal.is_delivered(second));
        wal.handle().sync(second).unwrap();
        wal.handle().sync(first).unwrap();
        assert_eq!(fs.switches.syncs.load(Ordering::SeqCst), 1);
    }
}

// Covers H2.
#[test]
fn a_failed_sync_is_final_for_the_log_and_its_successor() {
    let fs = Faulty::new();
    let mut old = wal(&fs, 4, Origin::default());
    let done = old.append(&batch(1, 10)).unwrap();
    old.handle().sync(done).unwrap();
    let position = old.append(&batch(2, 10)).unwrap();
    let mut new = wal(&fs, 5, after(&old, 3));
    let later = new.append(&batch(3, 10)).unwrap();
    fs.switches.sync_fails.store(true, Ordering::SeqCst);
    let error = new.handle().sync(later).unwrap_err().to_string();
    assert!(error.contains("000004.log"), "{error}");
    fs.switches.sync_fails.store(false, Ordering::SeqCst);
    let syncs = fs.switches.syncs.load(Ordering::SeqCst);
    for handle in [old.handle(), new.handle()] {
        assert_eq!(handle.sync(done).unwrap_err().to_string(), error);
        assert_eq!(handle.sync(position).unwrap_err().to_string(), error);
        assert_eq!(handle.deliver(position).unwrap_err().to_string(), error);
        assert_eq!(handle.sync_all().unwrap_err().to_string(), error);
    }
    assert_eq!(new.append(&batch(4, 10)).unwrap_err().to_string(), error);
    assert_eq!(new.finish().unwrap_err().to_string(), error);
    assert_eq!(fs.switches.syncs.load(Ordering::SeqCst), syncs);
}

// Covers H2.
#[test]
fn who_waits_for_a_sync_that_fails_does_not_try_again() {
    let fs = Faulty::new();
    let mut wal = wal(&fs, 4, Origin::default());
    let handle = wal.handle();
    let position = wal.append(&batch(1, 10)).unwrap();
    let held = fs.switches.sync_waits.lock();
    fs.switches.sync_fails.store(true, Ordering::SeqCst);
    let sync = || {
        let handle = Arc::clone(&handle);
        std::thread::spawn(move || handle.sync(position).unwrap_err().to_string())
    };
    let threads: Vec<_> = (0..4).map(|_| sync()).collect();
    while fs.switches.syncs.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    // Long enough that the others wait too, most times; the test holds without.
    (0..1000).for_each(|_| std::thread::yield_now());
    drop(held);
    let errors: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
    assert_eq!(fs.switches.syncs.load(Ordering::SeqCst), 1);
}

#[test]
fn a_failed_sync_of_the_directory_is_final_too() {
    let fs = Faulty::new();
    let mut wal = wal(&fs, 4, Origin::default());
    let position = wal.append(&batch(1, 10)).unwrap();
    fs.switches.dir_sync_fails.store(true, Ordering::SeqCst);
    wal.handle().sync(position).unwrap_err();
    fs.switches.dir_sync_fails.store(false, Ordering::SeqCst);
    wal.handle().sync(position).unwrap_err();
    assert_eq!(wal.handle().synced(), 0);
}

// Covers H1.
#[test]
fn a_log_is_synced_after_all_logs_before_it_even_over_an_empty_one() {
    let fs = new_fs();
    let mut first = create(&fs, 4, Origin::default());
    first.append(&batch(1, 10)).unwrap();
    let empty = create(&fs, 5, Origin { facts: Default::default(), ..after(&first, 2) });
    assert!(empty.is_empty());
    let mut last = create(&fs, 6, Origin { predecessor: Some(empty.handle()), ..Origin::default() });
    let position = last.append(&batch(2, 10)).unwrap();
    last.handle().sync(position).unwrap();
    assert!(first.handle().is_fully_synced());
    let crashed = fs.crash(Crash::DropUnsynced);
    assert_eq!(replayed(&crashed, &all_logs(&crashed), RecoveryMode::Checked).unwrap().0, [1, 2]);
}

#[test]
fn a_retired_log_is_not_synced_and_holds_no_other_log() {
    let fs = Faulty::new();
    let mut oldest = wal(&fs, 3, Origin::default());
    oldest.append(&batch(1, 10)).unwrap();
    let mut old = wal(&fs, 4, after(&oldest, 2));
    old.append(&batch(2, 10)).unwrap();
    let mut new = wal(&fs, 5, after(&old, 3));
    let oldest_handle = Arc::downgrade(&oldest.handle());
    drop(oldest);
    assert!(oldest_handle.upgrade().is_some());
    old.handle().retire();
    assert!(oldest_handle.upgrade().is_none());
    let position = new.append(&batch(3, 10)).unwrap();
    new.handle().sync(position).unwrap();
    assert_eq!(fs.switches.syncs.load(Ordering::SeqCst), 1);
    assert_eq!(old.handle().synced(), 0);
}

#[test]
fn a_new_log_delivers_the_end_of_the_old_one() {
    let fs = new_fs();
    let positioned = options(SegmentAccess::Positioned);
    let mut old = Wal::create(fs.clone(), dir(), FileNumber(4), &positioned, Origin::default()).unwrap();
    old.append(&batch(1, 10)).unwrap();
    let mut new = Wal::create(fs.clone(), dir(), FileNumber(5), &positioned, after(&old, 2)).unwrap();
    new.handle().deliver(new.append(&batch(2, 10)).unwrap()).unwrap();
    let crashed = fs.crash(Crash::KeepAll);
    assert_eq!(replayed(&crashed, &all_logs(&crashed), RecoveryMode::Checked).unwrap().0, [1, 2]);
}
