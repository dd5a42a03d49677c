//! LMDB. It keeps no cache of its own: pages lie in the system's.

use std::ops::Bound;
use std::path::Path;

use anyhow::Result;
use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn, WithTls};

use super::{Config, Durability, Engine, Session};
use crate::rows::{Key, Seen};

/// Addresses that are set aside for the file, not memory.
const MAP_BYTES: usize = 64 << 30;

pub(crate) struct Lmdb {
    env: Env,
    rows: Database<Bytes, Bytes>,
}

impl Engine for Lmdb {
    type Session<'a> = Pages<'a>;

    #[expect(unsafe_code, reason = "nobody else opens or changes the bench's directory")]
    fn open(directory: &Path, config: &Config) -> Result<Lmdb> {
        std::fs::create_dir_all(directory)?;
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES);
        let flags = match config.durability {
            Durability::Process => EnvFlags::NO_SYNC,
            Durability::Power => EnvFlags::empty(),
        };
        // SAFETY: the directory is this process's own, so no file is changed under the mapping.
        let env = unsafe {
            options.flags(flags | EnvFlags::NO_READ_AHEAD);
            options.open(directory)?
        };
        let mut transaction = env.write_txn()?;
        let rows: Database<Bytes, Bytes> = env.create_database(&mut transaction, None)?;
        transaction.commit()?;
        Ok(Lmdb { rows, env })
    }

    fn session(&self) -> Result<Pages<'_>> {
        Ok(Pages { engine: self, reader: None })
    }

    fn settle(&self) -> Result<()> {
        Ok(self.env.force_sync()?)
    }

    fn close(self) -> Result<()> {
        Ok(self.env.force_sync()?)
    }
}

pub(crate) struct Pages<'a> {
    engine: &'a Lmdb,
    reader: Option<RoTxn<'a, WithTls>>,
}

impl<'a> Pages<'a> {
    fn reader(&mut self) -> Result<(Database<Bytes, Bytes>, &RoTxn<'a, WithTls>)> {
        if self.reader.is_none() {
            self.reader = Some(self.engine.env.read_txn()?);
        }
        Ok((self.engine.rows, self.reader.as_ref().expect("set above")))
    }
}

impl Pages<'_> {
    fn put_all_with(&mut self, flags: PutFlags, rows: &[(Key, Vec<u8>)]) -> Result<()> {
        let mut transaction = self.engine.env.write_txn()?;
        for (key, value) in rows {
            self.engine.rows.put_with_flags(&mut transaction, flags, key.as_ref(), value)?;
        }
        Ok(transaction.commit()?)
    }
}

impl Session for Pages<'_> {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        let mut transaction = self.engine.env.write_txn()?;
        self.engine.rows.put(&mut transaction, key.as_ref(), value)?;
        Ok(transaction.commit()?)
    }

    fn put_all(&mut self, rows: &[(Key, Vec<u8>)]) -> Result<()> {
        self.put_all_with(PutFlags::empty(), rows)
    }

    fn append_all(&mut self, rows: &[(Key, Vec<u8>)]) -> Result<()> {
        self.put_all_with(PutFlags::APPEND, rows)
    }

    fn delete(&mut self, key: &Key) -> Result<()> {
        let mut transaction = self.engine.env.write_txn()?;
        self.engine.rows.delete(&mut transaction, key.as_ref())?;
        Ok(transaction.commit()?)
    }

    fn get(&mut self, key: &Key, seen: &mut Seen) -> Result<bool> {
        let (rows, reader) = self.reader()?;
        let found = rows.get(reader, key.as_ref())?;
        Ok(found.inspect(|value| seen.see(key.as_ref(), value)).is_some())
    }

    fn scan(&mut self, from: Option<&Key>, backward: bool, limit: usize, seen: &mut Seen) -> Result<usize> {
        let (rows, reader) = self.reader()?;
        let from = from.map_or(Bound::Unbounded, |key| Bound::Included(key.as_ref()));
        let mut count = 0;
        if backward {
            for row in rows.rev_range(reader, &(Bound::Unbounded, from))?.take(limit) {
                let (key, value) = row?;
                seen.see(key, value);
                count += 1;
            }
        } else {
            for row in rows.range(reader, &(from, Bound::Unbounded))?.take(limit) {
                let (key, value) = row?;
                seen.see(key, value);
                count += 1;
            }
        }
        Ok(count)
    }

    fn first(&mut self) -> Result<Option<Vec<u8>>> {
        self.refresh()?;
        let (rows, reader) = self.reader()?;
        Ok(rows.first(reader)?.map(|(key, _)| key.to_vec()))
    }

    fn refresh(&mut self) -> Result<()> {
        self.reader = None;
        Ok(())
    }
}
