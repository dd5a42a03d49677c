//! `lsm load`: lines of text become entries.
//!
//! # Invariants
//! L1. A line is acknowledged when the batch it is in was written, never before: what `acknowledged N` says is
//!     true after a kill, and with `--sync` after a power cut.
//! L2. Nothing read waits for more input: a batch is written before a read that could block.
//! L3. A line that is refused changes nothing; the lines before it are written and acknowledged.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use lsm_engine::{ColumnFamily, Compression, Db, Durability, Options, WriteBatch, WriteOptions};

use crate::Answer;
use crate::arguments::{CompressionName, Load};
use crate::store::{create, family_or_new};
use crate::text::{Quoted, invocation, note, separator, shell, split};

/// Lines are read in pieces of this size.
const BUFFER_BYTES: usize = 256 << 10;

/// A batch is written when it has this many lines, or bytes, or this age.
const BATCH_LINES: usize = 1_000;
const BATCH_BYTES: usize = 1 << 20;
const BATCH_AGE: Duration = Duration::from_millis(50);

/// Work that takes less shows no bar.
const BAR_AFTER: Duration = Duration::from_secs(1);

pub(crate) fn run(load: &Load, name: &str) -> anyhow::Result<Answer> {
    let separator = separator(&load.separator);
    if separator.is_empty() {
        bail!("--separator is empty, expected what stands between key and value");
    }
    // The input first: a wrong file name must not leave an empty store behind.
    let input = Input::open(&load.file)?;
    let progress = Progress::new(input.bytes);
    let db = create(&load.dir, options(load))?;
    let durability = if load.sync { Durability::Synced } else { Durability::Buffered };
    let mut loader = Loader {
        family: family_or_new(&db, name)?,
        options: WriteOptions::new().durability(durability),
        db,
        batch: WriteBatch::new(),
        batch_started: Instant::now(),
        lines: Count::default(),
        acknowledged: Count::default(),
        first_key: None,
        progress,
    };
    let outcome = loader.lines(input, &separator).with_context(|| load.file.display().to_string());
    let finished = loader.finish(load);
    outcome?;
    finished?;
    Ok(Answer::Yes)
}

fn options(load: &Load) -> Options {
    let mut options = Options::new();
    if let Some(bytes) = load.write_buffer_size {
        options = options.write_buffer_size(bytes);
    }
    if let Some(name) = load.compression {
        let compression = match name {
            CompressionName::None => Compression::None,
            CompressionName::Lz4 => Compression::Lz4,
            CompressionName::Zstd => Compression::Zstd { level: 3 },
        };
        options = options.compression(compression).bottommost_compression(compression);
    }
    match load.format_version {
        Some(version) => options.format_version(version),
        None => options,
    }
}

/// Where lines come from.
struct Input {
    reader: BufReader<Box<dyn Read>>,
    /// Bytes in all, where that is known.
    bytes: Option<u64>,
}

impl Input {
    fn open(path: &Path) -> anyhow::Result<Input> {
        let (reader, bytes): (Box<dyn Read>, _) = if path == Path::new("-") {
            (Box::new(io::stdin()), None)
        } else {
            let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            let metadata = file.metadata().with_context(|| format!("cannot read {}", path.display()))?;
            if metadata.is_dir() {
                bail!("cannot read {}: it is a directory, expected a file of lines", path.display());
            }
            (Box::new(file), metadata.is_file().then_some(metadata.len()))
        };
        Ok(Input { reader: BufReader::with_capacity(BUFFER_BYTES, reader), bytes })
    }

    /// Whether the next line is here already, as a whole.
    fn has_line(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }

    /// Reads the next line without its end into `line`; false if there is none.
    fn next(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        let bytes = self.reader.read_until(b'\n', line)?;
        line.pop_if(|last| *last == b'\n');
        Ok(bytes > 0)
    }
}

#[derive(Clone, Copy, Default)]
struct Count {
    lines: u64,
    /// With line ends and separators.
    bytes: u64,
}

struct Loader {
    db: Db,
    family: ColumnFamily,
    options: WriteOptions,
    batch: WriteBatch,
    batch_started: Instant,
    lines: Count,
    acknowledged: Count,
    first_key: Option<Vec<u8>>,
    progress: Progress,
}

impl Loader {
    /// Reads to the end of the input; the last batch is left for [`Loader::finish`] (L3).
    fn lines(&mut self, mut input: Input, separator: &[u8]) -> anyhow::Result<()> {
        let mut line = Vec::new();
        loop {
            if !input.has_line() || self.batch_is_full() {
                self.write()?;
            }
            if !input.next(&mut line)? {
                return Ok(());
            }
            let number = self.lines.lines + 1;
            let Some((key, value)) = split(&line, separator) else {
                let (bytes, separator) = (line.len(), Quoted(separator));
                bail!("line {number} has no {separator} in its {bytes} bytes; expected a key, {separator} and a value");
            };
            if self.batch.is_empty() {
                self.batch_started = Instant::now();
            }
            self.batch.put_cf(&self.family, key, value);
            self.first_key.get_or_insert_with(|| key.to_vec());
            self.lines = Count { lines: number, bytes: self.lines.bytes + line.len() as u64 + 1 };
        }
    }

    fn batch_is_full(&self) -> bool {
        self.batch.len() >= BATCH_LINES
            || self.batch.byte_size() >= BATCH_BYTES
            || (!self.batch.is_empty() && self.batch_started.elapsed() >= BATCH_AGE)
    }

    /// Writes the batch, then acknowledges its lines (L1).
    fn write(&mut self) -> anyhow::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.batch, WriteBatch::new());
        let from = self.acknowledged.lines + 1;
        let written = self.db.write_with(batch, &self.options);
        written.with_context(|| format!("cannot write lines {from} to {}", self.lines.lines))?;
        self.acknowledged = self.lines;
        self.progress.acknowledge(self.acknowledged);
        Ok(())
    }

    /// Writes what is left, closes the store and says what was done.
    fn finish(mut self, load: &Load) -> anyhow::Result<()> {
        let written = self.write();
        let took = self.progress.finish();
        let closed = self.db.close();
        let Count { lines, bytes } = self.acknowledged;
        let rate = HumanCount((lines as f64 / took.as_secs_f64().max(0.001)) as u64);
        note(&format!(
            "loaded {} lines ({}) into {} in {:.2} s, {rate} lines a second",
            HumanCount(lines),
            HumanBytes(bytes),
            load.dir.display(),
            took.as_secs_f64(),
        ));
        written?;
        closed.with_context(|| format!("cannot close {}", load.dir.display()))?;
        if let Some(key) = &self.first_key {
            note("try next:");
            for (command, rest) in [("get", shell(key).as_str()), ("scan", "--limit 5"), ("stats", ""), ("verify", "")]
            {
                note(&format!("  {}", invocation(command, &load.dir, rest)));
            }
        }
        Ok(())
    }
}

/// Says how far the work is: a bar on a terminal, lines elsewhere.
struct Progress {
    start: Instant,
    display: Display,
}

enum Display {
    Lines,
    /// Work on a terminal that has not yet taken long; the bytes to come.
    Soon(Option<u64>),
    Bar(ProgressBar),
}

impl Progress {
    fn new(bytes: Option<u64>) -> Progress {
        let display = if io::stderr().is_terminal() { Display::Soon(bytes) } else { Display::Lines };
        Progress { start: Instant::now(), display }
    }

    fn acknowledge(&mut self, done: Count) {
        if let Display::Soon(bytes) = self.display
            && self.start.elapsed() >= BAR_AFTER
        {
            self.display = Display::Bar(bar(bytes));
        }
        match &self.display {
            Display::Lines => note(&format!("acknowledged {}", done.lines)),
            Display::Soon(_) => {}
            Display::Bar(bar) => {
                bar.set_position(done.bytes);
                bar.set_message(format!("{} lines acknowledged", HumanCount(done.lines)));
            }
        }
    }

    /// Takes the bar away and returns how long it all took.
    fn finish(&self) -> Duration {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
        self.start.elapsed()
    }
}

fn bar(bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{bar:30} {percent}% {msg}, {elapsed} so far, {eta} to go"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}, {elapsed} so far"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("the template is well formed"))
}
