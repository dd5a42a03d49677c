//! What was acknowledged, and whether a store still has it.
//!
//! # Invariants
//! L1. A check accepts exactly this: per thread the batches up to some number, none missing but those that were
//!     refused, which must be missing, and those that failed, which may; that number is not below what was
//!     promised; both families alike; the content what these batches make in their order.
//! L2. If a batch is there, so is everything that was acknowledged to anyone before it began: across threads,
//!     too, what survives is a prefix.
//! L3. Once a thread was told that the store is read-only, nothing that it writes is acknowledged before the store is
//!     opened anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use lsm_engine::{Db, Iter};

use super::script::{self, FAMILY_BYTES, OTHER, Plan};
use super::writer::{Kind, PENDING_MAX, Report};

/// What a store must still have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Promise {
    /// All that was acknowledged: the process ended, the system went on.
    Acknowledged,
    /// All that was synced: the power was cut.
    Synced,
}

/// What a store is known to hold.
#[derive(Clone)]
pub(crate) struct Ledger {
    plan: Plan,
    threads: Vec<Thread>,
    pub(crate) counts: Counts,
}

#[derive(Clone, Default)]
struct Thread {
    acknowledged: u64,
    synced: u64,
    /// The largest number that was heard of.
    heard: u64,
    refused: BTreeSet<u64>,
    failed: BTreeSet<u64>,
    /// The first that was answered with the store being read-only.
    latched: Option<u64>,
    /// Content as of the batches up to `applied`, which are on disk for good.
    content: BTreeMap<Vec<u8>, Vec<u8>>,
    applied: u64,
}

/// What was heard in all.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    pub(crate) done: usize,
    /// Processes whose store was read-only when all threads were done.
    pub(crate) ended_read_only: usize,
    pub(crate) ended: usize,
}

/// One family's content, markers apart.
#[derive(Default, PartialEq, Eq)]
struct Found {
    /// By thread and number: what the batch had seen of the others.
    markers: BTreeMap<(usize, u64), Vec<u8>>,
    content: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Ledger {
    pub(crate) fn new(plan: Plan) -> Ledger {
        let threads = vec![Thread::default(); plan.threads()];
        Ledger { plan, threads, counts: Counts::default() }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// For each thread the first number that was never tried as far as we know.
    pub(crate) fn first_numbers(&self) -> impl Iterator<Item = u64> {
        self.threads.iter().map(|thread| thread.heard + 1)
    }

    /// Notes what the writing process said.
    pub(crate) fn note(&mut self, report: Report) -> Result<()> {
        let Report { kind, thread: index, number } = report;
        let Some(thread) = self.threads.get_mut(index) else { bail!("a report of thread {index}, which there is not") };
        if matches!(kind, Kind::Acknowledged | Kind::Refused | Kind::Failed | Kind::Latched) {
            thread.heard = thread.heard.max(number);
        }
        match kind {
            Kind::Opened => self.threads.iter_mut().for_each(|thread| thread.latched = None),
            Kind::Acknowledged => {
                // What was submitted earlier may have been acknowledged before.
                let earlier = if self.plan.submits[index] { PENDING_MAX as u64 } else { 0 };
                let late = thread.latched.is_some_and(|latched| number > latched + earlier);
                ensure!(!late, "thread {index}: batch {number} was acknowledged by a store that was read-only");
                thread.acknowledged = number;
                self.counts.acknowledged += 1;
            }
            Kind::Synced => thread.synced = thread.synced.max(number),
            Kind::Refused => {
                thread.refused.insert(number);
                self.counts.refused += 1;
            }
            Kind::Failed | Kind::Latched => {
                thread.failed.insert(number);
                self.counts.failed += 1;
                if kind == Kind::Latched {
                    thread.latched.get_or_insert(number);
                }
            }
            Kind::Done => self.counts.done += 1,
            Kind::Ended => {
                self.counts.ended += 1;
                self.counts.ended_read_only += usize::from(number != 0);
            }
        }
        Ok(())
    }

    /// Acknowledged batches beyond those that the last check found.
    pub(crate) fn missing(&self) -> u64 {
        self.threads.iter().map(|thread| thread.acknowledged.saturating_sub(thread.applied)).sum()
    }

    /// Opens the store in `dir`, compares it with what it must hold, verifies it, and closes it.
    pub(crate) fn reopen(&mut self, dir: &Path, promise: Promise) -> Result<()> {
        let db = self.plan.options().open(dir).context("reopen")?;
        self.check(&db, promise)?;
        db.verify().context("verify")?;
        db.close().context("close")
    }

    /// Compares the store with what it must hold (L1, L2).
    pub(crate) fn check(&mut self, db: &Db, promise: Promise) -> Result<()> {
        let found = self.found(db)?;
        for index in 0..self.threads.len() {
            let last = self.check_numbers(index, &found, promise)?;
            let thread = &mut self.threads[index];
            for number in thread.applied + 1..=last {
                if found.markers.contains_key(&(index, number)) {
                    script::apply(&self.plan, index, number, &mut thread.content);
                }
            }
            thread.applied = last;
        }
        let expected = self.threads.iter().flat_map(|thread| &thread.content);
        let differs = !found.content.iter().eq(expected.clone());
        if differs {
            let wrong = expected.clone().find(|(key, value)| found.content.get(*key) != Some(value));
            let more = found.content.keys().find(|key| !expected.clone().any(|(other, _)| other == *key));
            bail!(
                "the content is not what its batches make: {} keys, expected {}; wrong: {:?}, too many: {more:?}",
                found.content.len(),
                expected.count(),
                wrong.map(|(key, _)| key)
            );
        }
        Ok(())
    }

    /// The content, which is the same in both families.
    fn found(&self, db: &Db) -> Result<Found> {
        let found = read(db.iter(), FAMILY_BYTES[0])?;
        let other = match db.column_families().iter().any(|name| name == OTHER) {
            true => read(db.column_family(OTHER)?.iter(), FAMILY_BYTES[1])?,
            false => Found::default(),
        };
        if found != other {
            let marker = found.markers.keys().chain(other.markers.keys());
            let half = marker.copied().find(|marker| found.markers.get(marker) != other.markers.get(marker));
            bail!("half a batch: the families differ; first marker (thread, batch): {half:?}");
        }
        Ok(found)
    }

    /// Checks which batches of a thread are there; returns the last one.
    fn check_numbers(&mut self, index: usize, found: &Found, promise: Promise) -> Result<u64> {
        let unreported = self.plan.submits[index] && self.counts.refused > 0;
        let thread = &mut self.threads[index];
        let mut there = found.markers.range((index, 0)..(index + 1, 0));
        let last = there.clone().next_back().map_or(0, |((_, number), _)| *number);
        let promised = match promise {
            Promise::Acknowledged => thread.acknowledged,
            Promise::Synced => thread.synced,
        };
        let mut next = there.next();
        for number in 1..=last.max(promised) {
            let is_there = next.is_some_and(|((_, there), _)| *there == number);
            if is_there {
                next = there.next();
            }
            match (is_there, thread.refused.contains(&number)) {
                (true, true) => bail!("thread {index}: batch {number} was refused and is there"),
                // Refused and followed by another, and the process ended before it could tell.
                (false, false) if unreported && number > thread.heard => {
                    thread.failed.insert(number);
                }
                (false, false) if !thread.failed.contains(&number) => {
                    let what = if number <= promised { "is lost" } else { "is a hole" };
                    bail!(
                        "thread {index}: batch {number} {what}; {promised} are promised ({promise:?}), {last} is the last there"
                    )
                }
                _ => {}
            }
        }
        for ((_, number), seen) in found.markers.range((index, 0)..(index + 1, 0)) {
            for (other, seen) in seen.chunks_exact(8).enumerate() {
                let seen = u64::from_le_bytes(seen.try_into().expect("chunks of 8"));
                let before = seen == 0 || found.markers.contains_key(&(other, seen));
                ensure!(
                    before,
                    "a hole: batch {number} of thread {index} is there, batch {seen} of thread {other} before it is not"
                );
            }
        }
        Ok(last)
    }
}

fn read(items: Iter, family: u8) -> Result<Found> {
    let mut found = Found::default();
    for item in items {
        let (key, value) = item?;
        let Some((&first, body)) = value.split_first() else { bail!("a value without its family's byte") };
        ensure!(first == family, "a value of family {first} in family {family}");
        match script::of_marker(&key) {
            Some(marker) => drop(found.markers.insert(marker, body.to_vec())),
            None => drop(found.content.insert(key.to_vec(), body.to_vec())),
        }
    }
    Ok(found)
}
