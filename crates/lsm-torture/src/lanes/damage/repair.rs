//! Repairs a damaged store, and holds the repair to all that was not damaged.

use std::ops::Range;

use anyhow::{Context, Result, ensure};
use lsm_core::filename::FileKind;
use lsm_engine::{ErrorKind, RepairReport};
use lsm_fs::MemFs;

use super::cases::{Case, Damage};
use super::golden::{DIRECTORY, Files, Golden, Rows, rows};
use super::pieces::{Piece, shown_without};

/// Where in a log's record its length and its type stand, which say where the next one begins.
const LENGTH_AND_TYPE: Range<usize> = 4..7;

/// E3: repairs the store in `fs`, whose files are `damaged`.
pub(super) fn check(golden: &Golden, case: &Case, damaged: &Files, fs: &MemFs) -> Result<()> {
    let report = match golden.options(fs).repair(DIRECTORY) {
        Ok(report) => report,
        // A byte that says that a later RocksDB wrote the file: not for a repair to throw away.
        Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(()),
        Err(error) => return Err(error).context("the repair failed"),
    };
    let db = golden.options(fs).create_if_missing(false).open(DIRECTORY).context("open after repair")?;
    db.verify().context("verify after repair")?;
    let rows = rows(&db)?;
    for ((family, key), value) in &rows {
        let was_written = golden.history.contains(&(*family, key.clone(), value.clone()));
        // Operands of a list may be lost one by one, so it may read as it never did.
        ensure!(was_written || key == b"list", "{family}: {} was never {}", key.escape_ascii(), value.escape_ascii());
    }
    if golden.blocks_may_move(case) {
        return Ok(());
    }
    let losses = Losses { golden, case, report: &report };
    let whole = losses.shown_without(|_| false);
    if rows == whole {
        return Ok(());
    }
    let back = losses.allowed(damaged).contains(&rows);
    ensure!(back, "not all is back that was not damaged: {}; {report}", difference(&whole, &rows));
    let says_so = report.lost.iter().any(|loss| case.files().any(|file| loss.file.ends_with(file)));
    ensure!(says_so || golden.may_end_anywhere(case), "the repair does not say what it dropped: {report}");
    Ok(())
}

/// What a repair may have to leave out.
struct Losses<'a> {
    golden: &'a Golden,
    case: &'a Case,
    report: &'a RepairReport,
}

impl Losses<'_> {
    /// What is shown when some pieces are lost. Where the manifest is sound it says which logs are done with.
    fn shown_without(&self, is_lost: impl Fn(&Piece) -> bool) -> Rows {
        let passes_over_stale = self.report.rebuilt.is_none();
        shown_without(&self.golden.pieces, |piece| is_lost(piece) || piece.is_stale && passes_over_stale)
    }

    fn of_file(&self, piece: &Piece) -> bool {
        piece.file == self.case.file
    }

    fn without_file(&self) -> Rows {
        self.shown_without(|piece| self.of_file(piece))
    }

    /// Whether the repair names a part of a file that it could not read.
    fn says(&self, part: &str) -> bool {
        self.report.lost.iter().any(|loss| loss.detail.starts_with(part))
    }

    /// All that may be shown.
    fn allowed(&self, damaged: &Files) -> Vec<Rows> {
        let Case { file, damage } = self.case;
        if let Damage::Swap(other) = damage {
            let of_other = |piece: &Piece| piece.file == *other;
            let without_both = self.shown_without(|piece| self.of_file(piece) || of_other(piece));
            return vec![self.without_file(), self.shown_without(of_other), without_both];
        }
        if matches!(damage, Damage::Remove | Damage::Zeros | Damage::FromTwin) {
            return vec![self.without_file()];
        }
        let changed = changed_bytes(&self.golden.files[file], damaged.get(file));
        match FileKind::parse(file) {
            Some(FileKind::Log(_)) => self.of_log(&changed),
            Some(FileKind::Table(_)) => self.of_table(&changed),
            _ => Vec::new(),
        }
    }

    /// A record; all behind it as well, where its length is not known any more.
    fn of_log(&self, changed: &Range<usize>) -> Vec<Rows> {
        let touches = |piece: &Piece| self.of_file(piece) && overlap(&piece.bytes, changed);
        let of_length =
            |piece: &Piece| piece.bytes.start + LENGTH_AND_TYPE.start..piece.bytes.start + LENGTH_AND_TYPE.end;
        let mut allowed = vec![self.shown_without(touches)];
        let first = self.golden.pieces.iter().find(|piece| touches(piece) && overlap(&of_length(piece), changed));
        if let Some(first) = first {
            // The one before it may be damaged in what it holds.
            let is_behind = |piece: &Piece| self.of_file(piece) && piece.bytes.start >= first.bytes.start;
            allowed.push(self.shown_without(|piece| touches(piece) || is_behind(piece)));
        }
        allowed
    }

    /// Blocks that were touched, and range deletions if theirs was. Where the index is gone too, the blocks behind the
    /// first that is damaged; without footer, metaindex, or both index and properties, the table.
    fn of_table(&self, changed: &Range<usize>) -> Vec<Rows> {
        let touches = |piece: &Piece| self.of_file(piece) && overlap(&piece.bytes, changed);
        let keeps_ranges = |piece: &Piece| piece.is_range_deletions && !self.says("range deletions");
        let mut allowed = vec![self.shown_without(|piece| touches(piece) && !keeps_ranges(piece))];
        if self.says("index") {
            let is_behind = |piece: &Piece| self.of_file(piece) && piece.bytes.end > changed.start;
            allowed.push(self.shown_without(|piece| is_behind(piece) && !keeps_ranges(piece)));
        }
        let no_blocks = self.says("index") && self.says("properties");
        if no_blocks {
            allowed.push(self.shown_without(|piece| self.of_file(piece) && !keeps_ranges(piece)));
        }
        if ["footer", "metaindex", "the whole table"].iter().any(|part| self.says(part)) {
            allowed.push(self.without_file());
        }
        allowed
    }
}

/// From the first byte that is another one to the last.
fn changed_bytes(before: &[u8], after: Option<&Vec<u8>>) -> Range<usize> {
    let after = after.map_or(&[][..], Vec::as_slice);
    let differs = |at: &usize| before.get(*at) != after.get(*at);
    let end = before.len().max(after.len());
    let start = (0..end).find(differs).unwrap_or(end);
    start..(start..end).rfind(differs).map_or(start, |last| last + 1)
}

fn overlap(one: &Range<usize>, other: &Range<usize>) -> bool {
    one.start < other.end && other.start < one.end
}

fn difference(expected: &Rows, found: &Rows) -> String {
    let names = |rows: &Rows, not_in: &Rows| -> Vec<String> {
        let differ = rows.iter().filter(|(key, value)| not_in.get(*key) != Some(*value));
        differ
            .map(|((family, key), value)| format!("{family} {} = {}", key.escape_ascii(), value.escape_ascii()))
            .collect()
    };
    format!("expected {:?}, found {:?}", names(expected, found), names(found, expected))
}
