//! surrealkv. Its commits are asynchronous, so each waits on a runtime of its own.

use std::path::Path;

use anyhow::Result;
use surrealkv::{LSMIterator, Mode, Transaction, Tree, TreeBuilder};
use tokio::runtime::{Handle, Runtime};

use super::{BLOCK_BYTES, Config, Durability, Engine, Session};
use crate::rows::{Key, Seen};

pub(crate) struct Surreal {
    tree: Tree,
    runtime: Runtime,
    durability: surrealkv::Durability,
}

impl Engine for Surreal {
    type Session<'a> = Transactions<'a>;

    fn open(directory: &Path, config: &Config) -> Result<Surreal> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(config.threads.max(1)).enable_all().build()?;
        let guard = runtime.enter();
        let tree = TreeBuilder::new()
            .with_path(directory.to_owned())
            .with_block_size(BLOCK_BYTES)
            .with_max_memtable_size(config.write_buffer_bytes)
            .with_block_cache_capacity(config.cache_bytes as u64)
            .build()?;
        drop(guard);
        let durability = match config.durability {
            Durability::Process => surrealkv::Durability::Eventual,
            Durability::Power => surrealkv::Durability::Immediate,
        };
        Ok(Surreal { tree, runtime, durability })
    }

    fn session(&self) -> Result<Transactions<'_>> {
        Ok(Transactions { engine: self, handle: self.runtime.handle().clone(), reader: None })
    }

    fn settle(&self) -> Result<()> {
        Ok(self.tree.flush_wal(true)?)
    }

    fn close(self) -> Result<()> {
        Ok(self.runtime.block_on(self.tree.close())?)
    }
}

pub(crate) struct Transactions<'a> {
    engine: &'a Surreal,
    handle: Handle,
    reader: Option<Transaction>,
}

impl Transactions<'_> {
    fn write(&self, change: impl FnOnce(&mut Transaction) -> surrealkv::Result<()>) -> Result<()> {
        let mut transaction =
            self.engine.tree.begin_with_mode(Mode::WriteOnly)?.with_durability(self.engine.durability);
        change(&mut transaction)?;
        Ok(self.handle.block_on(transaction.commit())?)
    }

    fn reader(&mut self) -> Result<&Transaction> {
        if self.reader.is_none() {
            self.reader = Some(self.engine.tree.begin_with_mode(Mode::ReadOnly)?);
        }
        Ok(self.reader.as_ref().expect("set above"))
    }
}

impl Session for Transactions<'_> {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        self.write(|transaction| transaction.set(key.as_ref(), value))
    }

    fn put_all(&mut self, rows: &[(Key, Vec<u8>)]) -> Result<()> {
        self.write(|transaction| {
            rows.iter().try_for_each(|(key, value)| transaction.set(key.as_ref(), value.as_slice()))
        })
    }

    fn delete(&mut self, key: &Key) -> Result<()> {
        self.write(|transaction| transaction.delete(key.as_ref()))
    }

    fn get(&mut self, key: &Key, seen: &mut Seen) -> Result<bool> {
        let found = self.reader()?.get(key.as_ref())?;
        Ok(found.inspect(|value| seen.see(key.as_ref(), value)).is_some())
    }

    fn scan(&mut self, from: Option<&Key>, backward: bool, limit: usize, seen: &mut Seen) -> Result<usize> {
        let mut bounds = surrealkv::ReadOptions::default();
        match (from, backward) {
            (None, _) => {}
            (Some(key), false) => bounds.set_iterate_lower_bound(Some(key.as_ref().to_vec())),
            // The upper bound is not part of the range.
            (Some(key), true) => bounds.set_iterate_upper_bound(Some([key.as_ref(), &[0]].concat())),
        }
        let mut rows = self.reader()?.range_with_options(&bounds)?;
        let mut valid = if backward { rows.seek_last()? } else { rows.seek_first()? };
        let mut count = 0;
        while valid && count < limit {
            seen.see(rows.key().user_key(), &rows.value_ref()?);
            count += 1;
            valid = if backward { rows.prev()? } else { rows.next()? };
        }
        Ok(count)
    }

    fn first(&mut self) -> Result<Option<Vec<u8>>> {
        self.refresh()?;
        let mut rows = self.reader()?.iter()?;
        Ok(if rows.seek_first()? { Some(rows.key().user_key().to_vec()) } else { None })
    }

    fn refresh(&mut self) -> Result<()> {
        self.reader = None;
        Ok(())
    }
}
