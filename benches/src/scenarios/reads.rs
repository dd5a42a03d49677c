//! Scenarios that read.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::{Bench, Done, Start};
use crate::engines::{Engine, Session};
use crate::measure::{Phase, run};
use crate::rows::Seen;

/// Random rows that are drawn ahead.
const DRAWN: usize = 1 << 20;

/// Brings what the scenario reads into the caches.
pub(super) fn warm<E: Engine>(bench: &Bench<'_>, engine: &E, name: &str) -> Result<()> {
    if super::named(name)?.start == Start::Empty {
        return Ok(());
    }
    let mut session = engine.session()?;
    let mut seen = Seen::default();
    let count = session.scan(None, false, usize::MAX, &mut seen)?;
    ensure!(count as u64 == bench.scale.rows, "the loaded store has {count} rows, not {}", bench.scale.rows);
    if name.starts_with("scan") {
        return seen.check();
    }
    let end = Instant::now() + bench.scale.phase();
    for (number, row) in bench.shuffled_rows().into_iter().enumerate() {
        session.get(&bench.rows.key(u64::from(row)), &mut seen)?;
        if number % 64 == 0 && Instant::now() >= end {
            break;
        }
    }
    seen.check()
}

/// Gets, seeks and whatever else is repeated for a time.
pub(super) fn gets_and_seeks<E: Engine>(bench: &Bench<'_>, engine: &E, name: &str) -> Result<Done> {
    let Bench { scale, rows, .. } = bench;
    let drawn = bench.random_rows(DRAWN, scale.rows);
    let row = |thread: u64, index: u64| u64::from(drawn[(index + thread * 7919) as usize % DRAWN]);
    let (every, threads) = match name {
        "get-2t" => (8, scale.threads.unwrap_or(2)),
        "get-1t" | "get-missing" | "get-small-cache" => (8, 1),
        _ => (1, 1),
    };
    let phase = Phase { every, threads, ..Phase::new("reads", scale.phase()) };
    let part = run(engine, phase, |session, step| {
        let row = row(step.thread, step.index);
        let key = rows.key(row);
        let done = match name {
            "get-missing" => {
                ensure!(!session.get(&rows.absent(row), step.seen)?, "a key that was never put is there");
                1
            }
            "multi-get" | "multi-get-near" => {
                let near = name == "multi-get-near";
                let keys: [_; 32] = std::array::from_fn(|at| {
                    let drawn = u64::from(drawn[(step.index as usize * 32 + at) % DRAWN]);
                    rows.key(if near { (row + drawn % 1000).min(scale.rows - 1) } else { drawn })
                });
                session.get_all(&keys, step.seen)?
            }
            "seek-10" | "seek-100" | "seek-10-back" => {
                let limit = if name == "seek-100" { 100 } else { 10 };
                let count = session.scan(Some(&key), name == "seek-10-back", limit, step.seen)?;
                ensure!(count > 0, "nothing is found where a row is");
                1
            }
            _ => {
                ensure!(session.get(&key, step.seen)?, "a row is missing");
                1
            }
        };
        Ok(done as u64)
    })?;
    Ok((vec![part], 0, scale.rows * rows.row_bytes() as u64))
}

/// Newer runs over the loaded store.
pub(super) const RUNS: u8 = 4;

/// Puts them there.
pub(super) fn add_runs<E: Engine>(bench: &Bench<'_>, engine: &E) -> Result<()> {
    let drawn = bench.random_rows(DRAWN, bench.scale.rows);
    let per_run = bench.scale.rows as usize / 20;
    let mut batch = Vec::new();
    for run in 0..usize::from(RUNS) {
        bench.fill(&mut batch, (0..per_run).map(|at| u64::from(drawn[(run * per_run + at) % DRAWN])), 1);
        batch.chunks(1000).try_for_each(|rows| engine.session()?.put_all(rows))?;
        engine.flush()?;
    }
    Ok(())
}

/// Reads all rows, a few times.
pub(super) fn scan<E: Engine>(bench: &Bench<'_>, engine: &E, name: &str) -> Result<Done> {
    let Bench { scale, rows, .. } = bench;
    let phase = Phase { checked: 1, ..Phase::new("scans", scale.phase()) };
    let part = run(engine, phase, |session, step| {
        session.refresh()?;
        let count = session.scan(None, name == "scan-back", usize::MAX, step.seen)? as u64;
        ensure!(count == scale.rows, "a scan finds {count} rows of {}", scale.rows);
        Ok(count)
    })?;
    Ok((vec![part], 0, scale.rows * rows.row_bytes() as u64))
}
