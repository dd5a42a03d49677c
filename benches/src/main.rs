//! Load and get rates of the store: the two figures that any change should be held against.
//!
//! ```text
//! cargo xtask bench [--keys N] [--value-bytes N] [--threads N] [--directory DIR]
//! ```
//!
//! Keys have 16 bytes and come in random order; values are half random, so they compress to about 60 %.
//! Each figure comes with the command's own configuration, so that a run can be repeated.

use anyhow::{Context, Result, bail};
use lsm_engine::{Db, Durability, Options, WriteBatch, WriteOptions};
use std::path::PathBuf;
use std::time::{Duration, Instant};

struct Arguments {
    keys: u64,
    value_bytes: usize,
    threads: u64,
    directory: PathBuf,
}

fn main() -> Result<()> {
    let arguments = parse()?;
    let Arguments { keys, value_bytes, threads, directory } = &arguments;
    if directory.exists() {
        bail!("{}: exists already; a bench begins with an empty directory", directory.display());
    }
    println!("{keys} keys of 16 bytes, values of {value_bytes} bytes, {threads} thread(s), default options");
    let result = run(&arguments);
    std::fs::remove_dir_all(directory).with_context(|| format!("removing {}", directory.display()))?;
    result
}

fn parse() -> Result<Arguments> {
    let directory = std::env::temp_dir().join(format!("lsm-bench-{}", std::process::id()));
    let mut arguments = Arguments { keys: 1_000_000, value_bytes: 100, threads: 1, directory };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--help" {
            println!("cargo xtask bench [--keys N] [--value-bytes N] [--threads N] [--directory DIR]");
            std::process::exit(0);
        }
        let value = words.next().with_context(|| format!("{word} needs a value"))?;
        let number = || value.parse().with_context(|| format!("{word} {value}: expected a number"));
        match word.as_str() {
            "--keys" => arguments.keys = number()?,
            "--value-bytes" => arguments.value_bytes = number()? as usize,
            "--threads" => arguments.threads = number()?.max(1),
            "--directory" => arguments.directory = value.into(),
            _ => bail!("{word}: unknown; --keys, --value-bytes, --threads and --directory are known"),
        }
    }
    Ok(arguments)
}

fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { keys, value_bytes, threads, directory } = arguments;
    let db = Options::new().open(directory)?;
    report(
        "put, random order",
        *keys,
        *value_bytes,
        in_threads(*threads, *keys, |index, random| {
            Ok(db.put(key(scatter(index, *keys)), value(random, *value_bytes))?)
        })?,
    );
    report("settle", *keys, *value_bytes, timed(|| Ok(db.wait_for_compactions()?))?);
    report(
        "get, present",
        *keys,
        *value_bytes,
        in_threads(*threads, *keys, |_, random| get(&db, random.u64(..*keys), true))?,
    );
    report(
        "get, absent",
        *keys,
        *value_bytes,
        in_threads(*threads, *keys, |_, random| get(&db, keys + random.u64(..*keys), false))?,
    );
    report("scan forward", *keys, *value_bytes, timed(|| scan(&db, *keys))?);
    report("scan backward", *keys, *value_bytes, timed(|| scan_backward(&db, *keys))?);
    let batches = *keys / 100;
    report(
        "overwrite, batches of 100",
        batches * 100,
        *value_bytes,
        in_threads(*threads, batches, |index, random| {
            let mut batch = WriteBatch::with_capacity(100 * (16 + value_bytes + 8));
            (0..100)
                .for_each(|offset| batch.put(key(scatter(index * 100 + offset, *keys)), value(random, *value_bytes)));
            Ok(db.write(batch)?)
        })?,
    );
    let synced = WriteOptions::new().durability(Durability::Synced);
    let count = 2_000;
    report(
        "put, synced",
        count,
        *value_bytes,
        in_threads(*threads, count, |index, random| {
            let mut batch = WriteBatch::new();
            batch.put(key(index), value(random, *value_bytes));
            Ok(db.write_with(batch, &synced)?)
        })?,
    );
    println!("\n{}", db.stats());
    Ok(db.close()?)
}

fn get(db: &Db, number: u64, present: bool) -> Result<()> {
    if db.get(key(number))?.is_some() != present {
        bail!("key {number} is {}", if present { "missing" } else { "there" });
    }
    Ok(())
}

fn scan(db: &Db, expected: u64) -> Result<()> {
    let mut cursor = db.cursor();
    cursor.seek_to_first()?;
    let mut count = 0;
    while cursor.valid() {
        count += 1;
        cursor.next()?;
    }
    anyhow::ensure!(count == expected, "{count} keys found, {expected} expected");
    Ok(())
}

fn scan_backward(db: &Db, expected: u64) -> Result<()> {
    let mut cursor = db.cursor();
    cursor.seek_to_last()?;
    let mut count = 0;
    while cursor.valid() {
        count += 1;
        cursor.prev()?;
    }
    anyhow::ensure!(count == expected, "{count} keys found, {expected} expected");
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}

/// Runs `work` for all indexes below `count`, each thread on its share.
fn in_threads(
    threads: u64,
    count: u64,
    work: impl Fn(u64, &mut fastrand::Rng) -> Result<()> + Sync,
) -> Result<Duration> {
    timed(|| {
        std::thread::scope(|scope| {
            let work = &work;
            let share = |thread: u64| {
                move || -> Result<()> {
                    let mut random = fastrand::Rng::with_seed(thread);
                    (thread..count).step_by(threads as usize).try_for_each(|index| work(index, &mut random))
                }
            };
            let running: Vec<_> = (0..threads).map(|thread| scope.spawn(share(thread))).collect();
            running.into_iter().try_for_each(|thread| thread.join().expect("a bench thread does not panic"))
        })
    })
}

fn report(what: &str, count: u64, value_bytes: usize, time: Duration) {
    let (seconds, bytes) = (time.as_secs_f64(), count as f64 * (16 + value_bytes) as f64);
    let (rate, micros) = (count as f64 / seconds, seconds * 1e6 / count as f64);
    println!(
        "{what:<26} {seconds:>8.2} s  {rate:>12.0} /s  {micros:>8.3} µs each  {:>8.1} MB/s",
        bytes / seconds / 1e6
    );
}

fn key(number: u64) -> [u8; 16] {
    let mut key = *b"0000000000000000";
    let mut rest = number;
    for digit in key.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

/// Visits every number below `count` once, in an order without locality.
fn scatter(index: u64, count: u64) -> u64 {
    const STRIDE: u64 = 2_654_435_761;
    ((u128::from(index) * u128::from(STRIDE)) % u128::from(count)) as u64
}

fn value(random: &mut fastrand::Rng, bytes: usize) -> Vec<u8> {
    let mut value = vec![b'v'; bytes];
    random.fill(&mut value[..bytes / 2]);
    value
}
