//! RocksDB reads our logs, and we read RocksDB's.
//!
//! The first half runs RocksDB's tool `ldb` and is skipped where that is not installed, unless
//! `LSM_REQUIRE_ROCKSDB=1` is set: then its absence is a failure. The second half reads logs that
//! RocksDB 7.8.3 wrote, kept in `tests/data`.

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use lsm_core::batch::{Record, records};
use lsm_core::filename::FileNumber;
use lsm_core::{ColumnFamilyId, SeqNo, WriteBatch};
use lsm_fs::{Fs, OsFs, SegmentAccess};
use lsm_wal::{Facts, LogToReplay, ManifestFact, Origin, Predecessor, RecoveryMode, Wal, WalOptions, replay};

/// Whether `ldb` can be run; says so when it cannot.
fn has_ldb() -> bool {
    let found = Command::new("ldb").arg("--version").output().is_ok();
    assert!(found || std::env::var("LSM_REQUIRE_ROCKSDB").as_deref() != Ok("1"), "ldb is required and not installed");
    if !found {
        println!("skipped: ldb is not installed");
    }
    found
}

fn ldb(args: &[&str]) -> String {
    let output = Command::new("ldb").args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "ldb {args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn facts() -> Facts {
    Facts {
        predecessor: Some(Predecessor { number: FileNumber(3), bytes: 12_345, crc: 0x1234_5678 }),
        manifest: Some(ManifestFact { number: FileNumber(2), synced_bytes: 77, crc: 1 }),
        identity: Some("0d5a7e3c".to_owned()),
    }
}

/// Appends batches of many sizes with a sync now and then. Returns what `ldb` should see of them.
fn fill(wal: &mut Wal, first_seq: u64) -> Vec<(u64, usize)> {
    let sizes = [0, 1, 140, 32_690, 32_700, 40_000, 7, 100 << 10, 12, 3 << 20, 9, 32_768, 65_536, 3];
    let mut expected = Vec::new();
    for (seq, bytes) in (first_seq..).zip(sizes.into_iter().chain((32_600..32_700).step_by(3))) {
        let position = wal.append(&support::batch(seq, bytes)).unwrap();
        expected.push((seq, bytes));
        if seq % 4 == 1 {
            wal.handle().sync(position).unwrap();
        }
    }
    expected
}

/// Sequence numbers of batches with one write in the output of `ldb dump_wal --header`.
fn dumped_seqs(dump: &str) -> Vec<u64> {
    let lines = dump.lines().map(|line| line.split(',').collect::<Vec<_>>());
    lines.filter(|fields| fields.len() > 2 && fields[1] == "1").map(|fields| fields[0].parse().unwrap()).collect()
}

#[test]
fn ldb_dumps_every_batch_of_our_logs() {
    if !has_ldb() {
        return;
    }
    for access in [SegmentAccess::Mapped, SegmentAccess::Positioned] {
        let dir = tempfile::tempdir().unwrap();
        let fs: Arc<dyn Fs> = Arc::new(OsFs);
        let options = WalOptions { access, ..WalOptions::default() };
        let origin = Origin { facts: facts(), next_seq: SeqNo::new(10), ..Origin::default() };
        let mut wal = Wal::create(Arc::clone(&fs), dir.path(), FileNumber(4), &options, origin.clone()).unwrap();
        let expected: Vec<_> = fill(&mut wal, 10).into_iter().map(|(seq, _)| seq).collect();
        let path = dir.path().join("000004.log");
        let walfile = format!("--walfile={}", path.display());
        // With a tail of zeros, as after a crash, and without one.
        wal.handle().sync_all().unwrap();
        assert_eq!(dumped_seqs(&ldb(&["dump_wal", &walfile, "--header"])), expected, "{access:?}");
        wal.finish().unwrap();
        assert_eq!(dumped_seqs(&ldb(&["dump_wal", &walfile, "--header"])), expected, "{access:?}");
        drop(wal);

        // A reused file: what is left of log 4 must not show up in log 5.
        let origin = Origin { recycled: Some(FileNumber(4)), ..origin };
        let mut wal = Wal::create(fs, dir.path(), FileNumber(5), &options, origin).unwrap();
        let position = wal.append(&support::batch(500, 20)).unwrap();
        wal.handle().sync(position).unwrap();
        let path = dir.path().join("000005.log");
        assert!(std::fs::metadata(&path).unwrap().len() > 3 << 20);
        assert_eq!(dumped_seqs(&ldb(&["dump_wal", &format!("--walfile={}", path.display()), "--header"])), [500]);
    }
}

#[test]
fn rocksdb_recovers_a_store_from_our_log() {
    if !has_ldb() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let db = format!("--db={}", dir.path().display());
    ldb(&[&db, "--create_if_missing", "put", "a", "first"]);
    let log = log_in(dir.path());
    let theirs = entries(dir.path(), log);
    assert_eq!(theirs, [(1, b"a".to_vec(), b"first".to_vec())]);

    // Our log takes the place of RocksDB's, with a tail of zeros as after a crash.
    std::fs::remove_file(dir.path().join(format!("{log}.log"))).unwrap();
    let origin = Origin { facts: facts(), next_seq: SeqNo::new(1), ..Origin::default() };
    let mut wal = Wal::create(Arc::new(OsFs), dir.path(), log, &WalOptions::default(), origin).unwrap();
    let mut seq = 1;
    for (key, value) in [("a", "first"), ("b", "second"), ("c", "third")] {
        let mut batch = WriteBatch::new();
        batch.set_seq(SeqNo::new(seq));
        batch.put(ColumnFamilyId::DEFAULT, key.as_bytes(), value.as_bytes());
        batch.put(ColumnFamilyId::DEFAULT, b"big", &vec![b'x'; 70_000 + seq as usize]);
        seq += 2;
        let position = wal.append(batch.as_bytes()).unwrap();
        wal.handle().sync(position).unwrap();
    }
    let mut batch = WriteBatch::new();
    batch.set_seq(SeqNo::new(seq));
    batch.delete(ColumnFamilyId::DEFAULT, b"b");
    batch.delete_range(ColumnFamilyId::DEFAULT, b"bi", b"bj");
    wal.handle().deliver(wal.append(batch.as_bytes()).unwrap()).unwrap();
    drop(wal);

    let scan = ldb(&[&db, "scan"]);
    let lines: Vec<_> = scan.lines().filter(|line| line.contains(" ==> ") || line.contains(" : ")).collect();
    assert_eq!(lines.len(), 2, "{scan}");
    assert!(lines[0].starts_with('a') && lines[0].ends_with("first"), "{scan}");
    assert!(lines[1].starts_with('c') && lines[1].ends_with("third"), "{scan}");
    // RocksDB goes on from our sequence numbers.
    ldb(&[&db, "put", "d", "fourth"]);
    assert_eq!(entries(dir.path(), log_in(dir.path())), [(seq + 2, b"d".to_vec(), b"fourth".to_vec())]);
}

/// The newest log in a directory.
fn log_in(dir: &Path) -> FileNumber {
    let names = OsFs.read_dir(dir).unwrap();
    let numbers = names.iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok());
    FileNumber(numbers.max().unwrap())
}

/// Sequence number, key and value of all writes in a log.
fn entries(dir: &Path, log: FileNumber) -> Vec<(u64, Vec<u8>, Vec<u8>)> {
    let mut entries = Vec::new();
    let logs = [LogToReplay { number: log, synced_bytes: None }];
    let report = replay(&OsFs, dir, log, &logs, RecoveryMode::Checked, &mut |_, _, batch| {
        let first = lsm_core::batch::header(batch)?.0.get();
        for (seq, record) in (first..).zip(records(batch)?) {
            if let Record::Entry(entry) = record? {
                entries.push((seq, entry.key.to_vec(), entry.value.to_vec()));
            }
        }
        Ok(())
    });
    assert!(report.unwrap().dropped.is_empty());
    entries
}

/// The writes in a log that RocksDB wrote, from `tests/data`.
fn entries_of_file(name: &str) -> Vec<(u64, Vec<u8>, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::fs::copy(source, dir.path().join("000016.log")).unwrap();
    entries(dir.path(), FileNumber(16))
}

#[test]
fn logs_of_rocksdb_replay_completely() {
    let found = entries_of_file("rocksdb-7.8-family.log");
    assert_eq!(found, [(303, b"zzz-wal".to_vec(), b"in-the-log".to_vec())]);
    // Three blocks with fragmented records; `ldb dump_wal` lists 635 batches of one put, from 11366 on.
    let found = entries_of_file("rocksdb-7.8-packages.log");
    assert_eq!(found.len(), 635);
    assert!(found.iter().map(|(seq, ..)| *seq).eq(11_366..12_001));
    assert!(found.is_sorted_by_key(|(_, key, _)| key));
    assert_eq!(found[0].1, b"golang-github-serenize-snaker-dev");
}
