//! A load that is killed in the middle: every acknowledged line is there, and no line out of order.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use crate::harness::{ARROW, command, load, on, packages, temp};

/// Loads `lines`, kills the load as soon as `enough` lines are acknowledged, and returns the last number that
/// it acknowledged.
fn load_and_kill(dir: &Path, lines: &[u8], enough: usize, rest: &[&str]) -> usize {
    let mut load = command();
    load.arg("load").arg(dir).args(["--separator", ARROW]).args(rest).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = load.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    std::thread::scope(|scope| {
        let feeder = scope.spawn(move || {
            // Small pieces with odd borders, so that the kill meets a load that is busy. It ends the pipe too.
            for piece in lines.chunks(977) {
                if stdin.write_all(piece).is_err() {
                    break;
                }
            }
            // Held open until the kill: a load that sees the end could finish before it.
            stdin
        });
        let mut acknowledged = 0;
        let mut killed = false;
        let mut line = String::new();
        while stderr.read_line(&mut line).unwrap() > 0 {
            if let Some(count) = line.trim_end().strip_prefix("acknowledged ") {
                acknowledged = count.parse().unwrap();
            }
            if acknowledged >= enough && !killed {
                child.kill().unwrap();
                killed = true;
            }
            line.clear();
        }
        assert!(!child.wait().unwrap().success(), "the load was killed before its end");
        drop(feeder.join().unwrap());
        acknowledged
    })
}

/// The first `count` lines.
fn first(lines: &[u8], count: usize) -> &[u8] {
    let end = lines.split_inclusive(|&byte| byte == b'\n').take(count).map(<[u8]>::len).sum();
    &lines[..end]
}

#[test]
fn a_kill_loses_no_acknowledged_line() {
    let input = packages();
    for (enough, rest) in [
        (1, [].as_slice()),
        (100, &["--sync"]),
        (3_000, &["--write-buffer-size", "100000"]),
        (9_000, &["--write-buffer-size", "100000", "--format-version", "5"]),
        (15_000, &[]),
    ] {
        let temp = temp();
        let dir = temp.path().join("db");
        let acknowledged = load_and_kill(&dir, &input, enough, rest);
        assert!(acknowledged >= enough, "{acknowledged} of {enough}");

        let found = on(&dir, "scan", &["--separator", ARROW]).ok();
        assert!(input.starts_with(&found), "{enough}: what is there is the beginning of what was loaded");
        assert!(found.starts_with(first(&input, acknowledged)), "{enough}: {acknowledged} lines were acknowledged");
        on(&dir, "verify", &[]).ok();

        // The store goes on: load the rest, and all is there.
        load(&dir, &input[found.len()..], &["--separator", ARROW]).ok();
        assert!(on(&dir, "scan", &["--separator", ARROW]).ok() == input, "{enough}: after loading the rest");
    }
}

#[test]
fn a_store_survives_kill_after_kill() {
    let input = packages();
    let temp = temp();
    let dir = temp.path().join("db");
    let mut found = 0;
    for round in 0..6 {
        // So many that six rounds do not come to the end, however late the kill is.
        let lines = first(&input[found..], 3_500);
        let acknowledged = load_and_kill(&dir, lines, 500 + 500 * round, &["--write-buffer-size", "200000"]);
        let scanned = on(&dir, "scan", &["--separator", ARROW]).ok();
        assert!(input.starts_with(&scanned), "round {round}");
        assert!(scanned.len() >= found + first(lines, acknowledged).len(), "round {round}");
        found = scanned.len();
    }
    on(&dir, "verify", &[]).ok();
}
