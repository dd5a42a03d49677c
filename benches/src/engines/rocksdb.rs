//! RocksDB: with its defaults, and as experts set it.

use std::path::Path;

use anyhow::Result;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DB, DBCompressionType, DBRawIteratorWithThreadMode,
    DataBlockIndexType, Direction, Options, ReadOptions, WaitForCompactOptions, WriteBatch, WriteOptions,
};

use super::{BLOCK_BYTES, Config, Durability, Engine, FILTER_BITS, Session};
use crate::rows::{Key, Seen};

/// The one family that there is.
const FAMILY: &str = "default";

/// As many as this store has, in the place of two.
const WRITE_BUFFERS: i32 = 3;

/// The defaults but for sizes, LZ4 and filters; the cache is of the kind that is the default, HyperClockCache.
pub(crate) struct Rocks {
    db: DB,
    writes: WriteOptions,
}

/// With more options: parallelism, the cache told the size of blocks, filters in memtables, hashes in blocks, pipelined writes,
/// early writeback, no compression above the third level.
pub(crate) struct Tuned(Rocks);

fn options(config: &Config, cache: &Cache) -> (Options, BlockBasedOptions) {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(BLOCK_BYTES);
    table.set_bloom_filter(FILTER_BITS, false);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_write_buffer_size(config.write_buffer_bytes);
    options.set_max_bytes_for_level_base(config.level_base_bytes);
    options.set_target_file_size_base(config.table_bytes);
    options.set_max_background_jobs(config.threads as i32);
    options.set_max_write_buffer_number(WRITE_BUFFERS);
    options.set_level_zero_file_num_compaction_trigger(config.level0_tables.into());
    let compression = if config.compression { DBCompressionType::Lz4 } else { DBCompressionType::None };
    options.set_compression_type(compression);
    (options, table)
}

fn open(directory: &Path, config: &Config, options: &Options) -> Result<Rocks> {
    let mut writes = WriteOptions::default();
    writes.set_sync(config.durability == Durability::Power);
    // Named, for the call that gets many keys wants the family.
    let db = DB::open_cf_with_opts(options, directory, [(FAMILY, options.clone())])?;
    Ok(Rocks { db, writes })
}

impl Engine for Rocks {
    type Session<'a> = Reads<'a>;

    fn open(directory: &Path, config: &Config) -> Result<Rocks> {
        let (mut settings, table) = options(config, &Cache::new_hyper_clock_cache(config.cache_bytes, 0));
        settings.set_block_based_table_factory(&table);
        open(directory, config, &settings)
    }

    fn session(&self) -> Result<Reads<'_>> {
        Ok(Reads { engine: self, iterator: None })
    }

    fn settle(&self) -> Result<()> {
        self.db.flush()?;
        Ok(self.db.wait_for_compact(&WaitForCompactOptions::default())?)
    }

    fn flush(&self) -> Result<()> {
        Ok(self.db.flush()?)
    }

    fn pending_bytes(&self) -> Option<u64> {
        self.db.property_int_value("rocksdb.estimate-pending-compaction-bytes").ok()?
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

impl Engine for Tuned {
    type Session<'a> = Reads<'a>;

    fn open(directory: &Path, config: &Config) -> Result<Tuned> {
        let cache = Cache::new_hyper_clock_cache(config.cache_bytes, BLOCK_BYTES);
        let (mut settings, mut table) = options(config, &cache);
        table.set_index_type(BlockBasedIndexType::BinarySearch);
        table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
        table.set_data_block_hash_ratio(0.75);
        settings.set_block_based_table_factory(&table);
        settings.increase_parallelism(config.threads as i32);
        settings.set_memtable_whole_key_filtering(true);
        settings.set_memtable_prefix_bloom_ratio(0.05);
        settings.set_enable_pipelined_write(true);
        settings.set_bytes_per_sync(1 << 20);
        if config.compression {
            let (none, lz4) = (DBCompressionType::None, DBCompressionType::Lz4);
            settings.set_compression_per_level(&[none, none, lz4, lz4, lz4, lz4, lz4]);
        }
        Ok(Tuned(open(directory, config, &settings)?))
    }

    fn session(&self) -> Result<Reads<'_>> {
        self.0.session()
    }

    fn settle(&self) -> Result<()> {
        self.0.settle()
    }

    fn flush(&self) -> Result<()> {
        self.0.flush()
    }

    fn pending_bytes(&self) -> Option<u64> {
        self.0.pending_bytes()
    }

    fn close(self) -> Result<()> {
        self.0.close()
    }
}

pub(crate) struct Reads<'a> {
    engine: &'a Rocks,
    /// One for all scans between two refreshes.
    iterator: Option<DBRawIteratorWithThreadMode<'a, DB>>,
}

impl Session for Reads<'_> {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        Ok(self.engine.db.put_opt(key, value, &self.engine.writes)?)
    }

    fn put_all(&mut self, rows: &[(Key, Vec<u8>)]) -> Result<()> {
        let mut batch = WriteBatch::default();
        rows.iter().for_each(|(key, value)| batch.put(key, value));
        Ok(self.engine.db.write_opt(batch, &self.engine.writes)?)
    }

    fn delete(&mut self, key: &Key) -> Result<()> {
        Ok(self.engine.db.delete_opt(key, &self.engine.writes)?)
    }

    fn get(&mut self, key: &Key, seen: &mut Seen) -> Result<bool> {
        let found = self.engine.db.get_pinned(key)?;
        Ok(found.inspect(|value| seen.see(key.as_ref(), value)).is_some())
    }

    fn get_all(&mut self, keys: &[Key], seen: &mut Seen) -> Result<usize> {
        let family = self.engine.db.cf_handle(FAMILY).expect("opened with the store");
        let found = self.engine.db.batched_multi_get_cf(&family, keys, false);
        let mut count = 0;
        for (key, value) in keys.iter().zip(found) {
            if let Some(value) = value? {
                seen.see(key.as_ref(), &value);
                count += 1;
            }
        }
        Ok(count)
    }

    fn scan(&mut self, from: Option<&Key>, backward: bool, limit: usize, seen: &mut Seen) -> Result<usize> {
        let rows = self.iterator.get_or_insert_with(|| self.engine.db.raw_iterator_opt(ReadOptions::default()));
        let direction = if backward { Direction::Reverse } else { Direction::Forward };
        match (from, direction) {
            (Some(key), Direction::Forward) => rows.seek(key),
            (Some(key), Direction::Reverse) => rows.seek_for_prev(key),
            (None, Direction::Forward) => rows.seek_to_first(),
            (None, Direction::Reverse) => rows.seek_to_last(),
        }
        let mut count = 0;
        while count < limit {
            let Some((key, value)) = rows.item() else { break };
            seen.see(key, value);
            count += 1;
            if backward { rows.prev() } else { rows.next() }
        }
        rows.status()?;
        Ok(count)
    }

    fn first(&mut self) -> Result<Option<Vec<u8>>> {
        let mut rows = self.engine.db.raw_iterator();
        rows.seek_to_first();
        Ok(rows.key().map(<[u8]>::to_vec))
    }

    fn refresh(&mut self) -> Result<()> {
        self.iterator = None;
        Ok(())
    }
}
