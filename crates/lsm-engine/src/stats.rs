//! What a store has done and how it stands, as plain numbers.

use crate::store::Store;
use crate::sync::{AtomicU64, Ordering};
use lsm_core::WriteBatch;
use std::fmt;
use std::time::Duration;

/// Counts since the store was opened. Apart from what readers look at: each commit writes here.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) flushed_bytes: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) compacted_read_bytes: AtomicU64,
    pub(crate) compacted_written_bytes: AtomicU64,
    pub(crate) background_errors: AtomicU64,
}

impl Counters {
    /// Under the writer lock, so that nobody else counts these.
    pub(crate) fn note_commit(&self, batch: &WriteBatch) {
        let add = |counter: &AtomicU64, n| counter.store(counter.load(Ordering::Relaxed) + n, Ordering::Relaxed);
        add(&self.commits, 1);
        add(&self.written_bytes, batch.byte_size() as u64);
    }

    pub(crate) fn note_flush(&self, bytes: u64) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.flushed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn note_compaction(&self, read_bytes: u64, written_bytes: u64) {
        self.compactions.fetch_add(1, Ordering::Relaxed);
        self.compacted_read_bytes.fetch_add(read_bytes, Ordering::Relaxed);
        self.compacted_written_bytes.fetch_add(written_bytes, Ordering::Relaxed);
    }
}

/// How one level of a column family stands.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LevelStats {
    /// Number of the level, 0 the youngest.
    pub level: usize,
    /// Its tables.
    pub tables: usize,
    /// Their bytes on disk.
    pub bytes: u64,
    /// How urgently it wants compaction: from 1 on it is due.
    pub score: f64,
}

/// How one column family stands.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FamilyStats {
    /// Its name.
    pub name: String,
    /// Bytes taken in its memtables.
    pub memtable_bytes: usize,
    /// Memtables that wait for their flush.
    pub frozen_memtables: usize,
    /// Its levels, down to the deepest that holds anything.
    pub levels: Vec<LevelStats>,
}

/// How a store stands, and what it did since it was opened. `Display` prints one table.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// The column families.
    pub families: Vec<FamilyStats>,
    /// Batches committed.
    pub commits: u64,
    /// Bytes of those batches.
    pub written_bytes: u64,
    /// Memtables that became tables.
    pub flushes: u64,
    /// Bytes of those tables.
    pub flushed_bytes: u64,
    /// Compactions done; moves of tables from level to level count too.
    pub compactions: u64,
    /// Bytes that compactions read.
    pub compacted_read_bytes: u64,
    /// Bytes that compactions wrote.
    pub compacted_written_bytes: u64,
    /// Bytes of blocks in the block cache.
    pub block_cache_bytes: u64,
    /// What the block cache may grow to.
    pub block_cache_capacity_bytes: u64,
    /// Reads that found their block in the cache.
    pub block_cache_hits: u64,
    /// Reads that did not.
    pub block_cache_misses: u64,
    /// Bytes of indexes and filters in memory.
    pub table_memory_bytes: usize,
    /// Live snapshots.
    pub snapshots: usize,
    /// Sequence number of the newest visible write.
    pub sequence: u64,
    /// How far writers are held back: 0 not at all, 1 fully.
    pub write_pressure: f64,
    /// Why, if they are.
    pub write_pressure_reason: Option<&'static str>,
    /// Writes that had to wait.
    pub write_waits: u64,
    /// Time they waited in all.
    pub write_wait_time: Duration,
    /// Failures of background work.
    pub background_errors: u64,
    /// Why the store is read-only, if a failure made it so.
    pub failure: Option<String>,
    /// What opening the store had to leave out of a torn log, if anything.
    pub recovery: Option<String>,
}

impl Stats {
    /// Bytes written to tables per byte that users wrote.
    pub fn write_amplification(&self) -> f64 {
        (self.flushed_bytes + self.compacted_written_bytes) as f64 / (self.written_bytes as f64).max(1.0)
    }
}

impl Store {
    pub(crate) fn stats(&self) -> Stats {
        let counters = &self.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let pressure = self.pacer.pressure();
        Stats {
            families: self.families.load().values().map(|family| self.family_stats(family)).collect(),
            commits: get(&counters.commits),
            written_bytes: get(&counters.written_bytes),
            flushes: get(&counters.flushes),
            flushed_bytes: get(&counters.flushed_bytes),
            compactions: get(&counters.compactions),
            compacted_read_bytes: get(&counters.compacted_read_bytes),
            compacted_written_bytes: get(&counters.compacted_written_bytes),
            block_cache_bytes: self.tables.cache_used_bytes(),
            block_cache_capacity_bytes: self.tables.cache_capacity_bytes(),
            block_cache_hits: self.tables.cache_hits(),
            block_cache_misses: self.tables.cache_misses(),
            table_memory_bytes: self.tables.resident_bytes(),
            snapshots: self.snapshots.count(),
            sequence: self.publisher.visible().get(),
            write_pressure: pressure.degree,
            write_pressure_reason: (pressure.degree > 0.0).then_some(pressure.because),
            write_waits: self.pacer.waits(),
            write_wait_time: self.pacer.waited(),
            background_errors: get(&counters.background_errors),
            failure: self.health.failure().map(|failure| failure.to_string()),
            recovery: self.recovery.get().cloned(),
        }
    }

    fn family_stats(&self, family: &crate::family::Family) -> FamilyStats {
        let view = family.view.load();
        let scores = lsm_compaction::scores(&view.version, &Default::default(), &self.leveled_options());
        let depth = view.version.levels().rposition(|level| !level.is_empty()).map_or(0, |deepest| deepest + 1);
        let level = |level: usize| LevelStats {
            level,
            tables: view.version.level(level).len(),
            bytes: view.version.level_bytes(level),
            score: scores.get(level).copied().unwrap_or_default(),
        };
        FamilyStats {
            name: family.name.clone(),
            memtable_bytes: view.memtables().map(|memtable| memtable.bytes_used()).sum(),
            frozen_memtables: view.frozen.len(),
            levels: (0..depth).map(level).collect(),
        }
    }

    /// A property by RocksDB's name for it, for the default family.
    pub(crate) fn property(&self, family: &crate::family::Family, name: &str) -> Option<String> {
        let name = name.strip_prefix("rocksdb.")?;
        let view = family.view.load();
        let tables = || view.version.tables().map(|(_, table)| table);
        if let Some(level) = name.strip_prefix("num-files-at-level") {
            let level = level.parse().ok().filter(|&level: &usize| level < view.version.levels().len())?;
            return Some(view.version.level(level).len().to_string());
        }
        let value = match name {
            "stats" => return Some(self.stats().to_string()),
            "num-immutable-mem-table" => view.frozen.len() as u64,
            "cur-size-active-mem-table" => view.active.bytes_used() as u64,
            "cur-size-all-mem-tables" | "size-all-mem-tables" => {
                view.memtables().map(|memtable| memtable.bytes_used() as u64).sum()
            }
            "num-entries-active-mem-table" => view.active.len() as u64,
            "num-entries-imm-mem-tables" => view.frozen.iter().map(|frozen| frozen.memtable.len() as u64).sum(),
            "estimate-num-keys" => {
                let in_memory: u64 = view.memtables().map(|memtable| memtable.len() as u64).sum();
                let known = tables().filter_map(|table| table.stats.get());
                in_memory + known.map(|stats| stats.entries.saturating_sub(2 * stats.deletions)).sum::<u64>()
            }
            "total-sst-files-size" | "live-sst-files-size" => tables().map(|table| table.bytes).sum(),
            "estimate-table-readers-mem" => self.tables.resident_bytes() as u64,
            "estimate-pending-compaction-bytes" => {
                lsm_compaction::pending_bytes(&view.version, &self.leveled_options())
            }
            "block-cache-usage" => self.tables.cache_used_bytes(),
            "block-cache-capacity" => self.tables.cache_capacity_bytes(),
            "num-snapshots" => self.snapshots.count() as u64,
            "oldest-snapshot-sequence" => self.snapshots.seqs().first().map_or(0, |seq| seq.get()),
            "background-errors" => self.counters.background_errors.load(Ordering::Relaxed),
            "num-running-flushes" => self.background.running_flushes() as u64,
            "num-running-compactions" => self.background.running_compactions() as u64,
            "mem-table-flush-pending" => u64::from(!view.frozen.is_empty()),
            "is-write-stopped" => u64::from(self.pacer.pressure().degree >= 1.0),
            _ => return None,
        };
        Some(value.to_string())
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<24} {:>6} {:>8} {:>12} {:>7}", "column family", "level", "tables", "bytes", "score")?;
        for family in &self.families {
            let waiting = match family.frozen_memtables {
                0 => String::new(),
                count => format!(" ({count} to flush)"),
            };
            let memory = format!("{}{waiting}", Bytes(family.memtable_bytes as u64));
            writeln!(f, "{:<24} {:>6} {:>8} {:>12}", family.name, "memory", "-", memory)?;
            for level in &family.levels {
                let LevelStats { level, tables, bytes, score } = level;
                writeln!(f, "{:<24} {level:>6} {tables:>8} {:>12} {score:>7.2}", "", Bytes(*bytes).to_string())?;
            }
        }
        writeln!(f)?;
        writeln!(f, "commits            {} ({})", self.commits, Bytes(self.written_bytes))?;
        writeln!(f, "flushes            {} ({})", self.flushes, Bytes(self.flushed_bytes))?;
        let (read, written) = (Bytes(self.compacted_read_bytes), Bytes(self.compacted_written_bytes));
        writeln!(f, "compactions        {} ({read} read, {written} written)", self.compactions)?;
        writeln!(f, "write amplification {:.2}", self.write_amplification())?;
        let (used, capacity) = (Bytes(self.block_cache_bytes), Bytes(self.block_cache_capacity_bytes));
        let (hits, misses) = (self.block_cache_hits, self.block_cache_misses);
        writeln!(f, "block cache        {used} of {capacity}, {hits} hits, {misses} misses")?;
        writeln!(f, "indexes, filters   {}", Bytes(self.table_memory_bytes as u64))?;
        writeln!(f, "snapshots          {}, sequence {}", self.snapshots, self.sequence)?;
        let waited = self.write_wait_time.as_secs_f64();
        match self.write_pressure_reason {
            Some(reason) => writeln!(f, "writers            held back ({:.2}): {reason}", self.write_pressure)?,
            None => writeln!(f, "writers            free")?,
        }
        writeln!(f, "write waits        {} ({waited:.3} s)", self.write_waits)?;
        if let Some(recovery) = &self.recovery {
            writeln!(f, "recovery           {recovery}")?;
        }
        match &self.failure {
            Some(failure) => writeln!(f, "background errors  {} ({failure})", self.background_errors),
            None => writeln!(f, "background errors  {}", self.background_errors),
        }
    }
}

/// A count of bytes for people.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut amount = self.0 as f64;
        let mut unit = 0;
        while amount >= 1024.0 && unit + 1 < UNITS.len() {
            amount /= 1024.0;
            unit += 1;
        }
        if unit == 0 { write!(f, "{} B", self.0) } else { write!(f, "{amount:.1} {}", UNITS[unit]) }
    }
}
