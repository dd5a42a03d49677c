//! Opening after the process was killed.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Bench, Measured};
use crate::engines::{Engine, Session};
use crate::measure::{Phase, Usage, run};
use crate::rows::Seen;
use crate::schedule::own_process;

/// Rows between two reports of the process that will be killed.
const REPORTED: u64 = 1000;

/// Puts rows in random order and tells on the standard output how many, until it is killed.
pub(crate) fn write_until_killed<E: Engine>(bench: &Bench<'_>) -> Result<()> {
    let engine = E::open(bench.directory, &bench.scale.config())?;
    let mut session = engine.session()?;
    let mut out = std::io::stdout();
    let mut value = Vec::new();
    for (number, row) in bench.shuffled_rows().into_iter().enumerate() {
        bench.rows.value(u64::from(row), 0, &mut value);
        session.put(&bench.rows.key(u64::from(row)), &value)?;
        if (number as u64 + 1).is_multiple_of(REPORTED) {
            writeln!(out, "{}", number + 1)?;
            out.flush()?;
        }
    }
    loop {
        std::thread::park();
    }
}

/// Starts that process, kills it when it has put half of all rows, and opens what it left.
pub(super) fn reopen<E: Engine>(bench: &Bench<'_>) -> Result<Measured> {
    let scale = serde_json::to_string(bench.scale)?;
    let mut child = own_process("write-until-killed", bench.engine, &scale, bench.rows.shape(), bench.directory)?
        .stdout(Stdio::piped())
        .spawn()?;
    let mut acknowledged = 0;
    let lines = BufReader::new(child.stdout.take().context("stdout is a pipe")?).lines();
    let end = Instant::now() + Duration::from_secs_f64(bench.scale.seconds_max);
    for line in lines {
        acknowledged = line?.parse()?;
        if acknowledged >= bench.scale.rows / 2 || Instant::now() >= end {
            break;
        }
    }
    child.kill()?;
    child.wait()?;
    ensure!(acknowledged > 0, "the writing process ended before it had written anything");
    let before = Usage::now()?;
    let begun = Instant::now();
    let engine = E::open(bench.directory, &bench.scale.config())?;
    let time = begun.elapsed();
    let usage = Usage::now()?.since(before);
    // One opening is one operation; its time is the figure.
    let mut part = run(&engine, Phase { count: Some(1), ..Phase::new("open", Duration::MAX) }, |_, _| Ok(1))?;
    part.time = time;
    part.latency.clear();
    part.latency.saturating_record(time.as_nanos() as u64);
    let mut session = engine.session()?;
    let (mut seen, mut lost) = (Seen::default(), 0);
    for row in bench.shuffled_rows().into_iter().take(acknowledged as usize) {
        lost += u64::from(!session.get(&bench.rows.key(u64::from(row)), &mut seen)?);
    }
    seen.check()?;
    drop(session);
    engine.close()?;
    Ok(Measured {
        parts: vec![part],
        settle: Duration::ZERO,
        user_bytes: 0,
        live_bytes: acknowledged * bench.rows.row_bytes() as u64,
        usage,
        pending_bytes: None,
        lost: Some(lost),
    })
}
