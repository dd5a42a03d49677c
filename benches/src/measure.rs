//! Running a phase on one or several threads, and what it took.
//!
//! # Invariants
//! M1. The time between two operations counts for the second one: nothing that is measured falls between two clocks.
//! M2. Where an operation has a time at which it should begin, its latency counts from then, so that a store
//!     that stands still is charged for everybody who would have waited (no coordinated omission).
//! M3. Of short operations only one in [`Phase::every`] is timed; the throughput counts all.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};

use crate::engines::Engine;
use crate::rows::{Key, Seen};

/// Width of a step of a timeline.
pub(crate) const STEP: Duration = Duration::from_millis(50);

/// Operations of each thread that go into a checksum: so few that every engine gets there.
const CHECKED: u64 = 1000;

/// What is run and for how long.
#[derive(Clone, Copy)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) threads: u64,
    /// Ends after this many operations of all threads together.
    pub(crate) count: Option<u64>,
    /// Ends after this time.
    pub(crate) time: Duration,
    /// One in so many operations is timed (M3).
    pub(crate) every: u64,
    /// Operations per second of each thread, if it does not go as fast as it can (M2).
    pub(crate) pace: Option<f64>,
}

impl Phase {
    /// A phase of one thread that goes as fast as it can and is timed throughout.
    pub(crate) fn new(name: &'static str, time: Duration) -> Phase {
        Phase { name, threads: 1, count: None, time, every: 1, pace: None }
    }
}

/// What came out of a phase.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// Rows or keys, of which an operation may have several.
    pub(crate) units: u64,
    pub(crate) operations: u64,
    pub(crate) time: Duration,
    pub(crate) latency: Histogram<u64>,
    /// Units per [`STEP`].
    pub(crate) timeline: Vec<u64>,
    /// What the first operations have read, if all were made.
    pub(crate) checksum: Option<u64>,
}

impl Part {
    fn new(name: &'static str) -> Part {
        let latency = Histogram::new_with_bounds(1, 100_000_000_000, 3).expect("the bounds are in order");
        let (timeline, checksum) = (Vec::new(), Some(0));
        Part { name, units: 0, operations: 0, time: Duration::ZERO, latency, timeline, checksum }
    }

    fn add(&mut self, other: &Part) {
        self.units += other.units;
        self.operations += other.operations;
        self.time = self.time.max(other.time);
        self.latency.add(&other.latency).expect("all have the same bounds");
        self.timeline.resize(self.timeline.len().max(other.timeline.len()), 0);
        self.timeline.iter_mut().zip(&other.timeline).for_each(|(sum, units)| *sum += units);
        let sum = self.checksum.zip(other.checksum);
        self.checksum = sum.map(|(sum, checksum)| sum.wrapping_add(checksum));
    }
}

/// What one operation gets beside its session.
pub(crate) struct Step<'a> {
    pub(crate) thread: u64,
    /// Counted over all threads; each has its own share of them.
    pub(crate) index: u64,
    pub(crate) seen: &'a mut Seen,
    /// For the operation's own use.
    pub(crate) value: &'a mut Vec<u8>,
    /// Likewise.
    pub(crate) batch: &'a mut Vec<(Key, Vec<u8>)>,
}

/// Runs a phase. `operation` returns how many units it did.
pub(crate) fn run<E: Engine>(
    engine: &E,
    phase: Phase,
    operation: impl Fn(&mut E::Session<'_>, Step<'_>) -> Result<u64> + Sync,
) -> Result<Part> {
    let barrier = Barrier::new(phase.threads as usize);
    let parts: Vec<Result<Part>> = std::thread::scope(|scope| {
        let (barrier, operation) = (&barrier, &operation);
        let work = |thread: u64| {
            move || {
                let session = engine.session();
                barrier.wait();
                one_thread::<E>(session?, phase, thread, operation)
            }
        };
        let threads: Vec<_> = (1..phase.threads).map(|thread| scope.spawn(work(thread))).collect();
        let first = work(0)();
        let others = threads.into_iter().map(|thread| thread.join().expect("a panic ends the process"));
        std::iter::once(first).chain(others).collect()
    });
    let mut sum = Part::new(phase.name);
    for part in parts {
        sum.add(&part?);
    }
    Ok(sum)
}

fn one_thread<E: Engine>(
    mut session: E::Session<'_>,
    phase: Phase,
    thread: u64,
    operation: &(impl Fn(&mut E::Session<'_>, Step<'_>) -> Result<u64> + Sync),
) -> Result<Part> {
    let mut part = Part::new(phase.name);
    let (mut seen, mut value, mut batch) = (Seen::default(), Vec::new(), Vec::new());
    let mut checksum = None;
    let count = phase.count.map_or(u64::MAX, |count| (count + phase.threads - 1 - thread) / phase.threads);
    let begun = Instant::now();
    // When the operations timed next begin.
    let mut last = begun;
    let mut untold = 0;
    for number in 0..count {
        if let Some(pace) = phase.pace {
            let due = begun + Duration::from_secs_f64(number as f64 / pace);
            wait_until(due);
            last = due;
        }
        let index = number * phase.threads + thread;
        let step = Step { thread, index, seen: &mut seen, value: &mut value, batch: &mut batch };
        untold += operation(&mut session, step)?;
        if number + 1 == CHECKED {
            checksum = Some(seen.sum);
        }
        if phase.pace.is_none() && (number + 1) % phase.every != 0 && number + 1 != count {
            continue;
        }
        let now = Instant::now();
        let timed = if phase.pace.is_some() { 1 } else { (number % phase.every) + 1 };
        part.latency.saturating_record(((now - last).as_nanos() as u64 / timed).max(1));
        let at = ((now - begun).as_nanos() / STEP.as_nanos()) as usize;
        part.timeline.resize(part.timeline.len().max(at + 1), 0);
        part.timeline[at] += untold;
        part.units += untold;
        untold = 0;
        part.operations = number + 1;
        last = now;
        if now - begun >= phase.time {
            break;
        }
    }
    part.time = begun.elapsed();
    part.checksum = if phase.count == Some(part.operations * phase.threads) { Some(seen.sum) } else { checksum };
    seen.check()?;
    Ok(part)
}

fn wait_until(due: Instant) {
    loop {
        let wait = due.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            return;
        }
        // A thread does not sleep that precisely, and one that spins takes the core from the store.
        if wait > Duration::from_micros(200) {
            std::thread::sleep(wait - Duration::from_micros(100))
        } else {
            std::thread::yield_now()
        }
    }
}

/// What this process has used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) written_bytes: u64,
    pub(crate) read_bytes: u64,
}

impl Usage {
    pub(crate) fn now() -> Result<Usage> {
        let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
        let field = |name: &str| {
            let line = io.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.and_then(|value| value.parse().ok()).unwrap_or(0)
        };
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        Ok(Usage {
            cpu_seconds: seconds(usage.user_time()) + seconds(usage.system_time()),
            written_bytes: field("write_bytes"),
            read_bytes: field("read_bytes"),
        })
    }

    pub(crate) fn since(self, before: Usage) -> Usage {
        Usage {
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
            written_bytes: self.written_bytes - before.written_bytes,
            read_bytes: self.read_bytes - before.read_bytes,
        }
    }
}

/// The most memory that this process has had, in bytes.
pub(crate) fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|value| value.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or(0) << 10
}

/// What the files below `directory` take on the disk.
pub(crate) fn space_bytes(directory: &std::path::Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { space_bytes(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
