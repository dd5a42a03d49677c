//! Named steps, run one after another, with the time each took and a summary that leaves nothing out.
//!
//! # Invariants
//! S1. A failed step never hides a later one: all of them run, and the summary names each failure.
//! S2. A step that did not run is in the summary with its reason.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::Outcome;

/// How a step ended.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    Passed,
    Failed(String),
    Skipped(String),
}

struct Step {
    name: &'static str,
    ending: Ending,
    took: Duration,
}

/// The steps of one command, in the order they ran.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
    started: Option<Instant>,
}

impl Steps {
    /// Runs a program as a step; it passes if the program exits with 0.
    pub(crate) fn command(&mut self, name: &'static str, command: &mut Command) {
        let shown = shown(command);
        self.step(name, &shown, || {
            let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
            anyhow::ensure!(status.success(), "`{shown}`: {status}");
            Ok(())
        });
    }

    /// Runs `work` as a step; it passes if that returns `Ok`.
    pub(crate) fn step(&mut self, name: &'static str, what: &str, work: impl FnOnce() -> anyhow::Result<()>) {
        println!("\n── {name}: {what}");
        let start = Instant::now();
        self.started.get_or_insert(start);
        let ending = match work() {
            Ok(()) => Ending::Passed,
            Err(error) => Ending::Failed(format!("{error:#}")),
        };
        let took = start.elapsed();
        match &ending {
            Ending::Failed(why) => println!("── {name}: FAILED after {}: {why}", seconds(took)),
            _ => println!("── {name}: passed in {}", seconds(took)),
        }
        self.done.push(Step { name, ending, took });
    }

    /// Records that a step did not run.
    pub(crate) fn skip(&mut self, name: &'static str, why: impl Into<String>) {
        let why = why.into();
        println!("\n── {name}: skipped: {why}");
        self.done.push(Step { name, ending: Ending::Skipped(why), took: Duration::ZERO });
    }

    /// Prints the summary and says whether every step that ran has passed.
    pub(crate) fn finish(self) -> Outcome {
        println!("\nsummary");
        for Step { name, ending, took } in &self.done {
            match ending {
                Ending::Passed => println!("  passed   {:>8}  {name}", seconds(*took)),
                Ending::Failed(why) => println!("  FAILED   {:>8}  {name}: {why}", seconds(*took)),
                Ending::Skipped(why) => println!("  skipped  {:>8}  {name}: {why}", "-"),
            }
        }
        let failed = self.done.iter().filter(|step| matches!(step.ending, Ending::Failed(_))).count();
        let took = self.started.map_or(Duration::ZERO, |started| started.elapsed());
        match failed {
            0 => println!("all steps that ran have passed, in {}", seconds(took)),
            count => println!("{count} of {} steps FAILED, in {}", self.done.len(), seconds(took)),
        }
        if failed == 0 { Outcome::Passed } else { Outcome::Failed }
    }
}

/// The command line as a person would type it, with the environment it adds.
fn shown(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        let (name, value) = (name.to_string_lossy(), value?.to_string_lossy());
        Some(if value.contains(' ') { format!("{name}='{value}'") } else { format!("{name}={value}") })
    });
    let program = command.get_program().to_string_lossy();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    variables.chain([program]).chain(arguments).collect::<Vec<_>>().join(" ")
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_fails_the_command_and_later_steps_still_run() {
        let mut steps = Steps::default();
        let mut ran = false;
        steps.step("one", "", || anyhow::bail!("broken"));
        steps.step("two", "", || {
            ran = true;
            Ok(())
        });
        // Covers S1.
        assert!(ran);
        assert!(matches!(steps.finish(), Outcome::Failed));
    }

    #[test]
    fn a_skipped_step_fails_nothing() {
        let mut steps = Steps::default();
        steps.skip("one", "no tool");
        steps.step("two", "", || Ok(()));
        assert_eq!(steps.done[0].ending, Ending::Skipped("no tool".to_owned()));
        assert!(matches!(steps.finish(), Outcome::Passed));
    }

    #[test]
    fn a_program_that_fails_or_is_missing_fails_its_step() {
        let mut steps = Steps::default();
        steps.command("fails", &mut Command::new("false"));
        steps.command("missing", &mut Command::new("./no such program"));
        assert!(steps.done.iter().all(|step| matches!(step.ending, Ending::Failed(_))));
    }

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["test", "-p", "x"]).env("RUSTFLAGS", "--cfg loom").env_remove("HOME");
        assert_eq!(shown(&command), "RUSTFLAGS='--cfg loom' cargo test -p x");
    }
}
