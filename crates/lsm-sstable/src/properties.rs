//! What a table says about itself: RocksDB's properties block.
//!
//! The block has one entry for each property, keys strictly ascending, never compressed. RocksDB needs
//! some of them: `index.*` to decode the index, `raw.*` and `num.entries` to survive compactions,
//! `compression` to install the right decompressor. All that are written are truthful.
//!
//! # Invariants
//! R1. A property that is not known here is kept in `other` and written back as it was.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use std::collections::BTreeMap;

use lsm_core::coding::{Decoder, put_varint64};
use lsm_core::{Error, Result};

use crate::block::Block;
use crate::block_builder::BlockBuilder;
use crate::xxph3::filter_hash;

/// The only comparator that this store has.
pub(crate) const COMPARATOR: &str = "leveldb.BytewiseComparator";

const INDEX_TYPE: &str = "rocksdb.block.based.table.index.type";
const WHOLE_KEY_FILTERING: &str = "rocksdb.block.based.table.whole.key.filtering";
const PREFIX_FILTERING: &str = "rocksdb.block.based.table.prefix.filtering";
const EXTERNAL_VERSION: &str = "rocksdb.external_sst_file.version";
const EXTERNAL_GLOBAL_SEQ: &str = "rocksdb.external_sst_file.global_seqno";

macro_rules! properties {
    (
        numbers { $($(#[$number_doc:meta])* $number:ident = $number_name:literal,)* }
        strings { $($(#[$string_doc:meta])* $string:ident = $string_name:literal,)* }
    ) => {
        /// The properties of a table. A number that the table does not record is 0, a string is empty;
        /// [`Properties::records`] tells the difference.
        #[derive(Clone, PartialEq, Eq, Debug, Default)]
        pub struct Properties {
            $($(#[$number_doc])* pub $number: u64,)*
            $($(#[$string_doc])* pub $string: String,)*
            /// 0 binary search, 1 hash (read as 0), 2 partitioned, 3 binary search with first keys.
            pub index_type: u32,
            /// Whether the filter holds whole user keys.
            pub whole_key_filtering: bool,
            /// Version of the properties of a file made to be ingested; `None` in other tables.
            pub external_version: Option<u32>,
            /// The sequence number of all entries of an ingested file, 0 where the manifest has it.
            pub external_global_seq: Option<u64>,
            /// Properties that are not known here (R1).
            pub other: BTreeMap<String, Vec<u8>>,
            /// Names of the numbers that a table read from disk leaves out.
            pub absent: Vec<&'static str>,
        }

        impl Properties {
            /// Every number and the name under which it is stored.
            fn numbers(&self) -> Vec<(&'static str, u64)> {
                vec![$(($number_name, self.$number),)*]
            }

            fn strings(&self) -> Vec<(&'static str, &str)> {
                vec![$(($string_name, self.$string.as_str()),)*]
            }

            fn number_mut(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $($number_name => Some(&mut self.$number),)*
                    _ => None,
                }
            }

            fn string_mut(&mut self, name: &str) -> Option<&mut String> {
                match name {
                    $($string_name => Some(&mut self.$string),)*
                    _ => None,
                }
            }
        }
    };
}

properties! {
    numbers {
        /// Family that the table belongs to.
        column_family_id = "rocksdb.column.family.id",
        /// Seconds since 1970 at which the oldest data of the table was written to a table.
        creation_time = "rocksdb.creation.time",
        /// Bytes of all data blocks, with their trailers.
        data_bytes = "rocksdb.data.size",
        /// Point deletions and range tombstones.
        deletions = "rocksdb.deleted.keys",
        /// Seconds since 1970 at which this file was made.
        file_creation_time = "rocksdb.file.creation.time",
        /// Bytes of the filter.
        filter_bytes = "rocksdb.filter.size",
        /// Length of every key where all are equally long.
        fixed_key_length = "rocksdb.fixed.key.length",
        /// The format version of the table, or 0 from writers that did not record it.
        format_version = "rocksdb.format.version",
        /// 1 where the index holds user keys, 0 where it holds internal keys.
        index_key_is_user_key = "rocksdb.index.key.is.user.key",
        /// Partitions of a partitioned index.
        index_partitions = "rocksdb.index.partitions",
        /// Bytes of the index before compression.
        index_bytes = "rocksdb.index.size",
        /// 1 where index entries have no value length and handles may be differences.
        index_value_is_delta_encoded = "rocksdb.index.value.is.delta.encoded",
        /// Largest sequence number.
        largest_seq = "rocksdb.key.largest.seqno",
        /// Smallest sequence number.
        smallest_seq = "rocksdb.key.smallest.seqno",
        /// Merge operands.
        merge_operands = "rocksdb.merge.operands",
        /// Seconds since 1970 of the newest key.
        newest_key_time = "rocksdb.newest.key.time",
        /// Data blocks.
        data_blocks = "rocksdb.num.data.blocks",
        /// Point entries and range tombstones.
        entries = "rocksdb.num.entries",
        /// Keys in the filter.
        filter_entries = "rocksdb.num.filter_entries",
        /// Range tombstones.
        range_deletions = "rocksdb.num.range-deletions",
        /// Seconds since 1970 of the oldest key.
        oldest_key_time = "rocksdb.oldest.key.time",
        /// File number under which the table was made.
        original_file_number = "rocksdb.original.file.number",
        /// Bytes of all internal keys.
        raw_key_bytes = "rocksdb.raw.key.size",
        /// Bytes of all values.
        raw_value_bytes = "rocksdb.raw.value.size",
        /// Offset of the first byte behind the data blocks.
        tail_start = "rocksdb.tail.start.offset",
        /// Bytes of the top of a partitioned index.
        top_level_index_bytes = "rocksdb.top-level.index.size",
    }
    strings {
        /// Name of the family that the table belongs to.
        column_family_name = "rocksdb.column.family.name",
        /// Name of the order of user keys.
        comparator = "rocksdb.comparator",
        /// Codec of the data blocks.
        compression = "rocksdb.compression",
        /// Identity of the database that made the table.
        db_id = "rocksdb.creating.db.identity",
        /// Identity of the opening of that database.
        session_id = "rocksdb.creating.session.identity",
        /// Kind of filter.
        filter_policy = "rocksdb.filter.policy",
        /// Name of the merge operator.
        merge_operator = "rocksdb.merge.operator",
        /// Name of the prefix extractor.
        prefix_extractor = "rocksdb.prefix.extractor.name",
        /// Names of the property collectors.
        property_collectors = "rocksdb.property.collectors",
    }
}

/// Numbers that RocksDB leaves out when they are 0, since their presence has a meaning.
const ONLY_IF_NOT_ZERO: [&str; 4] =
    ["rocksdb.index.partitions", "rocksdb.top-level.index.size", "rocksdb.newest.key.time", "rocksdb.fixed.key.length"];

/// A number that no other table has: of the store, its session and the table's number in it.
pub(crate) fn identity(db_id: &str, session_id: &str, file_number: u64) -> u64 {
    filter_hash(format!("{db_id}/{session_id}/{file_number}").as_bytes())
}

/// What tells a table's checksums from those of others, in its footer.
pub(crate) fn context_of_identity(identity: u64) -> u32 {
    ((identity >> 32) as u32 ^ identity as u32).max(1)
}

impl Properties {
    /// A number that no other table has, or `None` if the table does not say who made it.
    pub fn identity(&self) -> Option<u64> {
        let known = !self.db_id.is_empty() && !self.session_id.is_empty();
        known.then(|| identity(&self.db_id, &self.session_id, self.original_file_number))
    }

    /// Whether the table records the property `name` (always, unless it was read from disk).
    pub fn records(&self, name: &str) -> bool {
        !self.absent.contains(&name)
    }

    /// The properties of a table that has no properties block.
    pub(crate) fn of_table_without() -> Properties {
        let mut properties = Properties { whole_key_filtering: true, ..Properties::default() };
        properties.absent = properties.numbers().into_iter().map(|(name, _)| name).collect();
        properties
    }

    /// The payload of the properties block.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let flag = |set: bool| if set { b"1".to_vec() } else { b"0".to_vec() };
        let mut all: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        for (name, number) in self.numbers() {
            if number != 0 || !ONLY_IF_NOT_ZERO.contains(&name) {
                let mut value = Vec::new();
                put_varint64(&mut value, number);
                all.insert(name, value);
            }
        }
        all.extend(
            self.strings().into_iter().filter(|(_, text)| !text.is_empty()).map(|(name, text)| (name, text.into())),
        );
        all.insert(INDEX_TYPE, self.index_type.to_le_bytes().to_vec());
        all.insert(WHOLE_KEY_FILTERING, flag(self.whole_key_filtering));
        all.insert(PREFIX_FILTERING, flag(false));
        all.extend(self.external_version.map(|version| (EXTERNAL_VERSION, version.to_le_bytes().to_vec())));
        all.extend(self.external_global_seq.map(|seq| (EXTERNAL_GLOBAL_SEQ, seq.to_le_bytes().to_vec())));
        all.extend(self.other.iter().map(|(name, value)| (name.as_str(), value.clone())));
        let mut block = BlockBuilder::new(usize::MAX);
        all.iter().for_each(|(name, value)| block.add(name.as_bytes(), value));
        block.finish().to_vec()
    }

    /// Reads a properties block.
    pub(crate) fn decode(block: &Block) -> Result<Properties> {
        let mut properties = Properties::of_table_without();
        for (name, value) in named_entries(block)? {
            properties.set(&name, value)?;
        }
        Ok(properties)
    }

    fn set(&mut self, name: &str, value: &[u8]) -> Result<()> {
        let damaged = || Error::corruption(format!("property {name} has the value {}", value.escape_ascii()));
        let fixed32 = || Decoder::new(value).fixed32().filter(|_| value.len() == 4).ok_or_else(damaged);
        if let Some(number) = self.number_mut(name) {
            let mut decoder = Decoder::new(value);
            *number = decoder.varint64().filter(|_| decoder.is_empty()).ok_or_else(damaged)?;
            self.absent.retain(|&absent| absent != name);
            return Ok(());
        }
        if let Some(string) = self.string_mut(name) {
            *string = String::from_utf8_lossy(value).into_owned();
            return Ok(());
        }
        match name {
            INDEX_TYPE => self.index_type = fixed32()?,
            WHOLE_KEY_FILTERING => self.whole_key_filtering = value != b"0",
            PREFIX_FILTERING => {}
            EXTERNAL_VERSION => self.external_version = Some(fixed32()?),
            EXTERNAL_GLOBAL_SEQ => {
                let seq = Decoder::new(value).fixed64().filter(|_| value.len() == 8);
                self.external_global_seq = Some(seq.ok_or_else(damaged)?);
            }
            _ => {
                self.other.insert(name.into(), value.into());
            }
        }
        Ok(())
    }
}

/// The entries of a block whose keys are names (metaindex and properties), in strictly ascending order.
pub(crate) fn named_entries(block: &Block) -> Result<Vec<(String, &[u8])>> {
    let entries = block.entries()?;
    let name_of = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
    // Bytes are compared, not names: those that are no text may become the same one.
    let disorder = entries.iter().zip(entries.iter().skip(1)).find(|((before, _), (key, _))| before >= key);
    match disorder {
        Some((_, (key, _))) => Err(Error::corruption(format!("{} stands out of order", name_of(key)))),
        None => Ok(entries.iter().map(|(key, value)| (name_of(key), *value)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_properties_come_back() {
        let properties = Properties {
            entries: 300,
            comparator: COMPARATOR.into(),
            external_version: Some(2),
            external_global_seq: Some(9),
            other: [("user.property".to_owned(), b"\xff\0".to_vec())].into(),
            ..Properties::default()
        };
        let mut decoded = Properties::decode(&Block::new(properties.encode()).unwrap()).unwrap();
        assert!(decoded.records("rocksdb.num.entries"));
        assert!(!decoded.records("rocksdb.index.partitions"));
        decoded.absent.clear();
        assert_eq!(decoded, properties);
    }

    fn decode_entries(entries: &[(&[u8], &[u8])]) -> Result<Properties> {
        let mut block = BlockBuilder::new(usize::MAX);
        entries.iter().for_each(|(name, value)| block.add(name, value));
        Properties::decode(&Block::new(block.finish().to_vec()).unwrap())
    }

    /// Collectors choose names as they like. As text these two are the same, and both are larger than the third.
    #[test]
    fn names_that_are_no_text_are_in_order_by_their_bytes() {
        let properties =
            decode_entries(&[(b"a\x80", b"1"), (b"a\x81", b"2"), ("a\u{1f600}".as_bytes(), b"3")]).unwrap();
        assert_eq!(properties.other["a\u{1f600}"], b"3");
        assert!(decode_entries(&[(b"a\x81", b"1"), (b"a\x80", b"2")]).unwrap_err().is_corruption());
    }

    #[test]
    fn damaged_values_and_disorder_are_refused() {
        let decode = |entries: &[(&str, &[u8])]| {
            let entries: Vec<_> = entries.iter().map(|(name, value)| (name.as_bytes(), *value)).collect();
            decode_entries(&entries)
        };
        assert!(decode(&[("rocksdb.num.entries", b"\x80")]).unwrap_err().is_corruption());
        assert!(decode(&[("rocksdb.num.entries", b"\x01\x01")]).unwrap_err().is_corruption());
        assert!(decode(&[(INDEX_TYPE, b"\0\0\0")]).unwrap_err().is_corruption());
        assert!(decode(&[("b", b""), ("a", b"")]).unwrap_err().is_corruption());
        assert_eq!(decode(&[("rocksdb.num.entries", b"\x07")]).unwrap().entries, 7);
    }
}
