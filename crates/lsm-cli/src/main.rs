//! The `lsm` command: load, read, scan, check and compact a store from the shell.
//!
//! Results go to stdout, everything else to stderr, so that output can be piped. A program that reads
//! our stdout may stop reading at any time: that ends the command quietly.

mod arguments;
mod dump;
mod load;
mod maintain;
mod point;
mod scan;
mod store;
mod text;

use std::io;
use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

/// What stands behind an exit code of 1 without being an error of its own.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    /// The key is missing, or a check found damage; it was said already.
    No,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = arguments.check() {
        error.exit();
    }
    match run(&arguments) {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(error) if reader_went_away(&error) => ExitCode::SUCCESS,
        Err(error) => {
            text::note(&format!("lsm: {}", whole(&error)));
            ExitCode::from(1)
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<Answer> {
    let family = arguments.common.column_family.as_str();
    match &arguments.command {
        Command::Load(load) => load::run(load, family),
        Command::Put { dir, key, value } => point::put(dir, family, key, value),
        Command::Get { dir, key } => point::get(dir, family, key),
        Command::Delete { dir, key } => point::delete(dir, family, key),
        Command::Scan(scan) => scan::run(scan, family),
        Command::Stats { dir } => maintain::stats(dir),
        Command::Verify { dir } => maintain::verify(dir),
        Command::Repair { dir } => maintain::repair(dir),
        Command::Compact { dir } => maintain::compact(dir, family),
        Command::Checkpoint { dir, dest } => maintain::checkpoint(dir, dest),
        Command::Dump { kind, file } => dump::run(*kind, file),
    }
}

/// Whether stdout was closed by whoever read it, as `head` does.
fn reader_went_away(error: &anyhow::Error) -> bool {
    let broken = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(broken))
}

/// An error with its causes on one line; a cause that the text before quotes already is not repeated.
fn whole(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string).filter(|cause| !cause.is_empty()) {
        if !text.ends_with(&cause) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("no such file").context("open x: no such file").context("cannot load");
        assert_eq!(whole(&error), "cannot load: open x: no such file");
    }
}
