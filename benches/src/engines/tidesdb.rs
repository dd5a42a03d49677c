//! TidesDB, by its C library.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tidesdb::{
    ColumnFamily, ColumnFamilyConfig, CompressionAlgorithm, ErrorCode, IsolationLevel, LogLevel, SyncMode, TidesDB,
    Transaction,
};

use super::{BLOCK_BYTES, Config, Durability, Engine, Session, look_on};
use crate::rows::{Key, Seen};

const FAMILY: &str = "rows";

/// What ten bits a key come to.
const FALSE_POSITIVES: f64 = 0.0082;

pub(crate) struct Tides(TidesDB);

impl Engine for Tides {
    type Session<'a> = Transactions<'a>;

    fn open(directory: &Path, config: &Config) -> Result<Tides> {
        let threads = (config.threads / 2).max(1) as i32;
        let options = tidesdb::Config::new(directory)
            .num_flush_threads(threads)
            .num_compaction_threads(threads)
            .log_level(LogLevel::Error)
            .block_cache_size(config.cache_bytes)
            .memtable_write_buffer_size(config.write_buffer_bytes)
            .value_separation_threshold(BLOCK_BYTES / 4)
            // With `SyncMode::None` commits would be lost with the process.
            .memtable_sync_mode(match config.durability {
                Durability::Process => SyncMode::Interval,
                Durability::Power => SyncMode::Full,
            });
        let db = TidesDB::open(options)?;
        if db.get_column_family(FAMILY).is_err() {
            let compression = if config.compression { vec![CompressionAlgorithm::Lz4] } else { Vec::new() };
            let family = ColumnFamilyConfig::new()
                .btree_klog_block_size(BLOCK_BYTES)
                .encoding_pipeline(compression)
                .enable_bloom_filter(true)
                .bloom_fpr(FALSE_POSITIVES);
            db.create_column_family(FAMILY, family)?;
        }
        Ok(Tides(db))
    }

    const LOOKS_ON: Duration = Duration::from_millis(25);

    fn session(&self) -> Result<Transactions<'_>> {
        Ok(Transactions {
            rows: self.0.get_column_family(FAMILY)?,
            writer: self.0.begin_transaction()?,
            reader: self.0.begin_transaction_with_isolation(IsolationLevel::ReadCommitted)?,
        })
    }

    fn settle(&self) -> Result<()> {
        self.0.flush_memtable()?;
        let rows = self.0.get_column_family(FAMILY)?;
        // What follows a flush is not yet under way when it ends.
        let is_busy = || self.0.is_flushing() || rows.is_compacting();
        look_on(Self::LOOKS_ON, Duration::from_millis(5), is_busy);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(self.0.flush_memtable()?)
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

pub(crate) struct Transactions<'a> {
    rows: ColumnFamily<'a>,
    writer: Transaction<'a>,
    /// Sees what was committed before each read.
    reader: Transaction<'a>,
}

impl Transactions<'_> {
    fn commit(&mut self) -> Result<()> {
        self.writer.commit()?;
        Ok(self.writer.reset(IsolationLevel::ReadCommitted)?)
    }
}

impl Session for Transactions<'_> {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        self.writer.put(&self.rows, key.as_ref(), value)?;
        self.commit()
    }

    fn put_all(&mut self, rows: &[(Key, Vec<u8>)]) -> Result<()> {
        for (key, value) in rows {
            self.writer.put(&self.rows, key.as_ref(), value)?;
        }
        self.commit()
    }

    fn delete(&mut self, key: &Key) -> Result<()> {
        self.writer.delete(&self.rows, key.as_ref())?;
        self.commit()
    }

    fn get(&mut self, key: &Key, seen: &mut Seen) -> Result<bool> {
        match self.reader.get_notrack(&self.rows, key.as_ref()) {
            Ok(value) => {
                seen.see(key.as_ref(), &value);
                Ok(true)
            }
            Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn scan(&mut self, from: Option<&Key>, backward: bool, limit: usize, seen: &mut Seen) -> Result<usize> {
        let mut rows = self.reader.new_iterator(&self.rows)?;
        match (from, backward) {
            (None, false) => rows.seek_to_first()?,
            (None, true) => rows.seek_to_last()?,
            (Some(key), false) => rows.seek(key.as_ref())?,
            (Some(key), true) => rows.seek_for_prev(key.as_ref())?,
        }
        let mut count = 0;
        while count < limit && rows.is_valid() {
            let (key, value) = rows.key_value()?;
            seen.see(&key, &value);
            count += 1;
            if backward { rows.prev()? } else { rows.next()? }
        }
        Ok(count)
    }

    fn first(&mut self) -> Result<Option<Vec<u8>>> {
        let mut rows = self.reader.new_iterator(&self.rows)?;
        rows.seek_to_first()?;
        Ok(if rows.is_valid() { Some(rows.key()?) } else { None })
    }
}
