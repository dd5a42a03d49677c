//! The process that writes, and says over a pipe what was acknowledged. It lives until it is killed, its parent
//! is gone, or it has written as many batches as it was told.
//!
//! # Invariants
//! W1. A report leaves for the pipe only after the call that it tells of has returned: what the parent has read
//!     was acknowledged, and whatever happens to this process does not change that.
//! W2. A refused or failed batch is never tried again under its number.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lsm_engine::{Commit, Db, Durability, ErrorKind, WriteOptions};

use super::script::{self, OTHER, Plan};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    seed: u64,
    /// The first number of each thread, or a later one if the store has more.
    #[arg(long, value_delimiter = ',')]
    from: Vec<u64>,
    /// Batches of each thread, after which the process waits for its end; no limit if left out.
    #[arg(long)]
    batches: Option<u64>,
    /// Makes no batch ask for a sync later than this one in so many.
    #[arg(long)]
    sync_one_in: Option<usize>,
}

/// What a report tells of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The store is open.
    Opened = 1,
    /// A batch was acknowledged.
    Acknowledged = 2,
    /// All of a thread's batches up to this one are on stable storage.
    Synced = 3,
    /// A batch was answered with [`ErrorKind::NoSpace`]: it has had no effect.
    Refused = 4,
    /// A batch failed otherwise: it may or may not be there.
    Failed = 5,
    /// As failed, because the store has become read-only.
    Latched = 6,
    /// A thread has written all it was told to.
    Done = 7,
    /// All threads have, and the background is at rest; the number is 1 if the store is read-only.
    Ended = 8,
}

const KINDS: [Kind; 8] = [
    Kind::Opened,
    Kind::Acknowledged,
    Kind::Synced,
    Kind::Refused,
    Kind::Failed,
    Kind::Latched,
    Kind::Done,
    Kind::Ended,
];

/// One line of what the parent hears.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) kind: Kind,
    pub(crate) thread: usize,
    pub(crate) number: u64,
}

/// Bytes of a report: few enough to go into a pipe in one piece.
pub(crate) const REPORT_BYTES: usize = 16;

impl Report {
    fn encode(self) -> [u8; REPORT_BYTES] {
        let mut bytes = [0; REPORT_BYTES];
        bytes[0] = self.kind as u8;
        bytes[1] = self.thread as u8;
        bytes[8..].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: [u8; REPORT_BYTES]) -> Option<Report> {
        let kind = KINDS.into_iter().find(|kind| *kind as u8 == bytes[0])?;
        let number = u64::from_le_bytes(bytes[8..].try_into().ok()?);
        Some(Report { kind, thread: usize::from(bytes[1]), number })
    }
}

/// What all threads share.
struct Shared {
    plan: Plan,
    db: Db,
    pipe: File,
    /// The last acknowledged number of each thread.
    acknowledged: Vec<AtomicU64>,
    batches: u64,
}

/// Runs the process.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    end_with_the_parent();
    let mut plan = Plan::of(arguments.seed);
    plan.sync_one_in = arguments.sync_one_in.unwrap_or(plan.sync_one_in);
    let pipe = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    let db = plan.options().open(&arguments.dir)?;
    db.column_family(OTHER)?;
    let threads = plan.threads();
    let batches = arguments.batches.unwrap_or(u64::MAX);
    let acknowledged = (0..threads).map(|_| AtomicU64::new(0)).collect();
    let shared = Shared { plan, db, pipe, acknowledged, batches };
    shared.tell(Kind::Opened, 0, 0)?;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                let first = arguments.from.get(thread).copied().unwrap_or(1);
                let shared = &shared;
                scope.spawn(move || Thread::new(shared, thread, first)?.run())
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a panic ends the process"))
    })?;
    // Where a failure keeps the background from coming to rest, this says so and does not wait.
    let _ = shared.db.wait_for_compactions();
    let read_only = shared.db.stats().failure.is_some();
    shared.tell(Kind::Ended, 0, u64::from(read_only))?;
    loop {
        std::thread::park();
    }
}

/// Nobody reads on when the parent is gone: its end of our input closes with it.
fn end_with_the_parent() {
    std::thread::spawn(|| {
        while matches!(std::io::stdin().read(&mut [0; 16]), Ok(1..)) {}
        std::process::exit(0);
    });
}

impl Shared {
    /// Keeps W1.
    fn tell(&self, kind: Kind, thread: usize, number: u64) -> Result<()> {
        let report = Report { kind, thread, number };
        Ok((&self.pipe).write_all(&report.encode())?)
    }
}

struct Thread<'a> {
    shared: &'a Shared,
    thread: usize,
    next: u64,
    /// Submitted and not yet waited for, oldest first.
    pending: VecDeque<(u64, Commit)>,
}

/// Batches that a thread submits ahead.
pub(crate) const PENDING_MAX: usize = 16;

/// Failed batches after which a thread gives up; before, any of them could be acknowledged wrongly.
const FAILURES_MAX: u64 = 200;

/// How long a thread waits after a failure.
const PAUSE: Duration = Duration::from_millis(5);

/// How a batch was answered.
enum Outcome {
    /// Acknowledged, or submitted and not yet answered.
    Acknowledged,
    /// No space; there will be, once it is freed.
    Refused,
    Failed,
}

impl Thread<'_> {
    fn new(shared: &Shared, thread: usize, first: u64) -> Result<Thread<'_>> {
        let from = script::marker(thread, 0);
        let last = shared.db.range(from..script::marker(thread + 1, 0)).next_back().transpose()?;
        let last = last.and_then(|(key, _)| script::of_marker(&key)).map_or(0, |(_, number)| number);
        Ok(Thread { shared, thread, next: first.max(last + 1), pending: VecDeque::new() })
    }

    fn run(mut self) -> Result<()> {
        let (shared, thread) = (self.shared, self.thread);
        let end = self.next.saturating_add(shared.batches);
        let mut failures = 0;
        while self.next < end && failures < FAILURES_MAX {
            let number = self.next;
            self.next += 1;
            match self.write(number)? {
                Outcome::Acknowledged => {}
                Outcome::Refused => std::thread::sleep(PAUSE),
                Outcome::Failed => {
                    failures += 1;
                    std::thread::sleep(PAUSE);
                }
            }
            self.beside(number)?;
        }
        while let Some((number, commit)) = self.pending.pop_front() {
            self.answered(number, commit.wait())?;
        }
        shared.tell(Kind::Done, thread, 0)
    }

    /// Writes or submits one batch.
    fn write(&mut self, number: u64) -> Result<Outcome> {
        let Shared { plan, db, acknowledged, .. } = self.shared;
        let seen: Vec<u64> = acknowledged.iter().map(|number| number.load(Ordering::SeqCst)).collect();
        let durability = if plan.syncs(self.thread, number) { Durability::Synced } else { Durability::Buffered };
        let options = WriteOptions::new().durability(durability);
        let batch = match script::batch(plan, db, self.thread, number, &seen) {
            Ok(batch) => batch,
            Err(error) => return self.answered(number, Err(error)),
        };
        if !plan.submits[self.thread] {
            return self.answered(number, db.write_with(batch, &options));
        }
        self.pending.push_back((number, db.submit_with(batch, &options)));
        if self.pending.len() < PENDING_MAX {
            return Ok(Outcome::Acknowledged);
        }
        let (number, commit) = self.pending.pop_front().expect("one was pushed above");
        self.answered(number, commit.wait())
    }

    /// Tells of a batch's outcome.
    fn answered(&self, number: u64, outcome: lsm_engine::Result<()>) -> Result<Outcome> {
        let (shared, thread) = (self.shared, self.thread);
        match outcome {
            Ok(()) => {
                shared.tell(Kind::Acknowledged, thread, number)?;
                shared.acknowledged[thread].store(number, Ordering::SeqCst);
                if shared.plan.syncs(thread, number) {
                    shared.tell(Kind::Synced, thread, number)?;
                }
                Ok(Outcome::Acknowledged)
            }
            Err(error) if error.kind() == ErrorKind::NoSpace => {
                shared.tell(Kind::Refused, thread, number)?;
                Ok(Outcome::Refused)
            }
            Err(error) => {
                eprintln!("thread {thread}, batch {number}: {error:?}");
                let latched = error.kind() == ErrorKind::ReadOnly;
                shared.tell(if latched { Kind::Latched } else { Kind::Failed }, thread, number)?;
                Ok(Outcome::Failed)
            }
        }
    }

    /// What happens beside the writes: reads, and work that the store would do later by itself.
    fn beside(&self, number: u64) -> Result<()> {
        let Shared { db, acknowledged, .. } = self.shared;
        if number.is_multiple_of(50) {
            let last = acknowledged[self.thread].load(Ordering::SeqCst);
            let marker = script::marker(self.thread, last);
            // A read may fail, as any call; what it says must be true.
            let there = last == 0 || db.contains_key(marker).unwrap_or(true);
            ensure!(there, "batch {last} of thread {} was acknowledged and cannot be read", self.thread);
        }
        if number.is_multiple_of(150) {
            let last = acknowledged[self.thread].load(Ordering::SeqCst);
            if last > 0 && db.sync().is_ok() {
                self.shared.tell(Kind::Synced, self.thread, last).context("pipe")?;
            }
        }
        // Each of these may fail, and the writes tell of it.
        if number.is_multiple_of(777) {
            let _ = db.flush();
        }
        if number.is_multiple_of(3_500) {
            let _ = db.compact_range(..);
        }
        Ok(())
    }
}
