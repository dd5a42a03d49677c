//! Sums that many threads add to and few ask for.

// What is only counted is no part of a protocol that a model checks.
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const STRIPES: usize = 32;

/// A sum without two threads writing to one line of cache, as long as the process has not had more threads than stripes that
/// add to any. Each gets a stripe when it first does, in turn, and nobody asks which of the earlier ones still live: after
/// that, two that live may share a stripe, and may lose what they add.
///
/// ```
/// let bytes = lsm_sync::Tally::default();
/// bytes.add(3);
/// assert_eq!(bytes.add(4), 7);
/// assert_eq!(bytes.sum(), 7);
/// ```
#[derive(Default)]
pub struct Tally([Stripe; STRIPES]);

#[derive(Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

/// Threads that have added something to any tally.
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STRIPE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES;
}

impl Tally {
    /// Adds `count`, and says what the stripe of this thread comes to.
    #[inline]
    pub fn add(&self, count: u64) -> u64 {
        let Stripe(own) = &self.0[STRIPE.with(|&stripe| stripe)];
        let sum = own.load(Ordering::Relaxed).wrapping_add(count);
        own.store(sum, Ordering::Relaxed);
        sum
    }

    /// About what all threads have added.
    pub fn sum(&self) -> u64 {
        self.0.iter().map(|Stripe(part)| part.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }

    /// Begins from nothing again.
    pub fn clear(&self) {
        self.0.iter().for_each(|Stripe(part)| part.store(0, Ordering::Relaxed));
    }
}
