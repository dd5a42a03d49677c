//! One call of a history.

use lsm_testkit::Choices;

/// Distinct keys: few, so that writes meet.
pub(crate) const KEYS: u8 = 24;

/// Families that a history may use: the default one, and two that come and go.
pub(crate) const SLOTS: usize = 3;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// A batch; synced or only buffered.
    Write(Vec<Change>, bool),
    /// Batches submitted one after the other before the first is waited for.
    Group(Vec<Vec<Change>>),
    Sync,
    Get(u8),
    Snapshot,
    DropSnapshot,
    /// Everything by every way, for the present and all snapshots.
    CheckAll,
    CheckRange(u8, u8),
    /// Moves of one cursor: which, and to where.
    Walk(Vec<(u8, u8)>),
    Flush,
    Compact(Option<u8>, Option<u8>),
    /// One piece of background work.
    Step,
    /// All background work.
    Settle,
    Checkpoint,
    Verify,
    CreateFamily(usize),
    DropFamily(usize),
    /// Closes and opens.
    Close,
    /// Ends the process and opens.
    Kill,
    /// Cuts the power, keeping what the seed says, and opens.
    PowerCut(u64),
    /// Leaves so many bytes on the disk.
    Fill(u64),
    /// Makes room again.
    MakeRoom,
    /// A call for which there is no space.
    Refused(Box<Op>),
}

#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// The default family if this one does not exist.
    pub(crate) slot: usize,
    pub(crate) key: u8,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A value with so many bytes, and a number that no other value has.
    Put(u16),
    Delete,
    SingleDelete,
    /// So many keys from this one on.
    DeleteRange(u8),
    Merge(u8),
}

/// The key of a number.
pub(crate) fn key(number: u8) -> Vec<u8> {
    // A shared prefix longer than eight bytes for some, none for others.
    if number.is_multiple_of(3) { format!("common prefix {number:02}").into_bytes() } else { vec![b'k', number] }
}

/// A put of `bytes` bytes.
pub(crate) fn put(slot: usize, key: u8, bytes: u16) -> Change {
    Change { slot, key, kind: Kind::Put(bytes) }
}

impl Change {
    fn random(choices: &mut Choices, value_bytes_max: usize) -> Change {
        let kind = match choices.below(16) {
            0..8 => Kind::Put(choices.below(value_bytes_max) as u16),
            8..10 => Kind::Delete,
            10..12 => Kind::SingleDelete,
            12 => Kind::DeleteRange(choices.below(8) as u8),
            _ => Kind::Merge(choices.below(60) as u8),
        };
        Change { slot: choices.weighted(&[6, 2, 1]), key: choices.below(KEYS.into()) as u8, kind }
    }
}

/// How often which call comes in random histories.
pub(crate) struct Mix {
    /// Bytes of values are below this.
    pub(crate) value_bytes_max: usize,
    /// In 1000 calls, so many that end the process, by close, kill or power cut.
    pub(crate) ends: usize,
    /// In 1000 calls, so many that read and compare everything.
    pub(crate) full_checks: usize,
    /// In 1000 calls, so many single reads and short walks.
    pub(crate) reads: usize,
}

impl Op {
    /// A random call.
    pub(crate) fn random(choices: &mut Choices, mix: &Mix) -> Op {
        let rest = 1000 - mix.ends - mix.full_checks - mix.reads;
        match choices.weighted(&[rest, mix.ends, mix.full_checks, mix.reads]) {
            0 => Op::random_work(choices, mix.value_bytes_max),
            1 => match choices.below(4) {
                0 => Op::Close,
                1 => Op::Kill,
                _ => Op::PowerCut(choices.number()),
            },
            2 => match choices.below(8) {
                0 => Op::Checkpoint,
                1 => Op::Verify,
                _ => Op::CheckAll,
            },
            _ => match choices.below(16) {
                0 => Op::CheckRange(choices.below(KEYS.into()) as u8, choices.below(KEYS.into()) as u8),
                1 => Op::Walk((0..12).map(|_| (choices.below(8) as u8, choices.below(32) as u8)).collect()),
                _ => Op::Get(choices.below(usize::from(KEYS) + 1) as u8),
            },
        }
    }

    fn random_work(choices: &mut Choices, value_bytes_max: usize) -> Op {
        let changes = |choices: &mut Choices, count| {
            (0..count).map(|_| Change::random(choices, value_bytes_max)).collect::<Vec<_>>()
        };
        let bound = |choices: &mut Choices| choices.one_in(2).then(|| choices.below(KEYS.into()) as u8);
        match choices.weighted(&[500, 160, 12, 12, 40, 40, 25, 6, 60, 4, 3, 3]) {
            0 => Op::Write(changes(choices, 1), choices.one_in(8)),
            1 => {
                let count = choices.below(12);
                Op::Write(changes(choices, count), choices.one_in(2))
            }
            2 => Op::Group(vec![changes(choices, 2)]),
            3 => Op::Sync,
            4 => Op::Snapshot,
            5 => Op::DropSnapshot,
            6 => Op::Flush,
            7 => Op::Compact(bound(choices), bound(choices)),
            8 => Op::Step,
            9 => Op::Settle,
            10 => Op::CreateFamily(choices.within(1..=2)),
            _ => Op::DropFamily(choices.within(1..=2)),
        }
    }
}
