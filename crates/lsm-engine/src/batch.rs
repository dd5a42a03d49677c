//! The batch that users fill: writes that happen together or not at all.

use crate::column_family::ColumnFamily;
use crate::range::{KeyRange, end_key, first_key};
use crate::{Error, Result};
use lsm_core::batch::{BATCH_BYTES_MAX, Entry, Mark, Record};
use lsm_core::key::{USER_KEY_BYTES_MAX, VALUE_BYTES_MAX};
use lsm_core::{ColumnFamilyId, Kind};

/// Writes to any number of column families that become visible, and durable, together.
///
/// Adding never fails; what cannot be written (a key over 8 MiB, a value or batch over 1 GiB, a range that
/// ends before it starts) is reported by [`crate::Db::write`], which then does nothing.
///
/// ```
/// use lsm_engine::WriteBatch;
/// let mut batch = WriteBatch::new();
/// batch.put("a", "1");
/// batch.save_point();
/// batch.delete("b");
/// assert!(batch.rollback_to_save_point());
/// assert_eq!(batch.len(), 1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    inner: lsm_core::WriteBatch,
    /// Each with whether something had been refused before it.
    save_points: Vec<(Mark, bool)>,
    /// Indexes of range deletions whose end is resolved at commit.
    open_ended: Vec<u32>,
    /// The first thing that cannot be written.
    refused: Option<String>,
    /// The store whose column families were named.
    store: Option<u64>,
}

macro_rules! writes {
    (@value) => { &[] };
    (@value $value:ident) => { $value.as_ref() };
    ($($(#[$doc:meta])* $name:ident, $name_cf:ident => $kind:ident, $($value:ident)?;)*) => {$(
        $(#[$doc])*
        pub fn $name(&mut self, key: impl AsRef<[u8]> $(, $value: impl AsRef<[u8]>)?) {
            self.push(Entry {
                family: ColumnFamilyId::DEFAULT,
                kind: Kind::$kind,
                key: key.as_ref(),
                value: writes!(@value $($value)?),
            });
        }

        $(#[$doc])*
        /// In `family`.
        pub fn $name_cf(&mut self, family: &ColumnFamily, key: impl AsRef<[u8]> $(, $value: impl AsRef<[u8]>)?) {
            self.name_store(family);
            self.push(Entry {
                family: family.id(),
                kind: Kind::$kind,
                key: key.as_ref(),
                value: writes!(@value $($value)?),
            });
        }
    )*};
}

impl WriteBatch {
    /// An empty batch.
    pub fn new() -> WriteBatch {
        WriteBatch::default()
    }

    /// An empty batch with room for `bytes` bytes of keys and values.
    pub fn with_capacity(bytes: usize) -> WriteBatch {
        WriteBatch { inner: lsm_core::WriteBatch::with_capacity(bytes), ..WriteBatch::default() }
    }

    writes! {
        /// Adds a value.
        put, put_cf => Value, value;
        /// Adds a deletion.
        delete, delete_cf => Deletion, ;
        /// Adds a deletion of a key that was put exactly once since its last single deletion, and never
        /// deleted in another way or merged (see [`crate::Db::single_delete`]).
        single_delete, single_delete_cf => SingleDeletion, ;
        /// Adds an operand for the merge operator.
        merge, merge_cf => Merge, operand;
    }

    /// Adds a deletion of all keys in `range`. Where `range` has no end, it ends behind the last key that the store has when the
    /// batch is written or submitted: not behind those that this batch, or one that was submitted before, brings.
    pub fn delete_range(&mut self, range: impl KeyRange) {
        self.push_range(ColumnFamilyId::DEFAULT, &range);
    }

    /// Adds a deletion of all keys in `range`. In `family`.
    pub fn delete_range_cf(&mut self, family: &ColumnFamily, range: impl KeyRange) {
        self.name_store(family);
        self.push_range(family.id(), &range);
    }

    /// How many writes it holds.
    pub fn len(&self) -> usize {
        self.inner.count() as usize
    }

    /// Whether it holds no write.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Encoded size in bytes.
    pub fn byte_size(&self) -> usize {
        self.inner.byte_size()
    }

    /// Takes everything out again, save points included; the memory is kept.
    pub fn clear(&mut self) {
        self.inner.clear();
        self.save_points.clear();
        self.open_ended.clear();
        self.refused = None;
        self.store = None;
    }

    /// Remembers the present state for [`WriteBatch::rollback_to_save_point`]; save points nest.
    pub fn save_point(&mut self) {
        self.save_points.push((self.inner.mark(), self.refused.is_some()));
    }

    /// Takes out what was added since the newest save point, and forgets that point.
    /// Returns whether there was one.
    pub fn rollback_to_save_point(&mut self) -> bool {
        let Some((mark, was_refused)) = self.save_points.pop() else { return false };
        self.inner.rollback(mark);
        let count = self.inner.count();
        self.open_ended.retain(|&index| index < count);
        self.refused.take_if(|_| !was_refused);
        true
    }

    pub(crate) fn push_range(&mut self, family: ColumnFamilyId, range: &impl KeyRange) {
        let start = first_key(range).unwrap_or_default();
        match end_key(range) {
            Some(end) if end < start => self.refuse("delete_range: the range ends before it starts".into()),
            Some(end) => self.push(Entry { family, kind: Kind::RangeDeletion, key: &start, value: &end }),
            None => {
                let index = self.inner.count();
                self.push(Entry { family, kind: Kind::RangeDeletion, key: &start, value: &[] });
                if self.inner.count() > index {
                    self.open_ended.push(index);
                }
            }
        }
    }

    pub(crate) fn push(&mut self, entry: Entry<'_>) {
        let value_bytes_max = if entry.kind == Kind::RangeDeletion { USER_KEY_BYTES_MAX + 1 } else { VALUE_BYTES_MAX };
        let (key_bytes, value_bytes) = (entry.key.len(), entry.value.len());
        // A range's ends may be one byte longer: an inclusive end becomes the key behind it.
        let key_bytes_max = if entry.kind == Kind::RangeDeletion { USER_KEY_BYTES_MAX + 1 } else { USER_KEY_BYTES_MAX };
        if key_bytes > key_bytes_max {
            self.refuse(format!("key of {key_bytes} bytes, at most {USER_KEY_BYTES_MAX} are allowed"));
        } else if value_bytes > value_bytes_max {
            self.refuse(format!("value of {value_bytes} bytes, at most {value_bytes_max} are allowed"));
        } else if self.inner.byte_size() + key_bytes + value_bytes > BATCH_BYTES_MAX {
            self.refuse(format!("batch of more than {BATCH_BYTES_MAX} bytes"));
        } else {
            self.inner.push(entry);
        }
    }

    fn refuse(&mut self, why: String) {
        self.refused.get_or_insert(why);
    }

    fn name_store(&mut self, family: &ColumnFamily) {
        match self.store {
            None => self.store = Some(family.store_id()),
            Some(store) if store == family.store_id() => {}
            Some(_) => self.refuse("batch names column families of two stores".into()),
        }
    }

    /// The encoded batch for `store`; `last_key` gives the key behind the last one of a family.
    pub(crate) fn into_encoded(
        self,
        store: u64,
        last_key: impl Fn(ColumnFamilyId) -> Result<Option<Vec<u8>>>,
    ) -> Result<lsm_core::WriteBatch> {
        if let Some(why) = self.refused {
            return Err(Error::invalid_argument(why));
        }
        if self.store.is_some_and(|named| named != store) {
            return Err(Error::invalid_argument("batch names a column family of another store"));
        }
        if self.open_ended.is_empty() {
            return Ok(self.inner);
        }
        let mut resolved = lsm_core::WriteBatch::with_capacity(self.inner.byte_size());
        let mut index = 0;
        for record in self.inner.records() {
            let Record::Entry(entry) = record else { continue };
            if self.open_ended.contains(&index) {
                if let Some(end) = last_key(entry.family)?.filter(|end| entry.key < end.as_slice()) {
                    resolved.push(Entry { value: &end, ..entry });
                }
            } else {
                resolved.push(entry);
            }
            index += 1;
        }
        Ok(resolved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(batch: WriteBatch) -> Result<lsm_core::WriteBatch> {
        batch.into_encoded(1, |_| Ok(Some(b"m\0".to_vec())))
    }

    #[test]
    fn what_cannot_be_written_is_reported_once_and_can_be_rolled_back() {
        let mut batch = WriteBatch::new();
        batch.put("a", "1");
        batch.save_point();
        batch.put(vec![0; USER_KEY_BYTES_MAX + 1], "");
        batch.delete_range("b".."a");
        assert!(encoded(batch.clone()).unwrap_err().to_string().contains("8388609 bytes"));
        assert!(batch.rollback_to_save_point() && !batch.rollback_to_save_point());
        assert_eq!(encoded(batch).unwrap().count(), 1);
    }

    #[test]
    fn open_ends_are_resolved_at_commit() {
        let mut batch = WriteBatch::new();
        batch.delete_range("c"..);
        batch.delete_range("z"..);
        batch.delete_range(.."b");
        let encoded = encoded(batch).unwrap();
        let ranges: Vec<_> = encoded
            .records()
            .map(|record| match record {
                Record::Entry(entry) => (entry.key.to_vec(), entry.value.to_vec()),
                Record::LogData(_) => unreachable!("no log data was added"),
            })
            .collect();
        assert_eq!(ranges, [(b"c".to_vec(), b"m\0".to_vec()), (b"".to_vec(), b"b".to_vec())]);
    }
}
