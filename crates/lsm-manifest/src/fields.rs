//! Fields of an edit, read with an error that names the one that is damaged.
//!
//! A thin layer over [`Decoder`]: same bounds checks, but "cut short" becomes a `Corruption` that says what
//! was being read and at which byte of the record.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use lsm_core::coding::Decoder;
use lsm_core::key::{InternalKey, Kind, ParsedKey, SeqNo, TRAILER_BYTES, kind_byte};
use lsm_core::{Error, Result};

use crate::LEVELS;

/// Reads named fields from the front of a record.
pub(crate) struct Fields<'a> {
    decoder: Decoder<'a>,
    bytes: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields { decoder: Decoder::new(bytes), bytes: bytes.len() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.decoder.is_empty()
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.decoder.rest()
    }

    pub(crate) fn byte(&mut self, name: &str) -> Result<u8> {
        let at = self.position();
        self.decoder.byte().ok_or_else(|| damaged(name, at))
    }

    pub(crate) fn varint32(&mut self, name: &str) -> Result<u32> {
        let at = self.position();
        self.decoder.varint32().ok_or_else(|| damaged(name, at))
    }

    pub(crate) fn varint64(&mut self, name: &str) -> Result<u64> {
        let at = self.position();
        self.decoder.varint64().ok_or_else(|| damaged(name, at))
    }

    pub(crate) fn fixed64(&mut self, name: &str) -> Result<u64> {
        let at = self.position();
        self.decoder.fixed64().ok_or_else(|| damaged(name, at))
    }

    pub(crate) fn length_prefixed(&mut self, name: &str) -> Result<&'a [u8]> {
        let at = self.position();
        self.decoder.length_prefixed().ok_or_else(|| damaged(name, at))
    }

    /// The content of a length-prefixed field, to be read field by field.
    pub(crate) fn nested(&mut self, name: &str) -> Result<Fields<'a>> {
        self.length_prefixed(name).map(Fields::new)
    }

    pub(crate) fn text(&mut self, name: &str) -> Result<String> {
        let at = self.position();
        let bytes = self.length_prefixed(name)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(Error::corruption(format!("{name} at byte {at} of the record is not UTF-8"))),
        }
    }

    pub(crate) fn seq(&mut self, name: &str) -> Result<SeqNo> {
        let value = self.varint64(name)?;
        SeqNo::checked(value).ok_or_else(|| Error::corruption(format!("{name} {value} has more than 56 bits")))
    }

    /// A level; RocksDB may be told to use more of them than this store has.
    pub(crate) fn level(&mut self, name: &str) -> Result<usize> {
        let level = self.varint32(name)? as usize;
        if level < LEVELS {
            Ok(level)
        } else {
            Err(Error::unsupported(format!("more than {LEVELS} levels ({name} is {level})")))
        }
    }

    /// A bound of a table. Its kind is known: a table that starts or ends with an entry this store cannot
    /// read is refused here, before anyone opens it.
    pub(crate) fn internal_key(&mut self, name: &str) -> Result<InternalKey> {
        let bytes = self.length_prefixed(name)?;
        if let Some(key) = ParsedKey::parse(bytes).and_then(|_| InternalKey::from_encoded(bytes)) {
            return Ok(key);
        }
        if bytes.len() < TRAILER_BYTES {
            return Err(Error::corruption(format!("{name} has {} bytes, fewer than a trailer", bytes.len())));
        }
        let kind = kind_byte(bytes);
        match Kind::describe_byte(kind) {
            "unknown value type" => Err(Error::corruption(format!("{name} is of unknown value type {kind:#04x}"))),
            feature => Err(Error::unsupported(format!("{feature} ({name} is of value type {kind:#04x})"))),
        }
    }

    fn position(&self) -> usize {
        self.bytes.saturating_sub(self.decoder.rest().len())
    }
}

fn damaged(name: &str, at: usize) -> Error {
    Error::corruption(format!("{name} at byte {at} of the record is cut short or too large"))
}
