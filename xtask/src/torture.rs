//! `cargo xtask soak` and `cargo xtask repro`: the lanes of `lsm-torture`, for long and for one step.

use crate::Outcome;
use crate::checks::cargo;
use crate::steps::Steps;

pub(crate) const SOAK_HELP: &str = "\
Tries to break the store for a stretch of time and prints what was tried: every lane, one after another, each with
an equal share and from seeds that no earlier run had. docs/testing.md says what each lane does.

Usage: cargo xtask soak --minutes N [LANE]...

LANE is a lane's name or letter; without one, all run. `cargo xtask soak --list` prints them with their figures.";

pub(crate) const REPRO_HELP: &str = "\
Runs one seed of a lane again, or one step of it, as the line says that a finding printed.

Usage: cargo xtask repro --lane LANE --seed S [--step K]";

pub(crate) fn soak(arguments: &[String]) -> anyhow::Result<Outcome> {
    let mut steps = Steps::default();
    if arguments == ["--list"] {
        steps.command("lanes", &mut lanes("list"));
        return Ok(steps.finish());
    }
    if !arguments.iter().any(|argument| argument == "--minutes") {
        return Ok(Outcome::Usage("`soak` needs `--minutes N`; see `cargo xtask soak --help`".to_owned()));
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    // Far from the seeds of the run that everyone makes, and apart from each other soak's.
    let first_seed = format!("{:#x}", now.as_millis() << 20);
    steps.command("lanes", lanes("run").args(["--first-seed", &first_seed]).args(arguments));
    Ok(steps.finish())
}

pub(crate) fn repro(arguments: &[String]) -> anyhow::Result<Outcome> {
    let mut steps = Steps::default();
    steps.command("repro", lanes("repro").args(arguments));
    Ok(steps.finish())
}

/// The program with the lanes, built with every assertion, given this command.
pub(crate) fn lanes(command: &str) -> std::process::Command {
    cargo(&format!("run --quiet --profile torture -p lsm-torture -- {command}"))
}
