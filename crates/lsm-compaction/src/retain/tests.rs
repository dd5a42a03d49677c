//! The rules one by one in a table, then random histories against a naive reader.

use super::*;
use crate::below::Below;
use crate::tombstones::Kept;
use crate::write::stripes;
use lsm_core::filename::FileNumber;
use lsm_core::key::{self, InternalKey};
use lsm_core::range_tombstone::RangeTombstone;
use lsm_manifest::TableMeta;
use quickcheck::{Arbitrary, Gen, QuickCheck};
use std::sync::Arc;

type Entries = Vec<(InternalKey, Vec<u8>)>;

/// Collects what is kept.
#[derive(Default)]
struct Collected(Entries);

impl Output for Collected {
    fn begin_key(&mut self, user_key: &[u8]) -> Result<()> {
        assert!(self.0.last().is_none_or(|(last, _)| last.user_key() < user_key), "keys begin once, in order");
        Ok(())
    }

    fn entry(&mut self, internal_key: &[u8], value: &[u8]) -> Result<()> {
        self.0.push((InternalKey::from_encoded(internal_key).unwrap(), value.to_vec()));
        Ok(())
    }
}

/// Joins operands with the value below them; refuses operands that hold `!`.
struct Append {
    partial: bool,
}

impl MergeOperator for Append {
    fn name(&self) -> &str {
        "append"
    }

    fn full_merge(&self, _key: &[u8], existing: Option<&[u8]>, operands: &[&[u8]]) -> Option<Vec<u8>> {
        let refused = operands.iter().any(|operand| operand.contains(&b'!'));
        (!refused).then(|| [existing.unwrap_or_default(), &operands.concat()].concat())
    }

    fn partial_merge(&self, _key: &[u8], older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
        self.partial.then(|| [older, newer].concat())
    }
}

fn retain(
    entries: &Entries,
    tombstones: &RangeTombstones,
    snapshots: &[SeqNo],
    below: &Below,
    operator: Option<&dyn MergeOperator>,
) -> (Entries, EntryCounts) {
    let stripes = stripes(snapshots);
    let mut retain = Retain::new(&stripes, tombstones, below.cursor(), operator, Collected::default());
    for (key, value) in entries {
        retain.add(key.as_bytes(), value).unwrap();
    }
    let (kept, counts) = retain.finish().unwrap();
    assert!(kept.0.is_sorted_by(|a, b| a.0 < b.0), "internal keys stay unique and in order");
    (kept.0, counts)
}

/// `30=a` put, `30-` deletion, `30~` single deletion, `30+a` operand.
fn parse(entry: &str) -> (InternalKey, Vec<u8>) {
    let at = entry.find(|c: char| !c.is_ascii_digit()).unwrap();
    let kind = match &entry[at..=at] {
        "=" => Kind::Value,
        "-" => Kind::Deletion,
        "~" => Kind::SingleDeletion,
        "+" => Kind::Merge,
        other => panic!("no kind {other}"),
    };
    (InternalKey::new(b"k", SeqNo::new(entry[..at].parse().unwrap()), kind), entry.as_bytes()[at + 1..].to_vec())
}

fn print((key, value): &(InternalKey, Vec<u8>)) -> String {
    let sign = match key::kind_byte(key.as_bytes()) {
        0x00 => "-",
        0x01 => "=",
        0x02 => "+",
        _ => "~",
    };
    format!("{}{sign}{}", key.seq(), String::from_utf8_lossy(value))
}

#[derive(Clone, Copy)]
enum Under {
    Bottom,
    Unknown,
}
use Under::{Bottom, Unknown};

/// Snapshots 20 and 50; entries of one key newest first; range tombstones over it at `covered`.
fn check(under: Under, covered: &[u64], input: &str, expected: &str) {
    let snapshots = [SeqNo::new(20), SeqNo::new(50)];
    let over = |&seq: &u64| RangeTombstone { start: b"a".to_vec(), end: b"z".to_vec(), seq: SeqNo::new(seq) };
    let tombstones = RangeTombstones::new(covered.iter().map(over).collect());
    let below = match under {
        Bottom => Below::tables(Vec::new()),
        Unknown => Below::unknown(),
    };
    let entries: Entries = input.split_whitespace().map(parse).collect();
    let (kept, counts) = retain(&entries, &tombstones, &snapshots, &below, Some(&Append { partial: true }));
    let printed: Vec<String> = kept.iter().map(print).collect();
    assert_eq!(printed.join(" "), expected, "{input}");
    assert_eq!((counts.read, counts.written), (entries.len() as u64, kept.len() as u64), "{input}");
}

#[test]
fn one_answer_per_stripe_stays() {
    // Covers R1.
    check(Unknown, &[], "70=e 60=d 50=c 40=b 20=a 10=z", "70=e 50=c 20=a");
    check(Unknown, &[], "70- 60=d 40=b", "70- 40=b");
    check(Unknown, &[], "70=e 60~", "70=e 60~");
    check(Unknown, &[], "70=e 60~ 55=d", "70=e");
    check(Unknown, &[], "70- 60~ 55=d", "70-");
    check(Unknown, &[], "70~ 60+x", "70~");
}

#[test]
fn range_tombstones_drop_what_they_cover_in_their_stripe() {
    // Covers R2.
    check(Unknown, &[65], "70=e 60=d 40=b", "70=e 40=b");
    check(Unknown, &[45], "40=b 30=a", "");
    check(Unknown, &[65], "70+x 60=d 40+b", "70+x 40+b");
    check(Bottom, &[65], "70+x 60=d", "70=x");
    check(Unknown, &[15], "15=d 14=c", "15=d");
}

#[test]
fn deletions_stay_while_something_older_does_or_may() {
    // Covers R3.
    check(Unknown, &[], "70-", "70-");
    check(Bottom, &[], "70-", "");
    check(Bottom, &[], "70- 40-", "");
    check(Bottom, &[], "70- 40=b", "70- 40=b");
    check(Bottom, &[], "70- 40=b 10-", "70- 40=b");
    check(Unknown, &[], "70- 40-", "40-");
    check(Bottom, &[], "70- 40-  10=a", "40- 0=a");
    check(Bottom, &[40], "70- 30=a", "");
}

#[test]
fn single_deletions_cancel_their_value_inside_a_stripe_only() {
    // Covers R4.
    check(Unknown, &[], "70~ 60=d", "");
    check(Unknown, &[], "70~ 40=b", "70~ 40=b");
    check(Unknown, &[], "70~ 65=d 60~ 55=c", "");
    check(Unknown, &[], "70~ 65=d 60~", "60~");
    check(Unknown, &[], "70~", "70~");
    check(Bottom, &[], "70~", "");
    // What a snapshot between keeps apart stays apart, and its deletion is not taken along.
    check(Unknown, &[], "70- 40~ 30=b", "70-");
    check(Unknown, &[], "70~ 65- 40=b", "65- 40=b");
}

#[test]
fn operands_are_combined_inside_a_stripe() {
    // Covers R5.
    check(Unknown, &[], "70+c 60+b 55=a", "70=abc");
    check(Unknown, &[], "70+c 60+b", "70+bc");
    check(Bottom, &[], "70+c 60+b", "70=bc");
    check(Unknown, &[], "70+c 60-", "70=c");
    check(Unknown, &[], "70+c 60~ 55=a", "70=c");
    check(Unknown, &[], "70+d 60+c 40+b 30=a", "70+cd 40=ab");
    check(Bottom, &[], "70- 20+b 10+a", "70- 0=ab");
    // A refusing operator loses nothing.
    check(Unknown, &[], "70+! 55=a", "70+! 55=a");
    check(Bottom, &[], "70+! 60-", "70+!");
}

#[test]
fn values_that_nobody_can_tell_from_older_ones_get_sequence_zero() {
    // Covers R6.
    check(Bottom, &[], "20=a", "0=a");
    check(Bottom, &[], "20=a 15~ 10=b", "0=a");
    check(Bottom, &[], "21=a", "21=a");
    check(Unknown, &[], "20=a", "20=a");
    check(Bottom, &[], "0=a", "0=a");
    check(Bottom, &[], "70=c 20=a 10=b", "70=c 0=a");
}

#[test]
fn without_an_operator_operands_stay_as_they_are() {
    // Covers R5.
    let entries: Entries = ["70+b", "60+a", "55=x", "54=y"].map(parse).to_vec();
    let bottom = Below::tables(Vec::new());
    let (kept, _) = retain(&entries, &RangeTombstones::default(), &[], &bottom, None);
    assert_eq!(kept.iter().map(print).collect::<Vec<_>>(), ["70+b", "60+a", "0=x"]);
}

/// Makes so many zeros of anything.
struct Zeros(usize);

impl MergeOperator for Zeros {
    fn name(&self) -> &str {
        "zeros"
    }

    fn full_merge(&self, _key: &[u8], _existing: Option<&[u8]>, _operands: &[&[u8]]) -> Option<Vec<u8>> {
        // The system gives zeros without taking memory for them until they are looked at.
        Some(vec![0; self.0])
    }

    fn partial_merge(&self, key: &[u8], older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
        self.full_merge(key, None, &[older, newer])
    }
}

#[test]
fn operands_and_base_stay_if_what_they_make_is_too_long_for_a_table() {
    // Covers R5.
    let kept = |operator: Zeros, under: Below, input: &[&str]| -> Vec<String> {
        let entries = input.iter().copied().map(parse).collect();
        let (kept, _) = retain(&entries, &RangeTombstones::default(), &[], &under, Some(&operator));
        kept.iter().for_each(|(key, value)| assert!(value.len() <= VALUE_BYTES_MAX, "{key:?}"));
        kept.iter().map(print).collect()
    };
    let too_long = || Zeros(VALUE_BYTES_MAX + 1);
    let bottom = || Below::tables(Vec::new());
    assert_eq!(kept(too_long(), bottom(), &["70+b", "60+a", "55=x"]), ["70+b", "60+a", "0=x"]);
    assert_eq!(kept(too_long(), bottom(), &["70+b", "60+a", "55-"]), ["70+b", "60+a"]);
    assert_eq!(kept(too_long(), bottom(), &["70+b", "60+a"]), ["70+b", "60+a"]);
    assert_eq!(kept(too_long(), Below::unknown(), &["70+b", "60+a"]), ["70+b", "60+a"]);
    assert_eq!(kept(Zeros(1), bottom(), &["70+b", "60+a", "55=x"]), ["0=\0"]);
    assert_eq!(kept(Zeros(1), Below::unknown(), &["70+b", "60+a"]), ["70+\0"]);
}

#[test]
fn a_range_deletion_or_an_unknown_kind_among_points_is_corruption() {
    for kind in [Kind::RangeDeletion as u8, 0x11] {
        let mut encoded = b"k".to_vec();
        encoded.extend(key::pack_trailer(SeqNo::new(1), kind).to_le_bytes());
        let none = RangeTombstones::default();
        let below = Below::unknown();
        let mut retain = Retain::new(&[SeqNo::MAX], &none, below.cursor(), None, Collected::default());
        assert!(retain.add(&encoded, b"").unwrap_err().is_corruption());
    }
}

/// All writes of a small store, some of them in a job, some newer, some older.
#[derive(Clone, Debug)]
struct History {
    ops: Vec<Op>,
    snapshots: Vec<SeqNo>,
    /// Writes up to here lie below the job.
    below: u64,
    /// Writes from here on lie above it.
    above: u64,
    operator: u8,
}

#[derive(Clone, Debug)]
enum Op {
    Point(u8, Kind, Vec<u8>),
    Range(u8, u8),
}

const KEYS: u8 = 6;

impl Arbitrary for History {
    fn arbitrary(g: &mut Gen) -> History {
        let count = u64::arbitrary(g) % 40;
        // Single deletions have a contract: the key was written exactly once since the last of them.
        let mut writes_since = [0_u32; KEYS as usize];
        let ops = (0..count).map(|seq| arbitrary_op(g, &mut writes_since, seq)).collect();
        let seq = |g: &mut Gen| u64::arbitrary(g) % (count + 1);
        let snapshots = (0..u8::arbitrary(g) % 4).map(|_| SeqNo::new(seq(g))).collect();
        let (a, b) = (seq(g), seq(g));
        History { ops, snapshots, below: a.min(b), above: a.max(b) + 1, operator: u8::arbitrary(g) % 3 }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = History>> {
        let this = self.clone();
        let shorter = (0..this.ops.len()).map(move |at| {
            let mut ops = this.ops.clone();
            ops.truncate(at);
            History { ops, ..this.clone() }
        });
        Box::new(shorter)
    }
}

fn arbitrary_op(g: &mut Gen, writes_since: &mut [u32; KEYS as usize], seq: u64) -> Op {
    let key = u8::arbitrary(g) % KEYS;
    let writes = &mut writes_since[key as usize];
    let value = format!("{seq},").into_bytes();
    match u8::arbitrary(g) % 10 {
        0 => {
            let end = key + 1 + u8::arbitrary(g) % (KEYS - key);
            writes_since[key as usize..end as usize]
                .iter_mut()
                .filter(|writes| **writes < 2)
                .for_each(|writes| *writes = 0);
            Op::Range(key, end)
        }
        1..=3 if *writes == 1 => {
            *writes = 0;
            Op::Point(key, Kind::SingleDeletion, Vec::new())
        }
        1 | 4 if *writes != 1 => {
            *writes = 2;
            Op::Point(key, Kind::Deletion, Vec::new())
        }
        5 | 6 if *writes != 1 => {
            *writes = 2;
            Op::Point(key, Kind::Merge, value)
        }
        _ => {
            *writes += 1;
            Op::Point(key, Kind::Value, value)
        }
    }
}

/// Entries and tombstones in one heap, and the reader that looks at each of them.
#[derive(Clone, Default, Debug)]
struct Heap {
    entries: Entries,
    tombstones: Vec<RangeTombstone>,
}

impl Heap {
    fn of(history: &History, seqs: std::ops::Range<u64>) -> Heap {
        let mut heap = Heap::default();
        for (op, seq) in history.ops.iter().zip(1..).filter(|(_, seq)| seqs.contains(seq)) {
            match op {
                Op::Point(key, kind, value) => {
                    heap.entries.push((InternalKey::new(&[*key], SeqNo::new(seq), *kind), value.clone()));
                }
                &Op::Range(start, end) => {
                    heap.tombstones.push(RangeTombstone { start: vec![start], end: vec![end], seq: SeqNo::new(seq) });
                }
            }
        }
        heap.entries.sort();
        heap
    }

    fn join(&self, other: &Heap) -> Heap {
        let mut joined = self.clone();
        joined.entries.extend(other.entries.iter().cloned());
        joined.entries.sort();
        joined.tombstones.extend(other.tombstones.iter().cloned());
        joined
    }

    fn read(&self, user_key: u8, at: SeqNo) -> Option<Vec<u8>> {
        let covers = |t: &&RangeTombstone| t.start[..] <= [user_key][..] && t.end[..] > [user_key][..] && t.seq <= at;
        let deleted = self.tombstones.iter().filter(covers).map(|t| t.seq).max();
        let mut operands: Vec<&[u8]> = Vec::new();
        let mut base = None;
        for (key, value) in self.entries.iter().filter(|(key, _)| key.user_key() == [user_key] && key.seq() <= at) {
            if deleted.is_some_and(|deleted| key.seq() < deleted) {
                break;
            }
            match ParsedKey::parse(key.as_bytes()).unwrap().kind {
                Kind::Merge => operands.push(value),
                Kind::Value => {
                    base = Some(value.as_slice());
                    break;
                }
                _ => break,
            }
        }
        operands.reverse();
        (base.is_some() || !operands.is_empty()).then(|| [base.unwrap_or_default(), &operands.concat()].concat())
    }

    /// One table over everything per half of the keys.
    fn tables(&self) -> Below {
        let half = |lower: bool| {
            let mid = KEYS / 2;
            let mut bounds: Vec<InternalKey> = Vec::new();
            bounds.extend(
                self.entries.iter().map(|(key, _)| key.clone()).filter(|key| (key.user_key()[0] < mid) == lower),
            );
            for t in &self.tombstones {
                let (from, to) = if lower { (0, mid) } else { (mid, KEYS) };
                let (start, end) = (t.start[0].max(from), t.end[0].min(to));
                if start < end {
                    bounds.push(InternalKey::new(&[start], t.seq, Kind::RangeDeletion));
                    bounds.push(InternalKey::exclusive_end(&[end]));
                }
            }
            let (smallest, largest) = (bounds.iter().min()?.clone(), bounds.iter().max()?.clone());
            let seqs = (SeqNo::ZERO, SeqNo::MAX);
            Some(Arc::new(TableMeta::new(FileNumber(1), 1, smallest, largest, seqs)))
        };
        Below::tables(vec![[half(true), half(false)].into_iter().flatten().collect()])
    }

    fn compact(&self, history: &History, below: &Below) -> Heap {
        let operators: [Option<&dyn MergeOperator>; 3] =
            [None, Some(&Append { partial: false }), Some(&Append { partial: true })];
        let tombstones = RangeTombstones::new(self.tombstones.clone());
        let operator = operators[history.operator as usize];
        let (entries, _) = retain(&self.entries, &tombstones, &history.snapshots, below, operator);
        let kept = Kept::new(&tombstones, &stripes(&history.snapshots), below, (None, None));
        Heap { entries, tombstones: kept.parts(None, None) }
    }
}

#[test]
fn every_reader_sees_the_same_before_and_after() {
    fn property(history: History) -> bool {
        let below = Heap::of(&history, 0..history.below + 1);
        let job = Heap::of(&history, history.below + 1..history.above);
        let above = Heap::of(&history, history.above..u64::MAX);
        let before = below.join(&job).join(&above);
        let after = below.join(&job.compact(&history, &below.tables())).join(&above);
        // Then everything to the bottom, in one more step: a rule may be wrong only for a later job.
        let bottom = after.compact(&history, &Below::tables(Vec::new()));
        let readers = history.snapshots.iter().copied().chain([SeqNo::MAX]);
        for (at, key) in readers.flat_map(|at| (0..KEYS).map(move |key| (at, key))) {
            let expected = before.read(key, at);
            assert_eq!(after.read(key, at), expected, "key {key} at {at}");
            assert_eq!(bottom.read(key, at), expected, "key {key} at {at}, at the bottom");
        }
        true
    }
    QuickCheck::new().tests(5000).quickcheck(property as fn(History) -> bool);
}

#[test]
fn without_snapshots_the_bottom_holds_one_entry_per_live_key() {
    fn property(mut history: History) -> bool {
        history.snapshots.clear();
        history.operator = 1;
        let all = Heap::of(&history, 0..u64::MAX);
        let bottom = all.compact(&history, &Below::tables(Vec::new()));
        let live = (0..KEYS).filter(|&key| all.read(key, SeqNo::MAX).is_some()).count();
        bottom.tombstones.is_empty()
            && bottom.entries.len() == live
            && bottom.entries.iter().all(|(key, _)| key.seq() == SeqNo::ZERO)
    }
    QuickCheck::new().tests(1000).quickcheck(property as fn(History) -> bool);
}
