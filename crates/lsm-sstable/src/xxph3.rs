//! XXPH3, the hash of RocksDB's filters: a preview of XXH3 that was frozen before XXH3 was released.
//!
//! No library has it, since every length hashes differently from the released XXH3. Filters written by
//! RocksDB can only be probed with exactly this function (source of the facts: RocksDB `util/xxph3.h`).
//! Only the seed 0 is needed.

use byteorder::{ByteOrder, LittleEndian};

const SECRET: [u8; 192] = [
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c, 0xde, 0xd4, 0x6d,
    0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f, 0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0,
    0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21, 0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0,
    0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c, 0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b,
    0x1b, 0x53, 0x2e, 0xa3, 0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac,
    0xd8, 0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d, 0x8a, 0x51,
    0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64, 0xea, 0xc5, 0xac, 0x83, 0x34,
    0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb, 0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49,
    0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e, 0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8,
    0xd1, 0x7a, 0xd0, 0x31, 0xce, 0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b,
    0x40, 0x7e,
];

const PRIME32_1: u64 = 0x9e37_79b1;
const PRIME32_2: u64 = 0x85eb_ca77;
const PRIME32_3: u64 = 0xc2b2_ae3d;
const PRIME64_1: u64 = 0x9e37_79b1_85eb_ca87;
const PRIME64_2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const PRIME64_3: u64 = 0x1656_67b1_9e37_79f9;
const PRIME64_4: u64 = 0x85eb_ca77_c2b2_ae63;
const PRIME64_5: u64 = 0x27d4_eb2f_1656_67c5;

const STRIPE_BYTES: usize = 64;
/// Each stripe of a block takes its secret 8 bytes further on.
const STRIPES_PER_BLOCK: usize = (SECRET.len() - STRIPE_BYTES) / 8;
const BLOCK_BYTES: usize = STRIPE_BYTES * STRIPES_PER_BLOCK;
const _: () = assert!(BLOCK_BYTES == 1024);

/// The 64-bit hash of a user key under which RocksDB's filters hold it.
///
/// ```
/// assert_eq!(lsm_sstable::filter_hash(b"foo"), 0x2540_784d_970d_de34);
/// ```
#[inline]
pub fn filter_hash(key: &[u8]) -> u64 {
    match key.len() {
        0..=16 => hash_up_to_16(key),
        17..=128 => hash_17_to_128(key),
        129..=240 => hash_129_to_240(key),
        _ => hash_long(key),
    }
}

#[inline]
fn hash_up_to_16(key: &[u8]) -> u64 {
    let len = key.len() as u64;
    match key.len() {
        9.. => {
            let low = read64(key, 0) ^ secret(0);
            let high = read64(key, key.len() - 8) ^ secret(8);
            avalanche(len.wrapping_add(low).wrapping_add(high).wrapping_add(fold(low, high)))
        }
        4..=8 => {
            let keyed = (read32(key, 0) | read32(key, key.len() - 4) << 32) ^ secret(0);
            let mixed = len.wrapping_add((keyed ^ keyed >> 51).wrapping_mul(PRIME32_1));
            avalanche((mixed ^ mixed >> 47).wrapping_mul(PRIME64_2))
        }
        1..=3 => {
            let (first, middle, last) = (key[0], key[key.len() / 2], key[key.len() - 1]);
            let combined = u64::from(first) | u64::from(middle) << 8 | u64::from(last) << 16 | len << 24;
            avalanche((combined ^ (secret(0) & 0xffff_ffff)).wrapping_mul(PRIME64_1))
        }
        0 => fold(secret(0), PRIME64_2),
    }
}

#[inline]
fn hash_17_to_128(key: &[u8]) -> u64 {
    let mut hash = (key.len() as u64).wrapping_mul(PRIME64_1);
    // Pairs of 16 bytes from both ends towards the middle; short keys need fewer.
    for pair in (0..=(key.len() - 1) / 32).rev() {
        let front = mix16(key, 16 * pair, 32 * pair);
        let back = mix16(key, key.len() - 16 * (pair + 1), 32 * pair + 16);
        hash = hash.wrapping_add(front).wrapping_add(back);
    }
    avalanche(hash)
}

fn hash_129_to_240(key: &[u8]) -> u64 {
    let mut hash = (key.len() as u64).wrapping_mul(PRIME64_1);
    for round in 0..8 {
        hash = hash.wrapping_add(mix16(key, 16 * round, 16 * round));
    }
    hash = avalanche(hash);
    for round in 8..key.len() / 16 {
        hash = hash.wrapping_add(mix16(key, 16 * round, 16 * (round - 8) + 3));
    }
    avalanche(hash.wrapping_add(mix16(key, key.len() - 16, 136 - 17)))
}

fn hash_long(key: &[u8]) -> u64 {
    let mut lanes = [PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3, PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1];
    let mut blocks = key.chunks_exact(BLOCK_BYTES);
    for block in &mut blocks {
        accumulate(&mut lanes, block);
        scramble(&mut lanes);
    }
    accumulate(&mut lanes, blocks.remainder());
    if !key.len().is_multiple_of(STRIPE_BYTES) {
        accumulate_stripe(&mut lanes, &key[key.len() - STRIPE_BYTES..], SECRET.len() - STRIPE_BYTES - 7);
    }
    let mut hash = (key.len() as u64).wrapping_mul(PRIME64_1);
    for pair in 0..4 {
        let low = lanes[2 * pair] ^ secret(11 + 16 * pair);
        let high = lanes[2 * pair + 1] ^ secret(19 + 16 * pair);
        hash = hash.wrapping_add(fold(low, high));
    }
    avalanche(hash)
}

fn accumulate(lanes: &mut [u64; 8], stripes: &[u8]) {
    for (number, stripe) in stripes.chunks_exact(STRIPE_BYTES).enumerate() {
        accumulate_stripe(lanes, stripe, 8 * number);
    }
}

fn accumulate_stripe(lanes: &mut [u64; 8], stripe: &[u8], secret_offset: usize) {
    for (number, lane) in lanes.iter_mut().enumerate() {
        let word = read64(stripe, 8 * number);
        let keyed = word ^ secret(secret_offset + 8 * number);
        // The released XXH3 swaps the lanes of `word` here; the preview does not.
        *lane = lane.wrapping_add(word).wrapping_add((keyed & 0xffff_ffff).wrapping_mul(keyed >> 32));
    }
}

fn scramble(lanes: &mut [u64; 8]) {
    for (number, lane) in lanes.iter_mut().enumerate() {
        let keyed = *lane ^ *lane >> 47 ^ secret(SECRET.len() - STRIPE_BYTES + 8 * number);
        *lane = keyed.wrapping_mul(PRIME32_1);
    }
}

#[inline]
fn mix16(key: &[u8], at: usize, secret_offset: usize) -> u64 {
    fold(read64(key, at) ^ secret(secret_offset), read64(key, at + 8) ^ secret(secret_offset + 8))
}

/// Both halves of the 128-bit product, joined.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[inline]
fn avalanche(hash: u64) -> u64 {
    let hash = (hash ^ hash >> 37).wrapping_mul(PRIME64_3);
    hash ^ hash >> 32
}

#[inline]
fn secret(offset: usize) -> u64 {
    read64(&SECRET, offset)
}

#[inline]
fn read64(bytes: &[u8], at: usize) -> u64 {
    LittleEndian::read_u64(&bytes[at..])
}

#[inline]
fn read32(bytes: &[u8], at: usize) -> u64 {
    u64::from(LittleEndian::read_u32(&bytes[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_class_agrees_with_rocksdb() {
        let expected: [(usize, u64); 28] = [
            (0, 0x5342c3010fe1dd04),
            (1, 0xb71d295c7865c7e9),
            (2, 0x777096a9131e825d),
            (3, 0x8b93d65306b47960),
            (4, 0x640dfa78d9602caa),
            (7, 0x238a82301009f53f),
            (8, 0xe02bb0260ca2f426),
            (9, 0x82e27d91ecbde0e3),
            (15, 0x42742cff0156771e),
            (16, 0x808dc7f6a08e1828),
            (17, 0x6216c07c87bfe5d1),
            (32, 0xf1baab985ecf232e),
            (33, 0x48c3ee9be5231873),
            (64, 0xec9764f4fa2586fd),
            (65, 0x070482c3b1bc6389),
            (96, 0x8bf55ea9f6da04e5),
            (97, 0x682d0b1bfce2169d),
            (128, 0xb885f0d2689835e1),
            (129, 0xfe146eb2e99b1a68),
            (200, 0xdc07fbe307a7cb37),
            (240, 0xddce7abbd046abf1),
            (241, 0xb1e53475de84b071),
            (256, 0xd4e21b1ad9fad6c0),
            (512, 0xe48d39a8e36d4c18),
            (1023, 0x836424161aeef716),
            (1024, 0x144aa676708da11c),
            (1025, 0x621058c4914d5089),
            (4096, 0xe2969cca527e6046),
        ];
        for (len, hash) in expected {
            let key: Vec<u8> = (0..len).map(|index| (131 * index + 7) as u8).collect();
            assert_eq!(filter_hash(&key), hash, "length {len}");
        }
    }
}
