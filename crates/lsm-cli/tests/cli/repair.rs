//! `lsm repair` on real data: our directories and RocksDB's, and what RocksDB thinks of the result.

use std::path::Path;

use crate::harness::{ARROW, COLON, copy, files, ldb_scan, load, on, packages, rocksdb, rocksdb_database, temp};

fn scan(dir: &Path) -> Vec<u8> {
    on(dir, "scan", &["--separator", COLON]).ok()
}

/// The result is whole for us and for RocksDB, which sees the same in it.
fn check(dir: &Path) {
    on(dir, "verify", &[]).ok();
    assert!(on(dir, "repair", &[]).text().starts_with("nothing to repair"));
    let db = format!("--db={}", dir.display());
    if let Some(run) = rocksdb("ldb", &[&db, "checkconsistency"]) {
        run.ok();
    }
    let temp = temp();
    let other = temp.path().join("for ldb");
    copy_files(dir, &other);
    if let Some(seen) = ldb_scan(&other, &[]) {
        assert!(seen == scan(dir), "ldb sees something else");
    }
}

/// The store without what a repair put aside.
fn copy_files(dir: &Path, target: &Path) {
    let lost = dir.join("lost");
    if lost.exists() {
        std::fs::remove_dir_all(lost).expect("it can be removed");
    }
    copy(dir, target);
}

#[test]
fn a_damaged_block_costs_a_block() {
    let temp = temp();
    let dir = temp.path().join("store");
    let lines = packages();
    let lines = &lines[..400_000];
    let end = lines.iter().rposition(|&byte| byte == b'\n').expect("there are lines") + 1;
    let options = ["--separator", ARROW, "--write-buffer-size", "131072", "--format-version", "5"];
    load(&dir, &lines[..end], &options).ok();
    on(&dir, "compact", &[]).ok();
    let before = scan(&dir);
    let table = files(&dir).into_iter().find(|name| name.ends_with(".sst")).expect("there are tables");
    let mut bytes = std::fs::read(dir.join(&table)).expect("it can be read");
    bytes[5000] ^= 0x10;
    std::fs::write(dir.join(&table), bytes).expect("it can be written");
    assert_eq!(on(&dir, "verify", &[]).code, Some(1));
    let report = on(&dir, "repair", &[]).text();
    assert!(report.contains(&table) && report.contains("data block: corruption"), "{report}");
    assert_eq!(files(&dir.join("lost")), [table]);
    check(&dir);
    let after = scan(&dir);
    let rows = |text: &[u8]| text.iter().filter(|&&byte| byte == b'\n').count();
    let lost = rows(&before) - rows(&after);
    assert!((1..200).contains(&lost), "{lost} of {} rows are lost", rows(&before));
    let before: std::collections::BTreeSet<&[u8]> = before.split(|&byte| byte == b'\n').collect();
    assert!(after.split(|&byte| byte == b'\n').all(|row| before.contains(row)), "a row was made up");
}

#[test]
fn rocksdbs_database_comes_back_without_its_manifest() {
    for name in ["levels", "families", "zstd-dictionary"] {
        let (_temp, dir) = rocksdb_database(name);
        let before = scan(&dir);
        let manifest = files(&dir).into_iter().find(|name| name.starts_with("MANIFEST")).expect("there is one");
        std::fs::remove_file(dir.join(manifest)).expect("it can be removed");
        assert_eq!(on(&dir, "scan", &[]).code, Some(1), "{name}");
        let report = on(&dir, "repair", &[]).text();
        assert!(report.starts_with("made a new manifest"), "{name}: {report}");
        assert!(scan(&dir) == before, "{name}: rows differ");
        check(&dir);
    }
}

#[test]
fn what_is_no_store_is_not_repaired() {
    let temp = temp();
    let run = on(temp.path(), "repair", &[]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("no store here"), "{}", run.stderr);
}
