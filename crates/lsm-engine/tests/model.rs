//! Random histories against a map with versions, in short. That all calls under all options, and all crashes,
//! leave what they should is the business of the lanes `model` and `crash` of lsm-torture.

use lsm_compaction::StepExecutor;
use lsm_core::{ColumnFamilyId, SeqNo};
use lsm_engine::{Db, Options, Snapshot};
use lsm_fs::{Crash, MemFs};
use lsm_testkit::{AppendOperator, Choices, Model, Write, for_each_seed};
use std::sync::Arc;

const FAMILY: ColumnFamilyId = ColumnFamilyId::DEFAULT;

/// Distinct keys: few, so that writes meet.
const KEYS: usize = 24;

fn open(fs: &MemFs) -> Db {
    Options::new()
        .write_buffer_size(16 << 10)
        .max_bytes_for_level_base(32 << 10)
        .target_file_size(8 << 10)
        .level0_file_num_compaction_trigger(2)
        .merge_operator(Arc::new(AppendOperator))
        .executor(Arc::new(StepExecutor::new()))
        .fs(Arc::new(fs.clone()))
        .open("/store")
        .unwrap()
}

fn write(choices: &mut Choices, db: &Db, model: &mut Model) {
    let (key, end) = (choices.key(KEYS), choices.key(KEYS));
    let value = vec![b'a' + choices.below(26) as u8; choices.below(1500)];
    match choices.weighted(&[8, 2, 1, 3]) {
        0 => {
            db.put(&key, &value).unwrap();
            model.write(FAMILY, &key, Write::Put(value));
        }
        1 => {
            db.delete(&key).unwrap();
            model.write(FAMILY, &key, Write::Delete);
        }
        2 if key < end => {
            db.delete_range(&key..&end).unwrap();
            model.delete_range(FAMILY, &key, &end);
        }
        _ => {
            db.merge(&key, &value[..value.len() / 30]).unwrap();
            model.write(FAMILY, &key, Write::Merge(value[..value.len() / 30].to_vec()));
        }
    }
}

fn check(snapshot: &Snapshot, model: &Model) {
    let seq = SeqNo::new(snapshot.sequence());
    let expected = model.all_at(FAMILY, seq);
    let owned = |item: lsm_engine::Result<(lsm_engine::Slice, lsm_engine::Slice)>| {
        let (key, value) = item.unwrap();
        (key.to_vec(), value.to_vec())
    };
    assert!(snapshot.iter().map(owned).eq(expected.iter().cloned()), "forwards at {seq}");
    assert!(snapshot.iter().rev().map(owned).eq(expected.iter().rev().cloned()), "backwards at {seq}");
    for (key, value) in &expected {
        assert_eq!(snapshot.get(key).unwrap().as_deref(), Some(value.as_slice()), "get at {seq}");
    }
}

#[test]
fn histories_agree_with_the_model() {
    for_each_seed(60, |choices| {
        let mut fs = MemFs::new();
        let (mut db, mut model) = (open(&fs), Model::new(Arc::new(AppendOperator)));
        let mut snapshots: Vec<Snapshot> = Vec::new();
        for _ in 0..200 {
            match choices.weighted(&[100, 4, 3, 8, 3, 2]) {
                0 => write(choices, &db, &mut model),
                1 => snapshots.push(db.snapshot()),
                2 => snapshots.iter().chain([&db.snapshot()]).for_each(|snapshot| check(snapshot, &model)),
                3 => db.flush().unwrap(),
                4 => db.compact_range(..).unwrap(),
                _ => {
                    // The process ends: all that was acknowledged is there.
                    snapshots.clear();
                    fs = fs.crash(Crash::KeepAll);
                    db = open(&fs);
                    assert_eq!(db.snapshot().sequence(), model.last_seq().get());
                }
            }
        }
        check(&db.snapshot(), &model);
    });
}
