//! The files that flush and compaction write.

use crate::store::Store;
use crate::sync::Mutex;
use crate::tables::Tables;
use lsm_compaction::{NewTable, TableSink, TableSource, TableWriter};
use lsm_core::filename::{FileKind, FileNumber};
use lsm_core::{Error, Result};
use lsm_fs::{FileWriter, Fs};
use lsm_manifest::{FileNumbers, TableMeta};
use lsm_sstable::{BlockCache, BuilderOptions, FreshBlocks, Table};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Oldest and newest format of tables that this store writes.
const FORMAT_VERSIONS: std::ops::RangeInclusive<u32> = 5..=6;

/// Makes table files in the store's directory.
pub(crate) struct TableFiles {
    fs: Arc<dyn Fs>,
    directory: PathBuf,
    numbers: Arc<FileNumbers>,
    options: BuilderOptions,
    /// The cache in which blocks of the new tables are to be, if readers will have use of them.
    warm: Option<Arc<BlockCache>>,
    fresh: Mutex<Vec<(FileNumber, Arc<FreshBlocks>)>>,
}

impl TableFiles {
    /// The blocks that were kept of table `number`.
    pub(crate) fn take_fresh(&self, number: FileNumber) -> Option<Arc<FreshBlocks>> {
        let mut fresh = self.fresh.lock();
        let at = fresh.iter().position(|(of, _)| *of == number)?;
        Some(fresh.swap_remove(at).1)
    }
}

impl TableSink for TableFiles {
    fn create(&self) -> Result<NewTable> {
        let number = self.numbers.allocate();
        let path = FileKind::Table(number).path(&self.directory);
        let file = self.fs.create(&path).map_err(|error| Error::io("create", &path, error))?;
        let writer = TableFile { file, path };
        let fresh = self.warm.as_ref().map(BlockCache::fresh);
        self.fresh.lock().extend(fresh.iter().map(|fresh| (number, Arc::clone(fresh))));
        let options = BuilderOptions { file_number: number.0, fresh, ..self.options.clone() };
        Ok(NewTable { number, writer: Box::new(writer), options })
    }

    fn discard(&self, number: FileNumber) {
        let _ = self.fs.remove(&FileKind::Table(number).path(&self.directory));
    }
}

/// Takes what a table's builder hands over, which are large runs.
struct TableFile {
    file: Box<dyn FileWriter>,
    path: PathBuf,
}

impl Write for TableFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl TableWriter for TableFile {
    fn sync(&mut self) -> Result<()> {
        self.file.sync().map_err(|error| Error::io("sync", &self.path, error))
    }
}

/// Opens the inputs of compactions.
pub(crate) struct LiveTables(pub(crate) Arc<Store>);

impl TableSource for LiveTables {
    fn open(&self, meta: &TableMeta) -> Result<Arc<Table>> {
        self.0.tables.open(meta)
    }
}

impl Store {
    /// Where tables of `family` go that a job writes, to the last level if it `is_bottom`; of those that readers `will_read` the
    /// blocks are kept for the cache.
    pub(crate) fn table_files(
        &self,
        family: &crate::family::Family,
        is_bottom: bool,
        will_read: bool,
    ) -> Result<TableFiles> {
        let options = &self.options;
        let compression = options.bottommost_compression.filter(|_| is_bottom).unwrap_or(options.compression);
        let builder = BuilderOptions {
            format_version: self.format_version()?,
            block_bytes: options.block_size,
            compression,
            bloom_bits_per_key: options.bloom_bits_per_key,
            column_family_id: family.id.0,
            column_family_name: family.name.clone(),
            creation_time: options.clock.unix_seconds(),
            db_id: self.db_id.clone(),
            session_id: self.session_id.clone(),
            merge_operator: family.merge_operator().map(|operator| operator.name().to_owned()),
            ..BuilderOptions::default()
        };
        Ok(TableFiles {
            fs: Arc::clone(&options.fs),
            directory: self.directory.clone(),
            numbers: self.background.shared_numbers(),
            options: builder,
            warm: will_read.then(|| self.tables.cache()),
            fresh: Mutex::default(),
        })
    }

    /// The format of new tables: what the user asked for, else what the directory has, found before the
    /// first table is written.
    fn format_version(&self) -> Result<u32> {
        if let Some(version) = self.format_version.get() {
            return Ok(*version);
        }
        let version = match self.options.format_version {
            Some(version) => version,
            None => self.found_format_version()?.unwrap_or(*FORMAT_VERSIONS.end()),
        };
        Ok(*self.format_version.get_or_init(|| version.clamp(*FORMAT_VERSIONS.start(), *FORMAT_VERSIONS.end())))
    }

    fn found_format_version(&self) -> Result<Option<u32>> {
        for family in self.families.load().values() {
            for (_, meta) in family.view.load().version.tables() {
                let path = FileKind::Table(meta.number).path(&self.directory);
                let file = match self.options.fs.open(&path) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(Error::io("open", &path, error)),
                };
                match lsm_sstable::read_footer_version(&*file) {
                    Ok(version) => return Ok(Some(version)),
                    // Whoever reads the table will hear of it; here another one will do.
                    Err(Error::Corruption(_)) => {}
                    Err(error) => return Err(error.in_file(&path)),
                }
            }
        }
        Ok(configured_format_version(&*self.options.fs, &self.directory))
    }
}

/// The format that RocksDB was configured to write, for a directory that holds no table yet.
fn configured_format_version(fs: &dyn Fs, directory: &Path) -> Option<u32> {
    let names = fs.read_dir(directory).ok()?;
    let options = names.iter().filter(|name| matches!(FileKind::parse(name), Some(FileKind::Options(_)))).max()?;
    let file = fs.open(&directory.join(options)).ok()?;
    let bytes = usize::try_from(file.size().ok()?).ok().filter(|&bytes| bytes <= 1 << 20)?;
    let mut text = vec![0; bytes];
    file.read_exact_at(0, &mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().filter_map(|line| line.trim().strip_prefix("format_version=")?.parse().ok()).max()
}

impl Tables {
    fn open(&self, meta: &TableMeta) -> Result<Arc<Table>> {
        self.handle(&Arc::new(meta.clone())).table().map(|table| Arc::clone(&table))
    }
}
