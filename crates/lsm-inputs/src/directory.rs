//! A store whose files were changed by somebody else.
//!
//! # What must hold
//! M1. After one change every read gives the right data, or opening or reading fails with an error.
//! M2. After any changes nothing is read that nobody wrote.
//! M3. A repair that succeeds leaves a store that opens and verifies, and that a second repair finds sound; M2
//!     holds for it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_engine::{Db, Result};
use lsm_fs::{Fs, MemFs};

use crate::feed::Feed;
use crate::golden::{self, DIRECTORY, FAMILY, Rows};

/// Everything that is read of a store: two families.
type Contents = (Rows, Rows);

/// The input is a list of changes to the golden store.
pub(crate) fn mutate(bytes: &[u8]) {
    let mut feed = Feed::new(bytes);
    let fs = golden::store();
    let mut changes = 0;
    while !feed.is_empty() && changes < 6 {
        change(&fs, &mut feed);
        changes += 1;
    }
    if let Ok(contents) = open(&fs).and_then(|db| contents(&db)) {
        match changes {
            0 | 1 => assert!(contents == golden::rows(), "wrong data without an error"), // M1
            _ => check_known(&contents, "no repair"),
        }
    }
    repair(&fs);
}

fn open(fs: &MemFs) -> Result<Db> {
    golden::options(Arc::new(fs.clone())).open(DIRECTORY)
}

fn contents(db: &Db) -> Result<Contents> {
    let has_other = db.column_families().iter().any(|name| name == FAMILY);
    let other = if has_other { golden::read(db, FAMILY)? } else { Rows::new() };
    Ok((golden::read(db, "default")?, other))
}

/// M3.
fn repair(fs: &MemFs) {
    let options = || golden::options(Arc::new(fs.clone()));
    let Ok(report) = options().repair(DIRECTORY) else { return };
    let again = options().repair(DIRECTORY).expect("what was repaired once can be repaired");
    assert!(again.is_sound(), "the second repair finds {again}, the first {report}");
    let db = open(fs).unwrap_or_else(|error| panic!("{error} after {report}"));
    db.verify().unwrap_or_else(|error| panic!("{error} after {report}"));
    check_known(&contents(&db).unwrap_or_else(|error| panic!("{error} after {report}")), &report.to_string());
}

/// M2: each value is one that its key had once.
fn check_known((rows, other): &Contents, after: &str) {
    for (key, value) in rows {
        let (key, value) = (text(key), text(value));
        let known = match key.strip_prefix("key") {
            Some(number) => {
                let number: u32 = number.parse().expect("a key that was written");
                (0..4).any(|round| value == format!("round {round} of {number}: {}", "ab".repeat(20)))
            }
            // Operands may be lost, with what was damaged; none comes twice or in another order.
            None if key == "list" => {
                let all = ["0", "1", "2", "3", "log"];
                let mut left = all.iter();
                value.split(',').all(|operand| left.any(|known| *known == operand))
            }
            None => (key, value) == ("in the log", "1"),
        };
        assert!(known, "nobody wrote {key} = {value}, after {after}");
    }
    for (key, value) in other {
        let known = match (text(key), text(value)) {
            ("in the log", value) => value == "2",
            (key, "to be deleted") => key.starts_with("once"),
            (key, value) => key.strip_prefix("stays") == Some(value),
        };
        assert!(known, "nobody wrote {} = {}, after {after}", text(key), text(value));
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("all that was written is text")
}

/// One change to one file, or to two.
fn change(fs: &MemFs, feed: &mut Feed<'_>) {
    let (what, which) = (feed.byte(), usize::from(feed.byte()));
    let path = path_of(which);
    let Some(mut bytes) = read(fs, &path) else { return };
    let at = feed.number16() as usize * usize::from(what >> 4 & 1 | 1) % bytes.len().max(1);
    match what % 10 {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << (what >> 5),
        1 if !bytes.is_empty() => bytes[at] = feed.byte(),
        2 => bytes.truncate(at),
        3 => bytes.clear(),
        4 => bytes[at..].iter_mut().take(512).for_each(|byte| *byte = 0),
        5 => bytes.extend_from_slice(feed.piece()),
        6 => {
            let piece = feed.piece();
            bytes.splice(at..(at + piece.len()).min(bytes.len()), piece.iter().copied());
        }
        7 => {
            drop(fs.remove(&path));
            return;
        }
        8 => {
            let other = path_of(usize::from(feed.byte()));
            let Some(others) = read(fs, &other) else { return };
            replace(fs, &other, &bytes);
            bytes = others;
        }
        _ => {
            let other = path_of(usize::from(feed.byte()));
            replace(fs, &other, &bytes);
            return;
        }
    }
    replace(fs, &path, &bytes);
}

fn path_of(which: usize) -> PathBuf {
    Path::new(DIRECTORY).join(golden::FILES[which % golden::FILES.len()].0)
}

fn read(fs: &MemFs, path: &Path) -> Option<Vec<u8>> {
    let file = fs.open(path).ok()?;
    let mut bytes = vec![0; file.size().ok()? as usize];
    file.read_exact_at(0, &mut bytes).ok()?;
    Some(bytes)
}

fn replace(fs: &MemFs, path: &Path, bytes: &[u8]) {
    drop(fs.remove(path));
    fs.create(path).and_then(|mut file| file.write_all(bytes)).expect("memory has room");
}
