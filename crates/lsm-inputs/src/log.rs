//! Records, whole logs, batches.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use lsm_core::batch::{Record, header, records as batch_records, validate};
use lsm_core::filename::{FileKind, FileNumber};
use lsm_core::{Result, WriteBatch};
use lsm_fs::{Fs, MemFs};
use lsm_wal::{HeaderStyle, LogToReplay, Outcome, RecordReader, RecordWriter, RecoveryMode, ReplayReport};

use crate::feed::Feed;

/// Any bytes have an end, and no record is longer than the file.
pub(crate) fn records(bytes: &[u8]) {
    for style in [HeaderStyle::Legacy, HeaderStyle::Log(FileNumber(1))] {
        let source = Arc::new(bytes.to_vec());
        let mut reader = RecordReader::new(source, style, Path::new("input")).expect("memory has a size");
        loop {
            match reader.next().expect("memory can be read") {
                Outcome::Record { payload, .. } => assert!(payload.len() < bytes.len()),
                Outcome::Damaged { offset, .. } => assert!(offset <= bytes.len() as u64),
                Outcome::End { .. } | Outcome::Torn { .. } => break,
            }
        }
    }
}

/// Any bytes are refused, or are a batch whose records add up and can be written and read back.
pub(crate) fn batch(bytes: &[u8]) {
    if validate(bytes).is_err() {
        return;
    }
    let (seq, count) = header(bytes).expect("a valid batch has a header");
    let mut again = WriteBatch::new();
    again.set_seq(seq);
    for record in batch_records(bytes).expect("a valid batch has records") {
        match record.expect("every record of a valid batch is valid") {
            Record::Entry(entry) => again.push(entry),
            Record::LogData(data) => again.log_data(data),
        }
    }
    assert_eq!(again.count(), count);
    validate(again.as_bytes()).expect("what was read can be written");
    let all = |bytes| batch_records(bytes).expect("valid").map(|record| format!("{record:?}")).collect::<Vec<_>>();
    assert_eq!(all(bytes), all(again.as_bytes()), "what was written reads differently");
}

const DIRECTORY: &str = "/logs";

/// A few logs, raw or with sound checksums around the pieces of the input. Every mode ends; where nothing is damaged
/// all modes hand out the same; no batch is handed out that is not valid.
pub(crate) fn replay(bytes: &[u8]) {
    let mut feed = Feed::new(bytes);
    let (kind, oldest) = (feed.byte(), FileNumber(u64::from(feed.byte() % 4)));
    let fs = MemFs::new();
    fs.create_dir(Path::new(DIRECTORY)).expect("memory has room");
    let mut logs = Vec::new();
    for number in 1..=u64::from(kind % 3 + 1) {
        let synced = feed.byte();
        let last = number == u64::from(kind % 3 + 1);
        let content = match kind & 0x80 {
            0 if last => feed.rest().to_vec(),
            0 => feed.piece().to_vec(),
            _ => framed(&mut feed, last),
        };
        let number = FileNumber(number);
        // A log that is known and missing.
        if synced & 3 != 3 {
            let mut file = fs.create(&FileKind::Log(number).path(Path::new(DIRECTORY))).expect("memory has room");
            file.write_all(&content).expect("memory has room");
        }
        logs.push(LogToReplay { number, synced_bytes: (synced & 4 != 0).then_some(u64::from(synced) * 16) });
    }
    let checked = replayed(&fs, oldest, &logs, RecoveryMode::Checked);
    let prefix = replayed(&fs, oldest, &logs, RecoveryMode::PointInTime);
    let most = replayed(&fs, oldest, &logs, RecoveryMode::SkipDamaged);
    if let (Ok((_, checked)), Ok((_, prefix))) = (&checked, &prefix) {
        assert_eq!(checked, prefix, "without damage there is one state");
    }
    if let (Ok((report, whole)), Ok((_, most))) = (&checked, &most) {
        let all = report.dropped.is_empty();
        assert!(!all || whole == most, "nothing was dropped, and skipping damage finds other batches");
    }
}

/// Records with sound checksums, each around a piece of the input.
fn framed(feed: &mut Feed<'_>, all: bool) -> Vec<u8> {
    let mut writer = RecordWriter::new(Vec::new());
    let mut left = feed.byte() % 8;
    while !feed.is_empty() && (all || left > 0) {
        writer.append(feed.piece()).expect("memory has room");
        left = left.saturating_sub(1);
    }
    writer.into_inner()
}

type Replayed = (ReplayReport, Vec<Vec<u8>>);

fn replayed(fs: &MemFs, oldest: FileNumber, logs: &[LogToReplay], mode: RecoveryMode) -> Result<Replayed> {
    let mut batches = Vec::new();
    let report = lsm_wal::replay(fs, Path::new(DIRECTORY), oldest, logs, mode, &mut |_, _, batch| {
        validate(batch).expect("only valid batches are handed out");
        batches.push(batch.to_vec());
        Ok(())
    });
    let report = report.inspect_err(|error| {
        assert!(error.path().is_some_and(|path| path.starts_with(DIRECTORY)), "the error names no log: {error}");
    })?;
    assert_eq!(report.records, batches.len() as u64);
    Ok((report, batches))
}
