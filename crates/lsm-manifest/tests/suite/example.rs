//! The worked example of docs/format/manifest.md: every byte that the page shows is one that is written.

use std::path::Path;
use std::sync::Arc;

use lsm_core::filename::{FileKind, FileNumber};
use lsm_manifest::{Manifest, State, VersionEdit};

use crate::written::{STORE, add, bytes_of, empty, table, wal};

const PAGE: &str = include_str!("../../../../docs/format/manifest.md");

/// The bytes in the page's last block: a line's hex digits, up to two spaces and the explanation.
fn bytes_of_page() -> Vec<u8> {
    let example = PAGE.split("## Worked example").nth(1).expect("the page has the section");
    let block = example.split("```").nth(1).expect("the section has a block");
    let hex = |line: &str| line.trim_start().split("  ").next().unwrap_or_default().to_owned();
    let digits = |pair: String| u8::from_str_radix(&pair, 16).unwrap_or_else(|_| panic!("{pair:?} is not a byte"));
    let lines = block.lines().skip(1).map(hex).filter(|line| !line.starts_with("at "));
    lines.flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).map(digits).collect()
}

#[test]
fn the_page_shows_what_is_written() {
    let fs = empty();
    let mut manifest = Manifest::create(Arc::new(fs.clone()), Path::new(STORE), State::new("id")).unwrap();
    let (log, number) = (manifest.numbers().allocate(), manifest.numbers().allocate());
    let flush = VersionEdit {
        log_number: Some(log),
        wal_additions: wal(log, Some(300)).wal_additions,
        ..add(0, table(number, "apple", "cherry", 7))
    };
    manifest.apply(vec![flush]).unwrap();
    let written = bytes_of(&fs, FileKind::Manifest(FileNumber(1)));
    assert_eq!(
        written,
        bytes_of_page(),
        "written:\n{}",
        written.iter().map(|byte| format!("{byte:02x} ")).collect::<String>()
    );
}
