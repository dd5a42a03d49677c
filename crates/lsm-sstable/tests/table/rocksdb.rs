//! Tables that RocksDB wrote are read, and tables written here are read by RocksDB's `sst_dump`.
//!
//! The second half needs `sst_dump` (Debian's `rocksdb-tools`). Without it the tests say so and pass, unless
//! `LSM_REQUIRE_ROCKSDB=1` is set.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use lsm_core::key::InternalKey;
use lsm_core::range_tombstone::RangeTombstone;
use lsm_core::{Cursor, Error, Kind, SeqNo};
use lsm_sstable::{BuilderOptions, Compression, Table};

use crate::naive::{Entries, open, scan, scan_backward};

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the writer of most fixtures was given (tests/data/README.md).
fn numbered(number: usize) -> (InternalKey, Vec<u8>) {
    let key = InternalKey::new(format!("key{number:05}").as_bytes(), SeqNo::ZERO, Kind::Value);
    (key, format!("value {number} ").repeat(number % 7).into_bytes())
}

fn check_numbered(name: &str, format_version: u32, compression: &str) -> Arc<Table> {
    let table = open(fixture(&format!("rocksdb-9.8/{name}.sst"))).unwrap();
    let expected: Vec<_> = (0..300).map(numbered).collect();
    assert_eq!(table.format_version(), format_version, "{name}");
    assert_eq!(table.properties().compression, compression, "{name}");
    assert_eq!(scan(&table).unwrap(), expected, "{name}");
    assert_eq!(scan_backward(&table).unwrap(), expected, "{name}");
    for (key, value) in &expected {
        let found = table.get(key.user_key(), SeqNo::MAX).unwrap().unwrap();
        assert_eq!(found.value, *value, "{name} {key:?}");
    }
    for number in 300..1000 {
        assert_eq!(table.get(numbered(number).0.user_key(), SeqNo::MAX).unwrap(), None, "{name}");
    }
    let verified = table.verify().unwrap();
    assert_eq!((verified.entries, verified.context_checksums), (300, format_version >= 6), "{name}");
    table
}

fn passed_by_filter(table: &Table) -> usize {
    (300..1300).filter(|&number| table.may_contain(numbered(number).0.user_key()).unwrap()).count()
}

#[test]
fn all_format_versions_codecs_and_checksums_are_read() {
    check_numbered("version-2", 2, "Zlib");
    check_numbered("version-3", 3, "NoCompression");
    check_numbered("dictionary", 4, "ZSTD");
    for (name, version, compression) in
        [("hashed", 5, "Snappy"), ("plain-6", 6, "NoCompression"), ("lz4hc", 6, "LZ4HC")]
    {
        let table = check_numbered(name, version, compression);
        assert!(passed_by_filter(&table) < 30, "{name}: the filter is not understood");
    }
}

#[test]
fn partitioned_indexes_and_filters_are_read() {
    let table = check_numbered("partitioned", 6, "LZ4");
    assert_eq!(table.properties().index_type, 2);
    assert!(table.properties().index_partitions > 1);
    let inside = |number: usize| format!("key{number:05}x").into_bytes();
    let passed = (0..299).filter(|&number| table.may_contain(&inside(number)).unwrap()).count();
    assert!(passed < 20, "{passed}");
}

#[test]
fn versions_of_one_key_over_several_blocks_are_read() {
    let table = open(fixture("rocksdb-9.8/versions.sst")).unwrap();
    assert_eq!(table.properties().index_key_is_user_key, 0);
    let verified = table.verify().unwrap();
    assert_eq!((verified.entries, verified.range_deletions), (61, 1));
    for number in 0..3_u64 {
        let key = format!("key{number:05}").into_bytes();
        for round in 0..20_u64 {
            let seq = SeqNo::new(3 * round + number + 1);
            let found = table.get(&key, SeqNo::new(3 * round + 3)).unwrap().unwrap();
            assert_eq!((found.seq, found.kind), (seq, Kind::Value));
            assert_eq!(found.value, format!("version {round} of {number} ").repeat(3).into_bytes());
        }
        assert_eq!(table.get(&key, SeqNo::ZERO).unwrap(), None);
    }
    assert_eq!(table.get(b"key00001", SeqNo::MAX).unwrap().unwrap().kind, Kind::Deletion);
    assert_eq!(table.tombstones().newest(b"key00006", SeqNo::MAX), Some(SeqNo::new(62)));
    assert_eq!(table.tombstones().newest(b"key00007", SeqNo::MAX), None);
}

#[test]
fn tables_of_an_older_rocksdb_are_read() {
    let table = open(fixture("rocksdb-7.8/range-deletion.sst")).unwrap();
    assert!(scan(&table).unwrap().is_empty());
    assert!(table.tombstones().newest(b"apache2", SeqNo::MAX).is_some());
    assert_eq!(table.verify().unwrap().range_deletions, 1);
    let table = open(fixture("rocksdb-7.8/sections.sst")).unwrap();
    assert_eq!(scan(&table).unwrap().len() as u64, table.properties().entries);
    assert_eq!(table.verify().unwrap().entries, table.properties().entries);
}

#[test]
fn entries_of_other_features_are_refused_by_name() {
    for (name, feature) in [("blobs", "blob index"), ("entity", "wide-column entity")] {
        let table = open(fixture(&format!("rocksdb-9.8/{name}.sst"))).unwrap();
        for error in [
            scan(&table).unwrap_err(),
            table.get(b"key00001", SeqNo::MAX).unwrap_err(),
            table.cursor().seek_to_last().unwrap_err(),
        ] {
            assert!(matches!(&error, Error::Unsupported { .. }) && error.to_string().contains(feature), "{error}");
            assert_eq!(error.path(), Some("table.sst".as_ref()));
        }
        assert!(table.get(b"key00000", SeqNo::MAX).unwrap().is_some());
    }
}

#[test]
fn flipped_bits_in_foreign_tables_never_give_wrong_data() {
    for name in ["hashed", "partitioned", "dictionary"] {
        let bytes = fixture(&format!("rocksdb-9.8/{name}.sst"));
        let expected: Vec<_> = (0..300).map(numbered).collect();
        // A prime stride visits every kind of place in a moment.
        for bit in (0..bytes.len() * 8).step_by(23) {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(entries) = open(damaged).and_then(|table| scan(&table)) {
                assert_eq!(entries, expected, "{name} bit {bit}");
            }
        }
    }
}

/// What `sst_dump` printed, or `None` when it is not installed.
fn sst_dump(file: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("sst_dump").arg(format!("--file={}", file.display())).args(arguments).output();
    match output {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            assert!(output.status.success(), "sst_dump {arguments:?}: {text}");
            Some(text)
        }
        Err(error) if std::env::var_os("LSM_REQUIRE_ROCKSDB").is_some_and(|value| value == "1") => {
            panic!("sst_dump is required: {error}")
        }
        Err(_) => {
            eprintln!("skipped: sst_dump is not installed");
            None
        }
    }
}

fn write(name: &str, entries: &Entries, options: &BuilderOptions, tombstones: &[RangeTombstone]) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("000007.sst");
    std::fs::write(&path, entries.build(options, tombstones).0).unwrap();
    path
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The lines that `sst_dump --command=scan --output_hex` prints for `entries`.
fn expected_dump(entries: &Entries) -> Vec<String> {
    let line = |(key, value): &(InternalKey, Vec<u8>)| {
        let kind = lsm_core::key::kind_byte(key.as_bytes());
        format!("'{}' seq:{}, type:{kind} => {}", hex(key.user_key()), key.seq(), hex(value))
    };
    entries.0.iter().map(line).collect()
}

fn check_with_sst_dump(name: &str, entries: &Entries, options: BuilderOptions) {
    let options = BuilderOptions { format_version: 5, ..options };
    let tombstone = RangeTombstone { start: b"k".into(), end: b"l".into(), seq: SeqNo::new(3) };
    let path = write(name, entries, &options, &[tombstone]);
    let Some(verified) = sst_dump(&path, &["--command=verify"]) else { return };
    assert!(verified.contains("The file is ok"), "{verified}");
    sst_dump(&path, &["--command=check", "--verify_checksum"]);
    let scanned = sst_dump(&path, &["--command=scan", "--output_hex"]).unwrap();
    let lines: Vec<&str> = scanned.lines().filter(|line| line.starts_with('\'')).collect();
    assert_eq!(lines, expected_dump(entries), "{name}");
    let properties = sst_dump(&path, &["--command=check", "--show_properties"]).unwrap();
    for line in [
        format!("# entries: {}", entries.0.len() + 1),
        "# range deletions: 1".into(),
        "comparator name: leveldb.BytewiseComparator".into(),
        format!(
            "SST file compression algo: {}",
            match options.compression {
                Compression::None => "NoCompression",
                Compression::Lz4 => "LZ4",
                _ => "ZSTD",
            }
        ),
    ] {
        assert!(properties.contains(&line), "{name}: {line} is not in {properties}");
    }
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[test]
fn rocksdb_reads_what_is_written_here() {
    let kinds = [Kind::Value, Kind::Merge, Kind::Deletion, Kind::SingleDeletion, Kind::Value];
    let distinct = Entries(
        (0..3000_usize)
            .map(|number| {
                let kind = kinds[number % kinds.len()];
                let value = if matches!(kind, Kind::Value | Kind::Merge) { numbered(number).1 } else { Vec::new() };
                (InternalKey::new(numbered(number).0.user_key(), SeqNo::new(number as u64), kind), value)
            })
            .collect(),
    );
    let versions = Entries(
        (0..3000_usize)
            .map(|number| {
                let key = format!("key{:05}", number / 500);
                (InternalKey::new(key.as_bytes(), SeqNo::new(5000 - number as u64), Kind::Value), numbered(number).1)
            })
            .collect(),
    );
    for (compression, name) in
        [(Compression::None, "none"), (Compression::Lz4, "lz4"), (Compression::Zstd { level: 3 }, "zstd")]
    {
        for index_restart_interval in [1, 4] {
            let options = BuilderOptions { compression, index_restart_interval, ..BuilderOptions::default() };
            check_with_sst_dump(&format!("distinct-{name}-{index_restart_interval}"), &distinct, options.clone());
            check_with_sst_dump(&format!("versions-{name}-{index_restart_interval}"), &versions, options);
        }
    }
    let options = BuilderOptions { bloom_bits_per_key: 0.0, ..BuilderOptions::default() };
    check_with_sst_dump("no-filter", &distinct, options);
    check_with_sst_dump("empty", &Entries::default(), BuilderOptions::default());
}
