//! The store's handle and its public calls.

use crate::batch::WriteBatch;
use crate::column_family::ColumnFamily;
use crate::family::Family;
use crate::range::KeyRange;
use crate::read::{Reader, read_calls};
use crate::snapshot::Snapshot;
use crate::stats::Stats;
use crate::store::Store;
use crate::submit::Commit;
use crate::verify::VerifyReport;
use crate::write::{FamilyWriter, write_calls};
use crate::{ColumnFamilyOptions, Options, Result, WriteOptions};
use lsm_core::ColumnFamilyId;
use std::path::Path;
use std::sync::Arc;

/// An open store. Cheap to clone; the last clone, column family or snapshot to go closes it.
///
/// The read and write calls here are those of the default column family.
///
/// ```
/// # fn main() -> lsm_engine::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("data");
/// use lsm_engine::Db;
///
/// let db = Db::open(&path)?;
/// db.put("apple", "red")?;
/// db.put("banana", "yellow")?;
/// db.delete("apple")?;
/// for item in db.iter() {
///     let (key, value) = item?;
///     println!("{key:?} is {value:?}");
/// }
/// db.close()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Db {
    handle: Arc<Handle>,
    default_family: Arc<Family>,
}

/// What all handles of one open store share; its end closes the store.
pub(crate) struct Handle {
    pub(crate) store: Arc<Store>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Whoever wants to hear of an error calls `Db::close`, which contains panics: this may be one's unwinding.
        let _ = self.store.close();
    }
}

impl Db {
    pub(crate) fn new(store: Arc<Store>) -> Result<Db> {
        let default_family = store.family(ColumnFamilyId::DEFAULT)?;
        Ok(Db { handle: Arc::new(Handle { store }), default_family })
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.handle.store
    }

    /// Opens the store in `path` with the default [`Options`], or creates it, the directories above it included.
    ///
    /// # Errors
    /// As for [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Db> {
        Options::new().open(path)
    }

    /// The column family `name`, which is created if it is missing.
    ///
    /// # Errors
    /// I/O errors of the manifest, or a store that takes no writes where the family is missing.
    pub fn column_family(&self, name: &str) -> Result<ColumnFamily> {
        self.column_family_with(name, ColumnFamilyOptions::new())
    }

    /// As [`Db::column_family`], with options of its own. The first merge operator that it is given stays until the store is
    /// closed; another one is not taken.
    ///
    /// # Errors
    /// As for [`Db::column_family`].
    pub fn column_family_with(&self, name: &str, options: ColumnFamilyOptions) -> Result<ColumnFamily> {
        let family = self.store().open_family(name, options)?;
        Ok(ColumnFamily::new(Arc::clone(&self.handle), family))
    }

    /// Names of all column families, `default` first, then in the order of their creation.
    pub fn column_families(&self) -> Vec<String> {
        self.store().families.load().values().map(|family| family.name.clone()).collect()
    }

    /// Drops the column family `name` and all that is in it. Handles and iterators that somebody has go on reading what was there;
    /// writes through them are refused.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidArgument`] for a family that does not exist, and for `default`.
    pub fn drop_column_family(&self, name: &str) -> Result<()> {
        self.store().drop_family(name)
    }

    /// Commits `batch`: all of it or nothing, across column families.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidArgument`] for a batch that cannot be written, I/O errors, or a store that
    /// takes no writes.
    pub fn write(&self, batch: WriteBatch) -> Result<()> {
        self.write_with(batch, &WriteOptions::new())
    }

    /// As [`Db::write`], with another durability, or without waiting.
    ///
    /// # Errors
    /// As for [`Db::write`], and [`crate::ErrorKind::Stalled`] instead of waiting if that was asked for; to try that again, write a
    /// clone of the batch.
    pub fn write_with(&self, batch: WriteBatch, options: &WriteOptions) -> Result<()> {
        self.store().write(batch, options)
    }

    /// Hands `batch` to the store's writer thread and returns, at once as long as fewer than 8 MiB of batches wait there, else once
    /// there is room. Submitted batches commit in order.
    pub fn submit(&self, batch: WriteBatch) -> Commit {
        self.submit_with(batch, &WriteOptions::new())
    }

    /// As [`Db::submit`], with another durability, or with [`crate::ErrorKind::Stalled`] instead of waiting.
    pub fn submit_with(&self, batch: WriteBatch, options: &WriteOptions) -> Commit {
        let store = self.store();
        match batch.into_encoded(store.id, |family| store.end_key(family)) {
            Ok(batch) => store.submit(batch, options),
            Err(error) => Commit::refused(error),
        }
    }

    /// The present moment of all column families, to be read later.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(&self.handle, Arc::clone(&self.default_family))
    }

    /// Returns once all writes so far are on stable storage.
    ///
    /// # Errors
    /// A failed sync, after which the store is read-only until it is reopened.
    pub fn sync(&self) -> Result<()> {
        self.store().sync()
    }

    /// Writes all memtables of all column families to tables.
    ///
    /// # Errors
    /// What keeps them from being written.
    pub fn flush(&self) -> Result<()> {
        self.store().flush()
    }

    /// Makes the data of `range` in the default family lie as deep as it can, without deleted and
    /// overwritten entries. `..` compacts all of it.
    ///
    /// # Errors
    /// Damage or I/O errors of the compaction.
    pub fn compact_range(&self, range: impl KeyRange) -> Result<()> {
        self.store().compact_range(&self.default_family, &range)
    }

    /// Returns once no flush or compaction is running or due.
    ///
    /// # Errors
    /// A failure that keeps the work from being done.
    pub fn wait_for_compactions(&self) -> Result<()> {
        self.store().wait_for_compactions()
    }

    /// Makes `dir`, which must not exist, a store of its own with the content of this moment. Tables are
    /// linked where the file system can, and copied elsewhere.
    ///
    /// # Errors
    /// I/O errors, or a directory that exists.
    pub fn checkpoint(&self, dir: impl AsRef<Path>) -> Result<()> {
        self.store().checkpoint(dir.as_ref())
    }

    /// Checks every checksum of the manifest and of all tables, and every invariant that holds between them. Logs are checked
    /// when a store is opened: that reads all of them.
    ///
    /// # Errors
    /// The first damage found, by file and offset.
    pub fn verify(&self) -> Result<VerifyReport> {
        self.store().verify()
    }

    /// How the store stands.
    pub fn stats(&self) -> Stats {
        self.store().stats()
    }

    /// A number or text by RocksDB's name for it, as in `rocksdb.num-files-at-level0`.
    pub fn property(&self, name: &str) -> Option<String> {
        self.store().property(&self.default_family, name)
    }

    /// Closes the store and says what went wrong, which a drop would have to swallow.
    ///
    /// Other handles answer [`crate::ErrorKind::Closed`] from then on; iterators and slices stay readable.
    ///
    /// # Errors
    /// What kept the last writes from being put down.
    pub fn close(self) -> Result<()> {
        self.store().close()
    }

    fn reader(&self) -> Reader<'_> {
        Reader { store: self.store(), family: &self.default_family, seq: None }
    }

    fn writer(&self) -> FamilyWriter<'_> {
        FamilyWriter { store: self.store(), family: self.default_family.id }
    }
}

read_calls!(Db);
write_calls!(Db);

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db").field("directory", &self.store().directory).finish_non_exhaustive()
    }
}
