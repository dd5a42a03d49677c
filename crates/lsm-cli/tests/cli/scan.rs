//! `lsm scan` and `lsm get`: what is asked for, and nothing else.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::harness::{ARROW, command, load, on, packages, temp};

#[test]
fn a_scan_prints_what_is_asked_for() {
    let temp = temp();
    let dir = temp.path().join("db");
    load(&dir, b"a\t1\nab\t2\nb\t3\nba\t4\nc\t5\n", &[]).ok();
    for (arguments, expected) in [
        ("", "a\t1\nab\t2\nb\t3\nba\t4\nc\t5\n"),
        ("--from ab", "ab\t2\nb\t3\nba\t4\nc\t5\n"),
        ("--to b", "a\t1\nab\t2\n"),
        ("--from ab --to ba", "ab\t2\nb\t3\n"),
        ("--from b --to b", ""),
        ("--from c --to a", ""),
        ("--prefix b", "b\t3\nba\t4\n"),
        ("--prefix d", ""),
        ("--reverse", "c\t5\nba\t4\nb\t3\nab\t2\na\t1\n"),
        ("--reverse --from ab --to ba", "b\t3\nab\t2\n"),
        ("--reverse --prefix b --limit 1", "ba\t4\n"),
        ("--limit 2", "a\t1\nab\t2\n"),
        ("--limit 0", ""),
        ("--keys-only --limit 2", "a\nab\n"),
        ("--separator => --limit 1", "a=>1\n"),
        ("--hex --limit 2", "0x61\t0x31\n0x6162\t0x32\n"),
        ("--hex --keys-only --prefix c", "0x63\n"),
        ("--read-only --limit 1", "a\t1\n"),
    ] {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let run = on(&dir, "scan", &arguments);
        assert_eq!(run.stderr, "", "{arguments:?}");
        assert_eq!(run.text(), expected, "{arguments:?}");
    }
}

#[test]
fn a_missing_key_is_an_answer_of_its_own() {
    let temp = temp();
    let dir = temp.path().join("db");
    on(&dir, "put", &["key", "value"]).ok();
    assert_eq!(on(&dir, "get", &["key"]).text(), "value\n");
    on(&dir, "delete", &["key"]).ok();
    let run = on(&dir, "get", &["key"]);
    assert_eq!((run.code, run.stdout.as_slice()), (Some(1), b"".as_slice()));
    assert_eq!(run.stderr, format!("lsm: no key 'key' in {}\n", dir.display()));
}

#[test]
fn a_reader_that_goes_away_ends_the_scan_quietly() {
    let temp = temp();
    let dir = temp.path().join("db");
    load(&dir, &packages(), &["--separator", ARROW]).ok();
    let mut scan = command();
    scan.arg("scan").arg(&dir).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = scan.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("0ad\t"), "{line}");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}
