//! What a repair brings back of a damaged store: everything that is not itself damaged, in its old order.

use lsm_compaction::StepExecutor;
use lsm_core::filename::FileKind;
use lsm_core::key::InternalKey;
use lsm_core::range_tombstone::RangeTombstone;
use lsm_core::{Kind, SeqNo};
use lsm_engine::{Db, ErrorKind, Options, RepairReport, WriteBatch};
use lsm_fs::{Crash, Fs, MemFs};
use lsm_sstable::{BuilderOptions, TableBuilder};
use lsm_testkit::AppendOperator;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

const DIRECTORY: &str = "/store";

fn options(fs: &MemFs) -> Options {
    Options::new()
        .write_buffer_size(64 << 10)
        .max_bytes_for_level_base(16 << 10)
        .target_file_size(4 << 10)
        .block_size(512)
        .level0_file_num_compaction_trigger(2)
        .merge_operator(Arc::new(AppendOperator))
        .executor(Arc::new(StepExecutor::new()))
        .fs(Arc::new(fs.clone()))
}

type Rows = BTreeMap<String, String>;

fn rows(db: &Db, family: &str) -> Rows {
    let family = db.column_family(family).unwrap();
    let text = |slice: &[u8]| String::from_utf8(slice.to_vec()).unwrap();
    family.iter().map(|row| row.unwrap()).map(|(key, value)| (text(&key), text(&value))).collect()
}

/// Tables on several levels, two families, deletions of all kinds, operands, and writes that only the log has.
fn build() -> MemFs {
    let fs = MemFs::new();
    fill(&fs).close().unwrap();
    fs
}

/// Fills an empty file system with a store, which is open.
fn fill(fs: &MemFs) -> Db {
    let db = options(fs).open(DIRECTORY).unwrap();
    let other = db.column_family("other").unwrap();
    for round in 0..5 {
        for number in 0..40 {
            db.put(format!("key{number:03}"), format!("round {round}, {}", "x".repeat(60))).unwrap();
        }
        db.delete(format!("key{:03}", round * 3)).unwrap();
        db.merge("list", round.to_string()).unwrap();
        other.put(format!("other{round}"), "value").unwrap();
        db.flush().unwrap();
        if round == 2 {
            db.compact_range(..).unwrap();
        }
    }
    db.delete_range("key020".."key025").unwrap();
    db.flush().unwrap();
    let mut batch = WriteBatch::new();
    batch.put("in the log", "1");
    batch.put_cf(&other, "in the log", "2");
    batch.merge("list", "log");
    db.write(batch).unwrap();
    db
}

fn repair(fs: &MemFs) -> RepairReport {
    options(fs).repair(DIRECTORY).unwrap()
}

fn names(fs: &MemFs) -> Vec<String> {
    fs.read_dir(Path::new(DIRECTORY)).unwrap()
}

fn read(fs: &MemFs, path: &Path) -> Vec<u8> {
    let file = fs.open(path).unwrap();
    let mut bytes = vec![0; file.size().unwrap() as usize];
    file.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

fn replace(fs: &MemFs, path: &Path, bytes: &[u8]) {
    fs.remove(path).unwrap();
    fs.create(path).unwrap().write_all(bytes).unwrap();
}

/// Both families after a repair that must have succeeded, and must leave nothing to repair.
fn rows_after(fs: &MemFs) -> (Rows, Rows) {
    let again = repair(fs);
    assert!(again.is_sound(), "the second repair found: {again}");
    let db = options(fs).open(DIRECTORY).unwrap();
    db.verify().unwrap();
    (rows(&db, "default"), rows(&db, "other"))
}

fn rows_of_sound_store() -> (Rows, Rows) {
    let db = options(&build()).open(DIRECTORY).unwrap();
    (rows(&db, "default"), rows(&db, "other"))
}

#[test]
fn a_sound_store_is_left_as_it_is() {
    let fs = build();
    let report = repair(&fs);
    assert!(report.is_sound() && report.moved.is_empty() && report.whole_tables > 3, "{report}");
    assert_eq!(rows_after(&fs), rows_of_sound_store());
}

/// Everything is there, operands once, deletions still deleted: the tables and logs say it all.
#[test]
fn without_manifest_or_current_nothing_is_lost() {
    type Damage = fn(&MemFs, &Path);
    let damages: [Damage; 3] = [
        |fs, path| fs.remove(path).unwrap(),
        |fs, path| replace(fs, path, b""),
        |fs, path| {
            let mut bytes = read(fs, path);
            bytes[9] ^= 1;
            replace(fs, path, &bytes);
        },
    ];
    for (number, damage) in damages.iter().enumerate() {
        for current in [true, false] {
            let fs = build();
            let is_it = |kind| matches!((kind, current), (FileKind::Current, true) | (FileKind::Manifest(_), false));
            let name = names(&fs).into_iter().find(|name| FileKind::parse(name).is_some_and(is_it)).unwrap();
            damage(&fs, &Path::new(DIRECTORY).join(&name));
            assert!(options(&fs).open(DIRECTORY).is_err(), "damage {number} to {name}");
            let report = repair(&fs);
            assert!(report.rebuilt.is_some() && report.lost.is_empty(), "damage {number} to {name}: {report}");
            assert_eq!(rows_after(&fs), rows_of_sound_store(), "damage {number} to {name}");
        }
    }
}

// Lane `damage` put another store's manifest in the place of the right one, and the repair took its word against all
// other files: logs, and in a store that was not closed the tables too, went to `lost/`.
#[test]
fn a_manifest_of_another_store_does_not_disown_all_other_files() {
    for closes in [true, false] {
        let [fs, other] = [1, 2].map(|seed| {
            let fs = MemFs::seeded(seed);
            let db = fill(&fs);
            if closes {
                db.close().unwrap();
                return fs;
            }
            fs.crash(Crash::KeepAll)
        });
        let is_manifest = |name: &String| matches!(FileKind::parse(name), Some(FileKind::Manifest(_)));
        let path = Path::new(DIRECTORY).join(names(&fs).into_iter().find(is_manifest).unwrap());
        replace(&fs, &path, &read(&other, &path));
        let report = repair(&fs);
        assert!(report.rebuilt.is_some() && report.lost.is_empty(), "closed: {closes}: {report}");
        assert_eq!(rows_after(&fs), rows_of_sound_store(), "closed: {closes}");
    }
}

#[test]
fn a_missing_table_costs_its_own_entries_only() {
    let fs = build();
    let tables: Vec<String> =
        names(&fs).into_iter().filter(|name| matches!(FileKind::parse(name), Some(FileKind::Table(_)))).collect();
    let (sound, sound_other) = rows_of_sound_store();
    for name in tables {
        let fs = build();
        fs.remove(&Path::new(DIRECTORY).join(&name)).unwrap();
        let report = repair(&fs);
        assert!(report.rebuilt.is_none() && report.lost.len() == 1, "{name}: {report}");
        assert!(report.to_string().contains("it is missing"), "{report}");
        let (rows, other) = rows_after(&fs);
        // Older versions may show, and keys whose deletion was lost; nothing may be made up.
        assert!(other.iter().all(|row| sound_other.get(row.0) == Some(row.1)), "{name}");
        assert!(rows.len() + 45 > sound.len(), "{name}");
        assert_eq!(rows["in the log"], "1");
    }
}

/// Bit by bit through every table and log: what a damaged store still reads right, a repaired one reads right.
#[test]
fn a_flipped_bit_costs_at_most_what_could_not_be_read() {
    let (sound, sound_other) = rows_of_sound_store();
    let whole = build();
    let (mut repaired, mut later) = (0, 0);
    for name in names(&whole) {
        let Some(FileKind::Table(_) | FileKind::Log(_)) = FileKind::parse(&name) else { continue };
        let path = Path::new(DIRECTORY).join(&name);
        let bytes = read(&whole, &path);
        for at in (0..bytes.len()).step_by(13) {
            let fs = whole.crash(lsm_fs::Crash::KeepAll);
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            replace(&fs, &path, &damaged);
            let report = match options(&fs).repair(DIRECTORY) {
                // A footer may say that a later RocksDB wrote the table: that is not for a repair to throw away.
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    later += 1;
                    continue;
                }
                report => report.unwrap_or_else(|error| panic!("byte {at} of {} of {name}: {error}", bytes.len())),
            };
            let db = options(&fs).open(DIRECTORY).unwrap();
            db.verify().unwrap_or_else(|error| panic!("byte {at} of {name}: {error}\n{report}"));
            let (rows, other) = (rows(&db, "default"), rows(&db, "other"));
            let missing = sound.keys().filter(|key| !rows.contains_key(*key)).count();
            assert!(missing == 0 || !report.is_sound(), "byte {at} of {name}: {missing} rows are missing\n{report}");
            let footer_or_metaindex = report
                .lost
                .iter()
                .any(|lost| lost.detail.starts_with("footer") || lost.detail.starts_with("metaindex"));
            assert!(missing <= 8 || footer_or_metaindex, "byte {at} of {name}: {missing} rows are missing\n{report}");
            assert!(other.iter().all(|row| sound_other.get(row.0) == Some(row.1)), "byte {at} of {name}");
            repaired += usize::from(!report.is_sound());
        }
    }
    assert!(later < 10, "{later} tables are taken for later ones");
    assert!(repaired > 300, "{repaired} repairs had something to do");
}

#[test]
fn a_repair_waits_for_nobody_and_needs_a_store() {
    let fs = build();
    let db = options(&fs).open(DIRECTORY).unwrap();
    assert_eq!(options(&fs).repair(DIRECTORY).unwrap_err().kind(), ErrorKind::Locked);
    db.close().unwrap();
    fs.create_dir(Path::new("/empty")).unwrap();
    assert!(options(&fs).repair("/empty").unwrap_err().to_string().contains("no store here"));
    assert!(options(&fs).repair("/nowhere").is_err());
}

/// A fuzzer damaged the properties of a table and put it in place of one of another family: the repair, which could
/// not ask the properties any more whose table it is, gave that family its rows. The footer tells too.
#[test]
fn a_damaged_table_of_another_family_is_not_salvaged_into_this_one() {
    let tables = |fs: &MemFs| -> Vec<String> {
        names(fs).into_iter().filter(|name| matches!(FileKind::parse(name), Some(FileKind::Table(_)))).collect()
    };
    let (sound, sound_other) = rows_of_sound_store();
    let mut refused = 0;
    for from in tables(&build()) {
        for to in tables(&build()).into_iter().filter(|to| *to != from) {
            let fs = build();
            let mut bytes = read(&fs, &Path::new(DIRECTORY).join(&from));
            let found = bytes.windows(13).position(|window| window == b"rocksdb.block").expect("it has properties");
            bytes[found] ^= 1;
            replace(&fs, &Path::new(DIRECTORY).join(&to), &bytes);
            let report = repair(&fs);
            refused += usize::from(report.to_string().contains("not the one that the manifest names"));
            let (rows, other) = rows_after(&fs);
            assert!(other.iter().all(|row| sound_other.get(row.0) == Some(row.1)), "{from} over {to}: {report}");
            assert!(rows.keys().all(|key| sound.contains_key(key) || !key.starts_with("other")), "{from} over {to}");
        }
    }
    assert!(refused > 20, "{refused} tables were refused");
}

/// A store whose newest table was ingested: its entries are stored with sequence number 0, and the manifest has theirs.
/// Returns the path of that table too.
fn store_with_ingested_table() -> (MemFs, std::path::PathBuf) {
    let fs = MemFs::new();
    let db = options(&fs).level0_file_num_compaction_trigger(10).open(DIRECTORY).unwrap();
    for key in ["key", "deleted"] {
        db.put(key, "old").unwrap();
    }
    db.flush().unwrap();
    db.put("key", "of one sequence number").unwrap();
    db.flush().unwrap();
    db.close().unwrap();
    let kinds = names(&fs).into_iter().filter_map(|name| FileKind::parse(&name));
    let newest = kinds.filter(|kind| matches!(kind, FileKind::Table(_))).max_by_key(|kind| kind.number()).unwrap();
    let path = Path::new(DIRECTORY).join(newest.to_string());
    let ingested = BuilderOptions { external: true, format_version: 5, ..BuilderOptions::default() };
    let mut builder = TableBuilder::new(Vec::new(), ingested);
    builder.add(InternalKey::new(b"key", SeqNo::ZERO, Kind::Value).as_bytes(), b"new").unwrap();
    let tombstone = RangeTombstone { start: b"deleted".into(), end: b"deletee".into(), seq: SeqNo::ZERO };
    builder.add_range_tombstone(&tombstone).unwrap();
    replace(&fs, &path, &builder.finish().unwrap().0);
    (fs, path)
}

/// Without the properties nothing says that it was ingested: what was newest became oldest.
#[test]
fn an_ingested_table_without_properties_keeps_its_sequence_number() {
    // Covers F3.
    let (fs, path) = store_with_ingested_table();
    let mut bytes = read(&fs, &path);
    let found = bytes.windows(13).position(|window| window == b"rocksdb.block").expect("it has properties");
    bytes[found] ^= 1;
    replace(&fs, &path, &bytes);
    let report = repair(&fs);
    assert!(report.rebuilt.is_none() && report.to_string().contains("properties"), "{report}");
    let expected = Rows::from([("key".to_owned(), "new".to_owned())]);
    assert_eq!(rows_after_of_default(&fs), expected, "{report}");
}

fn rows_after_of_default(fs: &MemFs) -> Rows {
    assert!(repair(fs).is_sound());
    rows(&options(fs).open(DIRECTORY).unwrap(), "default")
}

/// A file that was ingested leaves it to the manifest how old its entries are. The repair cannot know, and says so.
#[test]
fn an_ingested_table_without_a_manifest_is_reported() {
    let (fs, path) = store_with_ingested_table();
    fs.remove(&Path::new(DIRECTORY).join(FileKind::Current.to_string())).unwrap();
    let report = repair(&fs);
    let [lost] = report.lost.as_slice() else { panic!("{report}") };
    assert!(report.rebuilt.is_some() && lost.file == path && lost.detail.contains("sequence number"), "{report}");
    assert_eq!(rows_after_of_default(&fs)["key"], "old");
}
