//! Scenarios that write.

use std::time::Duration;

use anyhow::Result;

use super::{Bench, Done};
use crate::engines::{Engine, Session};
use crate::measure::{Phase, run};
use crate::rows::Rows;

/// One put per operation.
pub(super) fn puts<E: Engine>(bench: &Bench<'_>, engine: &E, name: &str) -> Result<Done> {
    let Bench { scale, rows, .. } = bench;
    let order = bench.shuffled_rows();
    let in_order = name == "fillseq";
    let salt = u64::from(name == "overwrite");
    let syncs = name.starts_with("sync");
    let threads = match name {
        "fillrandom-4t" => scale.threads.unwrap_or(4),
        "sync-8t" => scale.threads.unwrap_or(8),
        _ => 1,
    };
    let phase = Phase {
        threads,
        count: (!syncs).then_some(scale.rows),
        time: if syncs { scale.phase() } else { Duration::from_secs_f64(scale.seconds_max) },
        ..Phase::new("puts", Duration::ZERO)
    };
    let part = run(engine, phase, |session, step| {
        let row = if in_order { step.index } else { u64::from(order[(step.index % scale.rows) as usize]) };
        rows.value(row, salt, step.value);
        session.put(&rows.key(row), step.value)?;
        Ok(1)
    })?;
    let user_bytes = part.units * rows.row_bytes() as u64;
    let live = if name == "overwrite" { scale.rows * rows.row_bytes() as u64 } else { user_bytes };
    Ok((vec![part], user_bytes, live))
}

/// Batches.
pub(super) fn batches<E: Engine>(bench: &Bench<'_>, engine: &E, name: &str) -> Result<Done> {
    let Bench { scale, rows, .. } = bench;
    let size = if name == "batch-100" { 100 } else { 1000 };
    let order = bench.shuffled_rows();
    let phase =
        Phase { count: Some(scale.rows / size), ..Phase::new("batches", Duration::from_secs_f64(scale.seconds_max)) };
    let mut part = run(engine, phase, |session, step| {
        let row = |at| {
            let index = step.index * size + at as u64;
            if name == "bulk" { index } else { u64::from(order[index as usize]) }
        };
        bench.fill(step.batch, (0..size as usize).map(row), 0);
        match name {
            "bulk" => session.append_all(step.batch)?,
            _ => session.put_all(step.batch)?,
        }
        Ok(size)
    })?;
    if name == "bulk" {
        // The figure is that of a store that is ready.
        part.time += engine.settled()?;
    }
    let user_bytes = part.units * rows.row_bytes() as u64;
    Ok((vec![part], user_bytes, user_bytes))
}

/// Large values: put, get, overwrite.
pub(super) fn values<E: Engine>(bench: &Bench<'_>, engine: &E, name: &str) -> Result<Done> {
    let Bench { scale, .. } = bench;
    let value_bytes = match name {
        "values-4k" => 4 << 10,
        "values-16k" => 16 << 10,
        _ => 64 << 10,
    };
    let rows = Rows::new(crate::rows::KeyShape::Number, value_bytes);
    let count = (scale.large_bytes / value_bytes as u64).max(1);
    let order = bench.random_rows(1 << 16, count);
    let limit = Duration::from_secs_f64(scale.seconds_max);
    let put = |name, salt| {
        run(engine, Phase { count: Some(count), ..Phase::new(name, limit) }, |session, step| {
            // Every row once, in an order that jumps about.
            let row = (step.index * 7919) % count;
            rows.value(row, salt, step.value);
            session.put(&rows.key(row), step.value)?;
            Ok(1)
        })
    };
    let puts = put("puts", 0)?;
    engine.settle()?;
    let gets = run(engine, Phase::new("gets", scale.phase() / 2), |session, step| {
        let row = u64::from(order[step.index as usize % order.len()]);
        Ok(u64::from(session.get(&rows.key(row), step.seen)?))
    })?;
    let overwrites = put("overwrites", 1)?;
    let user_bytes = (puts.units + overwrites.units) * rows.row_bytes() as u64;
    let live_bytes = puts.units * rows.row_bytes() as u64;
    Ok((vec![puts, gets, overwrites], user_bytes, live_bytes))
}

/// Deletes every other row, then reads what is left.
pub(super) fn delete_half<E: Engine>(bench: &Bench<'_>, engine: &E) -> Result<Done> {
    let Bench { scale, rows, .. } = bench;
    let order = bench.shuffled_rows();
    let limit = Duration::from_secs_f64(scale.seconds_max);
    let phase = Phase { count: Some(scale.rows / 2), ..Phase::new("deletes", limit) };
    let deletes = run(engine, phase, |session, step| {
        session.delete(&rows.key(u64::from(order[step.index as usize])))?;
        Ok(1)
    })?;
    let phase = Phase { count: Some(1), ..Phase::new("scan", limit) };
    let mut scan = run(engine, phase, |session, step| {
        session.refresh()?;
        Ok(session.scan(None, false, usize::MAX, step.seen)? as u64)
    })?;
    // Who did not get to all deletions in time reads more than others.
    scan.checksum = scan.checksum.filter(|_| deletes.units == scale.rows / 2);
    let live_bytes = scan.units * rows.row_bytes() as u64;
    let user_bytes = deletes.units * rows.key(0).as_ref().len() as u64;
    Ok((vec![scan, deletes], user_bytes, live_bytes))
}

/// Rows that a queue holds.
const QUEUE_ROWS: u64 = 10_000;

/// Pushes at the end and pops at the front.
pub(super) fn queue<E: Engine>(bench: &Bench<'_>, engine: &E) -> Result<Done> {
    let Bench { scale, rows, .. } = bench;
    let mut batch = Vec::new();
    bench.fill(&mut batch, (0..QUEUE_ROWS as u32).map(u64::from), 0);
    engine.session()?.put_all(&batch)?;
    let part = run(engine, Phase::new("pushes and pops", scale.phase()), |session, step| {
        let row = QUEUE_ROWS + step.index;
        rows.value(row, 0, step.value);
        session.put(&rows.key(row), step.value)?;
        let first = session.first()?;
        let expected = rows.key(step.index);
        anyhow::ensure!(first.as_deref() == Some(expected.as_ref()), "the front of the queue is wrong");
        session.delete(&expected)?;
        Ok(2)
    })?;
    let user_bytes = (part.units / 2 + QUEUE_ROWS) * rows.row_bytes() as u64;
    Ok((vec![part], user_bytes, QUEUE_ROWS * rows.row_bytes() as u64))
}
