//! sled.

use std::path::Path;
use std::sync::Mutex;

use anyhow::Result;

use super::{Config, Durability, Engine, Session};
use crate::rows::{Key, Seen};

const FANOUT: usize = 1024;

pub(crate) struct Sled {
    /// A handle is for one thread at a time; each session has a copy.
    db: Mutex<sled::Db<FANOUT>>,
    durability: Durability,
}

pub(crate) struct Handle {
    db: sled::Db<FANOUT>,
    durability: Durability,
}

impl Engine for Sled {
    type Session<'a> = Handle;

    fn open(directory: &Path, config: &Config) -> Result<Sled> {
        let settings = sled::Config::new().path(directory).cache_capacity_bytes(config.cache_bytes);
        Ok(Sled { db: Mutex::new(settings.open()?), durability: config.durability })
    }

    fn session(&self) -> Result<Handle> {
        Ok(Handle { db: self.handle(), durability: self.durability })
    }

    fn settle(&self) -> Result<()> {
        self.handle().flush()?;
        Ok(())
    }

    fn close(self) -> Result<()> {
        self.settle()
    }
}

impl Sled {
    fn handle(&self) -> sled::Db<FANOUT> {
        self.db.lock().expect("nobody panics with it").clone()
    }
}

impl Handle {
    fn committed(&self) -> Result<()> {
        if self.durability == Durability::Power {
            self.db.flush()?;
        }
        Ok(())
    }
}

impl Session for Handle {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        self.db.insert(key, value)?;
        self.committed()
    }

    fn put_all(&mut self, rows: &[(Key, Vec<u8>)]) -> Result<()> {
        let mut batch = sled::Batch::default();
        rows.iter().for_each(|(key, value)| batch.insert(key.as_ref(), value.as_slice()));
        self.db.apply_batch(batch)?;
        self.committed()
    }

    fn delete(&mut self, key: &Key) -> Result<()> {
        self.db.remove(key)?;
        self.committed()
    }

    fn get(&mut self, key: &Key, seen: &mut Seen) -> Result<bool> {
        let found = self.db.get(key)?;
        Ok(found.inspect(|value| seen.see(key.as_ref(), value)).is_some())
    }

    fn scan(&mut self, from: Option<&Key>, backward: bool, limit: usize, seen: &mut Seen) -> Result<usize> {
        let mut rows = match (from, backward) {
            (None, _) => self.db.iter(),
            (Some(key), false) => self.db.range(key.as_ref()..),
            (Some(key), true) => self.db.range(..=key.as_ref()),
        };
        let mut count = 0;
        while count < limit {
            let Some(row) = (if backward { rows.next_back() } else { rows.next() }) else { break };
            let (key, value) = row?;
            seen.see(&key, &value);
            count += 1;
        }
        Ok(count)
    }

    fn first(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(self.db.first()?.map(|(key, _)| key.to_vec()))
    }
}
