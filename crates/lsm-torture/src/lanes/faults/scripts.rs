//! What the store is doing when calls fail.

use crate::history::op::{Change, Kind, Op, put};

pub(super) struct Script {
    /// Done before any call fails; the process ends after it.
    pub(super) before: fn() -> Vec<Op>,
    pub(super) ops: fn() -> Vec<Op>,
}

/// All of them, in an order that seeds rely on.
pub(super) const SCRIPTS: [Script; 6] = [
    Script { before: nothing, ops: writes },
    Script { before: nothing, ops: flushes_and_new_logs },
    Script { before: written, ops: compactions },
    Script { before: nothing, ops: families_snapshots_ranges },
    Script { before: written, ops: checkpoint_and_verify },
    Script { before: written, ops: open_and_close },
];

fn nothing() -> Vec<Op> {
    Vec::new()
}

fn one(change: Change, synced: bool) -> Op {
    Op::Write(vec![change], synced)
}

/// Puts from key `first` on, every third synced.
fn puts(first: u8, count: u8, bytes: u16) -> Vec<Op> {
    (first..first + count)
        .map(|number| one(put(usize::from(number % 4 == 3), number % 24, bytes), number % 3 == 2))
        .collect()
}

fn writes() -> Vec<Op> {
    let batch =
        |first: u8| (first..first + 4).map(|number| put(usize::from(number % 2), number, 60)).collect::<Vec<_>>();
    let mut ops = vec![Op::CreateFamily(1)];
    ops.extend(puts(0, 6, 40));
    ops.extend([Op::Write(batch(2), false), Op::Write(batch(5), true), Op::Sync, Op::Group(vec![batch(9), batch(3)])]);
    ops.extend([Op::CheckAll, Op::Close]);
    ops.extend(puts(3, 4, 30));
    ops.push(Op::CheckAll);
    ops
}

/// Memtables fill up, logs are begun and reused.
fn flushes_and_new_logs() -> Vec<Op> {
    let mut ops = puts(0, 6, 40);
    ops.push(Op::Flush);
    for round in 0..4 {
        ops.extend(puts(round * 3, 6, 3500));
        ops.push(Op::Step);
    }
    ops.extend([Op::Flush, Op::CheckAll]);
    ops.extend(puts(1, 3, 10));
    ops
}

/// Tables on two levels, and some in a log.
fn written() -> Vec<Op> {
    let mut ops = vec![Op::CreateFamily(1)];
    for round in 0..3 {
        ops.extend(puts(round * 4, 10, 400));
        ops.push(Op::Flush);
    }
    ops.push(Op::Settle);
    ops.extend(puts(2, 8, 100));
    ops
}

fn compactions() -> Vec<Op> {
    let mut ops = vec![Op::CheckAll];
    for round in 0..2 {
        ops.extend(puts(round * 5, 8, 300));
        ops.push(Op::Flush);
    }
    ops.extend([Op::Settle, Op::CheckAll, Op::Compact(None, None), one(put(0, 3, 10), true), Op::CheckAll]);
    ops
}

fn families_snapshots_ranges() -> Vec<Op> {
    let delete = |key, width| one(Change { slot: 0, key, kind: Kind::DeleteRange(width) }, true);
    let merge = |slot, key| one(Change { slot, key, kind: Kind::Merge(9) }, false);
    let mut ops = vec![Op::CreateFamily(1), Op::CreateFamily(2)];
    ops.extend(puts(0, 8, 100));
    ops.extend([Op::Snapshot, delete(2, 5), one(put(2, 4, 50), false), merge(0, 3), merge(1, 4), Op::Flush]);
    ops.extend([Op::DropFamily(2), merge(1, 4), Op::CheckAll, delete(9, 4), Op::Flush, Op::Compact(None, None)]);
    ops.extend([Op::CheckAll, Op::DropSnapshot, Op::CreateFamily(2), one(put(2, 7, 5), true), Op::DropFamily(1)]);
    ops
}

fn checkpoint_and_verify() -> Vec<Op> {
    let mut ops = vec![Op::Checkpoint];
    ops.extend(puts(4, 4, 200));
    ops.extend([
        Op::Verify,
        Op::Checkpoint,
        one(put(0, 1, 1), true),
        Op::Walk(vec![(0, 0), (4, 0), (2, 7), (6, 0), (1, 0)]),
    ]);
    ops.extend([Op::CheckRange(2, 12), Op::Get(4)]);
    ops
}

fn open_and_close() -> Vec<Op> {
    let mut ops = vec![Op::CheckAll, Op::Close];
    ops.extend(puts(6, 5, 100));
    ops.extend([Op::Close, Op::CheckAll, one(put(0, 2, 70), true)]);
    ops
}
