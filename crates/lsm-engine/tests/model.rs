//! Random histories of all calls against a map with versions, on the in-memory file system.
//!
//! Background work is stepped by hand, so a history is deterministic: quickcheck shrinks a failing one to
//! the few calls that matter. Crashes are power cuts that keep any part of what was not synced, or ends of
//! the process, which must keep everything that was acknowledged.

use lsm_compaction::StepExecutor;
use lsm_core::{ColumnFamilyId, SeqNo};
use lsm_engine::{
    ColumnFamily, ColumnFamilyOptions, Compression, Db, Durability, Options, Snapshot, WriteBatch, WriteOptions,
};
use lsm_fs::{Crash, MemFs, SegmentAccess};
use lsm_testkit::{AppendOperator, Model, Write};
use quickcheck::{Arbitrary, Gen, QuickCheck};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

const DIRECTORY: &str = "/store";

/// Histories of the CI run.
const HISTORIES: u64 = 2_000;

/// Distinct keys: few, so that writes meet.
const KEYS: u8 = 24;

#[derive(Clone, Debug)]
enum Op {
    Write(Vec<Change>, bool),
    Submit(Vec<Change>),
    Sync,
    Snapshot,
    DropSnapshot,
    CheckAll,
    CheckRange(u8, u8),
    Walk(Vec<(u8, u8)>),
    Flush,
    Compact(Option<u8>, Option<u8>),
    Step,
    Checkpoint,
    Verify,
    Close,
    Kill,
    PowerCut(u64),
}

#[derive(Clone, Debug)]
struct Change {
    family: bool,
    key: u8,
    kind: ChangeKind,
}

#[derive(Clone, Debug)]
enum ChangeKind {
    Put(u16),
    Delete,
    SingleDelete,
    DeleteRange(u8),
    Merge(u8),
}

impl Arbitrary for Change {
    fn arbitrary(g: &mut Gen) -> Change {
        let kind = match u8::arbitrary(g) % 16 {
            0..8 => ChangeKind::Put(u16::arbitrary(g) % 2000),
            8..10 => ChangeKind::Delete,
            10..12 => ChangeKind::SingleDelete,
            12 => ChangeKind::DeleteRange(u8::arbitrary(g) % 8),
            _ => ChangeKind::Merge(u8::arbitrary(g) % 60),
        };
        Change { family: u8::arbitrary(g) % 4 == 0, key: u8::arbitrary(g) % KEYS, kind }
    }
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Op {
        let bound = |g: &mut Gen| bool::arbitrary(g).then(|| u8::arbitrary(g) % KEYS);
        match u8::arbitrary(g) % 64 {
            0..24 => Op::Write(vec![Change::arbitrary(g)], u8::arbitrary(g) % 8 == 0),
            24..34 => Op::Write((0..u8::arbitrary(g) % 12).map(|_| Change::arbitrary(g)).collect(), bool::arbitrary(g)),
            34..36 => Op::Submit(vec![Change::arbitrary(g), Change::arbitrary(g)]),
            36 => Op::Sync,
            37..40 => Op::Snapshot,
            40 => Op::DropSnapshot,
            41..43 => Op::CheckAll,
            43..46 => Op::CheckRange(u8::arbitrary(g) % KEYS, u8::arbitrary(g) % KEYS),
            46..48 => Op::Walk((0..12).map(|_| <(u8, u8)>::arbitrary(g)).collect()),
            48..52 => Op::Flush,
            52..54 => Op::Compact(bound(g), bound(g)),
            54..59 => Op::Step,
            59 => Op::Checkpoint,
            60 => Op::Verify,
            61 => Op::Close,
            62 => Op::Kill,
            _ => Op::PowerCut(u64::arbitrary(g)),
        }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Op>> {
        match self {
            Op::Write(changes, synced) if changes.len() > 1 => {
                let synced = *synced;
                let halves = [changes[..changes.len() / 2].to_vec(), changes[changes.len() / 2..].to_vec()];
                Box::new(halves.into_iter().map(move |half| Op::Write(half, synced)))
            }
            _ => Box::new(std::iter::empty()),
        }
    }
}

/// Options that change how the store works but never what it answers.
#[derive(Clone, Copy, Debug)]
struct Setting(u16);

impl Arbitrary for Setting {
    fn arbitrary(g: &mut Gen) -> Setting {
        Setting(u16::arbitrary(g))
    }
}

impl Setting {
    /// Whether writes of the history are synced at all: without, a power cut finds much to take.
    fn syncs(self) -> bool {
        self.0 & 256 == 0
    }

    fn options(self) -> Options {
        let options = Options::new()
            .write_buffer_size(16 << 10)
            .max_bytes_for_level_base(32 << 10)
            .target_file_size(8 << 10)
            .block_size(256 + 256 * usize::from(self.0 & 3))
            .level0_file_num_compaction_trigger(2)
            .max_subcompactions(1 + usize::from(self.0 >> 6 & 1))
            .format_version(5 + u32::from(self.0 >> 2 & 1))
            .merge_operator(Arc::new(AppendOperator));
        let options = match self.0 >> 3 & 3 {
            0 => options.compression(Compression::None),
            1 => options.compression(Compression::Zstd { level: 1 }),
            _ => options.compression(Compression::Lz4),
        };
        let access = if self.0 & 32 == 0 { SegmentAccess::Mapped } else { SegmentAccess::Positioned };
        options.log_access(access).bloom_bits_per_key(if self.0 & 128 == 0 { 10.0 } else { 0.0 })
    }
}

fn key(number: u8) -> Vec<u8> {
    // A shared prefix longer than eight bytes for some, none for others.
    if number.is_multiple_of(3) { format!("common prefix {number:02}").into_bytes() } else { vec![b'k', number] }
}

struct World {
    setting: Setting,
    fs: MemFs,
    executor: Arc<StepExecutor>,
    db: Option<Db>,
    other: Option<ColumnFamily>,
    model: Model,
    snapshots: Vec<Snapshot>,
    /// Puts since the last single deletion; 2 where none is allowed any more.
    puts: BTreeMap<(ColumnFamilyId, Vec<u8>), usize>,
    /// Sequence number of the last write that must survive a power cut.
    synced: SeqNo,
    /// Ends of batches: what survives is one of them.
    ends: Vec<SeqNo>,
    written: u64,
}

impl World {
    fn new(setting: Setting) -> World {
        let mut world = World {
            setting,
            fs: MemFs::new(),
            executor: Arc::new(StepExecutor::new()),
            db: None,
            other: None,
            model: Model::new(Arc::new(AppendOperator)),
            snapshots: Vec::new(),
            puts: BTreeMap::new(),
            synced: SeqNo::ZERO,
            ends: vec![SeqNo::ZERO],
            written: 0,
        };
        world.open();
        world
    }

    fn open(&mut self) {
        self.executor = Arc::new(StepExecutor::new());
        let executor = Arc::clone(&self.executor);
        let db = self.setting.options().fs(Arc::new(self.fs.clone())).executor(executor).open(DIRECTORY).unwrap();
        let options = ColumnFamilyOptions::new().merge_operator(Arc::new(AppendOperator));
        self.other = Some(db.column_family_with("other", options).unwrap());
        self.db = Some(db);
    }

    fn db(&self) -> &Db {
        self.db.as_ref().unwrap()
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Write(changes, synced) => self.write(changes, *synced),
            Op::Submit(changes) => {
                let batch = self.batch(changes);
                self.db().submit(batch).wait().unwrap();
            }
            Op::Sync => {
                self.db().sync().unwrap();
                self.synced = self.model.last_seq();
            }
            Op::Snapshot => {
                let snapshot = self.db().snapshot();
                assert_eq!(snapshot.sequence(), self.model.last_seq().get());
                self.snapshots.push(snapshot);
            }
            Op::DropSnapshot => drop(self.snapshots.pop()),
            Op::CheckAll => self.check_all(),
            Op::CheckRange(from, to) => self.check_range(&key(*from), &key(*to)),
            Op::Walk(moves) => self.walk(moves),
            Op::Flush => {
                self.db().flush().unwrap();
                // Tables are synced; what the flush holds needs no log any more.
                self.synced = self.model.last_seq();
            }
            Op::Compact(from, to) => {
                let bound =
                    |number: &Option<u8>| number.map_or(Bound::Unbounded, |number| Bound::Included(key(number)));
                self.db().compact_range((bound(from), bound(to))).unwrap();
                self.synced = self.model.last_seq();
            }
            Op::Step => drop(self.executor.step()),
            Op::Checkpoint => self.checkpoint(),
            Op::Verify => drop(self.db().verify().unwrap()),
            Op::Close => {
                self.let_go().close().unwrap();
                self.synced = self.model.last_seq();
                self.open();
                self.check_all();
            }
            Op::Kill => self.crash(Crash::KeepAll),
            Op::PowerCut(seed) => self.crash(Crash::Random(*seed)),
        }
    }

    fn let_go(&mut self) -> Db {
        self.snapshots.clear();
        self.other = None;
        self.db.take().unwrap()
    }

    fn write(&mut self, changes: &[Change], synced: bool) {
        let synced = synced && self.setting.syncs();
        let batch = self.batch(changes);
        let durability = if synced { Durability::Synced } else { Durability::Buffered };
        self.db().write_with(batch, &WriteOptions::new().durability(durability)).unwrap();
        if synced {
            self.synced = self.model.last_seq();
        }
    }

    /// The batch of `changes`, which the model applies at once.
    fn batch(&mut self, changes: &[Change]) -> WriteBatch {
        let other = self.other.clone().unwrap();
        let mut batch = WriteBatch::new();
        for change in changes {
            let (family, name) =
                if change.family { (ColumnFamilyId(1), Some(&other)) } else { (ColumnFamilyId(0), None) };
            let key = key(change.key);
            let puts = self.puts.entry((family, key.clone())).or_default();
            let write = match &change.kind {
                // Some keys know no other deletion than the single one, with which no other may be mixed.
                ChangeKind::Delete | ChangeKind::SingleDelete | ChangeKind::Merge(_)
                    if change.key >= KEYS - 6 && *puts == 1 =>
                {
                    *puts = 0;
                    Write::SingleDelete
                }
                ChangeKind::Put(bytes) => {
                    *puts += 1;
                    self.written += 1;
                    Write::Put(format!("{}:{}", self.written, "v".repeat(usize::from(*bytes))).into_bytes())
                }
                ChangeKind::Delete | ChangeKind::SingleDelete => {
                    *puts = 2;
                    Write::Delete
                }
                ChangeKind::Merge(bytes) => {
                    *puts = 2;
                    Write::Merge(vec![b'm'; usize::from(*bytes)])
                }
                ChangeKind::DeleteRange(width) => {
                    let end = self::key(change.key.saturating_add(*width).min(KEYS));
                    let (start, end) = if key <= end { (key, end) } else { (end, key) };
                    match name {
                        Some(name) => batch.delete_range_cf(name, &start..&end),
                        None => batch.delete_range(&start..&end),
                    }
                    self.model.delete_range(family, &start, &end);
                    let covered =
                        self.puts.iter_mut().filter(|((of, key), _)| *of == family && *key >= start && *key < end);
                    covered.for_each(|(_, puts)| *puts = 2);
                    continue;
                }
            };
            match (&write, name) {
                (Write::Put(value), Some(name)) => batch.put_cf(name, &key, value),
                (Write::Put(value), None) => batch.put(&key, value),
                (Write::Delete, Some(name)) => batch.delete_cf(name, &key),
                (Write::Delete, None) => batch.delete(&key),
                (Write::SingleDelete, Some(name)) => batch.single_delete_cf(name, &key),
                (Write::SingleDelete, None) => batch.single_delete(&key),
                (Write::Merge(operand), Some(name)) => batch.merge_cf(name, &key, operand),
                (Write::Merge(operand), None) => batch.merge(&key, operand),
            }
            self.model.write(family, &key, write);
        }
        self.ends.push(self.model.last_seq());
        batch
    }

    fn crash(&mut self, crash: Crash) {
        let survivor = self.fs.crash(crash);
        drop(self.let_go());
        self.fs = survivor;
        self.open();
        let found = SeqNo::new(self.db().snapshot().sequence());
        let least = if crash == Crash::KeepAll { self.model.last_seq() } else { self.synced };
        assert!(found >= least, "acknowledged writes were lost: {least} was safe, {found} is left");
        assert!(self.ends.contains(&found), "{found} is inside of a batch");
        self.model.rewind(found);
        self.ends.retain(|end| *end <= found);
        // How often what is left was put is not known any more.
        self.puts.values_mut().for_each(|puts| *puts = 2);
        self.synced = found;
        self.check_all();
    }

    fn checkpoint(&mut self) {
        let target = format!("/checkpoint-{}", self.model.last_seq());
        if self.db().checkpoint(&target).is_err() {
            // One was made at this very moment before.
            return;
        }
        self.synced = self.model.last_seq();
        let copy = self.setting.options().fs(Arc::new(self.fs.clone())).read_only(true).open(&target).unwrap();
        let items: Vec<_> =
            copy.iter().map(|item| item.unwrap()).map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        assert!(items == self.model.all_at(ColumnFamilyId(0), self.model.last_seq()));
    }

    fn check_all(&self) {
        let present = self.db().snapshot();
        for snapshot in self.snapshots.iter().chain([&present]) {
            let seq = SeqNo::new(snapshot.sequence());
            let other = snapshot.column_family(self.other.as_ref().unwrap());
            for (family, forward, backward) in
                [(ColumnFamilyId(0), snapshot.iter(), snapshot.iter()), (ColumnFamilyId(1), other.iter(), other.iter())]
            {
                let expected = self.model.all_at(family, seq);
                let owned = |item: lsm_engine::Result<(lsm_engine::Slice, lsm_engine::Slice)>| {
                    let (key, value) = item.unwrap();
                    (key.to_vec(), value.to_vec())
                };
                let forward: Vec<_> = forward.map(owned).collect();
                assert_eq!(short(&forward), short(&expected), "forward, family {family:?}, at {seq}");
                assert!(forward == expected);
                let mut backward: Vec<_> = backward.rev().map(owned).collect();
                backward.reverse();
                assert_eq!(short(&backward), short(&expected), "backward, family {family:?}, at {seq}");
                assert!(backward == expected);
            }
            let keys: Vec<Vec<u8>> = (0..=KEYS).map(key).collect();
            let many = snapshot.multi_get(&keys).unwrap();
            for (key, found) in keys.iter().zip(many) {
                let expected = self.model.get_at(ColumnFamilyId(0), key, seq);
                assert_eq!(found.as_deref(), expected.as_deref(), "multi_get {} at {seq}", key.escape_ascii());
                let found = other.get(key).unwrap();
                let expected = self.model.get_at(ColumnFamilyId(1), key, seq);
                assert_eq!(found.as_deref(), expected.as_deref(), "get {} at {seq}", key.escape_ascii());
            }
        }
    }

    fn check_range(&self, from: &[u8], to: &[u8]) {
        let seq = self.model.last_seq();
        let expected = self.model.scan_at(ColumnFamilyId(0), (Bound::Included(from), Bound::Excluded(to)), seq);
        // From both ends at once, a step here and a step there.
        let mut items = self.db().range(from..to);
        let (mut front, mut back) = (Vec::new(), Vec::new());
        while let Some(item) = items.next() {
            front.push(item.unwrap());
            let Some(item) = items.next_back() else { break };
            back.push(item.unwrap());
        }
        assert!(items.next().is_none() && items.next_back().is_none(), "fused");
        front.extend(back.into_iter().rev());
        let found: Vec<_> = front.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        assert_eq!(short(&found), short(&expected));
        assert!(found == expected);
    }

    fn walk(&self, moves: &[(u8, u8)]) {
        let seq = self.model.last_seq();
        let items: BTreeMap<_, _> = self.model.all_at(ColumnFamilyId(0), seq).into_iter().collect();
        let mut cursor = self.db().cursor();
        for (which, number) in moves {
            let target = key(number % (KEYS + 1));
            let here = cursor.valid().then(|| cursor.key().to_vec());
            let expected = match (which % 8, here) {
                (0, _) => {
                    cursor.seek_to_first().unwrap();
                    items.iter().next()
                }
                (1, _) => {
                    cursor.seek_to_last().unwrap();
                    items.iter().next_back()
                }
                (2, _) => {
                    cursor.seek(&target).unwrap();
                    items.range(target..).next()
                }
                (3, _) => {
                    cursor.seek_for_prev(&target).unwrap();
                    items.range(..=target).next_back()
                }
                (4 | 5, Some(here)) => {
                    cursor.next().unwrap();
                    items.range((Bound::Excluded(here), Bound::Unbounded)).next()
                }
                (_, Some(here)) => {
                    cursor.prev().unwrap();
                    items.range(..here).next_back()
                }
                (_, None) => continue,
            };
            let found = cursor.valid().then(|| (cursor.key().to_vec(), cursor.value().to_vec()));
            assert_eq!(found, expected.map(|(key, value)| (key.clone(), value.clone())));
        }
    }
}

/// Keys and the first bytes of values: enough to see what went wrong.
fn short(items: &[(Vec<u8>, Vec<u8>)]) -> Vec<String> {
    let item = |(key, value): &(Vec<u8>, Vec<u8>)| {
        format!("{}={}…{}", key.escape_ascii(), value[..value.len().min(12)].escape_ascii(), value.len())
    };
    items.iter().map(item).collect()
}

fn history(setting: Setting, ops: Vec<Op>) -> bool {
    let mut world = World::new(setting);
    for op in &ops {
        world.run(op);
    }
    world.check_all();
    world.run(&Op::Close);
    true
}

#[test]
fn histories_agree_with_the_model() {
    QuickCheck::new()
        .rng(Gen::new(120))
        .tests(HISTORIES)
        .max_tests(HISTORIES)
        .quickcheck(history as fn(Setting, Vec<Op>) -> bool);
}
