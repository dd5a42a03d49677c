//! This store.

use std::path::Path;

use anyhow::Result;
use lsm_engine::{Compression, Cursor, Db, Options, WriteBatch};

use super::{BLOCK_BYTES, Config, Durability, Engine, FILTER_BITS, Session};
use crate::rows::{Key, Seen};

pub(crate) struct Lsm(Db);

impl Engine for Lsm {
    type Session<'a> = Lsms<'a>;

    fn open(directory: &Path, config: &Config) -> Result<Lsm> {
        let durability = match config.durability {
            Durability::Process => lsm_engine::Durability::Buffered,
            Durability::Power => lsm_engine::Durability::Synced,
        };
        let options = Options::new()
            .durability(durability)
            .block_cache_size(config.cache_bytes)
            .write_buffer_size(config.write_buffer_bytes)
            .max_bytes_for_level_base(config.level_base_bytes)
            .target_file_size(config.table_bytes)
            .compression(if config.compression { Compression::Lz4 } else { Compression::None })
            .bloom_bits_per_key(FILTER_BITS)
            .block_size(BLOCK_BYTES)
            .background_threads(config.threads)
            .level0_file_num_compaction_trigger(config.level0_tables.into());
        Ok(Lsm(options.open(directory)?))
    }

    fn session(&self) -> Result<Lsms<'_>> {
        Ok(Lsms { db: &self.0, cursor: None })
    }

    fn settle(&self) -> Result<()> {
        self.0.flush()?;
        Ok(self.0.wait_for_compactions()?)
    }

    fn flush(&self) -> Result<()> {
        Ok(self.0.flush()?)
    }

    fn pending_bytes(&self) -> Option<u64> {
        self.0.property("rocksdb.estimate-pending-compaction-bytes")?.parse().ok()
    }

    fn close(self) -> Result<()> {
        Ok(self.0.close()?)
    }
}

pub(crate) struct Lsms<'a> {
    db: &'a Db,
    /// One for all scans between two refreshes.
    cursor: Option<Cursor>,
}

impl Session for Lsms<'_> {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        Ok(self.db.put(key, value)?)
    }

    fn put_all(&mut self, rows: &[(Key, Vec<u8>)]) -> Result<()> {
        let mut batch = WriteBatch::new();
        rows.iter().for_each(|(key, value)| batch.put(key, value));
        Ok(self.db.write(batch)?)
    }

    fn delete(&mut self, key: &Key) -> Result<()> {
        Ok(self.db.delete(key)?)
    }

    fn get(&mut self, key: &Key, seen: &mut Seen) -> Result<bool> {
        let found = self.db.get(key)?;
        Ok(found.inspect(|value| seen.see(key.as_ref(), value)).is_some())
    }

    fn get_all(&mut self, keys: &[Key], seen: &mut Seen) -> Result<usize> {
        let found = self.db.multi_get(keys)?;
        let there = keys.iter().zip(&found).filter_map(|(key, value)| Some((key, value.as_ref()?)));
        Ok(there.inspect(|(key, value)| seen.see(key.as_ref(), value)).count())
    }

    fn scan(&mut self, from: Option<&Key>, backward: bool, limit: usize, seen: &mut Seen) -> Result<usize> {
        let cursor = self.cursor.get_or_insert_with(|| self.db.cursor());
        match (from, backward) {
            (Some(key), false) => cursor.seek(key)?,
            (Some(key), true) => cursor.seek_for_prev(key)?,
            (None, false) => cursor.seek_to_first()?,
            (None, true) => cursor.seek_to_last()?,
        }
        let mut count = 0;
        while count < limit && cursor.valid() {
            seen.see(cursor.key(), cursor.value());
            count += 1;
            if backward { cursor.prev()? } else { cursor.next()? }
        }
        Ok(count)
    }

    fn first(&mut self) -> Result<Option<Vec<u8>>> {
        let mut cursor = self.db.cursor();
        cursor.seek_to_first()?;
        Ok(cursor.valid().then(|| cursor.key().to_vec()))
    }

    fn refresh(&mut self) -> Result<()> {
        self.cursor = None;
        Ok(())
    }
}
