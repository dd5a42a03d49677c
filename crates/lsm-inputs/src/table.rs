//! Whole tables: every way to read one must tell the same.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use lsm_core::key::{InternalKey, compare, trailer, user_key};
use lsm_core::range_tombstone::RangeTombstone;
use lsm_core::{Cursor, Kind, Result, SeqNo};
use lsm_sstable::{BuilderOptions, Compression, Table, TableBuilder, TableOptions};

use crate::feed::Feed;

const FILE: &str = "input.sst";

pub(crate) type Rows = Vec<(Vec<u8>, Vec<u8>)>;

pub(crate) fn options() -> TableOptions {
    TableOptions { file: FILE.into(), ..TableOptions::default() }
}

/// Any bytes are refused, or are a table whose ways to read it agree.
pub(crate) fn whole(bytes: &[u8]) {
    examine(bytes.to_vec());
}

/// Reads a table by every way there is. Keys ascend in any table. What `verify` finds sound must be readable, and
/// read the same by all.
pub(crate) fn examine(bytes: Vec<u8>) -> Option<Arc<Table>> {
    let source = Arc::new(bytes);
    let salvaged = salvaged(Arc::clone(&source));
    let table = match Table::open(source, options()) {
        Ok(table) => Arc::new(table),
        Err(error) => {
            assert_eq!(error.path(), Some(Path::new(FILE)), "the error does not name the file: {error}");
            return None;
        }
    };
    let (forward, backward) = (walk(&table, true), walk(&table, false));
    let whole = table.verify();
    for error in [forward.as_ref().err(), backward.as_ref().err(), whole.as_ref().err()].into_iter().flatten() {
        assert_eq!(error.path(), Some(Path::new(FILE)), "the error does not name the file: {error}");
    }
    match (forward, backward) {
        (Ok(forward), Ok(mut backward)) => {
            backward.reverse();
            if whole.is_ok() {
                assert!(forward == backward, "forward {} entries, backward {}", forward.len(), backward.len());
                check_lookups(&table, &forward);
                let (found, lost) = salvaged.expect("a table that verifies can be salvaged");
                assert!(lost == 0 && found == forward, "salvage finds {} of {} entries", found.len(), forward.len());
            }
        }
        (forward, backward) => {
            let error = forward.err().or(backward.err());
            assert!(whole.is_err(), "a table that verifies cannot be scanned: {error:?}");
        }
    }
    for row in table.anchors(4).expect("the index is in memory").windows(2) {
        assert!(row[0].user_key < row[1].user_key, "anchors do not ascend");
    }
    Some(table)
}

/// All entries one way. Keys are strictly monotonic, so a walk over any bytes ends.
fn walk(table: &Arc<Table>, forward: bool) -> Result<Rows> {
    let mut cursor = table.cursor();
    match forward {
        true => cursor.seek_to_first()?,
        false => cursor.seek_to_last()?,
    }
    let mut rows = Rows::new();
    while cursor.valid() {
        if let Some((last, _)) = rows.last() {
            let order = compare(last, cursor.key());
            assert!(if forward { order.is_lt() } else { order.is_gt() }, "keys are out of order");
        }
        rows.push((cursor.key().to_vec(), cursor.value().to_vec()));
        match forward {
            true => cursor.next()?,
            false => cursor.prev()?,
        }
    }
    Ok(rows)
}

/// Each key is found, in its newest version and in each older one, by lookup and by seek.
fn check_lookups(table: &Arc<Table>, rows: &Rows) {
    let mut cursor = table.cursor();
    let mut last: Option<&[u8]> = None;
    for (key, value) in rows.iter().take(200) {
        let (user, seq) = (user_key(key), SeqNo::new(trailer(key) >> 8));
        assert!(table.may_contain(user).expect("filters are in memory"), "the filter denies a key that is there");
        let found = table.get(user, seq).expect("a sound table is readable").expect("a key of the scan is there");
        assert!(found.seq == seq, "looked up {seq}, found {}", found.seq);
        if last != Some(user) {
            let newest = table.get(user, SeqNo::MAX).expect("a sound table is readable");
            let newest = newest.expect("a key of the scan is there");
            assert!(newest.value == value.as_slice() && newest.seq == seq, "the newest version is another");
        }
        cursor.seek(key).expect("a sound table is readable");
        assert!(cursor.valid() && cursor.key() == key.as_slice(), "a seek misses its key");
        cursor.seek_for_prev(key).expect("a sound table is readable");
        assert!(cursor.valid() && cursor.key() == key.as_slice(), "a seek from behind misses its key");
        last = Some(user);
    }
}

/// What a salvage hands out, in order, and how many parts it misses; `None` where it gives up.
fn salvaged(source: Arc<Vec<u8>>) -> Option<(Rows, usize)> {
    let mut rows = Rows::new();
    let report = lsm_sstable::salvage(source, &options(), &mut |key, value| {
        if let Some((last, _)) = rows.last() {
            assert!(compare(last, key).is_lt(), "salvaged keys are out of order");
        }
        rows.push((key.to_vec(), value.to_vec()));
        Ok(())
    });
    let report = report.ok()?;
    assert_eq!(report.entries, rows.len() as u64);
    Some((rows, report.lost.len()))
}

/// A sound table that has everything but a dictionary, and its rows.
static SOUND: LazyLock<(Vec<u8>, Rows)> = LazyLock::new(|| {
    let options = BuilderOptions { block_bytes: 256, compression: Compression::Lz4, ..BuilderOptions::default() };
    let mut builder = TableBuilder::new(Vec::new(), options);
    let mut rows = Rows::new();
    for number in 0..60_u64 {
        let kind = if number % 7 == 0 { Kind::Deletion } else { Kind::Value };
        let key = InternalKey::new(format!("key{:03}", number / 2).as_bytes(), SeqNo::new(100 - number), kind);
        let value = format!("value {number} {}", "x".repeat(number as usize)).into_bytes();
        builder.add(key.as_bytes(), &value).expect("keys ascend");
        rows.push((key.as_bytes().to_vec(), value));
    }
    let tombstone = RangeTombstone { start: b"key010".to_vec(), end: b"key012".to_vec(), seq: SeqNo::new(99) };
    builder.add_range_tombstone(&tombstone).expect("the range is not empty");
    (builder.finish().expect("memory has room").0, rows)
});

/// A sound table with some bytes changed: what can be salvaged is what was there, and what was not is reported.
pub(crate) fn salvage(bytes: &[u8]) {
    let (sound, rows) = &*SOUND;
    let mut damaged = sound.clone();
    let mut feed = Feed::new(bytes);
    while !feed.is_empty() && !damaged.is_empty() {
        let (what, at) = (feed.byte(), usize::from(feed.number16()) % damaged.len());
        match what % 4 {
            0 => damaged[at] ^= 1 << (what >> 5),
            1 => damaged[at] = feed.byte(),
            2 => damaged.truncate(at),
            _ => damaged[at..].iter_mut().take(64).for_each(|byte| *byte = 0),
        }
    }
    let Some((found, lost)) = salvaged(Arc::new(damaged.clone())) else { return };
    let mut left = rows.iter();
    for row in &found {
        assert!(left.any(|sound| sound == row), "a salvaged entry never was in the table");
    }
    assert!(lost > 0 || found.len() == rows.len(), "{} of {} entries, nothing reported", found.len(), rows.len());
    assert!(lost > 0 || examine(damaged).is_some(), "a table that lost nothing cannot be opened");
}
