//! How a store is opened and how a write is made. Few options: each has a unit, a default, and somebody
//! who would turn it.

use crate::{Db, RepairReport, Result};
use lsm_compaction::Executor;
use lsm_core::MergeOperator;
use lsm_fs::{Clock, Fs, OsFs, SegmentAccess, SystemClock};
use lsm_wal::RecoveryMode;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub use lsm_sstable::Compression;

/// When a write counts as done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Durability {
    /// In the operating system's hands when the call returns: survives a crash of this process.
    #[default]
    Buffered,
    /// On stable storage when the call returns; concurrent commits share one sync.
    Synced,
    /// No log record: lost by any crash before the next flush. Stands outside the promise that what
    /// survives is a prefix of all commits.
    Unlogged,
}

/// How one write is made.
///
/// ```
/// use lsm_engine::{Durability, WriteOptions};
/// let options = WriteOptions::new().durability(Durability::Synced).no_stall(true);
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    pub(crate) durability: Option<Durability>,
    pub(crate) no_stall: bool,
}

impl WriteOptions {
    /// The store's own durability; waits when writes are held back.
    pub fn new() -> WriteOptions {
        WriteOptions::default()
    }

    /// Overrides the store's durability.
    pub fn durability(mut self, durability: Durability) -> WriteOptions {
        self.durability = Some(durability);
        self
    }

    /// Answers [`crate::ErrorKind::Stalled`] instead of waiting when writes are held back.
    pub fn no_stall(mut self, no_stall: bool) -> WriteOptions {
        self.no_stall = no_stall;
        self
    }
}

/// Hears of work that the store does in the background. Every method has an empty default.
///
/// Called from background threads without any lock held; what it takes is taken from the work. A listener
/// must not call the store that it listens to, which may be waiting for the very work that is reported.
pub trait EventListener: Send + Sync {
    /// A memtable became `tables` tables of `bytes` bytes.
    fn on_flush(&self, _family: &str, _tables: usize, _bytes: u64) {}

    /// A compaction from one level to another read and wrote so many bytes.
    fn on_compaction(&self, _family: &str, _from: usize, _to: usize, _bytes_read: u64, _bytes_written: u64) {}

    /// Background work failed; the message is also what the next write returns.
    fn on_background_error(&self, _message: &str) {}
}

/// Options of one column family.
#[derive(Clone, Default)]
pub struct ColumnFamilyOptions {
    pub(crate) merge_operator: Option<Arc<dyn MergeOperator>>,
    pub(crate) write_buffer_size: Option<usize>,
}

impl ColumnFamilyOptions {
    /// The store's options, without a merge operator.
    pub fn new() -> ColumnFamilyOptions {
        ColumnFamilyOptions::default()
    }

    /// Joins merge operands of this family.
    pub fn merge_operator(mut self, operator: Arc<dyn MergeOperator>) -> ColumnFamilyOptions {
        self.merge_operator = Some(operator);
        self
    }

    /// Size in bytes of this family's memtables; the store's by default.
    pub fn write_buffer_size(mut self, bytes: usize) -> ColumnFamilyOptions {
        self.write_buffer_size = Some(bytes);
        self
    }
}

/// How a store is opened. Every option may be left alone.
///
/// ```
/// # fn main() -> lsm_engine::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("data");
/// use lsm_engine::{Durability, Options};
/// let db = Options::new().memory_budget(256 << 20).durability(Durability::Synced).open(&path)?;
/// db.put("key", "value")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Options {
    pub(crate) create_if_missing: bool,
    pub(crate) error_if_exists: bool,
    pub(crate) read_only: bool,
    pub(crate) memory_budget: usize,
    pub(crate) write_buffer_size: Option<usize>,
    pub(crate) block_cache_size: Option<usize>,
    pub(crate) block_size: usize,
    pub(crate) compression: Compression,
    pub(crate) bottommost_compression: Option<Compression>,
    pub(crate) bloom_bits_per_key: f64,
    pub(crate) format_version: Option<u32>,
    pub(crate) level0_file_num_compaction_trigger: usize,
    pub(crate) max_bytes_for_level_base: Option<u64>,
    pub(crate) target_file_size: Option<u64>,
    pub(crate) max_subcompactions: usize,
    pub(crate) background_threads: usize,
    pub(crate) concurrent_writers: Option<usize>,
    pub(crate) rate_limit: Option<u64>,
    pub(crate) durability: Durability,
    pub(crate) recovery_mode: RecoveryMode,
    pub(crate) log_access: SegmentAccess,
    pub(crate) merge_operator: Option<Arc<dyn MergeOperator>>,
    pub(crate) event_listener: Option<Arc<dyn EventListener>>,
    pub(crate) runtime: Option<tokio::runtime::Handle>,
    pub(crate) executor: Option<Arc<dyn Executor>>,
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Default of [`Options::memory_budget`].
const MEMORY_BUDGET_DEFAULT: usize = 512 << 20;

/// Of the budget, but no more than three eighths of it, for what is neither memtable nor block: buffers of compactions, stacks,
/// pages of the log and of the program, and what an allocator takes on top.
const RESERVE_BYTES_MAX: usize = 20 << 20;

/// Largest default of [`Options::write_buffer_size`], that of RocksDB.
const WRITE_BUFFER_BYTES_DEFAULT_MAX: usize = 64 << 20;

/// Smallest write buffer: below it every few writes would make a table.
pub(crate) const WRITE_BUFFER_BYTES_MIN: usize = 16 << 10;

/// Memtables that one family may hold in memory: one active, the others waiting for their flush.
pub(crate) const MEMTABLES_MAX: usize = 3;

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $argument:ty => $field:ident = $value:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(mut self, $name: $argument) -> Options {
            self.$field = $value;
            self
        }
    )*};
}

impl Options {
    /// The defaults named at each option.
    pub fn new() -> Options {
        Options {
            create_if_missing: true,
            error_if_exists: false,
            read_only: false,
            memory_budget: MEMORY_BUDGET_DEFAULT,
            write_buffer_size: None,
            block_cache_size: None,
            block_size: 4096,
            compression: Compression::Lz4,
            bottommost_compression: None,
            bloom_bits_per_key: 10.0,
            format_version: None,
            level0_file_num_compaction_trigger: 4,
            max_bytes_for_level_base: None,
            target_file_size: None,
            max_subcompactions: 2,
            background_threads: 2,
            concurrent_writers: None,
            rate_limit: None,
            durability: Durability::Buffered,
            recovery_mode: RecoveryMode::default(),
            log_access: SegmentAccess::Mapped,
            merge_operator: None,
            event_listener: None,
            runtime: None,
            executor: None,
            fs: Arc::new(OsFs),
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Opens the store in `path`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidArgument`] for options that are out of range, for a store that is missing and may not be created,
    /// or that exists and should not; [`crate::ErrorKind::Locked`]; I/O; corruption;
    /// [`crate::ErrorKind::Unsupported`] for a feature of the files that this store does not have.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Db> {
        crate::open::open(path.as_ref(), self)
    }

    /// Brings back what is left of the damaged store in `path`, and says what is lost.
    ///
    /// Tables and logs that are damaged are moved to `lost/` in the directory; all that can be read of them is in the
    /// store afterwards. A lost manifest is made anew of the tables and logs that are there, in time and space of a
    /// full compaction. A store that is sound is opened and closed. Merge operators are not needed.
    ///
    /// ```
    /// # fn main() -> lsm_engine::Result<()> {
    /// # let directory = std::env::temp_dir().join(format!("lsm-repair-{}", std::process::id()));
    /// lsm_engine::Db::open(&directory)?.put("key", "value")?;
    /// std::fs::remove_file(directory.join("CURRENT")).unwrap();
    /// assert!(lsm_engine::Db::open(&directory).is_err());
    ///
    /// let report = lsm_engine::Options::new().repair(&directory)?;
    /// assert!(report.rebuilt.is_some() && report.lost.is_empty());
    /// assert_eq!(lsm_engine::Db::open(&directory)?.get("key")?.unwrap(), "value");
    /// # std::fs::remove_dir_all(&directory).unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Locked, I/O, or a feature of the files that this store does not have; the store is as it was then.
    pub fn repair(self, path: impl AsRef<Path>) -> Result<RepairReport> {
        crate::repair::repair(path.as_ref(), self)
    }

    setters! {
        /// Whether a missing directory becomes an empty store (default: yes).
        create_if_missing: bool => create_if_missing = create_if_missing;
        /// Whether an existing store is an error (default: no).
        error_if_exists: bool => error_if_exists = error_if_exists;
        /// Opens the store as it is at this moment, without a lock and without writing (default: no).
        read_only: bool => read_only = read_only;
        /// Bytes for memtables, block cache, indexes and filters together, and up to 20 MiB for all else (default: 512 MiB). It is
        /// divided where [`Options::write_buffer_size`] and [`Options::block_cache_size`] do not say more: a store has up to three
        /// write buffers.
        memory_budget: usize => memory_budget = memory_budget;
        /// Bytes of one memtable (default: an eighth of the memory budget, at most 64 MiB).
        write_buffer_size: usize => write_buffer_size = Some(write_buffer_size);
        /// Bytes of table blocks kept in memory (default: what memtables leave of the memory budget).
        block_cache_size: usize => block_cache_size = Some(block_cache_size);
        /// Bytes of a data block before compression (default: 4096; 256 bytes to 16 MiB). Doubling it halves the index
        /// and reads twice as much per point read.
        block_size: usize => block_size = block_size;
        /// Compression of tables (default: LZ4).
        compression: Compression => compression = compression;
        /// Compression of tables on the last level (default: that of all).
        bottommost_compression: Compression => bottommost_compression = Some(bottommost_compression);
        /// Filter bits per key (default: 10, about one false positive in a hundred; 0 to 100); 0 for no filter.
        bloom_bits_per_key: f64 => bloom_bits_per_key = bloom_bits_per_key;
        /// Format of new tables: 6, or 5 for RocksDB from 6.6 on (default: 6, or what the directory has).
        format_version: u32 => format_version = Some(format_version);
        /// Tables on level 0 at which compaction begins (default: 4); twice as many while memtables wait for their flush.
        level0_file_num_compaction_trigger: usize => level0_file_num_compaction_trigger = level0_file_num_compaction_trigger;
        /// Bytes of the first level below level 0 (default: four write buffers).
        max_bytes_for_level_base: u64 => max_bytes_for_level_base = Some(max_bytes_for_level_base);
        /// Bytes of a table below level 0 (default: one write buffer).
        target_file_size: u64 => target_file_size = Some(target_file_size);
        /// Parts that one large compaction may be split into (default: 2).
        max_subcompactions: usize => max_subcompactions = max_subcompactions;
        /// Flushes and compactions at the same time (default: 2).
        background_threads: usize => background_threads = background_threads;
        /// Commits that insert at the same time; others wait until one of these is visible (default: one for every two
        /// cores). More pay only where writers, flushes and compactions together are fewer than the cores.
        concurrent_writers: usize => concurrent_writers = Some(concurrent_writers);
        /// Bytes per second that flush and compaction may write, about (default, and 0: no limit). A piece of 256 rows is held up for
        /// a second at most, so that rows of many KiB exceed a low limit.
        rate_limit: u64 => rate_limit = Some(rate_limit);
        /// Durability of writes that do not choose their own (default: [`Durability::Buffered`]).
        durability: Durability => durability = durability;
        /// What opening does with a damaged log (default: [`RecoveryMode::Checked`]).
        recovery_mode: RecoveryMode => recovery_mode = recovery_mode;
        /// How the log is written (default: mapped).
        log_access: SegmentAccess => log_access = log_access;
        /// Joins merge operands of the default family; others have [`ColumnFamilyOptions::merge_operator`].
        merge_operator: Arc<dyn MergeOperator> => merge_operator = Some(merge_operator);
        /// Hears of background work.
        event_listener: Arc<dyn EventListener> => event_listener = Some(event_listener);
        /// Runs background work on this runtime's blocking threads. By default the store has a runtime of its own, whose threads run
        /// at a lower priority than others (niceness 5).
        runtime: tokio::runtime::Handle => runtime = Some(runtime);
        /// Runs background work anywhere else: tests step it by hand.
        executor: Arc<dyn Executor> => executor = Some(executor);
        /// The file system (default: the operating system's).
        fs: Arc<dyn Fs> => fs = fs;
        /// The clock (default: the system's).
        clock: Arc<dyn Clock> => clock = clock;
    }

    pub(crate) fn write_buffer_bytes(&self) -> usize {
        let default = (self.memory_budget / 8).min(WRITE_BUFFER_BYTES_DEFAULT_MAX);
        self.write_buffer_size.unwrap_or(default).max(WRITE_BUFFER_BYTES_MIN)
    }

    /// What the memtables of all families may take together.
    pub(crate) fn memtable_bytes_max(&self) -> usize {
        MEMTABLES_MAX * self.write_buffer_bytes()
    }

    pub(crate) fn block_cache_bytes(&self) -> usize {
        let apart = RESERVE_BYTES_MAX.min(self.memory_budget * 3 / 8);
        let rest = self.memory_budget.saturating_sub(self.memtable_bytes_max() + apart);
        self.block_cache_size.unwrap_or_else(|| rest.max(self.memory_budget / 8))
    }

    /// Whether tables on the last level are compressed in another way than those above.
    pub(crate) fn last_level_differs(&self) -> bool {
        self.bottommost_compression.is_some_and(|last| last != self.compression)
    }

    pub(crate) fn level_base_bytes(&self) -> u64 {
        self.max_bytes_for_level_base.unwrap_or(4 * self.write_buffer_bytes() as u64)
    }

    pub(crate) fn table_bytes_target(&self) -> u64 {
        self.target_file_size.unwrap_or(self.write_buffer_bytes() as u64)
    }
}

impl fmt::Debug for ColumnFamilyOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = self.merge_operator.as_ref().map(|operator| operator.name());
        f.debug_struct("ColumnFamilyOptions")
            .field("merge_operator", &operator)
            .field("write_buffer_size", &self.write_buffer_size)
            .finish()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("memory_budget", &self.memory_budget)
            .field("write_buffer_bytes", &self.write_buffer_bytes())
            .field("block_cache_bytes", &self.block_cache_bytes())
            .field("compression", &self.compression)
            .field("format_version", &self.format_version)
            .field("durability", &self.durability)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}
