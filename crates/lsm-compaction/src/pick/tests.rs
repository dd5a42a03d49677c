//! Single decisions by hand, then a simulated store that flushes, compacts several ranges at once, and comes
//! to rest.

use super::*;
use crate::range::{BottomRewrite, RangeCompaction, RangeStep, pick_range};
use crate::testing::{MIB, numbers, open_table, table, version, with_stats};
use crate::{ReservationId, scores};
use lsm_core::filename::FileNumber;
use lsm_core::key::{InternalKey, Kind};
use lsm_manifest::{TableStats, VersionEdit};
use quickcheck::QuickCheck;
use std::collections::{BTreeMap, HashMap};

fn options() -> LeveledOptions {
    LeveledOptions { table_bytes_target: 4 * MIB, level_base_bytes: 10 * MIB, ..LeveledOptions::default() }
}

fn pick_in(version: &Version) -> Plan {
    pick(version, &InFlight::new(), &options(), None).expect("there is something to do")
}

fn inputs(plan: &Plan) -> Vec<(usize, Vec<u64>)> {
    plan.inputs.iter().map(|(level, tables)| (*level, numbers(tables))).collect()
}

/// Enough at the bottom for a base level of 5 and a target of 10 MiB there.
fn bottom() -> Vec<(usize, TableMeta)> {
    vec![(6, table(60, "a", "c", 50 * MIB)), (6, table(61, "e", "g", 30 * MIB)), (6, table(62, "i", "k", 20 * MIB))]
}

#[test]
fn the_table_goes_that_drags_the_least_along() {
    let mut tables = bottom();
    // 50 MiB per 4, 30 MiB per 4, 20 MiB per 4.
    tables.extend([
        (5, table(50, "a", "b", 4 * MIB)),
        (5, table(51, "e", "f", 4 * MIB)),
        (5, table(52, "i", "j", 4 * MIB)),
    ]);
    let plan = pick_in(&version(tables.clone()));
    assert_eq!(inputs(&plan), [(5, vec![52]), (6, vec![62])]);
    assert!(plan.is_bottommost() && !plan.trivial_move);
    // Marked tables go first.
    tables[3].1.marked_for_compaction = true;
    assert_eq!(inputs(&pick_in(&version(tables.clone()))), [(5, vec![50]), (6, vec![60])]);
    // A table of deletions weighs more: 30 MiB per 4 MiB + (2 * 9 - 10) * 0.9 MiB * 2.
    tables[3].1.marked_for_compaction = false;
    tables[4].1 = with_stats(tables[4].1.clone(), 10, 9, 0);
    tables[0].1 = with_stats(tables[0].1.clone(), 19, 0, 18 * MIB);
    assert_eq!(inputs(&pick_in(&version(tables))), [(5, vec![51]), (6, vec![61])]);
}

#[test]
fn inputs_grow_to_a_clean_cut_but_not_over_an_exclusive_end() {
    // Covers P1.
    let shared = |second: TableMeta| {
        let first = table(50, "i", "j", 6 * MIB);
        version([bottom(), vec![(5, first), (5, TableMeta { ..second })]].concat())
    };
    let mut second = table(51, "j", "m", 6 * MIB);
    second.smallest = InternalKey::new(b"j", SeqNo::new(1), Kind::Value);
    assert_eq!(inputs(&pick_in(&shared(second))), [(5, vec![50, 51]), (6, vec![62])]);

    let first = open_table(50, "i", "kk", 6 * MIB);
    let second = table(51, "kk", "m", 6 * MIB);
    let apart = version([bottom(), vec![(5, first), (5, second)]].concat());
    // The second overlaps nothing and is moved, alone: the first does overlap something.
    let plan = pick_in(&apart);
    assert_eq!((inputs(&plan), plan.trivial_move), (vec![(5, vec![51])], true));
}

#[test]
fn the_upper_level_grows_as_long_as_that_is_free() {
    let tables = [bottom(), vec![(5, table(50, "i", "ia", 6 * MIB)), (5, table(51, "j", "ja", 6 * MIB))]].concat();
    assert_eq!(inputs(&pick_in(&version(tables.clone()))), [(5, vec![50, 51]), (6, vec![62])]);
    // Reaching another table of the lower level is not free.
    let tables = [tables, vec![(6, table(63, "l", "m", MIB)), (5, table(52, "jb", "l", MIB))]].concat();
    assert_eq!(inputs(&pick_in(&version(tables)))[0].1, [50, 51]);
}

#[test]
fn neighbours_that_overlap_nothing_move_together() {
    let far = |number, first, last| (5, table(number, first, last, 3 * MIB));
    let tables =
        [bottom(), vec![far(50, "m", "n"), far(51, "o", "p"), far(52, "q", "r"), far(53, "s", "t"), far(54, "u", "v")]];
    let plan = pick_in(&version(tables.concat()));
    assert!(plan.trivial_move);
    assert_eq!(inputs(&plan), [(5, vec![50, 51, 52, 53])]);
    let edit = plan.move_edit();
    assert_eq!(
        edit.deleted.iter().map(|(level, number)| (*level, number.0)).collect::<Vec<_>>(),
        [(5, 50), (5, 51), (5, 52), (5, 53)]
    );
    assert!(edit.added.iter().all(|(level, _)| *level == 6));
    // Where the level below is written in another way, they are rewritten.
    let mut options = options();
    options.table_classes[6] = 1;
    let rewritten = pick(&version(tables.concat()), &InFlight::new(), &options, None).unwrap();
    assert!(!rewritten.trivial_move);
}

#[test]
fn a_table_over_too_much_of_the_next_level_is_not_moved() {
    let tables = vec![(4, table(40, "a", "z", 11 * MIB)), (6, table(60, "a", "z", 1000 * MIB))];
    let plan = pick_in(&version(tables));
    assert!(!plan.trivial_move);
    assert_eq!((inputs(&plan), plan.output_level, numbers(plan.grandparents())), (vec![(4, vec![40])], 5, vec![60]));
    assert!(!plan.is_bottommost());
}

#[test]
fn level_0_goes_down_with_everything_that_overlaps() {
    // Covers P3.
    let level0 = |number, first, last| (0, table(number, first, last, 3 * MIB));
    let tables =
        [bottom(), vec![level0(1, "a", "c"), level0(2, "b", "d"), level0(3, "x", "z"), level0(4, "d", "e")]].concat();
    let tables = [tables, vec![(5, table(50, "b", "c", 4 * MIB))]].concat();
    let plan = pick_in(&version(tables.clone()));
    assert_eq!(inputs(&plan), [(0, vec![4, 2, 1]), (5, vec![50])]);
    assert_eq!((plan.epoch(), numbers(plan.grandparents())), (1, vec![60, 61]));
    // From the oldest on, tables that overlap nothing are moved instead; the newest of them stays on top.
    let tables =
        [bottom(), vec![level0(1, "a", "c"), level0(2, "d", "e"), level0(3, "x", "z"), level0(4, "x", "z")]].concat();
    let plan = pick_in(&version(tables));
    assert_eq!((inputs(&plan), plan.trivial_move), (vec![(0, vec![3, 2, 1])], true));
}

#[test]
fn readers_may_ask_for_level_0_before_its_score_does() {
    let level0 = |number| (0, table(number, "a", "c", 3 * MIB));
    let version = version([bottom(), vec![level0(1), level0(2), (5, table(50, "b", "c", 4 * MIB))]].concat());
    assert!(pick(&version, &InFlight::new(), &options(), None).is_none());
    let mut in_flight = InFlight::new();
    let plan = pick_level0(&version, &in_flight, &options()).unwrap();
    assert_eq!((inputs(&plan), plan.reason), (vec![(0, vec![2, 1]), (5, vec![50])], Reason::Reads));
    in_flight.reserve(&plan);
    assert!(pick_level0(&version, &in_flight, &options()).is_none(), "I3");
}

#[test]
fn a_tiny_level_0_is_merged_with_itself() {
    let level0 = |number| (0, table(number, "a", "c", MIB / 100));
    let plan = pick_in(&version(
        [bottom(), vec![level0(1), level0(2), level0(3), level0(4), (5, table(50, "b", "c", 4 * MIB))]].concat(),
    ));
    assert_eq!((inputs(&plan), plan.output_level, plan.reason), (vec![(0, vec![4, 3, 2, 1])], 0, Reason::WithinLevel0));
    assert!(!plan.is_bottommost());
}

#[test]
fn while_level_0_goes_down_its_newer_tables_are_merged() {
    // Covers I3.
    let level0 = |number, mib| (0, table(number, "a", "c", mib * MIB));
    let mut tables = [bottom(), vec![(5, table(50, "b", "c", 9 * MIB)), level0(1, 9), level0(2, 9)]].concat();
    let before = version(tables.clone());
    let mut in_flight = InFlight::new();
    let down = pick(&before, &in_flight, &options(), None).unwrap();
    assert_eq!(inputs(&down), [(0, vec![2, 1]), (5, vec![50])]);
    in_flight.reserve(&down);
    tables.extend([level0(3, 9), level0(4, 2), level0(5, 2), level0(6, 2)]);
    assert!(pick(&version(tables.clone()), &in_flight, &options(), None).is_none(), "three are too few");
    tables.push(level0(7, 2));
    // 8 MiB remove three tables; 17 would remove four, which is dearer.
    let within = pick(&version(tables.clone()), &in_flight, &options(), None).unwrap();
    assert_eq!((inputs(&within), within.output_level), (vec![(0, vec![7, 6, 5, 4])], 0));
    in_flight.reserve(&within);
    // The newest is taken now, so the next must wait.
    assert!(pick(&version(tables), &in_flight, &options(), None).is_none());
}

#[test]
fn jobs_that_do_not_meet_run_at_the_same_time() {
    // Covers I1, I2.
    let tables = [
        bottom(),
        vec![(5, table(50, "a", "b", 40 * MIB)), (5, table(51, "i", "j", 40 * MIB))],
        vec![(4, table(40, "a", "aa", 9 * MIB)), (4, table(41, "x", "y", 9 * MIB))],
    ]
    .concat();
    let version = version(tables);
    let mut in_flight = InFlight::new();
    let mut running = Vec::new();
    while let Some(plan) = pick(&version, &in_flight, &options(), None) {
        running.push((plan.start_level, numbers(&plan.inputs[0].1)));
        in_flight.reserve(&plan);
    }
    running.sort();
    // 40 would meet 50 on level 5.
    assert_eq!(running, [(4, vec![41]), (5, vec![50]), (5, vec![51])]);
}

#[test]
fn at_rest_marked_tables_go_and_deletions_at_the_bottom() {
    let quiet = |table: TableMeta| version(vec![(6, with_stats(table, 100, 20, 100))]);
    let snapshot = |seq| Some(SeqNo::new(seq));
    let pick = |version: &Version, oldest| pick(version, &InFlight::new(), &options(), oldest);
    let plan = pick(&quiet(table(60, "a", "z", MIB)), None).unwrap();
    assert_eq!((plan.reason, inputs(&plan), plan.output_level), (Reason::Deletions, vec![(6, vec![60])], 6));
    assert!(pick(&quiet(table(60, "a", "z", MIB)), snapshot(60)).is_some());
    assert!(pick(&quiet(table(60, "a", "z", MIB)), snapshot(59)).is_none(), "a snapshot needs the deletions");

    let mut marked = table(60, "a", "z", MIB);
    marked.marked_for_compaction = true;
    let plan = pick(&version(vec![(6, marked.clone())]), None).unwrap();
    assert_eq!((plan.reason, plan.output_level), (Reason::Marked, 6));
    let plan = pick(&version(vec![(5, marked), (6, table(61, "a", "b", 30 * MIB))]), None).unwrap();
    assert_eq!((plan.start_level, plan.output_level), (5, 6));
}

#[test]
fn only_one_job_takes_level_0_down() {
    // Covers I3: not even where the tables have no key in common.
    let version = version(vec![(0, table(1, "a", "c", MIB)), (0, table(2, "x", "z", MIB))]);
    let down = |index: usize, output| {
        Plan::new(&version, Reason::Score, output, vec![(0, vec![Arc::clone(&version.level(0)[index])])])
    };
    let mut in_flight = InFlight::new();
    let id = in_flight.reserve(&down(1, 6));
    assert!(in_flight.conflicts(&down(0, 6)));
    assert!(!in_flight.conflicts(&down(0, 0)), "a merge within level 0 may run");
    in_flight.release(id);
    assert!(!in_flight.conflicts(&down(0, 6)));
}

#[test]
#[should_panic(expected = "I1")]
fn a_plan_cannot_be_reserved_twice() {
    let plan = pick_in(&version([bottom(), vec![(5, table(50, "a", "b", 40 * MIB))]].concat()));
    let mut in_flight = InFlight::new();
    in_flight.reserve(&plan);
    in_flight.reserve(&plan);
}

/// A store whose tables are maps from a key to the number of its last write.
struct Simulation {
    version: Version,
    in_flight: InFlight,
    running: Vec<(ReservationId, Plan)>,
    contents: HashMap<FileNumber, BTreeMap<u16, u64>>,
    latest: BTreeMap<u16, u64>,
    next: u64,
}

const ENTRY_BYTES: u64 = 10;

fn small() -> LeveledOptions {
    LeveledOptions {
        table_bytes_target: 10 * ENTRY_BYTES,
        level_base_bytes: 40 * ENTRY_BYTES,
        multiplier: 3.0,
        ..LeveledOptions::default()
    }
}

impl Simulation {
    fn new() -> Simulation {
        let (version, in_flight) = (Version::new(), InFlight::new());
        Simulation {
            version,
            in_flight,
            running: Vec::new(),
            contents: HashMap::new(),
            latest: BTreeMap::new(),
            next: 1,
        }
    }

    fn flush(&mut self, seed: u16) {
        let mut content = BTreeMap::new();
        for step in 0..1 + seed % 23 {
            // Sometimes a dense run of keys, sometimes keys all over.
            let key =
                if seed.is_multiple_of(3) { seed / 7 + step } else { seed.wrapping_mul(step.wrapping_mul(31) + 7) }
                    % 4096;
            self.next += 1;
            content.insert(key, self.next);
            self.latest.insert(key, self.next);
        }
        let mut table = self.build(content, self.version.epoch_max() + 1);
        table.marked_for_compaction = seed.is_multiple_of(11);
        table.stats.set(TableStats { entries: 10, deletions: u64::from(seed % 5), ..TableStats::default() }).unwrap();
        self.apply(VersionEdit { added: vec![(0, Arc::new(table))], ..VersionEdit::default() });
    }

    fn build(&mut self, content: BTreeMap<u16, u64>, epoch: u64) -> TableMeta {
        self.next += 1;
        let number = FileNumber(self.next);
        let bound = |(key, seq): (&u16, &u64)| InternalKey::new(&key.to_be_bytes(), SeqNo::new(*seq), Kind::Value);
        let (smallest, largest) =
            (content.iter().next().map(bound).unwrap(), content.iter().next_back().map(bound).unwrap());
        let seqs = (*content.values().min().unwrap(), *content.values().max().unwrap());
        let seqs = (SeqNo::new(seqs.0), SeqNo::new(seqs.1));
        let bytes = content.len() as u64 * ENTRY_BYTES;
        self.contents.insert(number, content);
        TableMeta { epoch, ..TableMeta::new(number, bytes, smallest, largest, seqs) }
    }

    fn start(&mut self) -> bool {
        let Some(plan) = pick(&self.version, &self.in_flight, &small(), None) else { return false };
        self.reserve(plan);
        true
    }

    fn reserve(&mut self, plan: Plan) {
        self.check_plan(&plan);
        self.running.push((self.in_flight.reserve(&plan), plan));
    }

    /// P1 to P4.
    fn check_plan(&self, plan: &Plan) {
        let picker_options = small();
        let none = InFlight::new();
        let picker = Picker::new(&self.version, &none, &picker_options);
        for (level, tables) in plan.inputs.iter().filter(|(level, _)| *level > 0) {
            assert_eq!(picker.closed(*level, tables.clone()).len(), tables.len(), "P1");
        }
        let upper = KeySpan::of(&plan.inputs[0].1).unwrap();
        let lower = plan.inputs.get(1).map_or(Vec::new(), |(_, tables)| numbers(tables));
        if plan.output_level > plan.start_level {
            let dragged = upper.overlapping(&self.version, plan.output_level);
            assert!(numbers(&dragged).iter().all(|number| lower.contains(number)), "P2");
        }
        if plan.start_level == 0 {
            let taken = numbers(&plan.inputs[0].1);
            let position = |number| self.version.level(0).iter().position(|table| table.number.0 == number).unwrap();
            let newest = position(taken[0]);
            for (at, older) in self.version.level(0).iter().enumerate().skip(newest) {
                let skipped = !taken.contains(&older.number.0);
                if plan.output_level == 0 {
                    assert!(!skipped || at >= newest + taken.len(), "P3: neighbours in age");
                } else if skipped {
                    let overlapping = plan.inputs[0].1.iter().filter(|table| position(table.number.0) < at);
                    let over = KeySpan::of([older]).unwrap();
                    assert!(overlapping.into_iter().all(|table| !KeySpan::of([table]).unwrap().overlaps(&over)), "P3");
                }
            }
        }
        assert_eq!(plan.below.len(), LEVELS - 1 - plan.output_level, "P4");
    }

    fn finish(&mut self, which: usize) {
        let (id, plan) = self.running.remove(which % self.running.len());
        if plan.trivial_move {
            self.apply(plan.move_edit());
        } else {
            let mut merged: BTreeMap<u16, u64> = BTreeMap::new();
            for (_, table) in plan.tables() {
                for (&key, &seq) in &self.contents[&table.number] {
                    let newest = merged.entry(key).or_default();
                    *newest = seq.max(*newest);
                }
            }
            let per_table = if plan.output_level == 0 { usize::MAX } else { 10 };
            let entries: Vec<(u16, u64)> = merged.into_iter().collect();
            let added = entries.chunks(per_table.min(entries.len())).map(|chunk| {
                let table = self.build(chunk.iter().copied().collect(), plan.epoch());
                let deletions = if plan.is_bottommost() { 0 } else { 2 };
                table.stats.set(TableStats { entries: 10, deletions, ..TableStats::default() }).unwrap();
                (plan.output_level, Arc::new(table))
            });
            let added = added.collect();
            let deleted = plan.tables().map(|(level, table)| (level, table.number)).collect();
            self.apply(VersionEdit { added, deleted, ..VersionEdit::default() });
        }
        self.in_flight.release(id);
    }

    fn apply(&mut self, edit: VersionEdit) {
        self.version = self.version.apply(&[edit]).expect("plans keep the levels in order");
        self.version.check().unwrap();
        self.check_reads();
    }

    /// Every key is found at its last write by whoever looks from the top down.
    fn check_reads(&self) {
        for (&key, &seq) in &self.latest {
            let holders = self.version.tables().filter_map(|(_, table)| self.contents[&table.number].get(&key));
            let found: Vec<u64> = holders.copied().collect();
            assert_eq!(found.first(), Some(&seq), "key {key}");
            assert!(found.is_sorted_by(|newer, older| newer > older), "key {key}: {found:?}");
        }
    }

    fn come_to_rest(&mut self) {
        for _ in 0..100_000 {
            if self.start() {
                continue;
            }
            if self.running.is_empty() {
                return;
            }
            self.finish(0);
        }
        panic!("the store does not come to rest");
    }
}

#[test]
fn any_mix_of_flushes_and_jobs_keeps_order_and_comes_to_rest() {
    fn property(steps: Vec<(u8, u16)>) -> bool {
        let mut store = Simulation::new();
        for (step, seed) in steps {
            match step % 4 {
                0 | 1 => store.flush(seed),
                2 => {
                    store.start();
                }
                _ if !store.running.is_empty() => store.finish(seed.into()),
                _ => {}
            }
        }
        store.come_to_rest();
        store.check_reads();
        let options = small();
        scores(&store.version, &store.in_flight, &options).iter().all(|&score| score < 1.0)
            && crate::pending_bytes(&store.version, &options) == 0
    }
    QuickCheck::new().rng(quickcheck::Gen::new(120)).tests(40).quickcheck(property as fn(Vec<(u8, u16)>) -> bool);
}

#[test]
fn a_range_is_compacted_to_its_bottom_beside_other_jobs() {
    fn property(seeds: Vec<u16>, from: u16, to: u16, rewrite: u8) -> bool {
        let mut store = Simulation::new();
        for seed in seeds {
            store.flush(seed);
            if seed % 2 == 0 {
                store.start();
            }
            if seed % 3 == 0 && !store.running.is_empty() {
                store.finish(0);
            }
        }
        let bounds = [from.min(to) % 5000, from.max(to) % 5000].map(|key| key.to_be_bytes().to_vec());
        let (from, to) = (Some(&bounds[0][..]), Some(&bounds[1][..]).filter(|_| rewrite.is_multiple_of(2)));
        let rewrite = [BottomRewrite::Never, BottomRewrite::Deletions, BottomRewrite::Always][rewrite as usize % 3];
        let mut range = RangeCompaction::new(&store.version, &small(), from, to, rewrite);
        for _ in 0..10_000 {
            match pick_range(&mut range, &store.version, &store.in_flight, &small()) {
                RangeStep::Run(plan) => store.reserve(*plan),
                RangeStep::Wait => store.finish(1),
                RangeStep::Done => break,
            }
        }
        while !store.running.is_empty() {
            store.finish(0);
        }
        store.check_reads();
        let levels = (0..LEVELS).filter(|&level| !store.version.overlapping(level, from, to).is_empty()).count();
        let kept_deletions = |table: &&Arc<TableMeta>| table.stats.get().unwrap().deletions > 0;
        let bottom = store.version.overlapping(LEVELS - 1, from, to);
        levels <= 1 && (rewrite == BottomRewrite::Never || !bottom.iter().any(|table| kept_deletions(&table)))
    }
    // A job that was running took tables of the range below the level that had been its deepest.
    assert!(property(vec![5634, 618, 0, 20], 0, 25008, 0));
    QuickCheck::new()
        .rng(quickcheck::Gen::new(60))
        .tests(100)
        .quickcheck(property as fn(Vec<u16>, u16, u16, u8) -> bool);
}
