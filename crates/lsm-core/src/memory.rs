//! Asking for memory before it is needed.
//!
//! Most of the time of a read is spent waiting for memory, place after place, as each tells where the next one is. What is
//! known to be needed soon can be asked for, all at once, while other work goes on.

/// What the processor fetches at a time, in bytes.
const LINE_BYTES: usize = 64;

/// Asks for all memory of `value`, a slice for instance, without waiting for it. Has no effect that can be seen but on time.
///
/// ```
/// let (keys, places) = (vec![1_u64; 32], vec![7_u8; 32]);
/// lsm_core::memory::ask_for(places.as_slice());
/// let place = keys.binary_search(&1).map(|at| places[at]);
/// assert_eq!(place, Ok(7));
/// ```
#[inline(always)]
pub fn ask_for<T: ?Sized>(value: &T) {
    ask_for_place((&raw const *value).cast(), size_of_val(value));
}

/// The same of so many bytes from `first` on, whatever lies there: nothing need be lent, nor be there.
#[inline(always)]
pub fn ask_for_place(first: *const u8, bytes: usize) {
    lines(first, bytes).for_each(ask_for_line::<true>);
}

/// The same for the processor's second cache in the place of its first: for what is needed a block later, and for much at once.
///
/// A processor waits for some ten lines on their way to its first cache at a time, and for several times as many on their way to
/// its second. Blocks of 4 KiB that lie here and there were read at 15 GB a second when each was asked for like this while the
/// one before it was read, at 8.5 when it was asked for the other way, and at 7 when it was not (AMD Zen 4).
#[inline(always)]
pub fn ask_ahead(first: *const u8, bytes: usize) {
    lines(first, bytes).for_each(ask_for_line::<false>);
}

/// An address in each line of these bytes.
#[inline(always)]
fn lines(first: *const u8, bytes: usize) -> impl Iterator<Item = *const u8> {
    // Where they do not begin with a line, their last one may lie in one more.
    let offsets = (0..bytes).step_by(LINE_BYTES).chain(bytes.checked_sub(1));
    offsets.map(move |offset| first.wrapping_add(offset))
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(unsafe_code, reason = "a hint takes an address, and the safe function for it is not stable yet")]
fn ask_for_line<const FIRST_CACHE: bool>(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
    match FIRST_CACHE {
        // SAFETY: the instruction is a hint, which reads nothing that can be seen and fails at no address.
        true => unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) },
        // SAFETY: as above.
        false => unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) },
    }
}

/// Other processors find out by themselves.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn ask_for_line<const FIRST_CACHE: bool>(_address: *const u8) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_asked_for() {
        let lines_of = |first: usize, bytes: usize| {
            let lines = lines(std::ptr::without_provenance(first), bytes).map(|line| line.addr() / LINE_BYTES);
            lines.collect::<std::collections::BTreeSet<_>>()
        };
        for first in 0..2 * LINE_BYTES {
            for bytes in 1..4 * LINE_BYTES {
                let expected = first / LINE_BYTES..=(first + bytes - 1) / LINE_BYTES;
                assert!(lines_of(first, bytes).into_iter().eq(expected), "{bytes} bytes from {first}");
            }
        }
        assert!(lines_of(7, 0).is_empty());
    }

    #[test]
    fn nothing_comes_of_asking() {
        let bytes: Vec<u8> = (0..200).collect();
        (0..200).for_each(|start| ask_for(&bytes[start..]));
        ask_for(&bytes[..0]);
        ask_for::<[u64]>(&[]);
        ask_for(&0_u128);
        ask_for_place(std::ptr::null(), 1000);
        ask_ahead(std::ptr::null(), 1000);
        (0..200).for_each(|start| ask_ahead(bytes[start..].as_ptr(), 200 - start));
        assert!(bytes.into_iter().eq(0..200));
    }
}
