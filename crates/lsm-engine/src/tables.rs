//! Open tables, and the memory that they and their blocks take.
//!
//! Every table of every view has one [`TableHandle`], which opens its file at the first read. Opening a
//! store therefore opens no table. The handle also owns the file's fate: once the manifest no longer
//! names the table, the file is deleted when the last view that holds the handle goes.
//!
//! # Invariants
//! H1. There is at most one handle per file number.
//! H2. A file is deleted only after `retire`, which comes after the synced edit that removes it, and not after
//!     `let_go`: the directory may be another store's by then, whose opening removes what is left.
//! H3. Blocks and the resident parts of tables (indexes, filters) together stay within the budget: what
//!     the latter take is taken from the block cache, down to an eighth; then tables that were not read
//!     lately are closed, as they are when the process may open no more files. Not so in a store that only reads:
//!     its owner may have removed the file by the time it is wanted again.

use crate::run::Run;
use crate::sync::{AtomicBool, Mutex, Ordering};
use crate::view::Level;
use arc_swap::{ArcSwapOption, Guard};
use lsm_core::filename::{FileKind, FileNumber};
use lsm_core::{Error, ReadAt, Result};
use lsm_fs::Fs;
use lsm_manifest::{TableMeta, Version};
use lsm_sstable::{BlockCache, FreshBlocks, Table, TableOptions};
use std::collections::HashMap;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

/// The cache keeps at least this share of its budget, however much indexes and filters take.
const BLOCKS_SHARE_MIN: usize = 8;

/// The process, or the whole system, may open no more files.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

pub(crate) struct Tables {
    shared: Arc<Shared>,
}

type Handles = HashMap<FileNumber, Weak<TableHandle>>;

struct Shared {
    fs: Arc<dyn Fs>,
    directory: PathBuf,
    blocks: Arc<BlockCache>,
    budget_bytes: usize,
    /// Whether what is open stays open until the store is closed (H3).
    keeps_open: bool,
    /// Bytes of indexes, filters and tombstones of open tables.
    resident_bytes: Mutex<usize>,
    handles: Mutex<Handles>,
    /// The store was closed.
    let_go: AtomicBool,
}

/// One table of the store, opened when it is first read.
pub(crate) struct TableHandle {
    pub(crate) meta: Arc<TableMeta>,
    shared: Arc<Shared>,
    table: ArcSwapOption<Table>,
    opening: Mutex<()>,
    /// Whether it was read since [`Shared::evict`] last came by.
    used: AtomicBool,
    retired: AtomicBool,
}

impl Tables {
    /// A store that only reads keeps tables open (`keeps_open`): without the lock nobody keeps their files.
    pub(crate) fn new(fs: Arc<dyn Fs>, directory: &Path, budget_bytes: usize, keeps_open: bool) -> Tables {
        let shared = Shared {
            fs,
            directory: directory.to_owned(),
            blocks: BlockCache::new(budget_bytes),
            budget_bytes,
            keeps_open,
            resident_bytes: Mutex::new(0),
            handles: Mutex::new(HashMap::new()),
            let_go: AtomicBool::new(false),
        };
        Tables { shared: Arc::new(shared) }
    }

    /// The handle of a live table (H1).
    pub(crate) fn handle(&self, meta: &Arc<TableMeta>) -> Arc<TableHandle> {
        let mut handles = self.shared.handles.lock();
        if let Some(handle) = handles.get(&meta.number).and_then(Weak::upgrade) {
            return handle;
        }
        let handle = Arc::new(TableHandle {
            meta: Arc::clone(meta),
            shared: Arc::clone(&self.shared),
            table: ArcSwapOption::empty(),
            opening: Mutex::new(()),
            used: AtomicBool::new(true),
            retired: AtomicBool::new(false),
        });
        handles.insert(meta.number, Arc::downgrade(&handle));
        handle
    }

    /// The handles of all tables of `version`, level by level.
    pub(crate) fn levels_of(&self, version: &Version) -> Arc<Vec<Level>> {
        let level = |(number, tables): (usize, &[Arc<TableMeta>])| {
            let handles = tables.iter().map(|meta| self.handle(meta)).collect();
            Arc::new(if number == 0 { Run::unsorted(handles) } else { Run::sorted(handles) })
        };
        Arc::new(version.levels().enumerate().map(level).collect())
    }

    /// Says that the manifest no longer names `meta`: its file goes with the last reader (H2).
    pub(crate) fn retire(&self, meta: &Arc<TableMeta>) {
        self.handle(meta).retired.store(true, Ordering::Release);
        self.shared.handles.lock().retain(|_, handle| handle.strong_count() > 0);
    }

    /// Opens the tables that only readers of older views still hold.
    pub(crate) fn open_retired(&self) {
        let handles: Vec<_> = self.shared.handles.lock().values().filter_map(Weak::upgrade).collect();
        for handle in handles.iter().filter(|handle| handle.retired.load(Ordering::Acquire)) {
            // A reader that comes to a table which could not be opened meets the error then.
            let _ = handle.table();
        }
    }

    /// From now on no file is deleted (H2).
    pub(crate) fn let_go(&self) {
        self.shared.let_go.store(true, Ordering::Release);
    }

    pub(crate) fn cache(&self) -> Arc<BlockCache> {
        Arc::clone(&self.shared.blocks)
    }

    pub(crate) fn cache_used_bytes(&self) -> u64 {
        self.shared.blocks.used_bytes() as u64
    }

    pub(crate) fn cache_capacity_bytes(&self) -> u64 {
        self.shared.blocks.capacity() as u64
    }

    pub(crate) fn resident_bytes(&self) -> usize {
        *self.shared.resident_bytes.lock()
    }

    pub(crate) fn cache_hits(&self) -> u64 {
        self.shared.blocks.hits()
    }

    pub(crate) fn cache_misses(&self) -> u64 {
        self.shared.blocks.misses()
    }
}

impl TableHandle {
    /// The open table.
    ///
    /// # Errors
    /// What opening the file reports; the next call tries again.
    pub(crate) fn table(&self) -> Result<OpenTable> {
        let table = self.table.load();
        if table.is_none() {
            return self.open(None).map(|table| OpenTable(Guard::from_inner(Some(table))));
        }
        // Looked at first, so that readers do not fight over the line for nothing.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        Ok(OpenTable(table))
    }

    /// Opens the table, with the blocks that its builder has left if there are any.
    #[cold]
    pub(crate) fn open(&self, fresh: Option<Arc<FreshBlocks>>) -> Result<Arc<Table>> {
        let _one_at_a_time = self.opening.lock();
        if let Some(table) = self.table.load_full() {
            return Ok(table);
        }
        let path = self.path();
        let source = self.shared.open_file(&path).map_err(|error| Error::io("open", &path, error))?;
        let size = source.size().map_err(|error| Error::io("stat", &path, error))?;
        if size != self.meta.bytes {
            let detail = format!("table of {size} bytes, the manifest says {}", self.meta.bytes);
            return Err(Error::corruption(detail).in_file(&path));
        }
        let options = TableOptions {
            file: path,
            cache: Some(Arc::clone(&self.shared.blocks)),
            global_seq: Some(self.meta.largest_seq),
            tail_bytes: Some(self.meta.tail_bytes).filter(|&bytes| bytes > 0),
            fresh,
        };
        let table = Arc::new(Table::open(source, options)?);
        let properties = table.properties();
        if self.meta.identity != 0 && properties.identity() != Some(self.meta.identity) {
            let detail = "this is not the table that the manifest names, though it is a whole one";
            return Err(Error::corruption(detail).in_file(&self.path()));
        }
        self.meta.stats.get_or_init(|| lsm_compaction::table_stats(properties));
        self.used.store(true, Ordering::Relaxed);
        self.shared.grow(table.memory_bytes());
        self.table.store(Some(Arc::clone(&table)));
        Ok(table)
    }

    /// About how much of the file has been read by way of blocks that are in the cache.
    pub(crate) fn bytes_read_lately(&self) -> u64 {
        self.table
            .load()
            .as_ref()
            .map_or(0, |table| self.meta.bytes * table.blocks_read_lately() / table.blocks().max(1))
    }

    /// First user key of the table's range.
    pub(crate) fn first_key(&self) -> &[u8] {
        self.meta.smallest.user_key()
    }

    pub(crate) fn path(&self) -> PathBuf {
        FileKind::Table(self.meta.number).path(&self.shared.directory)
    }
}

/// A table that stays open while this is held. Taking it does not touch the count of the table's owners, which all
/// readers would fight over.
pub(crate) struct OpenTable(Guard<Option<Arc<Table>>>);

impl Deref for OpenTable {
    type Target = Arc<Table>;

    #[inline]
    fn deref(&self) -> &Arc<Table> {
        self.0.as_ref().expect("only open tables are handed out")
    }
}

impl Drop for TableHandle {
    fn drop(&mut self) {
        if let Some(table) = self.table.swap(None) {
            self.shared.shrink(table.memory_bytes());
        }
        if *self.retired.get_mut() && !self.shared.let_go.load(Ordering::Acquire) {
            // A file that cannot be deleted now is an orphan, which the next open removes.
            let _ = self.shared.fs.remove(&self.path());
        }
    }
}

impl Shared {
    fn grow(&self, bytes: usize) {
        let resident = self.fit_cache(|resident| resident + bytes);
        if resident > self.budget_bytes - self.budget_bytes / BLOCKS_SHARE_MIN {
            self.evict();
        }
    }

    /// Opens a file, closing tables that were not read lately if the process may open no more.
    fn open_file(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>> {
        match self.fs.open(path) {
            Err(error) if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => {
                // Twice: the first round may only find out which tables are in use.
                self.evict();
                self.evict();
                self.fs.open(path)
            }
            opened => opened,
        }
    }

    /// Closes the tables that were not read since the last call. Readers that use one keep it open.
    fn evict(&self) {
        if self.keeps_open {
            return;
        }
        let handles: Vec<_> = self.handles.lock().values().filter_map(Weak::upgrade).collect();
        for handle in handles {
            if !handle.used.swap(false, Ordering::Relaxed)
                && let Some(table) = handle.table.swap(None)
            {
                self.shrink(table.memory_bytes());
            }
        }
    }

    fn shrink(&self, bytes: usize) {
        self.fit_cache(|resident| resident - bytes);
    }

    /// H3: what tables keep resident is taken from the cache. In one step, for the last one who sets its size must be the last
    /// who has counted.
    fn fit_cache(&self, change: impl FnOnce(usize) -> usize) -> usize {
        let mut resident = self.resident_bytes.lock();
        *resident = change(*resident);
        let capacity = self.budget_bytes.saturating_sub(*resident).max(self.budget_bytes / BLOCKS_SHARE_MIN);
        self.blocks.set_capacity(capacity);
        *resident
    }
}

#[cfg(test)]
mod tests {
    use crate::Options;
    use lsm_core::ColumnFamilyId;
    use lsm_fs::MemFs;
    use std::sync::Arc;

    #[test]
    fn a_table_that_was_opened_again_counts_as_read() {
        let db = Options::new().fs(Arc::new(MemFs::new())).open("/store").unwrap();
        db.put("key", "value").unwrap();
        db.flush().unwrap();
        let store = db.store();
        let view = store.families.load()[&ColumnFamilyId::DEFAULT].view.load_full();
        let handle = view.levels.iter().flat_map(|level| level.iter()).next().unwrap();
        let evict = || (0..2).for_each(|_| store.tables.shared.evict());
        handle.table().unwrap();
        evict();
        assert!(handle.table.load().is_none() && store.tables.resident_bytes() == 0);
        handle.table().unwrap();
        store.tables.shared.evict();
        assert!(handle.table.load().is_some());
        evict();
        assert!(handle.table.load().is_none());
    }
}
