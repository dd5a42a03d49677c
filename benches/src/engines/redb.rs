//! redb.

use std::ops::Bound;
use std::path::Path;

use anyhow::Result;
use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Config, Durability, Engine, Session};
use crate::rows::{Key, Seen};

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

pub(crate) struct Redb {
    db: Database,
    durability: redb::Durability,
}

impl Redb {
    fn write(
        &self,
        change: impl FnOnce(&mut redb::Table<'_, &'static [u8], &'static [u8]>) -> Result<()>,
    ) -> Result<()> {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(self.durability)?;
        change(&mut transaction.open_table(ROWS)?)?;
        Ok(transaction.commit()?)
    }

    fn commit_durably(&self) -> Result<()> {
        Ok(self.db.begin_write()?.commit()?)
    }
}

impl Engine for Redb {
    type Session<'a> = Tables<'a>;

    fn open(directory: &Path, config: &Config) -> Result<Redb> {
        std::fs::create_dir_all(directory)?;
        let db = Database::builder().set_cache_size(config.cache_bytes).create(directory.join("redb"))?;
        let durability = match config.durability {
            Durability::Process => redb::Durability::None,
            Durability::Power => redb::Durability::Immediate,
        };
        let engine = Redb { db, durability };
        engine.write(|_| Ok(()))?;
        Ok(engine)
    }

    fn session(&self) -> Result<Tables<'_>> {
        Ok(Tables { engine: self, table: None })
    }

    fn settle(&self) -> Result<()> {
        self.commit_durably()
    }

    fn close(self) -> Result<()> {
        self.commit_durably()
    }
}

pub(crate) struct Tables<'a> {
    engine: &'a Redb,
    table: Option<ReadOnlyTable<&'static [u8], &'static [u8]>>,
}

impl Tables<'_> {
    fn table(&mut self) -> Result<&ReadOnlyTable<&'static [u8], &'static [u8]>> {
        if self.table.is_none() {
            self.table = Some(self.engine.db.begin_read()?.open_table(ROWS)?);
        }
        Ok(self.table.as_ref().expect("set above"))
    }
}

impl Session for Tables<'_> {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        self.engine.write(|table| Ok(table.insert(key.as_ref(), value).map(drop)?))
    }

    fn put_all(&mut self, rows: &[(Key, Vec<u8>)]) -> Result<()> {
        self.engine.write(|table| {
            rows.iter().try_for_each(|(key, value)| Ok(table.insert(key.as_ref(), value.as_slice()).map(drop)?))
        })
    }

    fn delete(&mut self, key: &Key) -> Result<()> {
        self.engine.write(|table| Ok(table.remove(key.as_ref()).map(drop)?))
    }

    fn get(&mut self, key: &Key, seen: &mut Seen) -> Result<bool> {
        let found = self.table()?.get(key.as_ref())?;
        Ok(found.inspect(|value| seen.see(key.as_ref(), value.value())).is_some())
    }

    fn scan(&mut self, from: Option<&Key>, backward: bool, limit: usize, seen: &mut Seen) -> Result<usize> {
        let from = from.map_or(Bound::Unbounded, |key| Bound::Included(key.as_ref()));
        let bounds = if backward { (Bound::Unbounded, from) } else { (from, Bound::Unbounded) };
        let mut rows = self.table()?.range::<&[u8]>(bounds)?;
        let mut count = 0;
        while count < limit {
            let Some(row) = (if backward { rows.next_back() } else { rows.next() }) else { break };
            let (key, value) = row?;
            seen.see(key.value(), value.value());
            count += 1;
        }
        Ok(count)
    }

    fn first(&mut self) -> Result<Option<Vec<u8>>> {
        self.refresh()?;
        Ok(self.table()?.first()?.map(|(key, _)| key.value().to_vec()))
    }

    fn refresh(&mut self) -> Result<()> {
        self.table = None;
        Ok(())
    }
}
