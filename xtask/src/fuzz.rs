//! `cargo xtask fuzz`: one fuzz target, or all, for a stretch of time, reproducible from the seed.
//!
//! The targets are in `crates/lsm-inputs`; `fuzz/` hands them to libFuzzer, a workspace of its own because that needs
//! unstable flags. `fuzz/seeds/` holds a few small inputs for each and `fuzz/findings/` all that ever failed; what the
//! fuzzer adds goes to `fuzz/corpus/`, which is nobody's to keep.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::steps::Steps;
use crate::{Outcome, root};

pub(crate) const HELP: &str = "\
Fuzzes one target for a while, or each in turn. Needs cargo-fuzz (cargo install cargo-fuzz --locked); without a nightly
toolchain it uses unstable flags of the stable one.

Usage: cargo xtask fuzz TARGET [--seconds N] [--seed S]
       cargo xtask fuzz --all [--seconds N] [--seed S]
       cargo xtask fuzz --list

Options:
  --all        each target in turn, then a table; skipped if cargo-fuzz is missing
  --seconds N  stop each target after N seconds (default 60)
  --seed S     libFuzzer's seed, a number from 1 on (default 1); the same seed on one core makes the same inputs
  --list       print the targets

An input that fails is left in fuzz/artifacts/TARGET/. Put it into fuzz/findings/TARGET/ under a name that says what
it shows: `cargo test -p lsm-inputs --test replay` repeats it, now and for ever.";

/// In the place of a target: each of them.
const ALL: &str = "--all";

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
    let mut steps = Steps::default();
    match (cargo_fuzz_is_there(), request.target.as_str()) {
        (false, ALL) => steps.skip("fuzz", "cargo-fuzz is missing (`cargo install cargo-fuzz --locked`)"),
        (false, _) => bail!("cargo-fuzz is missing (`cargo install cargo-fuzz --locked`)"),
        (true, ALL) => return all(&targets, &request),
        (true, _) => steps.command("fuzz", &mut command(&root(), &request)?),
    }
    Ok(steps.finish())
}

/// Runs each target, prints what it did, and passes if none found anything.
fn all(targets: &[String], request: &Request) -> anyhow::Result<Outcome> {
    let mut passed = true;
    println!("{:<20} {:>12}  findings", "target", "executions");
    for target in targets {
        let request = Request { target: target.clone(), ..*request };
        let output = command(&root(), &request)?.arg("-print_final_stats=1").output()?;
        let log = String::from_utf8_lossy(&output.stderr);
        let is_sound = output.status.success();
        let executions = executions(&log).map_or("?".to_owned(), |count| count.to_string());
        println!("{target:<20} {executions:>12}  {}", if is_sound { "none" } else { "see below" });
        if !is_sound {
            passed = false;
            eprintln!("{log}");
        }
    }
    Ok(if passed { Outcome::Passed } else { Outcome::Failed })
}

/// How many inputs libFuzzer says it ran.
fn executions(log: &str) -> Option<u64> {
    let count = log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    count.trim().parse().ok()
}

fn command(root: &Path, request: &Request) -> anyhow::Result<Command> {
    let Request { target, seconds, seed } = request;
    let directories = ["corpus", "seeds", "findings"].map(|kind| format!("fuzz/{kind}/{target}"));
    let corpus = &directories[0];
    std::fs::create_dir_all(root.join(corpus)).with_context(|| format!("cannot create {corpus}"))?;
    let mut command = fuzzing_cargo();
    command.current_dir(root).args(["fuzz", "run", target]);
    command.args(directories.iter().filter(|directory| root.join(directory).is_dir())).arg("--");
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-seed={seed}"));
    // A decoder that wants more memory than this, or thinks longer, has believed a length it should not have.
    command.args(["-malloc_limit_mb=256", "-timeout=10"]);
    Ok(command)
}

/// Rustup's cargo with a nightly toolchain, or else the pinned one with its unstable flags unlocked. What this
/// process inherited from the pinned one would win.
fn fuzzing_cargo() -> Command {
    let plain = || {
        let mut command = Command::new("cargo");
        command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        command
    };
    let mut nightly = plain();
    nightly.args(["+nightly", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut command = plain();
    match nightly.status().is_ok_and(|status| status.success()) {
        true => command.arg("+nightly"),
        false => command.env("RUSTC_BOOTSTRAP", "1"),
    };
    command
}

fn parse(arguments: &[String], targets: &[String]) -> Result<Request, String> {
    let mut request = Request { target: String::new(), seconds: 60, seed: 1 };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--seconds" => request.seconds = positive("--seconds", rest.next())?,
            "--seed" => request.seed = positive("--seed", rest.next())?,
            ALL if request.target.is_empty() => request.target = ALL.to_owned(),
            option if option.starts_with('-') => return Err(format!("no option `{option}`")),
            target if request.target.is_empty() => request.target = target.to_owned(),
            second => return Err(format!("one target at a time, found `{second}` too")),
        }
    }
    let known = targets.join(", ");
    match request.target.as_str() {
        "" => Err(format!("no target given, there are: {known}")),
        ALL => Ok(request),
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
    let mut command = fuzzing_cargo();
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
    fn all_targets_take_the_same_options() {
        let expected = Request { target: ALL.to_owned(), seconds: 30, seed: 1 };
        assert_eq!(parsed("--all --seconds 30"), Ok(expected));
        assert!(parsed("--all table").is_err());
    }

    #[test]
    fn libfuzzer_s_count_is_found() {
        assert_eq!(executions("#5 DONE\nstat::number_of_executed_units: 4711\nstat::x: 1\n"), Some(4711));
        assert_eq!(executions("killed"), None);
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
