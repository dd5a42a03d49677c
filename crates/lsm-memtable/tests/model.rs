//! The memtable against a `BTreeMap` and against crossbeam's skiplist: whatever is asked, they agree.
#![cfg(not(loom))]

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam_skiplist::SkipMap;
use lsm_core::Cursor;
use lsm_core::key::{InternalKey, Kind, SeqNo};
use lsm_memtable::{EntrySize, KeyShape, Memtable};
use quickcheck::{Arbitrary, Gen, quickcheck};

/// A user key from a small world in which prefixes, zero bytes and equal beginnings are common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key(Vec<u8>);

impl Arbitrary for Key {
    fn arbitrary(g: &mut Gen) -> Key {
        let start = *g.choose(&[&b""[..], b"", b"us", b"user", b"user0000", b"\xff\xff\xff\xff", b"\0\0\0\0"]).unwrap();
        let rest = (0..u8::arbitrary(g) % 4).map(|_| *g.choose(b"\0/09abc\xff").unwrap());
        Key(start.iter().copied().chain(rest).collect())
    }
}

#[derive(Clone, Debug)]
struct Write {
    key: Key,
    kind: Kind,
    value: Vec<u8>,
}

impl Arbitrary for Write {
    fn arbitrary(g: &mut Gen) -> Write {
        let kind = *g.choose(&[Kind::Value, Kind::Value, Kind::Deletion, Kind::Merge, Kind::SingleDeletion]).unwrap();
        Write { key: Key::arbitrary(g), kind, value: Vec::arbitrary(g) }
    }
}

type VersionedKey = (Vec<u8>, Reverse<SeqNo>);
type Model = BTreeMap<VersionedKey, (Kind, Vec<u8>)>;

/// Inserts `batches`, numbering the writes from 1 on, into a memtable that expects keys like these.
fn build(batches: &[Vec<Write>], expected: &[Key]) -> (Arc<Memtable>, Model) {
    let shape = KeyShape::of(expected.iter().map(|key| key.0.as_slice()));
    let memtable = Arc::new(Memtable::expecting(Box::new(vec![0xaa; 1 << 20]), &shape));
    let mut model = Model::new();
    let mut seq = SeqNo::ZERO;
    for batch in batches {
        let sizes = batch.iter().map(|write| EntrySize {
            kind: write.kind,
            key_bytes: write.key.0.len(),
            value_bytes: write.value.len(),
        });
        let mut room = memtable.reserve(sizes).expect("a megabyte is enough");
        for write in batch {
            seq = seq.plus(1);
            room.insert(&write.key.0, seq, write.kind, &write.value);
            model.insert((write.key.0.clone(), Reverse(seq)), (write.kind, write.value.clone()));
        }
    }
    (memtable, model)
}

fn shown(cursor: &impl Cursor) -> Option<(InternalKey, Vec<u8>)> {
    cursor.valid().then(|| (InternalKey::from_encoded(cursor.key()).expect("K3"), cursor.value().to_vec()))
}

fn entries(model: &Model) -> Vec<(InternalKey, Vec<u8>)> {
    model.iter().map(|((key, seq), (kind, value))| (InternalKey::new(key, seq.0, *kind), value.clone())).collect()
}

fn forwards(cursor: &mut impl Cursor) -> Vec<(InternalKey, Vec<u8>)> {
    cursor.seek_to_first().unwrap();
    std::iter::from_fn(|| {
        let entry = shown(cursor)?;
        cursor.next().unwrap();
        Some(entry)
    })
    .collect()
}

fn backwards(cursor: &mut impl Cursor) -> Vec<(InternalKey, Vec<u8>)> {
    cursor.seek_to_last().unwrap();
    std::iter::from_fn(|| {
        let entry = shown(cursor)?;
        cursor.prev().unwrap();
        Some(entry)
    })
    .collect()
}

quickcheck! {
    fn scans_agree_with_a_map_in_both_directions(batches: Vec<Vec<Write>>, expected: (Key, Key)) -> bool {
        let (memtable, model) = build(&batches, &[expected.0, expected.1]);
        let expected = entries(&model);
        let mut cursor = memtable.cursor();
        let forwards = forwards(&mut cursor);
        let mut backwards = backwards(&mut cursor);
        backwards.reverse();
        memtable.len() == expected.len() && forwards == expected && backwards == expected
    }

    fn scans_agree_with_crossbeams_skiplist(batches: Vec<Vec<Write>>) -> bool {
        let (memtable, model) = build(&batches, &[]);
        let other: SkipMap<InternalKey, Vec<u8>> = entries(&model).into_iter().collect();
        let other: Vec<_> = other.iter().map(|entry| (entry.key().clone(), entry.value().clone())).collect();
        forwards(&mut memtable.cursor()) == other
    }

    fn get_agrees_at_every_sequence_number(writes: Vec<Write>, expected: (Key, Key), absent: Vec<Key>) -> bool {
        let (memtable, model) = build(&[writes], &[expected.0, expected.1]);
        let keys = model.keys().map(|(key, _)| key.clone()).chain(absent.into_iter().map(|key| key.0));
        keys.into_iter().all(|key| (0..=model.len() as u64 + 1).map(SeqNo::new).all(|visible| {
            let expected = model.range((key.clone(), Reverse(visible))..).next().filter(|((found, _), _)| *found == key);
            let found = memtable.get(&key, visible);
            found.map(|found| (found.seq, found.kind, found.value))
                == expected.map(|((_, seq), (kind, value))| (seq.0, *kind, value.as_slice()))
        }))
    }

    fn seeks_and_steps_agree_with_a_map(batches: Vec<Vec<Write>>, expected: (Key, Key), targets: Vec<(Key, u8)>) -> bool {
        let (memtable, model) = build(&batches, &[expected.0, expected.1]);
        let expected = entries(&model);
        let mut cursor = memtable.cursor();
        let present = expected.iter().map(|(key, _)| key.clone());
        let other = targets.into_iter().map(|(key, seq)| InternalKey::for_seek(&key.0, SeqNo::new(seq.into())));
        present.chain(other).collect::<Vec<_>>().into_iter().all(|target| {
            let at_or_behind = expected.partition_point(|(key, _)| *key < target);
            let behind = expected.partition_point(|(key, _)| *key <= target);
            cursor.seek(target.as_bytes()).unwrap();
            let mut agrees = shown(&cursor).as_ref() == expected.get(at_or_behind);
            if cursor.valid() {
                cursor.prev().unwrap();
                agrees &= shown(&cursor).as_ref() == at_or_behind.checked_sub(1).map(|index| &expected[index]);
            }
            cursor.seek_for_prev(target.as_bytes()).unwrap();
            agrees &= shown(&cursor).as_ref() == behind.checked_sub(1).map(|index| &expected[index]);
            if cursor.valid() {
                cursor.next().unwrap();
                agrees &= shown(&cursor).as_ref() == expected.get(behind);
            }
            agrees
        })
    }
}
