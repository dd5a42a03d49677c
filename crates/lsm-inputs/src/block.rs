//! Each kind of block, behind a checksum that is right: a hostile writer knows how to make those.

use lsm_core::key::InternalKey;
use lsm_core::{Kind, SeqNo};
use lsm_sstable::Properties;
use lsm_sstable::raw::{Place, RawTable, STORED, block_of, decompress, handle, properties_block};

use crate::feed::Feed;
use crate::table::examine;

const PROPERTIES: &str = "rocksdb.properties";
const FILTER: &str = "fullfilter.rocksdb.BuiltinBloomFilter";
const PARTITIONED_FILTER: &str = "partitionedfilter.rocksdb.BuiltinBloomFilter";

fn key(name: &str, seq: u64) -> Vec<u8> {
    InternalKey::new(name.as_bytes(), SeqNo::new(seq), Kind::Value).as_bytes().to_vec()
}

fn put(table: &mut RawTable, stored: &[u8], kind: u8) -> Place {
    table.block(stored, kind).expect("memory has room")
}

/// A sound data block with the keys `names`, each once.
fn sound(table: &mut RawTable, names: &[&str]) -> Place {
    let keys: Vec<Vec<u8>> = names.iter().map(|name| key(name, 5)).collect();
    let entries: Vec<(&[u8], &[u8])> = keys.iter().map(|key| (key.as_slice(), b"value".as_slice())).collect();
    put(table, &block_of(&entries), STORED)
}

/// A sound index over blocks and their separators.
fn index_of(table: &mut RawTable, blocks: &[(&[u8], Place)]) -> Place {
    let handles: Vec<Vec<u8>> = blocks.iter().map(|(_, place)| handle(*place)).collect();
    let entries: Vec<(&[u8], &[u8])> =
        blocks.iter().zip(&handles).map(|((separator, _), handle)| (*separator, handle.as_slice())).collect();
    put(table, &block_of(&entries), STORED)
}

fn finish(table: RawTable, index: Place) {
    examine(table.finish(index).expect("memory has room"));
}

fn write_properties(table: &mut RawTable, properties: &Properties) {
    let place = put(table, &properties_block(properties), STORED);
    table.name(PROPERTIES, place);
}

/// What a table of `entries` keys of one letter says of itself: without true counts `verify` would refuse it anyway.
fn honest(entries: u64, data_blocks: u64) -> Properties {
    let (raw_key_bytes, raw_value_bytes) = (9 * entries, 5 * entries);
    let counts = Properties { entries, data_blocks, raw_key_bytes, raw_value_bytes, ..Properties::default() };
    Properties { smallest_seq: 5, largest_seq: 5, ..counts }
}

/// The input is a data block between two sound ones.
pub(crate) fn data(bytes: &[u8]) {
    let mut table = RawTable::default();
    let first = sound(&mut table, &["a", "b"]);
    let middle = put(&mut table, bytes, STORED);
    let last = sound(&mut table, &["x", "y"]);
    let (b, w, y) = (key("b", 0), key("w", 0), key("y", 0));
    let index = index_of(&mut table, &[(&b, first), (&w, middle), (&y, last)]);
    finish(table, index);
}

/// The input is an index over sound blocks, in one of all formats, or the top or a part of a partitioned one.
pub(crate) fn index(bytes: &[u8]) {
    let (format, bytes) = bytes.split_first().unwrap_or((&0, &[]));
    let mut table = RawTable::default();
    let blocks = [&["a", "b"][..], &["c", "d"], &["e"], &["f", "g"]].map(|names| sound(&mut table, names));
    let mut index = put(&mut table, bytes, STORED);
    let mut properties = Properties {
        index_key_is_user_key: u64::from(format & 1),
        index_value_is_delta_encoded: u64::from(format >> 1 & 1),
        index_type: [0, 3, 2, 2][usize::from(format >> 2 & 3)],
        ..honest(7, 4)
    };
    if format >> 2 & 3 == 3 {
        // The input is a part, and the top is sound.
        properties.index_value_is_delta_encoded = 0;
        let separator = if format & 1 == 1 { b"g".to_vec() } else { key("g", 0) };
        let own = blocks[0];
        index = index_of(&mut table, &[(&separator, own), (&[separator.as_slice(), b"h"].concat(), index)]);
    }
    write_properties(&mut table, &properties);
    finish(table, index);
}

/// The input is the block of deleted ranges.
pub(crate) fn range_deletions(bytes: &[u8]) {
    let mut table = RawTable::default();
    let block = sound(&mut table, &["a", "b", "k"]);
    let k = key("k", 0);
    let index = index_of(&mut table, &[(&k, block)]);
    let place = put(&mut table, bytes, STORED);
    table.name("rocksdb.range_del", place);
    let Some(table) = examine(table.finish(index).expect("memory has room")) else { return };
    let tombstones = table.tombstones();
    for name in [&b""[..], b"a", b"b", b"k", b"\xff\xff"] {
        for visible in [SeqNo::new(1), SeqNo::new(5), SeqNo::MAX] {
            let newest = tombstones.newest(name, visible);
            assert!(newest.is_none_or(|seq| seq <= visible), "a deletion that is not visible yet");
        }
    }
}

/// The input is a filter: it may answer anything, but a filter that denies a key must be found by `verify`.
pub(crate) fn filter(bytes: &[u8]) {
    let (partitioned, bytes) = bytes.split_first().unwrap_or((&0, &[]));
    let mut table = RawTable::default();
    let block = sound(&mut table, &["a", "b", "k"]);
    let k = key("k", 0);
    let index = index_of(&mut table, &[(&k, block)]);
    let mut feed = Feed::new(bytes);
    match partitioned % 3 {
        0 => {
            let place = put(&mut table, bytes, STORED);
            table.name(FILTER, place);
        }
        // Two parts of a sound index.
        1 => {
            let parts = [feed.piece(), feed.rest()].map(|part| put(&mut table, part, STORED));
            let (b, k) = (key("b", 0), key("k", 0));
            let place = index_of(&mut table, &[(&b, parts[0]), (&k, parts[1])]);
            table.name(PARTITIONED_FILTER, place);
        }
        // The index of the parts.
        _ => {
            let place = put(&mut table, bytes, STORED);
            table.name(PARTITIONED_FILTER, place);
        }
    }
    let properties = Properties { whole_key_filtering: true, ..honest(3, 1) };
    write_properties(&mut table, &properties);
    if let Some(table) = examine(table.finish(index).expect("memory has room")) {
        for name in [&b""[..], b"zz", &[0xff; 40]] {
            let _ = table.may_contain(name).expect("filters are in memory");
        }
    }
}

/// The input is the properties block: refused, or it says the same when it was written again.
pub(crate) fn properties(bytes: &[u8]) {
    let with = |payload: &[u8]| {
        let mut table = RawTable::default();
        let block = sound(&mut table, &["a", "b", "k"]);
        let k = key("k", 0);
        let index = index_of(&mut table, &[(&k, block)]);
        let place = put(&mut table, payload, STORED);
        table.name(PROPERTIES, place);
        examine(table.finish(index).expect("memory has room"))
    };
    let Some(table) = with(bytes) else { return };
    let once = table.properties();
    let again = with(&properties_block(once)).expect("what was read can be written");
    // Numbers that were absent are written as zeros.
    let again = Properties { absent: once.absent.clone(), ..again.properties().clone() };
    let zeros_come_back = again == *once;
    assert!(zeros_come_back, "written {once:?}, read {again:?}");
}

/// The input is a compressed block: what comes out is no longer than allowed, alone and in a table.
pub(crate) fn compression(bytes: &[u8]) {
    let mut feed = Feed::new(bytes);
    let (kind, cap) = (feed.byte(), u64::from(feed.number16()));
    let dictionary = (kind & 0x10 != 0).then(|| feed.piece());
    let (kind, stored) = (kind & 0x0f, feed.rest());
    if let Ok(raw) = decompress(kind, stored, dictionary, cap) {
        assert!(raw.len() as u64 <= cap, "{} bytes out, {cap} were allowed", raw.len());
    }
    let mut table = RawTable::default();
    let block = put(&mut table, stored, kind);
    let z = key("z", 0);
    let index = index_of(&mut table, &[(&z, block)]);
    finish(table, index);
}
