//! G: eight threads write atomic batches and read moments of a store that flushes and compacts all the time; what
//! they saw must be what one transaction after the other would have shown.
//!
//! A seed is a store and a history of its own: mostly in memory, one of eight on a real file system. Threads are
//! real, so a seed repeats what clients do and not in which order they meet: a finding prints the anomaly, and the
//! same seed run a few times mostly shows it again.

mod check;
mod client;
mod history;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use lsm_engine::{ColumnFamily, ColumnFamilyOptions, Db, Options, SegmentAccess};
use lsm_fs::MemFs;
use lsm_testkit::Choices;

use crate::history::STORE;
use crate::lane::{Lane, Steps};
use client::{Client, Concatenate, last_read};
use history::{Moments, Transaction, What};

/// See the module.
pub(crate) struct Isolation;

const CLIENTS: usize = 8;

/// Transactions of each client in a seed.
const TRANSACTIONS: usize = 500;

/// One seed of so many is on a real file system.
const REAL_FILES_ONE_IN: u64 = 8;

impl Lane for Isolation {
    fn letter(&self) -> char {
        'G'
    }

    fn name(&self) -> &'static str {
        "isolation"
    }

    fn about(&self) -> &'static str {
        "eight threads write batches and read snapshots; their histories must be those of one after the other"
    }

    fn unit(&self) -> &'static str {
        "transactions"
    }

    fn figure(&self) -> u64 {
        300_000
    }

    fn parallel(&self) -> usize {
        1
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn run(&self, seed: u64, steps: &mut Steps) -> Result<()> {
        if !steps.begin(0) {
            return Ok(());
        }
        let history = if seed % REAL_FILES_ONE_IN == REAL_FILES_ONE_IN - 1 {
            let dir = tempfile::tempdir().context("a directory for a real store")?;
            on_store(seed, || options(seed).open(dir.path().join("store")))?
        } else {
            let fs = MemFs::new();
            on_store(seed, || options(seed).fs(Arc::new(fs.clone())).open(STORE))?
        };
        check::check(&history).map_err(|anomaly| anyhow!(anomaly))?;
        history.iter().for_each(|_| steps.case());
        let reads = history.iter().filter(|transaction| matches!(transaction.what, What::Read { .. })).count();
        steps.count("reads", reads as u64);
        steps.count("batches", (history.len() - reads) as u64);
        Ok(())
    }
}

/// Everything small, so that flushes and compactions run all the time.
fn options(seed: u64) -> Options {
    let access = if seed.is_multiple_of(2) { SegmentAccess::Mapped } else { SegmentAccess::Positioned };
    Options::new()
        .write_buffer_size(16 << 10)
        .max_bytes_for_level_base(64 << 10)
        .target_file_size(16 << 10)
        .level0_file_num_compaction_trigger(2)
        .log_access(access)
        .concurrent_writers(if seed % 4 < 2 { 4 } else { 1 })
}

fn lists_of(db: &Db) -> Result<ColumnFamily> {
    Ok(db.column_family_with("lists", ColumnFamilyOptions::new().merge_operator(Arc::new(Concatenate)))?)
}

/// Runs the clients of a seed, and reads what is there in the end and after a restart.
fn on_store(seed: u64, open: impl Fn() -> lsm_engine::Result<Db>) -> Result<Vec<Transaction>> {
    let moments = Moments::default();
    let db = open()?;
    let lists = lists_of(&db)?;
    let mut history = run_clients(seed, &db, &lists, &moments)?;
    history.push(last_read(&db, &lists, &moments)?);
    drop(lists);
    db.close()?;
    let db = open()?;
    history.push(last_read(&db, &lists_of(&db)?, &moments)?);
    Ok(history)
}

fn run_clients(seed: u64, db: &Db, lists: &ColumnFamily, moments: &Moments) -> Result<Vec<Transaction>> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let keeper = scope.spawn(|| maintain(Choices::from_seed(seed), db, &done));
        let clients: Vec<_> = (0..CLIENTS as u64)
            .map(|number| {
                let choices = Choices::from_seed(seed * CLIENTS as u64 + number);
                let client = Client::new(db, lists, moments, choices, (number << 32) + 1);
                scope.spawn(move || client.run(TRANSACTIONS))
            })
            .collect();
        let mut history = Vec::new();
        let mut outcome = Ok(());
        for client in clients {
            match client.join() {
                Ok(Ok(transactions)) => history.extend(transactions),
                Ok(Err(error)) => outcome = Err(error),
                Err(_) => outcome = Err(anyhow!("a client panicked")),
            }
        }
        done.store(true, Ordering::Release);
        ensure!(keeper.join().is_ok_and(|kept| kept.is_ok()), "flush, compaction or checkpoint failed");
        outcome.map(|()| history)
    })
}

/// Freezes, flushes and compacts for as long as there are clients.
fn maintain(mut choices: Choices, db: &Db, done: &AtomicBool) -> lsm_engine::Result<()> {
    while !done.load(Ordering::Acquire) {
        match choices.below(4) {
            0 => db.compact_range(..)?,
            1 => db.sync()?,
            _ => db.flush()?,
        }
        std::thread::sleep(Duration::from_micros(choices.below(2000) as u64));
    }
    Ok(())
}
