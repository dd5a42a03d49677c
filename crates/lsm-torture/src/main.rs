//! Tries to break the store, lane by lane, and says with numbers what it tried.
//!
//! A *lane* is one way to break a store, with the figure of cases that a run must reach. What a lane does
//! depends on a seed and a step alone, so that the one line a failure prints brings it back.
//!
//! | module | what it does |
//! |---|---|
//! | [`lane`] | what a lane is, and the steps of one of its seeds |
//! | [`drive`] | runs lanes on all cores, for their figure or for a stretch of time |
//! | [`lanes`] | the lanes |
//! | [`memory`] | how much memory a piece of work asks for; the crate's only `unsafe` |
//! | [`real`] | stores in processes of their own, on real file systems |
//!
//! `cargo xtask test` runs every lane for its figure, `cargo xtask soak --minutes N` for a share of the time,
//! `cargo xtask repro --lane NAME --seed S --step K` one single step. docs/testing.md says what each lane promises.

mod drive;
mod gate;
mod history;
mod lane;
mod lanes;
mod memory;
mod real;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use drive::Amount;
use lane::Lane;

#[derive(Parser)]
#[command(name = "lsm-torture", about = "Tries to break the store, lane by lane")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the lanes, their figures and what they try.
    List,
    /// Runs lanes, all of them if none is named, each until it has reached its figure.
    Run {
        /// Names or letters of lanes.
        lanes: Vec<String>,
        /// Runs lanes for this many minutes together as well, each at least until it has reached its figure.
        #[arg(long)]
        minutes: Option<f64>,
        /// The first seed; a soak takes another one each time to go where no run went before.
        #[arg(long, default_value = "0", value_parser = number)]
        first_seed: u64,
    },
    /// Runs one seed of a lane, or one step of it.
    Repro {
        /// The lane's name or letter.
        #[arg(long)]
        lane: String,
        /// The seed.
        #[arg(long, value_parser = number)]
        seed: u64,
        /// The step; without it, all steps of the seed.
        #[arg(long)]
        step: Option<u64>,
    },
    /// Writes into a store and tells of it; lanes start this to kill it.
    #[command(hide = true)]
    Write(real::writer::Arguments),
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    if matches!(command, Command::Run { .. } | Command::Repro { .. }) {
        real::ground::enter();
    }
    match run(command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("lsm-torture: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::List => {
            for lane in lanes::all() {
                println!(
                    "{} {:<12} ≥ {:>9} {:<14} {}",
                    lane.letter(),
                    lane.name(),
                    lane.figure(),
                    lane.unit(),
                    lane.about()
                );
            }
            Ok(true)
        }
        Command::Run { lanes, minutes, first_seed } => {
            let lanes = chosen(&lanes)?;
            let share = minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0 / lanes.len() as f64));
            Ok(drive::run(&lanes, share.map_or(Amount::Figure, Amount::Time), first_seed))
        }
        Command::Write(arguments) => real::writer::run(&arguments).map(|()| true),
        Command::Repro { lane, seed, step } => Ok(drive::repro(named(&lane)?.as_ref(), seed, step)),
    }
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<Box<dyn Lane>>> {
    match names {
        [] => Ok(lanes::all()),
        names => names.iter().map(|name| named(name)).collect(),
    }
}

fn named(name: &str) -> anyhow::Result<Box<dyn Lane>> {
    let found = lanes::all().into_iter().find(|lane| lane.name() == name || lane.letter().to_string() == name);
    found.ok_or_else(|| {
        let names: Vec<_> = lanes::all().iter().map(|lane| lane.name()).collect();
        anyhow::anyhow!("no lane `{name}`, there are: {}", names.join(", "))
    })
}

/// A number, in hexadecimal behind `0x`.
fn number(text: &str) -> Result<u64, std::num::ParseIntError> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
}
