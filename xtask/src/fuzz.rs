//! `cargo xtask fuzz`: one fuzz target for a stretch of time, reproducible from its seed.
//!
//! The targets are in `fuzz/`, a workspace of its own because they need a nightly toolchain. `fuzz/seeds/` holds
//! a few small inputs for each; what the fuzzer adds goes to `fuzz/corpus/`, which is nobody's to keep.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::steps::Steps;
use crate::{Outcome, root};

pub(crate) const HELP: &str = "\
Fuzzes one decoder for a while. Needs a nightly toolchain and cargo-fuzz (cargo install cargo-fuzz).

Usage: cargo xtask fuzz TARGET [--seconds N] [--seed S]
       cargo xtask fuzz --list

Options:
  --seconds N  stop after N seconds (default 60)
  --seed S     libFuzzer's seed, a number from 1 on (default 1); the same seed on one core makes the same inputs
  --list       print the targets

An input that fails is left in fuzz/artifacts/TARGET/; `cargo +nightly fuzz run TARGET FILE` repeats it.";

#[derive(Debug, PartialEq, Eq)]
struct Request {
    target: String,
    seconds: u32,
    seed: u32,
}

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<Outcome> {
    let targets = targets(&root())?;
    if arguments == ["--list"] {
        targets.iter().for_each(|target| println!("{target}"));
        return Ok(Outcome::Passed);
    }
    let request = match parse(arguments, &targets) {
        Ok(request) => request,
        Err(what) => return Ok(Outcome::Usage(format!("{what}; see `cargo xtask fuzz --help`"))),
    };
    if !cargo_fuzz_is_there() {
        bail!(
            "cargo-fuzz is missing (`cargo install cargo-fuzz`), or a nightly toolchain (`rustup toolchain install nightly`)"
        );
    }
    let mut steps = Steps::default();
    steps.command("fuzz", &mut command(&root(), &request)?);
    Ok(steps.finish())
}

fn command(root: &Path, request: &Request) -> anyhow::Result<Command> {
    let Request { target, seconds, seed } = request;
    let [corpus, seeds] = ["corpus", "seeds"].map(|kind| format!("fuzz/{kind}/{target}"));
    std::fs::create_dir_all(root.join(&corpus)).with_context(|| format!("cannot create {corpus}"))?;
    let mut command = nightly_cargo();
    command.current_dir(root).args(["fuzz", "run", target, &corpus, &seeds, "--"]);
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-seed={seed}"));
    // A decoder that wants more memory than this, or thinks longer, has believed a length it should not have.
    command.args(["-malloc_limit_mb=256", "-timeout=5"]);
    Ok(command)
}

/// Rustup's cargo with a nightly toolchain. What this process inherited from the pinned one would win.
fn nightly_cargo() -> Command {
    let mut command = Command::new("cargo");
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").arg("+nightly");
    command
}

fn parse(arguments: &[String], targets: &[String]) -> Result<Request, String> {
    let mut request = Request { target: String::new(), seconds: 60, seed: 1 };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--seconds" => request.seconds = positive("--seconds", rest.next())?,
            "--seed" => request.seed = positive("--seed", rest.next())?,
            option if option.starts_with('-') => return Err(format!("no option `{option}`")),
            target if request.target.is_empty() => request.target = target.to_owned(),
            second => return Err(format!("one target at a time, found `{second}` too")),
        }
    }
    let known = targets.join(", ");
    match request.target.as_str() {
        "" => Err(format!("no target given, there are: {known}")),
        target if !targets.iter().any(|known| known == target) => {
            Err(format!("no target `{target}`, there are: {known}"))
        }
        _ => Ok(request),
    }
}

fn positive(option: &str, text: Option<&String>) -> Result<u32, String> {
    let text = text.ok_or_else(|| format!("`{option}` needs a number"))?;
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("`{option}` needs a number from 1 on, found `{text}`")),
    }
}

/// The names of the files in `fuzz/fuzz_targets`, sorted.
fn targets(root: &Path) -> anyhow::Result<Vec<String>> {
    let directory = root.join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&directory).with_context(|| format!("cannot list {}", directory.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        names.extend(name.to_str().and_then(|name| name.strip_suffix(".rs")).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn cargo_fuzz_is_there() -> bool {
    let mut command = nightly_cargo();
    command.args(["fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Request, String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&arguments, &["table".to_owned(), "write_batch".to_owned()])
    }

    #[test]
    fn options_stand_on_either_side_of_the_target() {
        let expected = Request { target: "table".to_owned(), seconds: 5, seed: 9 };
        assert_eq!(parsed("--seed 9 table --seconds 5"), Ok(expected));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (line, expected) in [
            ("", "no target given, there are: table, write_batch"),
            ("tabel", "no target `tabel`, there are: table, write_batch"),
            ("table write_batch", "one target at a time, found `write_batch` too"),
            ("table --seconds", "`--seconds` needs a number"),
            ("table --seconds soon", "`--seconds` needs a number from 1 on, found `soon`"),
            ("table --seed 0", "`--seed` needs a number from 1 on, found `0`"),
            ("table --jobs 3", "no option `--jobs`"),
        ] {
            assert_eq!(parsed(line), Err(expected.to_owned()), "{line}");
        }
    }
}
