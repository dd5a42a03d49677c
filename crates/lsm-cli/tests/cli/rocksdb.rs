//! RocksDB's databases under our command, and ours under RocksDB's tools.
//!
//! `tests/data` holds databases that RocksDB 7.8.3 wrote (`ldb load` and others), closed with data still in the
//! log. What they must hold is 11,857 or 12,000 lines, of which the checksum stands here; where `ldb` is
//! installed its own scan of a copy is compared byte for byte.

use std::path::Path;

use lsm_core::checksum::crc32c;

use crate::harness::{ARROW, COLON, copy, files, ldb_scan, load, on, packages, rocksdb, rocksdb_database, temp};

/// `packages.kv`'s first 12,000 lines, of which `testdata` holds every third.
const FIRST_LINES: (usize, u32) = (12_000, 0x9e6a_6008);

/// The same after a range deletion, a deletion, two puts and an overwrite.
const LEVELS: (usize, u32) = (11_857, 0xcafd_2c3e);

const SECTIONS: (usize, u32) = (301, 0x7a18_0d42);

/// Scans a copy, compares with what must be there, and with `ldb scan` of another copy.
fn check(name: &str, family: &str, expected: (usize, u32)) {
    let (temp, dir) = rocksdb_database(name);
    let before = files(&dir);
    let scanned = on(&dir, "scan", &["--separator", ARROW, "--column-family", family]).ok();
    let lines = scanned.iter().filter(|&&byte| byte == b'\n').count();
    assert_eq!((lines, crc32c(&scanned)), expected, "{name}, {family}");
    on(&dir, "verify", &[]).ok();
    assert_eq!(files(&dir), before, "{name}: reading changes nothing");

    let other = temp.path().join("for ldb");
    copy(&dir, &other);
    if let Some(seen) = ldb_scan(&other, &[&format!("--column_family={family}")]) {
        assert!(
            on(&dir, "scan", &["--separator", COLON, "--column-family", family]).ok() == seen,
            "{name}: ldb differs"
        );
    }
}

#[test]
fn levels_a_range_deletion_and_a_log_are_read_as_rocksdb_reads_them() {
    check("levels", "default", LEVELS);
}

#[test]
fn dictionaries_are_read_as_rocksdb_reads_them() {
    check("zstd-dictionary", "default", FIRST_LINES);
}

#[test]
fn codecs_that_are_only_read_are_read_as_rocksdb_reads_them() {
    check("snappy", "default", FIRST_LINES);
    check("zlib", "default", FIRST_LINES);
}

#[test]
fn families_are_read_as_rocksdb_reads_them() {
    check("families", "sections", SECTIONS);
    let (_temp, dir) = rocksdb_database("families");
    assert_eq!(on(&dir, "scan", &[]).text(), "plain\tvalue\n");
    let run = on(&dir, "scan", &["--column-family", "dropped"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("no column family `dropped`, there are: default, sections"), "{}", run.stderr);
}

#[test]
fn blob_files_are_refused_by_name_and_nothing_is_touched() {
    let (_temp, dir) = rocksdb_database("blobs");
    let before = files(&dir);
    for words in [["scan"].as_slice(), &["verify"], &["put", "k", "v"], &["compact"]] {
        let run = on(&dir, words[0], &words[1..]);
        assert_eq!(run.code, Some(1), "{words:?}");
        assert!(run.stderr.contains("not supported: blob files"), "{words:?}: {}", run.stderr);
    }
    assert_eq!(files(&dir).into_iter().filter(|name| name != "LOCK").collect::<Vec<_>>(), before);
}

#[test]
fn what_is_put_into_a_database_of_rocksdbs_is_seen_by_rocksdb() {
    for name in ["levels", "snappy", "zstd-dictionary"] {
        let (_temp, dir) = rocksdb_database(name);
        on(&dir, "put", &["aaa", "put by us"]).ok();
        on(&dir, "delete", &["0ad-data"]).ok();
        assert_eq!(on(&dir, "get", &["aaa"]).text(), "put by us\n");
        let ours = on(&dir, "scan", &["--separator", COLON]).ok();
        let db = format!("--db={}", dir.display());
        let Some(run) = rocksdb("ldb", &[&db, "get", "aaa"]) else { return };
        assert_eq!(run.text(), "put by us\n", "{name}");
        let run = rocksdb("ldb", &[&db, "get", "0ad-data"]).expect("ldb is there");
        assert_ne!(run.code, Some(0), "{name}: the key was deleted");
        assert!(ldb_scan(&dir, &[]).expect("ldb is there") == ours, "{name}: ldb sees something else");
    }
}

#[test]
fn rocksdb_goes_on_from_our_directory_and_we_from_its() {
    let temp = temp();
    let dir = temp.path().join("db");
    let options = ["--separator", ARROW, "--format-version", "5", "--write-buffer-size", "300000"];
    load(&dir, &packages(), &options).ok();
    let db = format!("--db={}", dir.display());
    let Some(run) = rocksdb("ldb", &[&db, "put", "aaa", "put by RocksDB"]) else { return };
    run.ok();
    assert_eq!(on(&dir, "get", &["aaa"]).text(), "put by RocksDB\n");
    on(&dir, "put", &["aaa", "ours again"]).ok();
    on(&dir, "compact", &[]).ok();
    rocksdb("ldb", &[&db, "compact"]).expect("ldb is there").ok();
    assert_eq!(on(&dir, "get", &["aaa"]).text(), "ours again\n");
    let ours = on(&dir, "scan", &["--separator", COLON]).ok();
    assert!(ldb_scan(&dir, &[]).expect("ldb is there") == ours);
    on(&dir, "verify", &[]).ok();
}

/// What RocksDB's tools say about a directory of ours.
fn check_ours(dir: &Path, expected: &[u8]) {
    let db = format!("--db={}", dir.display());
    let Some(run) = rocksdb("ldb", &[&db, "checkconsistency"]) else { return };
    assert_eq!(run.text(), "OK\n");
    let file = format!("--file={}", dir.display());
    for name in files(dir).iter().filter(|name| name.ends_with(".sst")) {
        let run = rocksdb("sst_dump", &[&format!("{file}/{name}"), "--command=verify"]).expect("sst_dump is there");
        assert!(run.text().contains("The file is ok"), "{name}");
    }
    let seen = ldb_scan(dir, &[]).expect("ldb is there");
    assert!(seen == expected, "ldb scans something else than was loaded");
}

#[test]
fn rocksdbs_tools_accept_our_directories() {
    let input = packages();
    let text = str::from_utf8(&input).unwrap();
    let expected: String = text.split_inclusive('\n').map(|line| line.replacen(ARROW, COLON, 1)).collect();
    for compression in ["none", "lz4", "zstd"] {
        let temp = temp();
        let dir = temp.path().join("db");
        let options = ["--separator", ARROW, "--format-version", "5", "--write-buffer-size", "300000"];
        load(&dir, &input, &[&options, ["--compression", compression].as_slice()].concat()).ok();
        // As it was loaded, with tables and a log; then compacted. RocksDB's tools work on copies.
        for step in ["stats", "compact"] {
            on(&dir, step, &[]).ok();
            let other = temp.path().join(step);
            copy(&dir, &other);
            check_ours(&other, expected.as_bytes());
        }
    }
}
