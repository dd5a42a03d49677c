//! Reads a whole table again and checks everything that can be checked.

use std::cmp::Ordering;

use lsm_core::key::{Kind, compare, kind_byte, seq, trailer, user_key};
use lsm_core::{Error, Result, SeqNo};

use crate::block_cursor::BlockCursor;
use crate::source::Window;
use crate::table::{Table, TableOptions};
use crate::xxph3::filter_hash;

/// Read in pieces of this size.
const READAHEAD_BYTES: usize = 256 << 10;

/// What a verification went through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VerifySummary {
    /// Data blocks.
    pub data_blocks: u64,
    /// Point entries.
    pub entries: u64,
    /// Range tombstones.
    pub range_deletions: u64,
    /// Whether checksums say which file and place a block belongs to; without, a block that was moved is
    /// noticed only by the order of its keys.
    pub context_checksums: bool,
    /// Whether blocks carry checksums at all.
    pub checksums: bool,
    /// Whether the table records counts to compare with.
    pub counts_recorded: bool,
}

#[derive(Default)]
struct Counts {
    deletions: u64,
    merge_operands: u64,
    raw_key_bytes: u64,
    raw_value_bytes: u64,
    smallest_seq: Option<SeqNo>,
    largest_seq: Option<SeqNo>,
}

impl Counts {
    fn add(&mut self, key: &[u8], value_bytes: usize) {
        let kind = Kind::from_byte(kind_byte(key));
        self.deletions += u64::from(matches!(kind, Some(Kind::Deletion | Kind::SingleDeletion | Kind::RangeDeletion)));
        self.merge_operands += u64::from(kind == Some(Kind::Merge));
        self.raw_key_bytes += key.len() as u64;
        self.raw_value_bytes += value_bytes as u64;
        self.add_seq(seq(key));
    }

    fn add_seq(&mut self, seq: SeqNo) {
        self.smallest_seq = Some(self.smallest_seq.map_or(seq, |least| least.min(seq)));
        self.largest_seq = self.largest_seq.max(Some(seq));
    }
}

impl Table {
    /// Reads every block from the file, past the cache, and checks checksums, layout, the order of all keys,
    /// separators, that the filter passes every key, and the counts in the properties.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn verify(&self) -> Result<VerifySummary> {
        // Everything that opening reads may have been damaged since.
        let options = TableOptions { cache: None, ..self.options.clone() };
        let table = Table::open(self.file(), options)?;
        let mut window = Window::new(READAHEAD_BYTES);
        let mut counts = Counts::default();
        let mut summary = VerifySummary {
            data_blocks: table.index.len() as u64,
            range_deletions: table.stored_tombstones.len() as u64,
            context_checksums: table.source.checksum.context != 0,
            checksums: table.source.checksum.kind != crate::checksum::ChecksumKind::None,
            counts_recorded: table.properties.records("rocksdb.num.entries"),
            ..VerifySummary::default()
        };
        let mut last = Vec::new();
        for number in 0..table.index.len() {
            table
                .verify_block(number, &mut window, &mut last, &mut counts, &mut summary)
                .map_err(|error| table.place_in_block(error, number))?;
        }
        table.verify_counts(&counts, &summary).map_err(|error| error.in_file(&table.options.file))?;
        Ok(summary)
    }

    fn verify_block(
        &self,
        number: usize,
        window: &mut Window,
        last: &mut Vec<u8>,
        counts: &mut Counts,
        summary: &mut VerifySummary,
    ) -> Result<()> {
        let block = self.read_data_block(number, window)?;
        block.check_restart_entries()?;
        let mut cursor = BlockCursor::new(block);
        cursor.seek_to_first()?;
        let first = match cursor.valid() {
            true => cursor.key().to_vec(),
            false => return Err(Error::corruption("data block without entries")),
        };
        let after_separator =
            number == 0 || self.index.compare(number - 1, user_key(&first), trailer(&first)) == Ordering::Less;
        if !after_separator || (!last.is_empty() && compare(last, &first) != Ordering::Less) {
            return Err(Error::corruption("first key does not come after the block before"));
        }
        while cursor.valid() {
            last.clear();
            last.extend_from_slice(cursor.key());
            summary.entries += 1;
            counts.add(last, cursor.value().len());
            let key = user_key(last);
            if !self.may_contain_hashed(key, filter_hash(key)) {
                return Err(Error::corruption(format!("filter denies a key of {} bytes", key.len())));
            }
            cursor.next()?;
        }
        match self.index.compare(number, user_key(last), trailer(last)) {
            Ordering::Less => Err(Error::corruption("last key comes after the block's separator")),
            _ => Ok(()),
        }
    }

    fn verify_counts(&self, points: &Counts, summary: &VerifySummary) -> Result<()> {
        let (mut raw_key_bytes, mut raw_value_bytes) = (points.raw_key_bytes, points.raw_value_bytes);
        for tombstone in &self.stored_tombstones {
            raw_key_bytes += tombstone.start.len() as u64 + lsm_core::key::TRAILER_BYTES as u64;
            raw_value_bytes += tombstone.end.len() as u64;
        }
        let properties = &self.properties;
        let checks = [
            ("rocksdb.num.entries", properties.entries, summary.entries + summary.range_deletions),
            ("rocksdb.num.range-deletions", properties.range_deletions, summary.range_deletions),
            ("rocksdb.deleted.keys", properties.deletions, points.deletions + summary.range_deletions),
            ("rocksdb.merge.operands", properties.merge_operands, points.merge_operands),
            ("rocksdb.num.data.blocks", properties.data_blocks, summary.data_blocks),
            ("rocksdb.raw.key.size", properties.raw_key_bytes, raw_key_bytes),
            ("rocksdb.raw.value.size", properties.raw_value_bytes, raw_value_bytes),
        ];
        for (name, recorded, counted) in checks {
            if properties.records(name) && recorded != counted {
                return Err(Error::corruption(format!("property {name} is {recorded}, counted {counted}")));
            }
        }
        self.verify_sequence_numbers(points)
    }

    fn verify_sequence_numbers(&self, points: &Counts) -> Result<()> {
        let properties = &self.properties;
        let recorded =
            properties.records("rocksdb.key.smallest.seqno") && properties.records("rocksdb.key.largest.seqno");
        let (Some(smallest), Some(largest)) = (points.smallest_seq, points.largest_seq) else { return Ok(()) };
        match recorded && (smallest.get() < properties.smallest_seq || largest.get() > properties.largest_seq) {
            true => Err(Error::corruption(format!(
                "sequence numbers {smallest} to {largest}, recorded {} to {}",
                properties.smallest_seq, properties.largest_seq
            ))),
            false => Ok(()),
        }
    }
}
