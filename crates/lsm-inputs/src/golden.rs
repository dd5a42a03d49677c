//! A store of this version, as it was written once: every later version must read it.
//!
//! It has two families, tables on several levels with two codecs, every kind of entry, and writes that only the log
//! has. `tests/golden.rs` opens it, and says how it was made.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use lsm_compaction::StepExecutor;
use lsm_engine::{ColumnFamilyOptions, Compression, Db, Options, Result, WriteBatch};
use lsm_fs::{Fs, ManualClock, MemFs};
use lsm_testkit::AppendOperator;

/// Where [`store`] has it.
pub const DIRECTORY: &str = "/golden";

/// The second family.
pub const FAMILY: &str = "other";

macro_rules! files {
    ($($name:literal)*) => {
        /// Names and contents of its files.
        pub const FILES: &[(&str, &[u8])] =
            &[$(($name, include_bytes!(concat!("../tests/golden/0.1/", $name)))),*];
    };
}

files! {
    "000019.log"
    "000020.sst"
    "000021.sst"
    "000022.sst"
    "000023.sst"
    "CURRENT"
    "IDENTITY"
    "LOCK"
    "MANIFEST-000002"
}

/// All live entries of one family.
pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// The options that it was written with, and is best read with.
pub fn options(fs: Arc<dyn Fs>) -> Options {
    Options::new()
        .write_buffer_size(64 << 10)
        .max_bytes_for_level_base(8 << 10)
        .target_file_size(4 << 10)
        .block_size(512)
        .level0_file_num_compaction_trigger(2)
        .compression(Compression::Lz4)
        .bottommost_compression(Compression::Zstd { level: 1 })
        .merge_operator(Arc::new(AppendOperator))
        .clock(Arc::new(ManualClock::default()))
        .executor(Arc::new(StepExecutor::new()))
        .create_if_missing(false)
        .fs(fs)
}

/// A copy of it.
///
/// # Panics
/// Never: memory has room.
pub fn store() -> MemFs {
    let fs = MemFs::new();
    fs.create_dir(Path::new(DIRECTORY)).expect("memory has room");
    for (name, bytes) in FILES {
        let mut file = fs.create(&Path::new(DIRECTORY).join(name)).expect("memory has room");
        file.write_all(bytes).expect("memory has room");
    }
    fs
}

/// Writes it anew; what [`rows`] says must be in it.
///
/// # Errors
/// Those of the store.
pub fn write(fs: Arc<dyn Fs>) -> Result<()> {
    let db = options(fs).create_if_missing(true).open(DIRECTORY)?;
    let other = db.column_family_with(FAMILY, ColumnFamilyOptions::new().merge_operator(Arc::new(AppendOperator)))?;
    for round in 0..4_u32 {
        for number in 0..40_u32 {
            db.put(format!("key{number:03}"), format!("round {round} of {number}: {}", "ab".repeat(20)))?;
        }
        db.delete(format!("key{:03}", 3 * round))?;
        db.merge("list", format!("{round}"))?;
        other.put(format!("once{round}"), "to be deleted")?;
        other.put(format!("stays{round}"), format!("{round}"))?;
        db.flush()?;
        other.single_delete(format!("once{round}"))?;
        if round == 1 {
            db.compact_range(..)?;
        }
    }
    db.delete_range("key020".."key025")?;
    other.delete_range("stays1".."stays2")?;
    db.flush()?;
    let mut batch = WriteBatch::new();
    batch.put("in the log", "1");
    batch.put_cf(&other, "in the log", "2");
    batch.merge("list", "log");
    batch.delete("key039");
    db.write(batch)?;
    db.close()
}

/// What it holds: the default family, and [`FAMILY`].
pub fn rows() -> (Rows, Rows) {
    let row = |key: String, value: String| (key.into_bytes(), value.into_bytes());
    let live = (0..39_u32).filter(|number| *number != 9 && !(20..25).contains(number));
    let mut rows: Rows = live
        .map(|number| row(format!("key{number:03}"), format!("round 3 of {number}: {}", "ab".repeat(20))))
        .collect();
    rows.extend([row("list".into(), "0,1,2,3,log".into()), row("in the log".into(), "1".into())]);
    let mut other: Rows = [0, 2, 3].map(|round| row(format!("stays{round}"), round.to_string())).into();
    other.extend([row("in the log".into(), "2".into())]);
    (rows, other)
}

/// The rows of a family of an open store, by a scan forward; a scan backward and lookups must agree with it.
///
/// # Errors
/// Those of the store.
///
/// # Panics
/// When the ways to read disagree.
pub fn read(db: &Db, name: &str) -> Result<Rows> {
    let family = db.column_family_with(name, ColumnFamilyOptions::new().merge_operator(Arc::new(AppendOperator)))?;
    let mut rows = Rows::new();
    for row in family.iter() {
        let (key, value) = row?;
        assert!(rows.last_key_value().is_none_or(|(last, _)| **last < *key), "keys do not ascend");
        rows.insert(key.to_vec(), value.to_vec());
    }
    let mut backward = rows.iter().rev();
    for row in family.iter().rev() {
        let (key, value) = row?;
        let expected = backward.next().expect("a scan backward finds no more");
        assert!(*key == **expected.0 && *value == **expected.1, "the scans disagree");
    }
    assert!(backward.next().is_none(), "a scan backward finds less");
    for (key, value) in &rows {
        let found = family.get(key)?.expect("a lookup finds what a scan finds");
        assert!(*found == **value, "a lookup finds another value");
    }
    Ok(rows)
}
