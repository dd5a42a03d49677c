//! Whatever goes wrong ends in one message that names the file or argument and what was expected.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use crate::harness::{command, files, load, lsm, on, temp};

/// Runs the words and checks the exit code, and that stderr holds `expected` and no trace of a panic.
#[track_caller]
fn check(words: &[&str], code: i32, expected: &str) {
    let run = lsm(words);
    assert_eq!(run.code, Some(code), "{words:?}: {}", run.stderr);
    assert!(run.stderr.contains(expected), "{words:?}: {}", run.stderr);
    assert!(!run.stderr.contains("panicked"), "{words:?}: {}", run.stderr);
    assert!(run.stdout.is_empty(), "{words:?}");
}

#[test]
fn reading_creates_nothing() {
    let temp = temp();
    let missing = temp.path().join("missing");
    let dir = missing.to_str().unwrap();
    let expected = format!("lsm: {dir} does not exist, expected the directory of a store");
    for words in [
        ["get", dir, "k"].as_slice(),
        &["scan", dir],
        &["stats", dir],
        &["verify", dir],
        &["delete", dir, "k"],
        &["compact", dir],
        &["checkpoint", dir, "elsewhere"],
    ] {
        check(words, 1, &expected);
        assert!(!missing.exists(), "{words:?}");
    }
}

#[test]
fn a_file_is_no_store() {
    let temp = temp();
    let file = temp.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let path = file.to_str().unwrap();
    let expected = format!("lsm: {path} is a file, expected the directory of a store");
    check(&["scan", path], 1, &expected);
    check(&["put", path, "k", "v"], 1, &expected);
    check(&["load", path, path], 1, &expected);
}

#[test]
fn an_empty_directory_is_no_store_to_read_and_stays_empty() {
    let temp = temp();
    let dir = temp.path().to_str().unwrap();
    for command in ["scan", "stats", "verify"] {
        check(&[command, dir], 1, &format!("cannot open the store in {dir}: {dir}: no store here, CURRENT is missing"));
        assert!(files(temp.path()).is_empty(), "{command}");
    }
}

#[test]
fn wrong_arguments_are_named() {
    for (words, expected) in [
        ([].as_slice(), "Usage: lsm"),
        (&["frob"], "unrecognized subcommand 'frob'"),
        (&["get", "d"], "<KEY>"),
        (&["scan", "d", "--limit", "many"], "invalid value 'many' for '--limit <N>'"),
        (&["load", "d", "--write-buffer-size", "big"], "invalid value 'big' for '--write-buffer-size <BYTES>'"),
        (&["load", "d", "--format-version", "7"], "7 is not in 5..=6"),
        (&["load", "d", "--compression", "rot13"], "invalid value 'rot13' for '--compression"),
        (&["scan", "d", "--prefix", "a", "--from", "b"], "cannot be used with"),
        (&["dump", "picture", "f"], "possible values: table, wal, manifest"),
        (&["put", "d", "k", "v", "--read-only"], "`lsm put` writes, so it cannot be --read-only"),
        (&["load", "d", "--read-only"], "`lsm load` writes, so it cannot be --read-only"),
        (&["delete", "d", "k", "--read-only"], "`lsm delete` writes, so it cannot be --read-only"),
        (&["compact", "d", "--read-only"], "`lsm compact` writes, so it cannot be --read-only"),
        (&["checkpoint", "d", "e", "--read-only"], "`lsm checkpoint` writes, so it cannot be --read-only"),
    ] {
        check(words, 2, expected);
    }
    assert!(!Path::new("d").exists());
}

#[test]
fn wrong_input_leaves_no_store_behind() {
    let temp = temp();
    let dir = temp.path().join("db");
    let path = dir.to_str().unwrap();
    check(&["load", path, "/no/such/file"], 1, "cannot read /no/such/file: No such file or directory");
    check(&["load", path, "/"], 1, "cannot read /: it is a directory, expected a file of lines");
    check(&["load", path, "--separator", ""], 1, "--separator is empty, expected what stands between key and value");
    assert!(!dir.exists());
}

#[test]
fn a_family_that_is_missing_is_named_with_those_that_exist() {
    let temp = temp();
    let dir = temp.path().join("db");
    let path = dir.to_str().unwrap();
    on(&dir, "put", &["k", "v", "--column-family", "side"]).ok();
    check(&["scan", path, "--column-family", "sied"], 1, "no column family `sied`, there are: default, side");
}

#[test]
fn a_store_in_use_is_read_but_not_written() {
    let temp = temp();
    let dir = temp.path().join("db");
    let path = dir.to_str().unwrap();
    let mut holder = command();
    holder.arg("load").arg(&dir).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut holder = holder.spawn().unwrap();
    let mut stdin = holder.stdin.take().unwrap();
    stdin.write_all(b"a\t1\n").unwrap();
    let mut line = String::new();
    BufReader::new(holder.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    // The line is acknowledged although more input may come.
    assert_eq!(line, "acknowledged 1\n");

    let expected = format!("lsm: {path} is in use by another process; commands that only read still work");
    check(&["put", path, "b", "2"], 1, &expected);
    check(&["load", path, "/dev/null"], 1, &expected);
    check(&["compact", path], 1, &expected);
    assert_eq!(on(&dir, "scan", &[]).text(), "a\t1\n");

    drop(stdin);
    assert!(holder.wait().unwrap().success());
    on(&dir, "put", &["b", "2"]).ok();
}

#[test]
fn a_damaged_table_is_named_and_never_read_past() {
    let temp = temp();
    let dir = temp.path().join("db");
    load(&dir, b"a\t1\nb\t2\n", &[]).ok();
    on(&dir, "compact", &[]).ok();
    let name = files(&dir).into_iter().find(|name| name.ends_with(".sst")).unwrap();
    let mut bytes = std::fs::read(dir.join(&name)).unwrap();
    bytes[3] ^= 1;
    std::fs::write(dir.join(&name), bytes).unwrap();
    for command in ["scan", "verify"] {
        check(&[command, dir.to_str().unwrap()], 1, &format!("corruption in {}", dir.join(&name).display()));
    }
}

#[test]
fn help_goes_to_stdout_and_names_the_exit_codes() {
    for words in [["--help"].as_slice(), &["get", "--help"]] {
        let help = lsm(words).text();
        assert!(help.contains("Exit codes: 0 "), "{help}");
    }
    assert!(lsm(["--version"]).text().starts_with("lsm "));
}
