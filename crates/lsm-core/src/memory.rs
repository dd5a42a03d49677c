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
    let offsets = (0..bytes).step_by(LINE_BYTES);
    // Where it does not begin with a line, its last byte may lie in one more.
    offsets.chain(bytes.checked_sub(1)).for_each(|offset| ask_for_line(first.wrapping_add(offset)));
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(unsafe_code, reason = "a hint takes an address, and the safe function for it is not stable yet")]
fn ask_for_line(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: the instruction is a hint, which reads nothing that can be seen and fails at no address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
}

/// Other processors find out by themselves.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn ask_for_line(_address: *const u8) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_of_asking() {
        let bytes: Vec<u8> = (0..200).collect();
        (0..200).for_each(|start| ask_for(&bytes[start..]));
        ask_for(&bytes[..0]);
        ask_for::<[u64]>(&[]);
        ask_for(&0_u128);
        ask_for_place(std::ptr::null(), 1000);
        assert!(bytes.into_iter().eq(0..200));
    }
}
