//! Directories that released versions wrote: they open for ever, and hold what they held.
//!
//! When the files change in a way that matters, a new directory is added and the old ones stay:
//! `GOLDEN=0.2.0 cargo test -p lsm-engine --test golden -- --ignored` writes one.

use lsm_compaction::StepExecutor;
use lsm_core::filename::FileKind;
use lsm_engine::{Compression, Db, Options, WriteBatch};
use lsm_fs::{Fs, MemFs};
use lsm_testkit::AppendOperator;
use lsm_wal::{HeaderStyle, Outcome, RecordReader};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const STORE: &str = "/store";
const DIRECTORIES: [&str; 2] = ["tests/data/0.1.0/closed", "tests/data/0.1.0/crashed"];

fn options(fs: &MemFs) -> Options {
    Options::new()
        .write_buffer_size(64 << 10)
        .max_bytes_for_level_base(4 << 10)
        .target_file_size(2 << 10)
        .block_size(512)
        .level0_file_num_compaction_trigger(2)
        .merge_operator(Arc::new(AppendOperator))
        .executor(Arc::new(StepExecutor::new()))
        .fs(Arc::new(fs.clone()))
}

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// What is written, in every way there is, with each compression.
fn fill(fs: &MemFs) -> Db {
    let mut db = options(fs).open(STORE).unwrap();
    for round in 0..5_u32 {
        let compression = [Compression::Lz4, Compression::None, Compression::Zstd { level: 3 }][round as usize % 3];
        db.close().unwrap();
        db = options(fs).compression(compression).open(STORE).unwrap();
        let other = db.column_family("other").unwrap();
        for number in 0..30_u32 {
            db.put(format!("key{number:03}"), format!("round {round}, {}", "x".repeat(60))).unwrap();
        }
        db.delete(format!("key{:03}", round * 3)).unwrap();
        db.merge("list", round.to_string()).unwrap();
        other.put(round.to_be_bytes(), vec![0xff; round as usize]).unwrap();
        match round {
            1 => db.put("once", "value").unwrap(),
            3 => db.single_delete("once").unwrap(),
            _ => {}
        }
        db.flush().unwrap();
        if round == 2 {
            db.compact_range(..).unwrap();
        }
    }
    db.delete_range("key020".."key025").unwrap();
    db.flush().unwrap();
    let mut batch = WriteBatch::new();
    batch.put("", "of the empty key");
    batch.put("empty value", "");
    batch.put_cf(&db.column_family("other").unwrap(), "in the log", "2");
    batch.merge("list", "log");
    db.write(batch).unwrap();
    db.put("torn", "when the machine stopped").unwrap();
    db
}

/// What must be found, said without the store.
fn expected(crashed: bool) -> (Rows, Rows) {
    let mut default = Rows::new();
    for number in (0..30).filter(|number| *number != 12 && !(20..25).contains(number)) {
        default.insert(format!("key{number:03}").into(), format!("round 4, {}", "x".repeat(60)).into());
    }
    default.insert("list".into(), "0,1,2,3,4,log".into());
    default.insert("".into(), "of the empty key".into());
    default.insert("empty value".into(), "".into());
    if !crashed {
        default.insert("torn".into(), "when the machine stopped".into());
    }
    let mut other: Rows = (0..5_u8).map(|round| (vec![0, 0, 0, round], vec![0xff; usize::from(round)])).collect();
    other.insert("in the log".into(), "2".into());
    (default, other)
}

fn rows(db: &Db, family: &str) -> Rows {
    let family = db.column_family(family).unwrap();
    let forward: Vec<_> =
        family.iter().map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap()).collect();
    let mut backward: Vec<_> =
        family.iter().rev().map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap()).collect();
    backward.reverse();
    assert_eq!(forward, backward);
    for (key, value) in &forward {
        assert_eq!(family.get(key).unwrap().unwrap(), value.as_slice());
    }
    forward.into_iter().collect()
}

/// A copy of the files, for what opening writes.
fn load(directory: &Path) -> MemFs {
    let fs = MemFs::new();
    fs.create_dir(Path::new(STORE)).unwrap();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let mut file = fs.create(&Path::new(STORE).join(path.file_name().unwrap())).unwrap();
        file.write_all(&std::fs::read(&path).unwrap()).unwrap();
        file.sync().unwrap();
    }
    fs.sync_dir(Path::new(STORE)).unwrap();
    fs
}

fn here(directory: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)
}

#[test]
fn directories_of_every_released_version_open_and_hold_what_they_held() {
    for directory in DIRECTORIES {
        let fs = load(&here(directory));
        let expected = expected(directory.ends_with("crashed"));
        let found = |db: &Db| (rows(db, "default"), rows(db, "other"));
        let read_only = options(&fs).read_only(true).open(STORE).unwrap();
        assert_eq!(found(&read_only), expected, "{directory}, read only");
        let db = options(&fs).open(STORE).unwrap();
        assert_eq!(found(&db), expected, "{directory}");
        db.verify().unwrap();
        db.compact_range(..).unwrap();
        db.column_family("other").unwrap().compact_range(..).unwrap();
        assert_eq!(found(&db), expected, "{directory}, compacted");
        db.put("new", "1").unwrap();
        db.close().unwrap();
        let db = options(&fs).open(STORE).unwrap();
        let mut with_new = expected;
        with_new.0.insert("new".into(), "1".into());
        assert_eq!(found(&db), with_new, "{directory}, opened again");
    }
}

#[test]
#[ignore = "writes directories for a release, named by GOLDEN"]
fn write_the_directories_of_a_release() {
    let release = here("tests/data").join(std::env::var("GOLDEN").expect("GOLDEN names the release"));
    assert!(!release.exists(), "what a release wrote is never written again");
    let fs = MemFs::new();
    let db = fill(&fs);
    // What a power cut may leave: the last record, which was not synced, lacks its end.
    let logs = || fs.read_dir(Path::new(STORE)).unwrap().into_iter().filter(|name| name.ends_with(".log"));
    let last = logs().max().unwrap();
    let is_kept = |name: &String| name != "LOCK" && (!name.ends_with(".log") || *name == last);
    let end = end_of_records(&fs, &last);
    save(&fs, &release.join("crashed"), is_kept, |name, bytes| {
        if name == last {
            bytes.truncate(end - 2);
        }
    });
    db.close().unwrap();
    save(&fs, &release.join("closed"), |name| name != "LOCK", |_, _| {});
}

fn end_of_records(fs: &MemFs, log: &str) -> usize {
    let Some(FileKind::Log(number)) = FileKind::parse(log) else { panic!("{log} is no log") };
    let path = Path::new(STORE).join(log);
    let mut reader = RecordReader::new(fs.open(&path).unwrap(), HeaderStyle::Log(number), &path).unwrap();
    while matches!(reader.next().unwrap(), Outcome::Record { .. }) {}
    reader.position() as usize
}

fn save(fs: &MemFs, directory: &Path, is_kept: impl Fn(&String) -> bool, change: impl Fn(&str, &mut Vec<u8>)) {
    std::fs::create_dir_all(directory).unwrap();
    for name in fs.read_dir(Path::new(STORE)).unwrap().into_iter().filter(is_kept) {
        let file = fs.open(&Path::new(STORE).join(&name)).unwrap();
        let mut bytes = vec![0; file.size().unwrap() as usize];
        file.read_exact_at(0, &mut bytes).unwrap();
        change(&name, &mut bytes);
        std::fs::write(directory.join(name), bytes).unwrap();
    }
}
