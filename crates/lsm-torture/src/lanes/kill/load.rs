//! The real command: `lsm load` is fed lines without end, and killed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lsm_engine::Options;
use lsm_testkit::Choices;

use super::{ROUNDS, life};
use crate::lane::Steps;
use crate::real::tools;

/// Lines fed in one round, more than `lsm` can load in its life.
const LINES_MAX: u64 = 300_000;

/// Kills `lsm load` again and again on `dir`.
pub(super) fn run(seed: u64, dir: &Path, steps: &mut Steps) -> Result<()> {
    let options = *Choices::from_seed(seed).pick(&[
        ["--write-buffer-size", "65536"].as_slice(),
        &["--write-buffer-size", "65536", "--sync"],
        &["--write-buffer-size", "300000", "--compression", "zstd"],
        &["--format-version", "5", "--write-buffer-size", "100000"],
    ]);
    let mut there = 0;
    for round in 0..ROUNDS {
        let mut choices = Choices::from_seed(seed << 8 | round);
        // A round builds on those before it, so all run whichever is wanted.
        steps.begin(round);
        let acknowledged = load_and_kill(dir, seed, there, options, life(&mut choices))?;
        steps.count("acknowledged lines", acknowledged);
        let promised = there + acknowledged;
        there = check(dir, seed, promised, choices.one_in(2)).with_context(|| format!("lsm load {options:?}"))?;
        if choices.one_in(4) && there > 0 {
            tools::run(Command::new(tools::lsm()?).arg("verify").arg(dir))?;
            steps.count("verified", 1);
        }
        steps.case();
    }
    Ok(())
}

/// Line `number`: keys in the order of their numbers, values of any length.
fn line(seed: u64, number: u64) -> (String, String) {
    let mut choices = Choices::from_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let value = format!("{:016x}", choices.number()).repeat(choices.within(0..=20));
    (format!("{number:012}"), value)
}

/// Feeds the lines from `from` on until `lsm` is killed; returns how many of them it acknowledged.
fn load_and_kill(dir: &Path, seed: u64, from: u64, options: &[&str], life: Duration) -> Result<u64> {
    let mut command = Command::new(tools::lsm()?);
    command.arg("load").arg(dir).args(["--separator", "="]).args(options);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start lsm")?;
    let mut stdin = child.stdin.take().context("stdin is a pipe")?;
    let stderr = BufReader::new(child.stderr.take().context("stderr is a pipe")?);
    std::thread::scope(|scope| {
        let feeder = scope.spawn(move || {
            for number in from..from + LINES_MAX {
                let (key, value) = line(seed, number);
                if stdin.write_all(format!("{key}={value}\n").as_bytes()).is_err() {
                    break;
                }
            }
            // Held open until the kill: a load that sees the end could finish before it.
            stdin
        });
        let listener = scope.spawn(move || {
            let mut acknowledged = 0;
            let mut said = String::new();
            for line in stderr.lines().map_while(Result::ok) {
                match line.strip_prefix("acknowledged ").map(str::parse) {
                    Some(Ok(count)) => acknowledged = count,
                    _ => said += &line,
                }
            }
            (acknowledged, said)
        });
        std::thread::sleep(life);
        let early = child.try_wait()?;
        child.kill()?;
        child.wait()?;
        let (acknowledged, said) = listener.join().expect("reading lines does not panic");
        drop(feeder.join().expect("feeding lines does not panic"));
        match early {
            None => Ok(acknowledged),
            Some(status) => bail!("lsm load ended by itself, {status}: {said}"),
        }
    })
}

/// Checks that the store holds the first lines, at least `promised` of them; returns how many.
fn check(dir: &Path, seed: u64, promised: u64, read_only: bool) -> Result<u64> {
    if promised == 0 && !dir.join("CURRENT").exists() {
        return Ok(0);
    }
    let db = Options::new().read_only(read_only).open(dir)?;
    let mut there = 0;
    for item in db.iter() {
        let (key, value) = item?;
        let (expected_key, expected_value) = line(seed, there);
        ensure!(key == expected_key.as_bytes(), "line {there} is a hole");
        ensure!(value == expected_value.as_bytes(), "line {there} has another value");
        there += 1;
    }
    ensure!(there >= promised, "{promised} lines were acknowledged, {there} are there");
    Ok(there)
}
