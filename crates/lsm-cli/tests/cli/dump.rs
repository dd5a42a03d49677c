//! `lsm dump`: files of RocksDB's and of ours in readable form.

use std::path::Path;

use crate::harness::{files, load, lsm, on, rocksdb_database, temp};

fn dump(kind: &str, file: &Path) -> String {
    lsm(["dump", kind, file.to_str().unwrap()]).text()
}

#[test]
fn a_log_shows_its_writes() {
    let (_temp, dir) = rocksdb_database("families");
    let file = dir.join("000024.log");
    let expected = format!(
        "log {}, 40 bytes\n\
         record at 0: 33 bytes, 1 writes from sequence number 303\n\
         \x20 family 1 put 'zzz-wal' => 'in-the-log'\n\
         end at offset 40\n",
        file.display()
    );
    assert_eq!(dump("wal", &file), expected);
}

#[test]
fn a_table_shows_its_properties_and_entries() {
    let (_temp, dir) = rocksdb_database("levels");
    let shown = dump("table", &dir.join("000046.sst"));
    for line in [
        "  entries: 2",
        "  compression: 'LZ4'",
        "  merge operator: 'StringAppendOperator'",
        "'zzz-one' @ 12003 Value => '1'",
        "'zzz-two' @ 12004 Value => '2'",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is missing in {shown}");
    }
    let shown = dump("table", &dir.join("000036.sst"));
    assert!(shown.contains("range deletion 'apache'..'apt' @ 12001\n"), "{shown}");
}

#[test]
fn a_manifest_shows_its_edits() {
    let (_temp, dir) = rocksdb_database("levels");
    let shown = dump("manifest", &dir.join("MANIFEST-000048"));
    for line in [
        "  comparator 'leveldb.BytewiseComparator'",
        "  + level 0 table 000036: 1025 bytes, 'apache' to 'apt' (exclusive), sequence numbers 12001 to 12001",
        "  log number 43",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is missing in {shown}");
    }
}

#[test]
fn files_of_ours_are_shown_with_what_only_we_write() {
    let temp = temp();
    let dir = temp.path().join("db");
    load(&dir, b"a\t\x01\n", &[]).ok();
    let of_kind = |end: &str, start: &str| {
        let name = files(&dir).into_iter().find(|name| name.ends_with(end) && name.starts_with(start));
        dir.join(name.unwrap_or_else(|| panic!("{start}…{end} is there")))
    };
    let log = dump("wal", &of_kind(".log", ""));
    assert!(log.contains("  put 'a' => '\\x01'\n"), "{log}");
    assert!(log.contains("  fact: the store's id is '"), "{log}");
    let manifest = dump("manifest", &of_kind("", "MANIFEST-"));
    assert!(manifest.contains("  comparator 'leveldb.BytewiseComparator'\n"), "{manifest}");
    on(&dir, "compact", &[]).ok();
    let table = dump("table", &of_kind(".sst", ""));
    assert!(table.contains("'a' @ 0 Value => '\\x01'\n"), "{table}");
}

#[test]
fn damage_is_the_error_and_what_is_before_it_is_shown() {
    let temp = temp();
    let dir = temp.path().join("db");
    load(&dir, b"a\t1\n", &[]).ok();
    on(&dir, "put", &["b", "2"]).ok();
    on(&dir, "put", &["c", "3"]).ok();
    let name = files(&dir).into_iter().find(|name| name.starts_with("MANIFEST-")).unwrap();
    let file = dir.join(name);
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let run = lsm(["dump", "manifest", file.to_str().unwrap()]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("damaged behind offset"), "{}", run.stderr);
    assert!(run.stdout.starts_with(b"manifest "));
}

#[test]
fn what_is_no_such_file_is_refused() {
    let (_temp, dir) = rocksdb_database("levels");
    for (kind, name, expected) in [
        ("table", "CURRENT", "file of 16 bytes is too short for a table"),
        ("wal", "CURRENT", "the name of a log is a number and .log"),
        ("wal", "missing", "No such file or directory"),
        ("table", "missing", "No such file or directory"),
    ] {
        let run = lsm(["dump", kind, dir.join(name).to_str().unwrap()]);
        assert_eq!(run.code, Some(1), "{kind} {name}");
        assert!(run.stderr.contains(expected), "{kind} {name}: {}", run.stderr);
        assert_eq!(run.stderr.matches("No such file").count(), expected.matches("No such file").count());
    }
}
