//! What handles promise beyond reading and writing: closing, locking, runtimes, families, refusals.

use lsm_engine::{
    ColumnFamily, ColumnFamilyOptions, Commit, Cursor, Db, Durability, Error, ErrorKind, Iter, Options, Slice,
    Snapshot, WriteBatch, WriteOptions,
};
use std::future::IntoFuture;
use std::path::Path;

fn open(directory: &Path) -> Db {
    Db::open(directory).unwrap()
}

fn entries(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn handles_may_go_anywhere() {
    fn is_shared<T: Send + Sync + Clone + 'static>() {}
    fn is_sent<T: Send + 'static>() {}
    is_shared::<Db>();
    is_shared::<ColumnFamily>();
    is_shared::<Snapshot>();
    is_shared::<Slice>();
    is_shared::<Error>();
    is_sent::<Iter>();
    is_sent::<Cursor>();
    is_sent::<Commit>();
    assert_eq!(size_of::<Slice>(), 24);
}

#[test]
fn closing_frees_the_lock_and_leaves_iterators_readable() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    (0..1000).for_each(|number| db.put(format!("{number:04}"), vec![b'v'; 100]).unwrap());
    db.flush().unwrap();
    db.put("9999", "in the log").unwrap();
    assert_eq!(Db::open(dir.path()).unwrap_err().kind(), ErrorKind::Locked);
    let (clone, family, snapshot, mut iter) = (db.clone(), db.column_family("f").unwrap(), db.snapshot(), db.iter());
    let first = iter.next().unwrap().unwrap();
    db.close().unwrap();
    assert_eq!(clone.get("0000").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(clone.put("a", "b").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(family.put("a", "b").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(snapshot.get("0000").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(clone.iter().next().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(clone.submit(WriteBatch::new()).wait().unwrap_err().kind(), ErrorKind::Closed);
    clone.close().unwrap();
    let again = open(dir.path());
    assert_eq!(again.iter().count(), 1001);
    assert_eq!(iter.count(), 1000);
    assert_eq!(first.0, "0000");
}

#[test]
fn a_store_may_be_opened_used_and_dropped_inside_of_a_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let db = open(dir.path());
        let mut batch = WriteBatch::new();
        batch.put("a", "1");
        let commit = db.submit_with(batch, &WriteOptions::new().durability(Durability::Synced));
        commit.into_future().await.unwrap();
        db.flush().unwrap();
        drop(db);
        // A failed open ends its runtime too.
        std::fs::write(dir.path().join("CURRENT"), "nonsense").unwrap();
        assert_eq!(Db::open(dir.path()).unwrap_err().kind(), ErrorKind::Corruption);
    });
}

#[test]
fn a_runtime_that_is_gone_hangs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let db = Options::new().runtime(runtime.handle().clone()).open(dir.path()).unwrap();
    db.put("a", "1").unwrap();
    runtime.shutdown_background();
    assert_eq!(db.flush().unwrap_err().kind(), ErrorKind::ReadOnly);
    assert!(db.stats().failure.unwrap().contains("runtime"));
    assert_eq!(db.get("a").unwrap().unwrap(), "1");
    drop(db);
    assert_eq!(open(dir.path()).get("a").unwrap().unwrap(), "1");
}

#[test]
fn submitted_batches_commit_in_order_and_say_when() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let commits: Vec<Commit> = (0..500)
        .map(|number: u32| {
            let mut batch = WriteBatch::new();
            batch.put("last", number.to_string());
            batch.put(number.to_be_bytes(), "");
            let durability = if number.is_multiple_of(50) { Durability::Synced } else { Durability::Buffered };
            db.submit_with(batch, &WriteOptions::new().durability(durability))
        })
        .collect();
    commits.iter().for_each(|commit| commit.wait().unwrap());
    let sequences: Vec<_> = commits.iter().map(|commit| commit.sequence().unwrap()).collect();
    assert!(sequences.is_sorted_by(|a, b| a + 2 == *b));
    assert!(commits.iter().all(Commit::is_durable));
    assert_eq!(db.get("last").unwrap().unwrap(), "499");
    // Dropping a commit cancels nothing, and closing waits for what was submitted.
    let mut batch = WriteBatch::new();
    batch.put("dropped", "");
    drop(db.submit(batch));
    db.close().unwrap();
    assert!(open(dir.path()).contains_key("dropped").unwrap());
}

#[test]
fn families_come_go_and_keep_apart() {
    let dir = tempfile::tempdir().unwrap();
    {
        let db = open(dir.path());
        let a = db.column_family("a").unwrap();
        let b = db.column_family_with("b", ColumnFamilyOptions::new().write_buffer_size(64 << 10)).unwrap();
        (0..3000).for_each(|number| b.put(format!("{number}"), vec![0; 100]).unwrap());
        a.put("k", "in a").unwrap();
        let mut all = b.iter();
        all.next().unwrap().unwrap();
        db.drop_column_family("b").unwrap();
        assert_eq!(all.count(), 2999, "iterators over a dropped family stay readable");
        assert_eq!(b.put("k", "v").unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(db.drop_column_family("default").unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(db.drop_column_family("b").unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(db.column_families(), ["default", "a"]);
        // A new family of the same name does not see the old one's keys.
        assert_eq!(db.column_family("b").unwrap().iter().count(), 0);
        db.flush().unwrap();
    }
    let db = open(dir.path());
    assert_eq!(db.column_families(), ["default", "a", "b"]);
    assert_eq!(db.column_family("a").unwrap().get("k").unwrap().unwrap(), "in a");
    assert_eq!(db.column_family("b").unwrap().iter().count(), 0);
    let other_dir = tempfile::tempdir().unwrap();
    let other = open(other_dir.path());
    let mut batch = WriteBatch::new();
    batch.put_cf(&other.column_family("a").unwrap(), "k", "v");
    assert_eq!(db.write(batch).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn memtables_of_many_families_share_one_budget() {
    let dir = tempfile::tempdir().unwrap();
    let db = Options::new().write_buffer_size(128 << 10).open(dir.path()).unwrap();
    let families: Vec<_> = (0..12).map(|number| db.column_family(&number.to_string()).unwrap()).collect();
    for round in 0..60 {
        for family in &families {
            family.put(format!("{round}"), vec![b'x'; 1500]).unwrap();
        }
        let used: usize = db.stats().families.iter().map(|family| family.memtable_bytes).sum();
        assert!(used < 4 * (128 << 10) + 13 * 8192, "{used} bytes of memtables in round {round}");
    }
    assert!(families.iter().all(|family| family.iter().count() == 60));
}

#[test]
fn checkpoints_open_as_stores_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("copy");
    let db = open(&dir.path().join("data"));
    (0..2000).for_each(|number| db.put(format!("{number:04}"), "before").unwrap());
    db.column_family("f").unwrap().put("k", "v").unwrap();
    db.checkpoint(&target).unwrap();
    assert_eq!(db.checkpoint(&target).unwrap_err().kind(), ErrorKind::InvalidArgument);
    db.put("0000", "after").unwrap();
    db.delete_range(..).unwrap();
    db.compact_range(..).unwrap();
    let copy = open(&target);
    assert_eq!(copy.iter().count(), 2000);
    assert_eq!(copy.get("0000").unwrap().unwrap(), "before");
    assert_eq!(copy.column_family("f").unwrap().get("k").unwrap().unwrap(), "v");
    copy.verify().unwrap();
    assert_eq!(db.iter().count(), 0);
}

#[test]
fn a_read_only_store_sees_its_opening_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    db.put("a", "1").unwrap();
    db.flush().unwrap();
    db.put("b", "2").unwrap();
    let before = entries(dir.path());
    let reader = Options::new().read_only(true).open(dir.path()).unwrap();
    db.put("c", "3").unwrap();
    assert_eq!(reader.iter().count(), 2);
    assert_eq!(reader.get("b").unwrap().unwrap(), "2");
    assert_eq!(reader.put("d", "4").unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(reader.column_family("new").err().unwrap().kind(), ErrorKind::ReadOnly);
    assert_eq!(reader.flush().unwrap_err().kind(), ErrorKind::ReadOnly);
    reader.verify().unwrap();
    reader.close().unwrap();
    assert_eq!(entries(dir.path()), before);
}

#[test]
fn refusals_name_what_was_expected() {
    let dir = tempfile::tempdir().unwrap();
    let kind_and_text = |result: lsm_engine::Result<Db>| {
        let error = result.unwrap_err();
        (error.kind(), error.to_string())
    };
    let missing = dir.path().join("missing");
    let (kind, text) = kind_and_text(Options::new().create_if_missing(false).open(&missing));
    assert!(kind == ErrorKind::Io && text.contains("missing"), "{text}");
    let (kind, text) = kind_and_text(Options::new().read_only(true).open(dir.path()));
    assert!(kind == ErrorKind::InvalidArgument && text.contains("CURRENT"), "{text}");
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let (kind, text) = kind_and_text(Db::open(&file));
    assert!(kind == ErrorKind::InvalidArgument && text.contains("expected a directory"), "{text}");
    let (kind, text) = kind_and_text(Options::new().format_version(4).open(dir.path()));
    assert!(kind == ErrorKind::InvalidArgument && text.contains("format_version 4"), "{text}");

    let data = dir.path().join("data");
    let db = open(&data);
    let (kind, _) = kind_and_text(Options::new().error_if_exists(true).open(&data));
    assert_eq!(kind, ErrorKind::Locked);
    let error = db.put(vec![0; (8 << 20) + 1], "").unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidArgument && error.to_string().contains("8388609"), "{error}");
    db.put(vec![7; 8 << 20], "largest").unwrap();
    db.put("", "empty key").unwrap();
    db.put("empty value", "").unwrap();
    assert_eq!(db.get("").unwrap().unwrap(), "empty key");
    assert_eq!(db.get("empty value").unwrap().unwrap(), "");
    db.flush().unwrap();
    assert_eq!(db.get(vec![7; 8 << 20]).unwrap().unwrap(), "largest");
    assert_eq!(db.iter().count(), 3);
    db.close().unwrap();
    let (kind, _) = kind_and_text(Options::new().error_if_exists(true).open(&data));
    assert_eq!(kind, ErrorKind::InvalidArgument);
}

#[test]
fn damage_to_any_file_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    {
        let db = open(dir.path());
        (0..500).for_each(|number| db.put(format!("{number:04}"), vec![b'v'; 50]).unwrap());
        db.flush().unwrap();
        db.put("log", "only").unwrap();
        db.close().unwrap();
    }
    for name in entries(dir.path()).iter().filter(|name| !matches!(name.as_str(), "LOCK" | "IDENTITY")) {
        let path = dir.path().join(name);
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 4;
        for damaged in [flipped, whole[..whole.len() - 1].to_vec(), Vec::new()] {
            std::fs::write(&path, &damaged).unwrap();
            let opened = Options::new().read_only(true).open(dir.path()).and_then(|db| db.verify().map(|_| db));
            let error = match opened {
                // The manifest's last record only says that the log was closed: no harm if it is cut.
                Ok(db) if name.starts_with("MANIFEST") && db.iter().count() == 501 => continue,
                Ok(_) => panic!("damage to {name} was not noticed"),
                Err(error) => error,
            };
            assert!(error.kind() == ErrorKind::Corruption, "{name}: {error}");
            assert!(error.to_string().contains(name.as_str()), "{name}: {error}");
        }
        std::fs::remove_file(&path).unwrap();
        let error = Options::new().read_only(true).open(dir.path()).expect_err(name);
        assert!(matches!(error.kind(), ErrorKind::Corruption | ErrorKind::InvalidArgument), "{name} missing: {error}");
        std::fs::write(&path, &whole).unwrap();
    }
    assert_eq!(open(dir.path()).iter().count(), 501);
}

#[test]
fn a_manifest_cut_anywhere_loses_nothing_unnoticed() {
    let dir = tempfile::tempdir().unwrap();
    {
        let db = open(dir.path());
        for round in 0..3 {
            db.put(format!("{round}"), "flushed").unwrap();
            db.flush().unwrap();
        }
        db.put("3", "in the log").unwrap();
        db.close().unwrap();
    }
    let manifest = entries(dir.path()).into_iter().find(|name| name.starts_with("MANIFEST")).unwrap();
    let path = dir.path().join(manifest);
    let whole = std::fs::read(&path).unwrap();
    let mut refused = 0;
    for bytes in 0..whole.len() {
        std::fs::write(&path, &whole[..bytes]).unwrap();
        match Options::new().read_only(true).open(dir.path()) {
            Ok(db) => assert_eq!(db.iter().count(), 4, "cut to {bytes} of {} bytes", whole.len()),
            Err(error) => {
                refused += 1;
                assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
            }
        }
    }
    assert!(refused > whole.len() / 2, "{refused} of {}", whole.len());
}

#[test]
fn levels_settle_and_properties_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options::new().write_buffer_size(64 << 10).max_bytes_for_level_base(128 << 10).target_file_size(32 << 10);
    let db = options.open(dir.path()).unwrap();
    for number in 0..20_000_u32 {
        db.put(number.wrapping_mul(2_654_435_761).to_be_bytes(), vec![b'v'; 64]).unwrap();
    }
    db.wait_for_compactions().unwrap();
    let stats = db.stats();
    assert!(stats.compactions > 0 && stats.flushes > 10 && stats.background_errors == 0, "{stats}");
    assert!(stats.families[0].levels.iter().all(|level| level.score < 1.0), "{stats}");
    let level0: usize = db.property("rocksdb.num-files-at-level0").unwrap().parse().unwrap();
    assert_eq!(level0, stats.families[0].levels[0].tables);
    assert_eq!(db.property("rocksdb.no-such-property"), None);
    assert_eq!(db.iter().count(), 20_000);
    // Every file of the directory is alive: nothing obsolete stays behind.
    drop(db);
    let tables = entries(dir.path()).iter().filter(|name| name.ends_with(".sst")).count();
    assert_eq!(tables, stats.families[0].levels.iter().map(|level| level.tables).sum::<usize>());
}
