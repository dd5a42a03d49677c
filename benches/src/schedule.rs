//! Runs one process after another, in an order that favours nobody.
//!
//! # Invariants
//! S1. Inside a round all engines meet a scenario one shortly after the other, in random order.
//! S2. No two of our processes run at once. What others on the machine take is noted in each record; a measurement
//!     during which they took more than [`FOREIGN_CPU_MAX`] of a core is made again, up to [`ATTEMPTS`] times.
//! S3. What engines read first must be the same in all of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use nix::sys::resource::UsageWho;

use crate::engines::ENGINES;
use crate::measure::cpu_seconds;
use crate::record::{Header, Record};
use crate::report;
use crate::rows::KeyShape;
use crate::scale::Scale;
use crate::scenarios::{self, SCENARIOS, Scenario, Start};

pub(crate) const FOREIGN_CPU_MAX: f64 = 0.1;

const ATTEMPTS: u32 = 3;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Half a million rows and short phases: about ten minutes beside three peers (the default)
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Twenty million rows and phases of half a minute: hours
    #[arg(long)]
    full: bool,
    /// Only these scenarios, by name or number; all if left out
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<String>,
    /// Only these engines beside this store; all that are compiled in if left out
    #[arg(long, value_delimiter = ',')]
    peers: Option<Vec<String>>,
    /// Results of an earlier run of this store, to compare with
    #[arg(long)]
    baseline: Option<PathBuf>,
    /// Adds this store a second time: what the two differ by is noise
    #[arg(long)]
    noise: bool,
    /// Where results and report go
    #[arg(long, default_value = "bench-results")]
    output: PathBuf,
    /// Where the stores lie while they are measured; the system's temporary directory if left out
    #[arg(long)]
    directory: Option<PathBuf>,
    #[arg(long)]
    rounds: Option<u32>,
    #[arg(long)]
    rows: Option<u64>,
    #[arg(long)]
    value_bytes: Option<usize>,
    /// Seconds of each phase
    #[arg(long)]
    seconds: Option<f64>,
    /// Threads of the scenarios that have several (fillrandom-4t, sync-8t, get-2t), in the place of their own number
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    threads: Option<u64>,
    /// Shape of the keys
    #[arg(long, default_value = "number")]
    keys: KeyShape,
    /// Tables without compression
    #[arg(long)]
    uncompressed: bool,
}

impl Arguments {
    fn scale(&self) -> Scale {
        let mut scale = if self.full { Scale::full() } else { Scale::quick() };
        scale.rounds = self.rounds.unwrap_or(scale.rounds);
        scale.rows = self.rows.unwrap_or(scale.rows);
        scale.value_bytes = self.value_bytes.unwrap_or(scale.value_bytes);
        scale.seconds = self.seconds.unwrap_or(scale.seconds);
        scale.compression = !self.uncompressed;
        scale.threads = self.threads;
        scale
    }

    fn engines(&self) -> Result<Vec<String>> {
        let there: Vec<&str> = ENGINES.iter().map(|(name, _)| *name).collect();
        let mut engines = vec!["lsm".to_owned()];
        match &self.peers {
            None => engines.extend(there[1..].iter().map(|name| (*name).to_owned())),
            Some(peers) => {
                for peer in peers.iter().filter(|peer| !peer.is_empty()) {
                    ensure!(
                        there.contains(&peer.as_str()),
                        "{peer} is not compiled in; there are: {}",
                        there.join(", ")
                    );
                    engines.push(peer.clone());
                }
            }
        }
        engines.extend(self.noise.then(|| "lsm-again".to_owned()));
        Ok(engines)
    }

    fn scenarios(&self) -> Result<Vec<&'static Scenario>> {
        let wanted = |scenario: &&Scenario| {
            let number = scenario.number.to_string();
            self.scenario.is_empty() || self.scenario.iter().any(|name| name == scenario.name || *name == number)
        };
        for name in &self.scenario {
            ensure!(name.parse::<u32>().is_ok() || scenarios::named(name).is_ok(), "no scenario {name}");
        }
        Ok(SCENARIOS.iter().filter(wanted).collect())
    }
}

/// Runs what is asked for and writes results and report.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (scale, engines, scenarios) = (arguments.scale(), arguments.engines()?, arguments.scenarios()?);
    let place = match &arguments.directory {
        Some(directory) => tempfile::tempdir_in(directory)?,
        None => tempfile::tempdir()?,
    };
    std::fs::create_dir_all(&arguments.output)?;
    let mut results = File::create(arguments.output.join("results.jsonl"))?;
    writeln!(results, "{}", serde_json::to_string(&header(arguments, &scale, &engines))?)?;
    let runner = Runner { place: place.path(), scale: serde_json::to_string(&scale)?, keys: arguments.keys };
    if scenarios.iter().any(|scenario| scenario.start != Start::Empty) {
        for engine in &engines {
            eprintln!("loading {} rows into {engine}", scale.rows);
            runner.load(engine)?;
        }
    }
    let bar = ProgressBar::new(scale.rounds as u64 * scenarios.len() as u64 * engines.len() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len}, {eta} left: {msg}")?);
    let mut random = fastrand::Rng::new();
    let mut failures = Vec::new();
    for round in 0..scale.rounds {
        for scenario in &scenarios {
            let mut order = engines.clone();
            random.shuffle(&mut order);
            let mut checksums = BTreeMap::new();
            for engine in &order {
                bar.set_message(format!("{} {engine}", scenario.name));
                match runner.measure(scenario, engine, round) {
                    Ok(record) => {
                        writeln!(results, "{}", serde_json::to_string(&record)?)?;
                        // S3.
                        if let Some(sum) = record.parts.iter().map(|part| part.checksum).next().flatten() {
                            checksums.insert(engine.clone(), sum);
                        }
                    }
                    Err(error) => failures.push(format!("{} of {engine}: {error:#}", scenario.name)),
                }
                bar.inc(1);
            }
            let sums: std::collections::BTreeSet<_> = checksums.values().collect();
            if sums.len() > 1 {
                failures.push(format!("{}: engines read different things: {checksums:?}", scenario.name));
            }
        }
    }
    bar.finish_and_clear();
    failures.iter().for_each(|failure| eprintln!("FAILED {failure}"));
    report::write(&arguments.output, arguments.baseline.as_deref())?;
    match failures.is_empty() {
        true => Ok(()),
        false => bail!("{} measurements failed", failures.len()),
    }
}

struct Runner<'a> {
    place: &'a Path,
    scale: String,
    keys: KeyShape,
}

impl Runner<'_> {
    fn base(&self, engine: &str) -> PathBuf {
        self.place.join(format!("base-{engine}"))
    }

    fn command(&self, task: &str, engine: &str, directory: &Path) -> Result<Command> {
        own_process(task, engine, &self.scale, self.keys, directory)
    }

    fn load(&self, engine: &str) -> Result<()> {
        let status = self.command("load", engine, &self.base(engine))?.status()?;
        ensure!(status.success(), "{engine} cannot be loaded: {status}");
        Ok(())
    }

    /// Keeps S2.
    fn measure(&self, scenario: &Scenario, engine: &str, round: u32) -> Result<Record> {
        let mut best: Option<Record> = None;
        for _ in 0..ATTEMPTS {
            let record = self.measure_once(scenario, engine, round)?;
            let quiet = record.foreign_cpu <= FOREIGN_CPU_MAX;
            if best.as_ref().is_none_or(|best| record.foreign_cpu < best.foreign_cpu) {
                best = Some(record);
            }
            if quiet {
                break;
            }
        }
        best.context("at least one attempt was made")
    }

    fn measure_once(&self, scenario: &Scenario, engine: &str, round: u32) -> Result<Record> {
        let work = self.place.join("work");
        let directory = match scenario.start {
            Start::Base => self.base(engine),
            Start::Empty | Start::Copy => work.clone(),
        };
        if work.exists() {
            std::fs::remove_dir_all(&work)?;
        }
        if scenario.start == Start::Copy {
            let copied =
                Command::new("cp").args(["-r", "--reflink=auto"]).arg(self.base(engine)).arg(&work).status()?;
            ensure!(copied.success(), "the loaded store cannot be copied");
        }
        // What is still to be written out would be written while the next one is measured.
        nix::unistd::sync();
        let (begun, busy, ours) = (Instant::now(), busy_seconds(), cpu_seconds(UsageWho::RUSAGE_CHILDREN)?);
        let mut command = self.command("measure", engine, &directory)?;
        let output = command.args(["--scenario", scenario.name, "--round", &round.to_string()]).output()?;
        let wall = begun.elapsed().as_secs_f64();
        let foreign = (busy_seconds() - busy - (cpu_seconds(UsageWho::RUSAGE_CHILDREN)? - ours)).max(0.0) / wall;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {}", output.status, said.lines().last().unwrap_or_default());
        let mut record: Record = serde_json::from_slice(&output.stdout)?;
        record.foreign_cpu = foreign;
        Ok(record)
    }
}

/// This program, for one engine and a task that it has only for itself.
pub(crate) fn own_process(task: &str, engine: &str, scale: &str, keys: KeyShape, directory: &Path) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let keys = keys.to_possible_value().context("each shape has a name")?;
    command.args([task, "--engine", engine, "--scale", scale, "--keys", keys.get_name(), "--directory"]).arg(directory);
    command.stdin(Stdio::null());
    Ok(command)
}

/// Seconds that all processors together have been busy since the system started.
fn busy_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = first.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user, nice, system; then come idle and iowait; irq, softirq, steal.
    [0, 1, 2, 5, 6, 7].iter().filter_map(|&field| ticks.get(field)).sum::<f64>() / 100.0
}

fn header(arguments: &Arguments, scale: &Scale, engines: &[String]) -> Header {
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned())).unwrap_or_default()
    };
    let memory = field(&file("/proc/meminfo"), "MemTotal");
    let memory = memory.strip_suffix(" kB").and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or(0) >> 20;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let commit = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let about =
        |name: &String| ENGINES.iter().find(|(engine, _)| engine == name).map_or("the same again", |found| found.1);
    Header {
        machine: format!("{}, {cores} cores, {memory} GiB", field(&file("/proc/cpuinfo"), "model name")),
        system: format!("Linux {}", file("/proc/sys/kernel/osrelease").trim()),
        commit: commit.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
        scale: scale.clone(),
        key_shape: format!("{:?}", arguments.keys).to_lowercase(),
        flags: option_env!("RUSTFLAGS").unwrap_or_default().to_owned(),
        engines: engines.iter().map(|name| (name.clone(), about(name).to_owned())).collect(),
    }
}
