//! Running a phase on one or several threads, and what it took.
//!
//! # Invariants
//! M1. The time between two operations counts for the second one: nothing that is measured falls between two clocks.
//! M2. Where an operation has a time at which it should begin, its latency counts from then, so that a store
//!     that stands still is charged for everybody who would have waited (no coordinated omission).
//! M3. Of short operations only one in [`Phase::every`] is timed, by itself; the throughput counts all.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};

use crate::engines::Engine;
use crate::rows::{Key, Seen};

/// Width of a step of a timeline.
pub(crate) const STEP: Duration = Duration::from_millis(50);

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
    /// Operations of each thread that go into a checksum: so few that every engine gets there.
    pub(crate) checked: u64,
}

impl Phase {
    /// A phase of one thread that goes as fast as it can and is timed throughout.
    pub(crate) fn new(name: &'static str, time: Duration) -> Phase {
        Phase { name, threads: 1, count: None, time, every: 1, pace: None, checked: 1000 }
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
    /// Whether the time was over before all operations were made.
    pub(crate) is_cut: bool,
}

impl Part {
    fn new(name: &'static str) -> Part {
        let latency = Histogram::new_with_bounds(1, 100_000_000_000, 3).expect("the bounds are in order");
        let (timeline, checksum) = (Vec::new(), Some(0));
        Part { name, units: 0, operations: 0, time: Duration::ZERO, latency, timeline, checksum, is_cut: false }
    }

    /// Counts units, which came evenly between two times.
    fn tell(&mut self, from: Duration, to: Duration, units: u64) {
        let [from, to] = [from, to].map(|time| (time.as_nanos() / STEP.as_nanos()) as usize);
        self.timeline.resize(self.timeline.len().max(to + 1), 0);
        let steps = (to - from + 1) as u64;
        self.timeline[from..to].iter_mut().for_each(|step| *step += units / steps);
        self.timeline[to] += units - units / steps * (steps - 1);
        self.units += units;
    }

    fn add(&mut self, other: &Part) {
        self.units += other.units;
        self.operations += other.operations;
        self.time = self.time.max(other.time);
        self.latency.add(&other.latency).expect("all have the same bounds");
        self.timeline.resize(self.timeline.len().max(other.timeline.len()), 0);
        self.timeline.iter_mut().zip(&other.timeline).for_each(|(sum, units)| *sum += units);
        self.is_cut |= other.is_cut;
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
    // When the operation timed next begins, and from when on units are not in the timeline yet.
    let (mut last, mut told) = (begun, begun);
    let mut untold = 0;
    for number in 0..count {
        if let Some(pace) = phase.pace {
            let due = begun + Duration::from_secs_f64(number as f64 / pace);
            wait_until(due);
            last = due;
        }
        let is_timed = phase.pace.is_some() || (number + 1) % phase.every == 0 || number + 1 == count;
        if is_timed && phase.pace.is_none() && phase.every > 1 {
            last = Instant::now();
        }
        let index = number * phase.threads + thread;
        let step = Step { thread, index, seen: &mut seen, value: &mut value, batch: &mut batch };
        untold += operation(&mut session, step)?;
        if number + 1 == phase.checked {
            checksum = Some(seen.sum);
        }
        if !is_timed {
            continue;
        }
        let now = Instant::now();
        part.latency.saturating_record(((now - last).as_nanos() as u64).max(1));
        part.tell(told - begun, now - begun, untold);
        untold = 0;
        part.operations = number + 1;
        (last, told) = (now, now);
        if now - begun >= phase.time {
            break;
        }
    }
    part.time = begun.elapsed();
    part.is_cut = phase.count.is_some() && part.operations < count;
    part.checksum = if phase.count == Some(part.operations * phase.threads) { Some(seen.sum) } else { checksum };
    seen.check()?;
    Ok(part)
}

/// Sleeps, although no thread sleeps that precisely: one that spins takes its core from the store and from the others. Who comes
/// late does what has become due meanwhile at once.
fn wait_until(due: Instant) {
    let wait = due.saturating_duration_since(Instant::now());
    if !wait.is_zero() {
        std::thread::sleep(wait);
    }
}

/// What this process has used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    /// To the disk, now or later: without what was thrown away before it got there.
    pub(crate) written_bytes: u64,
    /// By system calls, mostly from the system's cache.
    pub(crate) read_bytes: u64,
}

/// Processor time of this process, or of those that it started and waited for.
pub(crate) fn cpu_seconds(who: UsageWho) -> Result<f64> {
    let usage = getrusage(who)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

impl Usage {
    pub(crate) fn now() -> Result<Usage> {
        let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
        let field = |name: &str| {
            let line = io.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.and_then(|value| value.parse().ok()).unwrap_or(0_u64)
        };
        Ok(Usage {
            cpu_seconds: cpu_seconds(UsageWho::RUSAGE_SELF)?,
            written_bytes: field("write_bytes").saturating_sub(field("cancelled_write_bytes")),
            read_bytes: field("rchar"),
        })
    }

    pub(crate) fn since(self, before: Usage) -> Usage {
        Usage {
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
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
