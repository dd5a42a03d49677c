//! Scenarios that read and write at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, Zipf};

use super::{Bench, Done};
use crate::engines::{Engine, Session};
use crate::measure::{Phase, run};

/// Puts per second of the writer that does not go at full speed.
const WRITES_PER_SECOND: f64 = 20_000.0;

/// One reader beside one writer.
pub(super) fn read_while_writing<E: Engine>(bench: &Bench<'_>, engine: &E, name: &str) -> Result<Done> {
    let Bench { scale, rows, .. } = bench;
    let drawn = bench.random_rows(1 << 20, scale.rows);
    let row = |index: u64| u64::from(drawn[index as usize % drawn.len()]);
    let pace = (name == "read-while-writing").then_some(WRITES_PER_SECOND);
    let (reads, writes) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            run(engine, Phase { pace, ..Phase::new("writes", scale.phase()) }, |session, step| {
                let row = row(step.index * 7 + 3);
                rows.value(row, 1 + step.index, step.value);
                session.put(&rows.key(row), step.value)?;
                Ok(1)
            })
        });
        let reads = run(engine, Phase { every: 4, ..Phase::new("reads", scale.phase()) }, |session, step| {
            session.refresh()?;
            ensure!(session.get(&rows.key(row(step.index)), step.seen)?, "a row is missing");
            Ok(1)
        });
        (reads, writer.join().expect("a panic ends the process"))
    });
    let (mut reads, writes) = (reads?, writes?);
    // What was read depends on who was faster.
    reads.checksum = None;
    let user_bytes = writes.units * rows.row_bytes() as u64;
    Ok((vec![reads, writes], user_bytes, scale.rows * rows.row_bytes() as u64))
}

/// What a step of YCSB does.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Get,
    Update,
    Insert,
    Scan,
    ReadModifyWrite,
}

/// Steps that are drawn ahead.
const DRAWN: usize = 1 << 20;

/// The six workloads of YCSB.
pub(super) fn ycsb<E: Engine>(bench: &Bench<'_>, engine: &E, name: &str) -> Result<Done> {
    let Bench { scale, rows, .. } = bench;
    let (share, kind, other) = match name {
        "ycsb-a" => (0.5, Kind::Get, Kind::Update),
        "ycsb-b" => (0.95, Kind::Get, Kind::Update),
        "ycsb-c" => (1.0, Kind::Get, Kind::Update),
        "ycsb-d" => (0.95, Kind::Get, Kind::Insert),
        "ycsb-e" => (0.95, Kind::Scan, Kind::Insert),
        _ => (0.5, Kind::Get, Kind::ReadModifyWrite),
    };
    let mut random = SmallRng::seed_from_u64(29);
    let zipf = Zipf::new(scale.rows as f64, 0.99).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let mut draw = fastrand::Rng::with_seed(31);
    let steps: Vec<(u32, Kind)> = (0..DRAWN)
        .map(|_| (zipf.sample(&mut random) as u32 - 1, if draw.f64() < share { kind } else { other }))
        .collect();
    let inserted = AtomicU64::new(0);
    let written = AtomicU64::new(0);
    // Whether something was written since the last read.
    let is_stale = AtomicBool::new(true);
    let mut part = run(engine, Phase::new("operations", scale.phase()), |session, step| {
        let (rank, kind) = steps[step.index as usize % DRAWN];
        let there = scale.rows + inserted.load(Ordering::Relaxed);
        let row = match name {
            // The latest are the most wanted.
            "ycsb-d" => there - 1 - u64::from(rank),
            // Ranks are scattered over the keys.
            _ => (u64::from(rank).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8) % scale.rows,
        };
        if !matches!(kind, Kind::Update | Kind::Insert) && is_stale.load(Ordering::Relaxed) {
            session.refresh()?;
        }
        is_stale.store(!matches!(kind, Kind::Get | Kind::Scan), Ordering::Relaxed);
        match kind {
            Kind::Get => ensure!(session.get(&rows.key(row), step.seen)?, "a row is missing"),
            Kind::Scan => drop(session.scan(
                Some(&rows.key(row)),
                false,
                1 + (step.index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % 100,
                step.seen,
            )?),
            Kind::Update | Kind::ReadModifyWrite => {
                if kind == Kind::ReadModifyWrite {
                    ensure!(session.get(&rows.key(row), step.seen)?, "a row is missing");
                }
                rows.value(row, 1 + step.index, step.value);
                session.put(&rows.key(row), step.value)?;
                written.fetch_add(1, Ordering::Relaxed);
            }
            Kind::Insert => {
                rows.value(there, 0, step.value);
                session.put(&rows.key(there), step.value)?;
                inserted.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(1)
    })?;
    part.time = part.time.max(Duration::from_nanos(1));
    let (written, inserted) = (written.into_inner(), inserted.into_inner());
    let bytes = rows.row_bytes() as u64;
    Ok((vec![part], (written + inserted) * bytes, (scale.rows + inserted) * bytes))
}
