//! fjall.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use fjall::compaction::Leveled;
use fjall::config::{BlockSizePolicy, BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry};
use fjall::{CompressionType, Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{BLOCK_BYTES, Config, Durability, Engine, FILTER_BITS, Session, look_on};
use crate::rows::{Key, Seen};

pub(crate) struct Fjall {
    db: Database,
    rows: Keyspace,
    durability: Durability,
}

impl Engine for Fjall {
    type Session<'a> = &'a Fjall;

    fn open(directory: &Path, config: &Config) -> Result<Fjall> {
        let db = Database::builder(directory)
            .cache_size(config.cache_bytes as u64)
            .worker_threads(config.threads.max(1))
            .open()?;
        let compression = if config.compression { CompressionType::Lz4 } else { CompressionType::None };
        let filter = FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(FILTER_BITS as f32));
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(config.write_buffer_bytes as u64)
                .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES as u32))
                .data_block_compression_policy(CompressionPolicy::all(compression))
                .filter_policy(FilterPolicy::all(filter))
                .compaction_strategy(Arc::new(
                    Leveled::default()
                        .with_table_target_size(config.table_bytes)
                        .with_l0_threshold(config.level0_tables),
                ))
        };
        let rows = db.keyspace("rows", options)?;
        Ok(Fjall { db, rows, durability: config.durability })
    }

    const LOOKS_ON: Duration = Duration::from_millis(200);

    fn session(&self) -> Result<&Fjall> {
        Ok(self)
    }

    fn settle(&self) -> Result<()> {
        self.rows.rotate_memtable_and_wait()?;
        let is_busy = || self.db.active_compactions() + self.db.outstanding_flushes() > 0;
        look_on(Self::LOOKS_ON, Duration::from_millis(10), is_busy);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(self.rows.rotate_memtable_and_wait()?)
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

impl Fjall {
    fn committed(&self) -> Result<()> {
        if self.durability == Durability::Power {
            self.db.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }
}

impl Session for &Fjall {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        self.rows.insert(key.as_ref(), value)?;
        self.committed()
    }

    fn put_all(&mut self, rows: &[(Key, Vec<u8>)]) -> Result<()> {
        let mut batch = self.db.batch();
        rows.iter().for_each(|(key, value)| batch.insert(&self.rows, key.as_ref(), value.as_slice()));
        batch.commit()?;
        self.committed()
    }

    fn delete(&mut self, key: &Key) -> Result<()> {
        self.rows.remove(key.as_ref())?;
        self.committed()
    }

    fn get(&mut self, key: &Key, seen: &mut Seen) -> Result<bool> {
        let found = self.rows.get(key)?;
        Ok(found.inspect(|value| seen.see(key.as_ref(), value)).is_some())
    }

    fn scan(&mut self, from: Option<&Key>, backward: bool, limit: usize, seen: &mut Seen) -> Result<usize> {
        let rows = match (from, backward) {
            (None, _) => self.rows.iter(),
            (Some(key), false) => self.rows.range(key.as_ref()..),
            (Some(key), true) => self.rows.range(..=key.as_ref()),
        };
        let mut see = |row: Guard| -> Result<()> {
            let (key, value) = row.into_inner()?;
            seen.see(&key, &value);
            Ok(())
        };
        let mut count = 0;
        let rows: &mut dyn Iterator<Item = Guard> = if backward { &mut rows.rev() } else { &mut { rows } };
        for row in rows.take(limit) {
            see(row)?;
            count += 1;
        }
        Ok(count)
    }

    fn first(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(self.rows.first_key_value().map(Guard::key).transpose()?.map(|key| key.to_vec()))
    }
}
