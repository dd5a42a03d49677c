//! `lsm load`: what comes in is what is there, and what it says is so.

use crate::harness::{ARROW, files, load, lsm, on, packages, tables, temp};

#[test]
fn a_loaded_file_comes_out_as_it_went_in() {
    let temp = temp();
    let dir = temp.path().join("demo.db");
    let input = format!("{}/../../testdata/packages.kv", env!("CARGO_MANIFEST_DIR"));
    let run = lsm(["load", dir.to_str().unwrap(), &input, "--separator", ARROW]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.is_empty());
    assert!(run.stderr.contains("loaded 21,223 lines (1.84 MiB)"), "{}", run.stderr);
    let hint = format!("  lsm get {} 0ad", dir.display());
    assert!(run.stderr.lines().any(|line| line == hint), "{}", run.stderr);
    assert!(on(&dir, "scan", &["--separator", ARROW]).ok() == packages(), "scan prints something else than was loaded");
    on(&dir, "verify", &[]).ok();
}

#[test]
fn every_kind_of_table_gives_the_data_back_before_and_after_compaction() {
    let input = packages();
    for options in [
        ["--compression", "none", "--format-version", "5"],
        ["--compression", "lz4", "--format-version", "6"],
        ["--compression", "zstd", "--format-version", "6"],
    ] {
        let temp = temp();
        let dir = temp.path().join("db");
        load(&dir, &input, &[&options, ["--separator", ARROW, "--write-buffer-size", "300000"].as_slice()].concat())
            .ok();
        assert!(tables(&dir) > 0, "{options:?}: a small write buffer leads to tables: {:?}", files(&dir));
        for command in ["stats", "compact", "stats"] {
            assert!(on(&dir, "scan", &["--separator", ARROW]).ok() == input, "{options:?} before {command}");
            on(&dir, command, &[]).ok();
        }
        on(&dir, "verify", &[]).ok();
    }
}

#[test]
fn acknowledgements_grow_up_to_the_number_of_lines() {
    let temp = temp();
    let input = packages();
    let run = load(&temp.path().join("db"), &input, &["--separator", ARROW]);
    let counts: Vec<u64> = run
        .stderr
        .lines()
        .filter_map(|line| line.strip_prefix("acknowledged "))
        .map(|count| count.parse().unwrap())
        .collect();
    assert!(counts.is_sorted(), "{counts:?}");
    assert_eq!(counts.last(), Some(&21_223));
    assert!(counts.windows(2).all(|pair| pair[1] - pair[0] <= 1_000), "{counts:?}");
}

#[test]
fn a_line_without_separator_is_named_and_the_lines_before_it_stay() {
    let temp = temp();
    let dir = temp.path().join("db");
    let run = load(&dir, b"a\t1\nb\t2\n\nc\t3\n", &[]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains(r"line 3 has no '\t' in its 0 bytes"), "{}", run.stderr);
    assert!(run.stderr.contains("loaded 2 lines"), "{}", run.stderr);
    assert_eq!(on(&dir, "scan", &[]).text(), "a\t1\nb\t2\n");
}

#[test]
fn odd_lines_are_taken_as_they_are() {
    for (input, separator, expected) in [
        ("a\t1\t2\n", "\\t", "a=1\t2\n"),
        ("\tempty key\n", "\\t", "=empty key\n"),
        ("empty value\t\n", "\\t", "empty value=\n"),
        ("no end of line\t1", "\\t", "no end of line=1\n"),
        ("carriage\t1\r\n", "\\t", "carriage=1\r\n"),
        ("twice--1\ntwice--2\n", "--", "twice=2\n"),
        ("", "\\t", ""),
    ] {
        let temp = temp();
        let dir = temp.path().join("db");
        load(&dir, input.as_bytes(), &["--separator", separator]).ok();
        assert_eq!(on(&dir, "scan", &["--separator", "="]).text(), expected, "{input:?}");
    }
}

#[test]
fn a_family_is_created_and_loaded_apart() {
    let temp = temp();
    let dir = temp.path().join("db");
    load(&dir, b"a\t1\n", &[]).ok();
    load(&dir, b"b\t2\n", &["--column-family", "side", "--sync"]).ok();
    assert_eq!(on(&dir, "scan", &[]).text(), "a\t1\n");
    assert_eq!(on(&dir, "scan", &["--column-family", "side"]).text(), "b\t2\n");
    assert_eq!(on(&dir, "get", &["--column-family", "side", "b"]).text(), "2\n");
    on(&dir, "delete", &["--column-family", "side", "b"]).ok();
    assert_eq!(on(&dir, "scan", &["--column-family", "side"]).text(), "");
}

#[test]
fn a_checkpoint_stays_as_it_was_made() {
    let temp = temp();
    let (dir, copy) = (temp.path().join("db"), temp.path().join("copy"));
    load(&dir, b"a\t1\nb\t2\n", &[]).ok();
    on(&dir, "checkpoint", &[copy.to_str().unwrap()]).ok();
    on(&dir, "put", &["a", "changed"]).ok();
    on(&dir, "compact", &[]).ok();
    on(&copy, "verify", &[]).ok();
    assert_eq!(on(&copy, "scan", &[]).text(), "a\t1\nb\t2\n");
    assert_eq!(on(&dir, "scan", &[]).text(), "a\tchanged\nb\t2\n");
}
