//! Where a job's tables come from and go to. The engine implements these; a job knows no directory, no file
//! name and no cache.

use lsm_core::Result;
use lsm_core::filename::FileNumber;
use lsm_manifest::TableMeta;
use lsm_sstable::{BuilderOptions, Table};
use std::io;
use std::sync::Arc;

/// Opens the tables that a job reads.
pub trait TableSource: Send + Sync {
    /// The table that `meta` describes.
    ///
    /// # Errors
    /// Damage or I/O errors of its file.
    fn open(&self, meta: &TableMeta) -> Result<Arc<Table>>;
}

/// Makes room for the tables that a job writes. Called by several threads at once.
pub trait TableSink: Send + Sync {
    /// A new, empty table file.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn create(&self) -> Result<NewTable>;

    /// The job failed: the file of this number, finished or not, is of no use. Cannot fail; what it cannot
    /// remove is an orphan that the next open removes.
    fn discard(&self, number: FileNumber);
}

/// A table that is about to be written.
pub struct NewTable {
    /// Its number, used for no other file.
    pub number: FileNumber,
    /// Where its bytes go.
    pub writer: Box<dyn TableWriter>,
    /// How it is built. Its `creation_time` is that of the oldest data, which a compaction sets itself.
    pub options: BuilderOptions,
}

/// A table's file while it is written.
pub trait TableWriter: io::Write + Send {
    /// Everything written survives a crash once this has returned. Called once, after the last write; the
    /// directory is left to whoever installs the edit.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn sync(&mut self) -> Result<()>;
}
