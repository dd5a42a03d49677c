//! Whether an unreadable place of a log held something that was synced.
//!
//! A power cut may take any part of what was not synced, so an unreadable place alone proves nothing.
//! It is damage if one of these says that the place was synced:
//!
//! P1. the manifest, which knows a synced length of the log, or of a later one;
//! P2. a later record of the same log, with a watermark behind the place;
//! P3. a later log, with any watermark: logs are synced in order.
//!
//! Gaps between sequence numbers prove nothing, since writes may go past the log.

use lsm_core::Result;

use crate::chain::{Link, Log};
use crate::facts::Watermark;

/// What proves that byte `offset` of the first of `links` was synced, in words; `None` if nothing does.
pub(crate) fn proof(links: &[Link], offset: u64) -> Result<Option<String>> {
    let Some((link, later)) = links.split_first() else { return Ok(None) };
    if let Some(synced) = link.log.synced_bytes.filter(|synced| *synced > offset) {
        return Ok(Some(format!("the manifest says that {synced} bytes were synced"))); // P1
    }
    if let Some((at, synced)) = watermark_above(&link.log, offset, offset + 1)? {
        return Ok(Some(format!("the record at {at} says that {synced} bytes were synced"))); // P2
    }
    proof_of_all(later)
}

/// What proves that every log before `links` was synced.
pub(crate) fn proof_of_all(links: &[Link]) -> Result<Option<String>> {
    for link in links {
        let number = link.log.number;
        if link.log.synced_bytes.is_some_and(|synced| synced > 0) {
            return Ok(Some(format!("the manifest says that log {number}, a later one, was synced"))); // P1
        }
        if watermark_above(&link.log, 0, 0)?.is_some() {
            return Ok(Some(format!("log {number}, a later one, says that it was synced"))); // P3
        }
    }
    Ok(None)
}

/// The first record at or behind `from` with a watermark above `offset`: its place and the watermark.
fn watermark_above(log: &Log, offset: u64, mut from: u64) -> Result<Option<(u64, u64)>> {
    let Some(mut reader) = log.reader()? else { return Ok(None) };
    while let Some(found) = reader.search(from)? {
        // What a search finds may be a copy of another log inside a value; a watermark names its own log.
        let of_this_log = |watermark: &Watermark| log.first_crc.is_none_or(|crc| crc == watermark.first_crc);
        let watermark = Watermark::of_batch(found.payload).filter(of_this_log);
        if let Some(watermark) = watermark.filter(|watermark| watermark.synced > offset) {
            return Ok(Some((found.offset, watermark.synced)));
        }
        from = found.end;
    }
    Ok(None)
}
