//! Measures this store beside other embedded stores, and reports it.
//!
//! One process per engine, scenario and round; engines in random order inside a round; ratios between figures of
//! the same round only. `engines.rs` has the rules of the comparison, `measure.rs` how it is timed.

mod engines;
mod measure;
mod record;
mod report;
mod rows;
mod scale;
mod scenarios;
mod schedule;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use engines::{Engine, with_engine};
use record::{PartRecord, Record};
use rows::{KeyShape, Rows};
use scale::Scale;
use scenarios::{Bench, SCENARIOS};

#[derive(Parser)]
#[command(name = "cargo xtask bench", about = "Measures the store beside other embedded stores")]
struct Command {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs scenarios and writes results and report
    Run(schedule::Arguments),
    /// Lists scenarios and engines
    List,
    /// Makes the report of results that lie in a directory
    Report {
        directory: PathBuf,
        /// Results of an earlier run of this store
        #[arg(long)]
        baseline: Option<PathBuf>,
    },
    #[command(hide = true)]
    Load(Child),
    #[command(hide = true)]
    Measure {
        #[command(flatten)]
        child: Child,
        #[arg(long)]
        scenario: String,
        #[arg(long)]
        round: u32,
    },
    #[command(hide = true)]
    WriteUntilKilled(Child),
}

/// What a process that measures is told.
#[derive(Args)]
struct Child {
    #[arg(long)]
    engine: String,
    #[arg(long)]
    scale: String,
    #[arg(long)]
    directory: PathBuf,
    #[arg(long, default_value = "number")]
    keys: KeyShape,
}

impl Child {
    fn with<T>(&self, work: impl FnOnce(&Bench<'_>) -> Result<T>) -> Result<T> {
        let scale: Scale = serde_json::from_str(&self.scale)?;
        let rows = Rows::new(self.keys, scale.value_bytes);
        // A second column of this store shows how much two columns of the same differ.
        let engine = self.engine.strip_suffix("-again").unwrap_or(&self.engine);
        work(&Bench { scale: &scale, rows: &rows, directory: &self.directory, engine })
    }
}

fn main() -> Result<()> {
    match Command::parse().task {
        Task::Run(arguments) => schedule::run(&arguments),
        Task::List => {
            for scenario in SCENARIOS {
                println!("{:>3}  {:<20} {:<8} {}", scenario.number, scenario.name, scenario.unit, scenario.about);
            }
            engines::ENGINES.iter().for_each(|(name, about)| println!("     {name:<20} {about}"));
            Ok(())
        }
        Task::Report { directory, baseline } => report::write(&directory, baseline.as_deref()),
        Task::Load(child) => child.with(load),
        Task::WriteUntilKilled(child) => child.with(write_until_killed),
        Task::Measure { child, scenario, round } => {
            let record = child.with(|bench| measure(bench, &child.engine, &scenario, round))?;
            println!("{}", serde_json::to_string(&record)?);
            Ok(())
        }
    }
}

fn load(bench: &Bench<'_>) -> Result<()> {
    fn of<E: Engine>(bench: &Bench<'_>) -> Result<()> {
        bench.load::<E>()
    }
    with_engine!(bench.engine, of(bench))
}

fn write_until_killed(bench: &Bench<'_>) -> Result<()> {
    with_engine!(bench.engine, write_until_killed_of(bench))
}

fn write_until_killed_of<E: Engine>(bench: &Bench<'_>) -> Result<()> {
    scenarios::write_until_killed::<E>(bench)
}

fn measure(bench: &Bench<'_>, engine: &str, scenario: &str, round: u32) -> Result<Record> {
    fn of<E: Engine>(bench: &Bench<'_>, scenario: &str) -> Result<scenarios::Measured> {
        bench.run::<E>(scenario)
    }
    let measured = with_engine!(bench.engine, of(bench, scenario))?;
    Ok(Record {
        scenario: scenario.to_owned(),
        engine: engine.to_owned(),
        round,
        parts: measured.parts.iter().map(PartRecord::of).collect::<Result<_>>()?,
        settle_seconds: measured.settle.as_secs_f64(),
        user_bytes: measured.user_bytes,
        live_bytes: measured.live_bytes,
        space_bytes: measure::space_bytes(bench.directory)?,
        cpu_seconds: measured.usage.cpu_seconds,
        written_bytes: measured.usage.written_bytes,
        read_bytes: measured.usage.read_bytes,
        peak_memory_bytes: measure::peak_memory_bytes(),
        pending_bytes: measured.pending_bytes,
        lost: measured.lost,
        foreign_cpu: 0.0,
    })
}
