//! Drives tests, checks, fuzzing and benches of the workspace: `cargo xtask COMMAND`.
//!
//! The one place for automation. It runs cargo and reads the tree as text; it has no edge to any crate of
//! the workspace, so it builds in a second and works while they do not.

mod advisories;
mod bench;
mod checks;
mod fuzz;
mod sabotage;
mod sanitize;
mod steps;
mod tidy;
mod torture;

use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
Drives tests, checks, fuzzing and benches of the workspace.

Usage: cargo xtask COMMAND [OPTIONS]

Commands:
  test        Format, lints, every test, doc tests, tidy, loom and shuttle models
  ci          The same, and the documentation with warnings as errors
  tidy        Only the rules about the source tree: edges, headers, unsafe, test data
  soak        Try to break the store for a stretch of time
  repro       Run one step of a lane again that found something
  sabotage    Plant bugs in a copy and show that each is caught
  sanitize    Tests of the concurrent and unsafe parts under ThreadSanitizer and AddressSanitizer
  advisories  Look up the dependencies among the known vulnerabilities
  fuzz        Fuzz one decoder for a while (needs cargo-fuzz and a nightly toolchain)
  bench       Measure the store beside others, or with --micro its parts

`cargo xtask COMMAND --help` says more. Exit codes: 0 all well, 1 something failed, 2 wrong usage.";

/// A command, given the arguments behind its name.
type Run = fn(&[String]) -> anyhow::Result<Outcome>;

/// What a command comes to, as the process's exit code.
enum Outcome {
    Passed,
    Failed,
    /// The arguments make no sense; the text says why.
    Usage(String),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(Outcome::Passed) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::from(1),
        Ok(Outcome::Usage(what)) => {
            eprintln!("xtask: {what}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn run(arguments: &[String]) -> anyhow::Result<Outcome> {
    let Some((command, rest)) = arguments.split_first() else {
        return Ok(Outcome::Usage(format!("no command given\n\n{HELP}")));
    };
    let (help, run): (&str, Run) = match command.as_str() {
        "test" => (checks::TEST_HELP, checks::test),
        "ci" => (checks::CI_HELP, checks::ci),
        "tidy" => (tidy::HELP, tidy::run),
        "soak" => (torture::SOAK_HELP, torture::soak),
        "repro" => (torture::REPRO_HELP, torture::repro),
        "sabotage" => (sabotage::HELP, sabotage::run),
        "sanitize" => (sanitize::HELP, sanitize::run),
        "advisories" => (advisories::HELP, advisories::run),
        "fuzz" => (fuzz::HELP, fuzz::run),
        "bench" => (bench::HELP, bench::run),
        "help" | "-h" | "--help" => {
            println!("{HELP}");
            return Ok(Outcome::Passed);
        }
        unknown => return Ok(Outcome::Usage(format!("no command `{unknown}`\n\n{HELP}"))),
    };
    // What stands behind `--` belongs to the program that the command starts.
    if rest.iter().take_while(|argument| *argument != "--").any(|argument| argument == "-h" || argument == "--help") {
        println!("{help}");
        return Ok(Outcome::Passed);
    }
    run(rest)
}

/// The workspace's root: the parent of this package.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}

/// Refuses arguments for a command that takes none.
fn no_arguments(command: &str, arguments: &[String]) -> Option<Outcome> {
    let first = arguments.first()?;
    Some(Outcome::Usage(format!("`{command}` takes no argument, found `{first}`; see `cargo xtask {command} --help`")))
}
