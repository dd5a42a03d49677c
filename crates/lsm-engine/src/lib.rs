//! An LSM-tree key-value store on RocksDB's own files.
//!
//! Open a directory, write, read, iterate; be killed, reopen, and find everything that was acknowledged. The
//! directory is RocksDB's format both ways: RocksDB's tools open what this store wrote, and this store
//! goes on from what RocksDB wrote.
//!
//! ```
//! # fn main() -> lsm_engine::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("data");
//! use lsm_engine::{Db, WriteBatch};
//!
//! let db = Db::open(&path)?;
//! db.put("user:1", "Ada")?;
//!
//! let mut batch = WriteBatch::new();
//! batch.put("user:2", "Grace");
//! batch.delete("user:1");
//! db.write(batch)?;
//!
//! let snapshot = db.snapshot();
//! db.delete("user:2")?;
//! assert_eq!(snapshot.get("user:2")?.unwrap(), "Grace");
//! assert!(db.prefix("user:").next().is_none());
//! db.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! This crate is a thin facade: it orders the calls of the crates below it and owns the threads; it
//! defines no format of its own. Readers take no lock and never wait for a writer, a flush or a compaction.

mod arenas;
mod background;
mod batch;
mod checkpoint;
mod close;
mod column_family;
mod commit;
mod compact;
mod contain;
mod db;
mod dead;
mod error;
mod families;
mod family;
mod flush;
mod gate;
mod gather;
mod get;
mod health;
mod level;
mod logs;
mod open;
mod options;
mod output;
mod pace;
mod publish;
mod range;
mod rate;
mod read;
mod recover;
mod repair;
mod room;
mod rotate;
mod run;
mod scan;
#[cfg(all(test, shuttle))]
mod shuttle_models;
mod snapshot;
mod source_cursor;
mod stats;
mod store;
mod submit;
mod sync;
mod tables;
mod toll;
mod verify;
mod view;
mod warm;
mod write;

pub use batch::WriteBatch;
pub use column_family::ColumnFamily;
pub use db::Db;
pub use error::{Error, ErrorKind, Result};
pub use lsm_compaction::Executor;
pub use lsm_core::{MergeOperator, Slice};
pub use lsm_fs::{Clock, Fs, MemFs, OsFs, SegmentAccess};
pub use lsm_wal::RecoveryMode;
pub use options::{ColumnFamilyOptions, Compression, Durability, EventListener, Options, WriteOptions};
pub use range::KeyRange;
pub use repair::{Loss, RepairReport};
pub use scan::{Cursor, Iter};
pub use snapshot::{FamilySnapshot, Snapshot};
pub use stats::{FamilyStats, LevelStats, Stats};
pub use submit::Commit;
pub use verify::VerifyReport;
