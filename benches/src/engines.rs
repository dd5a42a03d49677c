//! The stores under the bench, behind one shape.
//!
//! # Rules of a fair comparison
//! R1. One put is one commit unless the scenario says batch.
//! R2. A commit survives the end of the process (`Durability::Process`) or a power cut (`Durability::Power`), as the
//!     scenario says, in every engine alike. Where an engine has no such class, it has the nearest one and
//!     [`ENGINES`] says so.
//! R3. Cache, write buffers and their number, compression, filter bits, background threads and the processor's instructions that
//!     code is compiled for are equal as far as an engine has them.
//! R4. Whatever is read is looked at: [`Seen`] checks each row and adds it up.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::rows::{Key, Seen};

#[cfg(feature = "fjall")]
pub(crate) mod fjall;
#[cfg(feature = "lmdb")]
pub(crate) mod lmdb;
pub(crate) mod lsm;
#[cfg(feature = "redb")]
pub(crate) mod redb;
#[cfg(feature = "rocksdb")]
pub(crate) mod rocksdb;
#[cfg(feature = "sled")]
pub(crate) mod sled;
#[cfg(feature = "surrealkv")]
pub(crate) mod surrealkv;
#[cfg(feature = "tidesdb")]
pub(crate) mod tidesdb;

/// What a commit survives when it returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Durability {
    /// The end of the process.
    Process,
    /// A power cut.
    Power,
}

/// What all engines are opened with.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) durability: Durability,
    pub(crate) cache_bytes: usize,
    pub(crate) write_buffer_bytes: usize,
    pub(crate) level_base_bytes: u64,
    pub(crate) table_bytes: u64,
    pub(crate) compression: bool,
    pub(crate) threads: usize,
    /// Tables on the first level at which engines with such a level begin to compact it.
    pub(crate) level0_tables: u8,
}

/// Filter bits per key, where an engine has filters.
pub(crate) const FILTER_BITS: f64 = 10.0;

/// Bytes of a block, where an engine has blocks.
pub(crate) const BLOCK_BYTES: usize = 4096;

/// A store under the bench.
pub(crate) trait Engine: Send + Sync + Sized {
    /// What a thread works through.
    type Session<'a>: Session
    where
        Self: 'a;

    fn open(directory: &Path, config: &Config) -> Result<Self>;

    fn session(&self) -> Result<Self::Session<'_>>;

    /// How long [`Engine::settle`] only looks on in the end, where an engine does not say that it has settled.
    const LOOKS_ON: Duration = Duration::ZERO;

    /// Returns once no background work is running or due, and all is in the engine's own files.
    fn settle(&self) -> Result<()>;

    /// Settles; the time that it took, without that of looking on.
    fn settled(&self) -> Result<Duration> {
        let begun = Instant::now();
        self.settle()?;
        Ok(begun.elapsed().saturating_sub(Self::LOOKS_ON))
    }

    /// Writes what is in memory to a table of its own, in engines that have such tables.
    fn flush(&self) -> Result<()> {
        Ok(())
    }

    /// Bytes that wait for compaction, if the engine says.
    fn pending_bytes(&self) -> Option<u64> {
        None
    }

    fn close(self) -> Result<()>;
}

/// Returns once nothing has been at work for so long, by a look now and then: for engines that say what runs, not what is due.
#[cfg(any(feature = "fjall", feature = "tidesdb"))]
fn look_on(quiet_for: Duration, between: Duration, is_busy: impl Fn() -> bool) {
    let mut quiet = Duration::ZERO;
    while quiet < quiet_for {
        std::thread::sleep(between);
        quiet = if is_busy() { Duration::ZERO } else { quiet + between };
    }
}

/// One thread's access to a store.
pub(crate) trait Session {
    /// Commits one row.
    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()>;

    /// Commits `rows` together.
    fn put_all(&mut self, rows: &[(Key, Vec<u8>)]) -> Result<()>;

    /// The same of rows that come behind all that are there, with the engine's own call for that if it has one.
    fn append_all(&mut self, rows: &[(Key, Vec<u8>)]) -> Result<()> {
        self.put_all(rows)
    }

    /// Commits the deletion of a row.
    fn delete(&mut self, key: &Key) -> Result<()>;

    /// Reads a row; whether it is there.
    fn get(&mut self, key: &Key, seen: &mut Seen) -> Result<bool>;

    /// Reads rows at once, with the engine's own call if it has one; how many are there.
    fn get_all(&mut self, keys: &[Key], seen: &mut Seen) -> Result<usize> {
        let mut found = 0;
        for key in keys {
            found += usize::from(self.get(key, seen)?);
        }
        Ok(found)
    }

    /// Reads up to `limit` rows from `from` on, upwards or downwards; how many there were.
    fn scan(&mut self, from: Option<&Key>, backward: bool, limit: usize, seen: &mut Seen) -> Result<usize>;

    /// The first row's key.
    fn first(&mut self) -> Result<Option<Vec<u8>>>;

    /// Lets go of what the session has read under, so that it sees what was written since. Called before a read if something
    /// was, or while somebody else writes.
    fn refresh(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Calls `$run::<E>($arguments)` for the engine with the given name.
macro_rules! with_engine {
    ($name:expr, $run:ident($($argument:expr),*)) => {
        match $name {
            "lsm" => $run::<$crate::engines::lsm::Lsm>($($argument),*),
            #[cfg(feature = "fjall")]
            "fjall" => $run::<$crate::engines::fjall::Fjall>($($argument),*),
            #[cfg(feature = "lmdb")]
            "lmdb" => $run::<$crate::engines::lmdb::Lmdb>($($argument),*),
            #[cfg(feature = "redb")]
            "redb" => $run::<$crate::engines::redb::Redb>($($argument),*),
            #[cfg(feature = "rocksdb")]
            "rocksdb" => $run::<$crate::engines::rocksdb::Rocks>($($argument),*),
            #[cfg(feature = "rocksdb")]
            "rocksdb-tuned" => $run::<$crate::engines::rocksdb::Tuned>($($argument),*),
            #[cfg(feature = "sled")]
            "sled" => $run::<$crate::engines::sled::Sled>($($argument),*),
            #[cfg(feature = "surrealkv")]
            "surrealkv" => $run::<$crate::engines::surrealkv::Surreal>($($argument),*),
            #[cfg(feature = "tidesdb")]
            "tidesdb" => $run::<$crate::engines::tidesdb::Tides>($($argument),*),
            other => anyhow::bail!("engine {other} is not compiled in: see `cargo xtask bench --help`"),
        }
    };
}
pub(crate) use with_engine;

/// All engines that are compiled in, this store first, with what has to be said of them.
pub(crate) const ENGINES: &[(&str, &str)] = &[
    ("lsm", "this store, default options but for the sizes above"),
    #[cfg(feature = "fjall")]
    (
        "fjall",
        "fjall 3.1, its journal written at each commit, as by default; it compresses journaled values from 4 KiB on",
    ),
    #[cfg(feature = "lmdb")]
    (
        "lmdb",
        "LMDB by heed 0.22, which opens a cursor for each scan; no compression, no checksums; NOSYNC may damage the file when the system crashes",
    ),
    #[cfg(feature = "redb")]
    ("redb", "redb 4.6; no compression; Durability::None may lose commits when the process ends"),
    #[cfg(feature = "rocksdb")]
    (
        "rocksdb",
        "RocksDB by rocksdb 0.25, default options but for the sizes above, three write buffers, LZ4 and filters",
    ),
    #[cfg(feature = "rocksdb")]
    ("rocksdb-tuned", "the same with the options that experts set: see engines/rocksdb.rs"),
    #[cfg(feature = "sled")]
    ("sled", "sled 1.0.0-alpha.124, zstd; commits reach the disk every 200 ms and may be lost when the process ends"),
    #[cfg(feature = "surrealkv")]
    ("surrealkv", "surrealkv 1.2, Durability::Eventual; no compression; it does not say when it has settled"),
    #[cfg(feature = "tidesdb")]
    ("tidesdb", "TidesDB 10.2 by tidesdb 1.0, its log synced every second; an iterator for each scan"),
];
