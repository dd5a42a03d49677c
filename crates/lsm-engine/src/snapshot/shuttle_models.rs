//! A model of snapshots against compaction under shuttle's schedules: as it is, and with bugs that must be found.

use super::*;
use crate::sync::{explore, thread};

type Take = fn(&Snapshots, &Publisher) -> SeqNo;

/// A key is overwritten while a snapshot is taken, and a compaction drops the versions that no snapshot needs.
fn a_version_is_replaced(take: Take) {
    let publisher = Arc::new(Publisher::new(SeqNo::new(1)));
    let snapshots = Arc::new(Snapshots::default());
    // What readers find: the sequence numbers of the key's versions.
    let versions = Arc::new(Mutex::new(vec![1_u64]));
    let writer = {
        let (publisher, versions) = (Arc::clone(&publisher), Arc::clone(&versions));
        thread::spawn(move || {
            versions.lock().push(2);
            assert!(publisher.turn(SeqNo::new(2), 1).publish());
        })
    };
    let compaction = {
        let (publisher, snapshots, versions) = (Arc::clone(&publisher), Arc::clone(&snapshots), Arc::clone(&versions));
        thread::spawn(move || {
            assert!(publisher.wait_for(SeqNo::new(2)));
            // Version 1 stays for a snapshot between the two.
            if snapshots.seqs().iter().all(|seq| seq.get() >= 2) {
                versions.lock().retain(|seq| *seq == 2);
            }
        })
    };
    let seq = take(&snapshots, &publisher);
    for _ in 0..2 {
        let found = versions.lock().iter().copied().filter(|version| *version <= seq.get()).max();
        assert_eq!(found, Some(seq.get()), "S1: the snapshot's version is gone");
        thread::yield_now();
    }
    snapshots.release(seq);
    assert_eq!(snapshots.count(), 0);
    [writer, compaction].into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_snapshot_keeps_what_it_shows() {
    // Covers S1.
    explore::holds(|| a_version_is_replaced(Snapshots::take));
}

#[test]
fn a_snapshot_that_looks_before_it_registers_is_found() {
    fn take(snapshots: &Snapshots, publisher: &Publisher) -> SeqNo {
        let seq = publisher.visible();
        *snapshots.live.lock().entry(seq).or_default() += 1;
        seq
    }
    explore::finds("S1", || a_version_is_replaced(take));
}
