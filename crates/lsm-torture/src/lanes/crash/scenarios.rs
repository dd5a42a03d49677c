//! The scripts that are stopped at every call.

use crate::history::op::{Change, Kind, Op, put};

/// What happens before anybody watches, and what is watched from the opening of the store to its close.
pub(super) struct Scenario {
    pub(super) before: fn() -> Vec<Op>,
    pub(super) ops: fn() -> Vec<Op>,
}

/// All of them, in an order that seeds rely on: new ones go to the end.
pub(super) const SCENARIOS: [Scenario; 18] = [
    of(single_puts),
    of(batches_over_families),
    of(group_commit),
    of(flush),
    of(compaction_of_level_0),
    of(deeper_levels),
    of(new_logs),
    Scenario { before: logs_to_reuse, ops: new_logs },
    of(deleted_ranges),
    of(snapshots),
    of(checkpoint),
    of(families_come_and_go),
    of(full_disk_in_a_flush),
    Scenario { before: every_family_written, ops: close_and_open },
    Scenario { before: every_family_written, ops: nothing },
    Scenario { before: power_cut, ops: synced_puts },
    of(merges),
    Scenario { before: many_edits, ops: flush },
];

const fn of(ops: fn() -> Vec<Op>) -> Scenario {
    Scenario { before: nothing, ops }
}

fn nothing() -> Vec<Op> {
    Vec::new()
}

fn one(change: Change, synced: bool) -> Op {
    Op::Write(vec![change], synced)
}

/// Puts of `count` keys, of which every `synced`th is synced.
fn puts(count: u8, bytes: u16, synced: u8) -> Vec<Op> {
    (0..count).map(|number| one(put(0, number, bytes), number % synced == synced - 1)).collect()
}

/// Parts one after the other.
fn all(parts: impl IntoIterator<Item = Vec<Op>>) -> Vec<Op> {
    parts.into_iter().flatten().collect()
}

fn single_puts() -> Vec<Op> {
    all([puts(12, 80, 3), vec![Op::Sync], puts(4, 0, 9), vec![Op::Kill], puts(3, 20, 2)])
}

fn synced_puts() -> Vec<Op> {
    puts(6, 100, 1)
}

fn batches_over_families() -> Vec<Op> {
    let batch = |first: u8| (0..6).map(|number| put(usize::from(number % 3), first + number, 120)).collect::<Vec<_>>();
    let create = vec![Op::CreateFamily(1), Op::CreateFamily(2)];
    let writes = (0..5).map(|index| Op::Write(batch(index * 3), index % 2 == 1)).collect();
    let large = vec![Op::Write((0..20).map(|number| put(usize::from(number % 2), number, 300)).collect(), false)];
    all([create, writes, large, vec![Op::Flush], puts(3, 50, 2)])
}

fn group_commit() -> Vec<Op> {
    let group = |first: u8| {
        Op::Group((0..4).map(|index| vec![put(0, first + index, 90), put(0, first + index + 5, 10)]).collect())
    };
    all([vec![group(0), group(3)], puts(2, 10, 9), vec![group(8)]])
}

fn flush() -> Vec<Op> {
    all([puts(8, 200, 4), vec![Op::Flush], puts(4, 200, 9), vec![Op::Flush], puts(2, 10, 9)])
}

/// Flushes that fill level 0, and the compaction that empties it.
fn compaction_of_level_0() -> Vec<Op> {
    let round =
        |first: u8| all([vec![one(put(0, first, 400), false), one(put(0, first + 9, 400), false)], vec![Op::Flush]]);
    all([round(0), round(1), vec![Op::Settle], round(2), puts(2, 30, 9), round(3), vec![Op::Settle], puts(2, 30, 2)])
}

fn deeper_levels() -> Vec<Op> {
    let round = |bytes: u16| all([(0..24).map(|number| one(put(0, number, bytes), false)).collect(), vec![Op::Flush]]);
    let compact = vec![Op::Settle, Op::Compact(None, None)];
    all([round(300), round(280), compact.clone(), puts(3, 10, 9), vec![Op::Compact(Some(3), Some(9))], puts(2, 10, 2)])
}

/// Enough to fill memtables, each of which begins a log.
fn new_logs() -> Vec<Op> {
    let round =
        (0..24).map(|number| one(put(usize::from(number % 4 == 0), number, 900), number % 7 == 6)).collect::<Vec<_>>();
    all([vec![Op::CreateFamily(1)], round.clone(), vec![Op::Step], round, vec![Op::Settle], puts(3, 10, 2)])
}

/// Leaves logs that the next ones are written over; the process goes on, so nobody removes them.
fn logs_to_reuse() -> Vec<Op> {
    puts(20, 3000, 20)
}

fn deleted_ranges() -> Vec<Op> {
    let delete = |key, width| one(Change { slot: 0, key, kind: Kind::DeleteRange(width) }, true);
    all([
        puts(16, 100, 9),
        vec![delete(2, 6), Op::Flush, one(put(0, 4, 60), false), delete(4, 9), Op::Flush],
        vec![Op::Compact(None, None), one(put(0, 5, 10), true)],
    ])
}

fn snapshots() -> Vec<Op> {
    let again = || puts(10, 150, 5);
    all([
        again(),
        vec![Op::Snapshot],
        again(),
        vec![Op::Flush, Op::Snapshot],
        again(),
        vec![Op::Flush, Op::Compact(None, None), Op::CheckAll, Op::DropSnapshot],
        again(),
        vec![Op::Flush, Op::Compact(None, None), Op::CheckAll],
    ])
}

fn checkpoint() -> Vec<Op> {
    all([puts(6, 200, 9), vec![Op::Flush], puts(4, 100, 9), vec![Op::Checkpoint], puts(3, 10, 2), vec![Op::Checkpoint]])
}

fn families_come_and_go() -> Vec<Op> {
    let write = |slot, key| one(put(slot, key, 150), false);
    vec![
        Op::CreateFamily(1),
        write(1, 1),
        write(0, 1),
        Op::CreateFamily(2),
        write(2, 2),
        Op::Flush,
        write(1, 3),
        Op::DropFamily(1),
        write(0, 3),
        write(2, 4),
        Op::CreateFamily(1),
        write(1, 5),
        Op::DropFamily(2),
        Op::Flush,
        write(1, 6),
    ]
}

/// The full disk is the lane `faults`' business; here the flush behind it is crashed.
fn full_disk_in_a_flush() -> Vec<Op> {
    all([
        puts(14, 700, 5),
        vec![Op::Fill(1000), Op::Refused(Box::new(Op::Flush)), Op::MakeRoom, Op::Flush],
        puts(3, 10, 2),
    ])
}

fn every_family_written() -> Vec<Op> {
    let write = |number: u8| one(put(usize::from(number % 3), number, 200), number % 5 == 4);
    let writes = |numbers: std::ops::Range<u8>| numbers.map(write).collect::<Vec<_>>();
    all([vec![Op::CreateFamily(1), Op::CreateFamily(2)], writes(0..10), vec![Op::Flush], writes(8..24)])
}

fn close_and_open() -> Vec<Op> {
    all([vec![Op::Close], puts(3, 50, 2), vec![Op::Close, Op::Close]])
}

fn power_cut() -> Vec<Op> {
    all([every_family_written(), puts(10, 300, 4), vec![Op::PowerCut(7)], puts(10, 300, 6), vec![Op::PowerCut(8)]])
}

fn merges() -> Vec<Op> {
    let merge = |key| one(Change { slot: 0, key, kind: Kind::Merge(20) }, key % 4 == 3);
    let round = || (0..8).map(merge).collect::<Vec<_>>();
    all([
        round(),
        puts(4, 20, 9),
        vec![Op::Flush],
        round(),
        vec![Op::Flush],
        round(),
        vec![Op::Compact(None, None)],
        round(),
    ])
}

/// A manifest with many edits.
fn many_edits() -> Vec<Op> {
    all((0..8).map(|index| vec![Op::CreateFamily(1), one(put(1, index, 30), false), Op::Flush, Op::DropFamily(1)]))
}
