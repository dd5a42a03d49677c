//! The write calls, the same on a store and a column family. Each is a batch of one.

use crate::batch::WriteBatch;
use crate::range::KeyRange;
use crate::store::Store;
use crate::{Result, WriteOptions};
use lsm_core::batch::Entry;
use lsm_core::{ColumnFamilyId, Kind};
use std::sync::Arc;

/// Bytes that a record adds to its key and value, at most.
const RECORD_OVERHEAD_BYTES: usize = 16;

/// Where a write call writes.
pub(crate) struct FamilyWriter<'a> {
    pub(crate) store: &'a Arc<Store>,
    pub(crate) family: ColumnFamilyId,
}

impl FamilyWriter<'_> {
    pub(crate) fn write(&self, kind: Kind, key: &[u8], value: &[u8]) -> Result<()> {
        let mut batch = WriteBatch::with_capacity(key.len() + value.len() + RECORD_OVERHEAD_BYTES);
        batch.push(Entry { family: self.family, kind, key, value });
        self.store.write(batch, &WriteOptions::new())
    }

    pub(crate) fn delete_range(&self, range: &impl KeyRange) -> Result<()> {
        let mut batch = WriteBatch::new();
        batch.push_range(self.family, range);
        self.store.write(batch, &WriteOptions::new())
    }
}

impl Store {
    pub(crate) fn write(self: &Arc<Self>, batch: WriteBatch, options: &WriteOptions) -> Result<()> {
        let batch = batch.into_encoded(self.id, |family| self.end_key(family))?;
        self.commit(batch, options)
    }
}

/// Gives a type with a method `writer(&self) -> FamilyWriter` the write calls.
macro_rules! write_calls {
    ($type:ty) => {
        impl $type {
            /// Gives `key` a value.
            ///
            /// # Errors
            /// [`crate::ErrorKind::InvalidArgument`] for what is too large, I/O errors, or a store that
            /// takes no writes; likewise for all write calls.
            pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> crate::Result<()> {
                self.writer().write(lsm_core::Kind::Value, key.as_ref(), value.as_ref())
            }

            /// Deletes `key`, which need not exist.
            ///
            /// # Errors
            /// As for `put`.
            pub fn delete(&self, key: impl AsRef<[u8]>) -> crate::Result<()> {
                self.writer().write(lsm_core::Kind::Deletion, key.as_ref(), &[])
            }

            /// Deletes `key`, which was put exactly once since its last single deletion, and was never
            /// deleted in another way or merged: the deletion then goes together with the put, long before it
            /// reaches the bottom. For keys written otherwise older values may come back, as in RocksDB.
            ///
            /// # Errors
            /// As for `put`.
            pub fn single_delete(&self, key: impl AsRef<[u8]>) -> crate::Result<()> {
                self.writer().write(lsm_core::Kind::SingleDeletion, key.as_ref(), &[])
            }

            /// Deletes all keys in `range`.
            ///
            /// # Errors
            /// As for `put`, and [`crate::ErrorKind::InvalidArgument`] for a range that ends before it starts.
            pub fn delete_range(&self, range: impl crate::KeyRange) -> crate::Result<()> {
                self.writer().delete_range(&range)
            }

            /// Adds an operand for the merge operator to `key`. Whether the family has one shows when the key is read.
            ///
            /// # Errors
            /// As for `put`.
            pub fn merge(&self, key: impl AsRef<[u8]>, operand: impl AsRef<[u8]>) -> crate::Result<()> {
                self.writer().write(lsm_core::Kind::Merge, key.as_ref(), operand.as_ref())
            }
        }
    };
}

pub(crate) use write_calls;
