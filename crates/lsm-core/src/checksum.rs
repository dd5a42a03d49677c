//! Masked crc32c, the checksum of log records, manifest records and table blocks.
//!
//! A crc of bytes that contain crcs is weak, so stored values are masked: rotated right by 15 bits,
//! plus a constant (LevelDB `util/crc32c.h`, RocksDB `util/crc32c.h`).

const MASK_DELTA: u32 = 0xa282_ead8;

/// Unmasked crc32c (Castagnoli) of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// The crc32c of bytes with crc `crc` followed by `bytes`.
pub fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc, bytes)
}

/// What is stored for `crc`.
pub const fn mask(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(MASK_DELTA)
}

/// The crc that `masked` was stored for.
pub const fn unmask(masked: u32) -> u32 {
    masked.wrapping_sub(MASK_DELTA).rotate_left(15)
}

/// Masked crc32c of `bytes`.
///
/// ```
/// use lsm_core::checksum::{crc32c, masked_crc32c, unmask};
/// assert_eq!(unmask(masked_crc32c(b"foo")), crc32c(b"foo"));
/// ```
pub fn masked_crc32c(bytes: &[u8]) -> u32 {
    mask(crc32c(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_vectors() {
        // RFC 3720, B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c_append(crc32c(b"hello "), b"world"), crc32c(b"hello world"));
    }
}
