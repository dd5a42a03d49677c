//! What is measured: each scenario runs in a process of its own, on an empty store, on the loaded one, or on a copy
//! of that.

mod mixed;
mod reads;
mod reopen;
mod writes;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::engines::{Config, Durability, Engine};
use crate::measure::{Part, Usage};
use crate::rows::{Key, Rows};
use crate::scale::Scale;

pub(crate) use reopen::write_until_killed;

/// What a scenario begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Start {
    Empty,
    /// The loaded store itself: the scenario only reads.
    Base,
    /// A copy of the loaded store.
    Copy,
}

/// A scenario.
pub(crate) struct Scenario {
    /// As in docs/performance.md.
    pub(crate) number: u32,
    pub(crate) name: &'static str,
    pub(crate) start: Start,
    /// What its rate counts.
    pub(crate) unit: &'static str,
    pub(crate) about: &'static str,
}

const fn scenario(number: u32, name: &'static str, start: Start, unit: &'static str, about: &'static str) -> Scenario {
    Scenario { number, name, start, unit, about }
}

/// All scenarios, in the order in which they are reported.
pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario(1, "fillseq", Start::Empty, "puts/s", "puts in key order, one thread"),
    scenario(
        2,
        "fillrandom",
        Start::Empty,
        "puts/s",
        "puts in random order, one thread; settled: until no work is left",
    ),
    scenario(3, "fillrandom-4t", Start::Empty, "puts/s", "the same from four threads"),
    scenario(4, "batch-100", Start::Empty, "keys/s", "batches of 100 random keys"),
    scenario(4, "batch-1000", Start::Empty, "keys/s", "batches of 1,000 random keys"),
    scenario(5, "overwrite", Start::Copy, "puts/s", "random puts over a full store; settled: until no work is left"),
    scenario(6, "sync-1t", Start::Empty, "puts/s", "puts that survive a power cut, one thread"),
    scenario(6, "sync-8t", Start::Empty, "puts/s", "the same from eight threads"),
    scenario(7, "bulk", Start::Empty, "keys/s", "batches of 1,000 keys in order, until the store has settled"),
    scenario(8, "get-1t", Start::Base, "gets/s", "gets of present keys, all cached, one thread"),
    scenario(8, "get-2t", Start::Base, "gets/s", "the same from two threads"),
    scenario(
        9,
        "get-small-cache",
        Start::Base,
        "gets/s",
        "gets with a cache of a twentieth of the data; the system has all in memory",
    ),
    scenario(10, "get-missing", Start::Base, "gets/s", "gets of keys that are not there"),
    scenario(11, "multi-get", Start::Base, "keys/s", "32 random keys at once"),
    scenario(11, "multi-get-near", Start::Base, "keys/s", "32 keys within 1,000 neighbours at once"),
    scenario(12, "seek-10", Start::Base, "seeks/s", "a seek and ten rows"),
    scenario(12, "seek-100", Start::Base, "seeks/s", "a seek and a hundred rows"),
    scenario(12, "seek-10-back", Start::Base, "seeks/s", "a seek and ten rows downwards"),
    scenario(13, "scan", Start::Base, "rows/s", "all rows upwards"),
    scenario(13, "scan-back", Start::Base, "rows/s", "all rows downwards"),
    scenario(13, "scan-runs", Start::Copy, "rows/s", "all rows upwards, with four newer runs over them"),
    scenario(14, "read-while-writing", Start::Copy, "gets/s", "gets beside a writer of 20,000 puts a second"),
    scenario(14, "read-while-filling", Start::Copy, "gets/s", "gets beside a writer at full speed"),
    scenario(15, "ycsb-a", Start::Copy, "ops/s", "half gets, half updates, Zipf 0.99"),
    scenario(15, "ycsb-b", Start::Copy, "ops/s", "95 % gets, 5 % updates"),
    scenario(15, "ycsb-c", Start::Copy, "ops/s", "gets"),
    scenario(15, "ycsb-d", Start::Copy, "ops/s", "95 % gets of the latest, 5 % inserts"),
    scenario(15, "ycsb-e", Start::Copy, "ops/s", "95 % scans of 1 to 100 rows, 5 % inserts"),
    scenario(15, "ycsb-f", Start::Copy, "ops/s", "half gets, half read, modify, write"),
    scenario(16, "delete-half", Start::Copy, "rows/s", "a scan after half of all rows were deleted"),
    scenario(16, "queue", Start::Empty, "ops/s", "a push at the end and a pop at the front"),
    scenario(17, "values-4k", Start::Empty, "puts/s", "values of 4 KiB"),
    scenario(17, "values-16k", Start::Empty, "puts/s", "values of 16 KiB"),
    scenario(17, "values-64k", Start::Empty, "puts/s", "values of 64 KiB"),
    scenario(18, "reopen", Start::Empty, "opens/s", "open after kill -9 during random puts"),
];

/// What a scenario works with.
pub(crate) struct Bench<'a> {
    pub(crate) scale: &'a Scale,
    pub(crate) rows: &'a Rows,
    pub(crate) directory: &'a Path,
    /// Name of the engine, for scenarios that start a process of their own.
    pub(crate) engine: &'a str,
}

/// What came out of a scenario.
pub(crate) struct Measured {
    /// The first one is the scenario's figure.
    pub(crate) parts: Vec<Part>,
    /// Time from the last write until no work was left.
    pub(crate) settle: Duration,
    /// Bytes of keys and values that were written.
    pub(crate) user_bytes: u64,
    pub(crate) live_bytes: u64,
    pub(crate) usage: Usage,
    pub(crate) pending_bytes: Option<u64>,
    /// Acknowledged rows that were gone.
    pub(crate) lost: Option<u64>,
}

impl Bench<'_> {
    /// How the scenario's engine is opened.
    fn config(&self, name: &str) -> Config {
        let mut config = self.scale.config();
        match name {
            "sync-1t" | "sync-8t" => config.durability = Durability::Power,
            "get-small-cache" => {
                config.cache_bytes = (self.scale.rows as usize * self.rows.row_bytes() / 20).max(1 << 20)
            }
            "scan-runs" => config.level0_tables = 2 * reads::RUNS,
            _ => {}
        }
        config
    }

    fn random_rows(&self, count: usize, below: u64) -> Vec<u32> {
        let mut random = fastrand::Rng::with_seed(17);
        std::iter::repeat_with(|| random.u64(..below.max(1)) as u32).take(count).collect()
    }

    /// All rows in random order.
    fn shuffled_rows(&self) -> Vec<u32> {
        let mut rows: Vec<u32> = (0..self.scale.rows as u32).collect();
        fastrand::Rng::with_seed(23).shuffle(&mut rows);
        rows
    }

    /// Fills an empty store with all rows and leaves it settled: what other scenarios begin with.
    pub(crate) fn load<E: Engine>(&self) -> Result<()> {
        let engine = E::open(self.directory, &self.scale.config())?;
        let mut session = engine.session()?;
        let (order, mut batch) = (self.shuffled_rows(), Vec::new());
        for rows in order.chunks(100) {
            self.fill(&mut batch, rows.iter().map(|&row| u64::from(row)), 0);
            crate::engines::Session::put_all(&mut session, &batch)?;
        }
        drop(session);
        engine.settle()?;
        engine.close()
    }

    /// Makes `batch` one of these rows, in memory that it has as far as possible.
    fn fill(&self, batch: &mut Vec<(Key, Vec<u8>)>, rows: impl ExactSizeIterator<Item = u64>, salt: u64) {
        batch.resize_with(rows.len(), || (self.rows.key(0), Vec::new()));
        for ((key, value), row) in batch.iter_mut().zip(rows) {
            *key = self.rows.key(row);
            self.rows.value(row, salt, value);
        }
    }

    /// Runs a scenario.
    pub(crate) fn run<E: Engine>(&self, name: &str) -> Result<Measured> {
        if name == "reopen" {
            return reopen::reopen::<E>(self);
        }
        let engine = E::open(self.directory, &self.config(name))?;
        reads::warm(self, &engine, name)?;
        if name == "scan-runs" {
            reads::add_runs(self, &engine)?;
        }
        let before = Usage::now()?;
        let (parts, user_bytes, live_bytes) = match name {
            "fillseq" | "fillrandom" | "fillrandom-4t" | "overwrite" | "sync-1t" | "sync-8t" => {
                writes::puts(self, &engine, name)?
            }
            "batch-100" | "batch-1000" | "bulk" => writes::batches(self, &engine, name)?,
            "values-4k" | "values-16k" | "values-64k" => writes::values(self, &engine, name)?,
            "delete-half" => writes::delete_half(self, &engine)?,
            "queue" => writes::queue(self, &engine)?,
            "read-while-writing" | "read-while-filling" => mixed::read_while_writing(self, &engine, name)?,
            ycsb if ycsb.starts_with("ycsb-") => mixed::ycsb(self, &engine, name)?,
            "scan" | "scan-back" | "scan-runs" => reads::scan(self, &engine, name)?,
            reading => reads::gets_and_seeks(self, &engine, reading)?,
        };
        let pending_bytes = engine.pending_bytes();
        let settle = if user_bytes > 0 { engine.settled()? } else { Duration::ZERO };
        engine.close()?;
        let usage = Usage::now()?.since(before);
        Ok(Measured { parts, settle, user_bytes, live_bytes, usage, pending_bytes, lost: None })
    }
}

/// The scenario with this name.
pub(crate) fn named(name: &str) -> Result<&'static Scenario> {
    match SCENARIOS.iter().find(|scenario| scenario.name == name) {
        Some(scenario) => Ok(scenario),
        None => bail!("no scenario {name}; `list` shows all"),
    }
}

/// Parts, bytes that were written, and bytes that are there in the end.
type Done = (Vec<Part>, u64, u64);
