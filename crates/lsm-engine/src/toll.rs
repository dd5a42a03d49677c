//! What reads pay for tables of level 0, and when they have paid for a compaction.
//!
//! Level 0 keeps up to three tables for as long as nobody writes, and each is one more run for every read. To take them down
//! costs once what the tables there and those under them hold; to leave them costs a little at each read. Nobody knows how
//! many reads will come, so this is the question whether to rent or to buy skis: who buys once the rent paid comes to the
//! price never pays more than twice what the best would have been (A. Karlin, M. Manasse, L. Rudolph and D. Sleator,
//! "Competitive Snoopy Caching", Algorithmica 3, 1988).
//!
//! Both are counted in bytes that a compaction gets through in the time that a read loses, 4 ns each. What reads lose was
//! measured with tables of a tenth of all rows: docs/adr/0013-readers-pay-for-level-0.md.
//!
//! # Invariants
//! L1. What a read pays depends on its moves alone, never on a clock: the same calls ask for the same compactions.
//! L2. Of all readers that find the price paid, one asks; and nobody asks again until level 0 was taken down,
//!     or was merged because they had asked: what they have paid is used up then.
//! L3. A walk whose tables of level 0 were taken down since pays no more: nothing would become of what it pays.

use crate::sync::{AtomicU8, AtomicU64, Ordering, Tally};
use std::sync::Arc;

/// A get that looks at one more table, most often at its filter alone: 60 ns.
pub(crate) const LOOK: u64 = 15;
/// A seek in one more table: 500 ns.
pub(crate) const SEEK: u64 = 125;
/// A row of a walk in one more table, which ends what the others can give away at once: 160 ns.
pub(crate) const STEP: u64 = 40;
/// The same of a walk backward: 260 ns.
pub(crate) const STEP_BACK: u64 = 65;

/// Readers still pay.
const OPEN: u8 = 0;
/// The price is paid, and nobody has asked yet.
const PAID: u8 = 1;
/// A compaction was asked for.
const ASKED: u8 = 2;

/// The toll of one column family.
pub(crate) struct Toll {
    paid: Tally,
    /// Bytes that a compaction of level 0 would read; `u64::MAX` if there is nothing to take down.
    price: AtomicU64,
    state: AtomicU8,
    /// How often level 0 was taken down, or merged for readers.
    rounds: AtomicU64,
}

impl Toll {
    pub(crate) fn new() -> Toll {
        Toll {
            paid: Tally::default(),
            price: AtomicU64::new(u64::MAX),
            state: AtomicU8::new(OPEN),
            rounds: AtomicU64::new(0),
        }
    }

    /// Says what a compaction would cost from now on, if there is one.
    pub(crate) fn set_price(&self, bytes: Option<u64>) {
        self.price.store(bytes.map_or(u64::MAX, |bytes| bytes.max(1)), Ordering::Relaxed);
    }

    /// Begins again, for level 0 was taken down or merged, and readers find the new version.
    pub(crate) fn clear(&self) {
        self.paid.clear();
        self.rounds.fetch_add(1, Ordering::Release);
        self.state.store(OPEN, Ordering::Relaxed);
    }

    /// Begins again if the price was paid, for tables of level 0 were merged with each other.
    pub(crate) fn use_up(&self) {
        if self.state.load(Ordering::Relaxed) != OPEN {
            self.clear();
        }
    }

    /// Pays; what all threads have paid is looked at whenever this one has paid another sixteenth of the price.
    #[inline]
    pub(crate) fn pay(&self, bytes: u64) {
        if self.state.load(Ordering::Relaxed) != OPEN {
            return;
        }
        let price = self.price.load(Ordering::Relaxed);
        let sixteenth = price.ilog2().saturating_sub(4);
        let own = self.paid.add(bytes);
        if own >> sixteenth != own.wrapping_sub(bytes) >> sixteenth && self.paid.sum() >= price {
            self.advance(OPEN, PAID);
        }
    }

    /// Whether the caller is the one to ask for a compaction (L2).
    #[inline]
    pub(crate) fn asks(&self) -> bool {
        self.state.load(Ordering::Relaxed) == PAID && self.advance(PAID, ASKED)
    }

    /// Whether a compaction was asked for.
    pub(crate) fn is_asked(&self) -> bool {
        self.state.load(Ordering::Relaxed) == ASKED
    }

    fn advance(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// Level 0 as a walk found it. Made before the walk takes its view, so that the view is never older.
#[derive(Clone)]
pub(crate) struct Round {
    toll: Arc<Toll>,
    number: u64,
}

impl Round {
    pub(crate) fn of(toll: &Arc<Toll>) -> Round {
        Round { toll: Arc::clone(toll), number: toll.rounds.load(Ordering::Acquire) }
    }

    /// Whether level 0 was taken down since: whoever comes now finds other tables.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.toll.rounds.load(Ordering::Acquire) != self.number
    }

    /// Whether the price is paid, and nobody has asked yet.
    #[inline]
    pub(crate) fn is_paid(&self) -> bool {
        self.toll.state.load(Ordering::Relaxed) == PAID
    }
}

/// What a walk through one table owes; paid at each seek and at the end (L3).
pub(crate) struct Fare {
    round: Round,
    bytes: u64,
}

impl Fare {
    pub(crate) fn new(round: &Round) -> Fare {
        Fare { round: round.clone(), bytes: 0 }
    }

    #[inline]
    pub(crate) fn owe(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    #[inline]
    pub(crate) fn settle(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if !self.round.is_over() {
            self.round.toll.pay(bytes);
        }
    }
}

impl Drop for Fare {
    fn drop(&mut self) {
        self.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_price_is_paid_once_and_asked_for_once() {
        // Covers L1, L2, L3.
        let toll = Arc::new(Toll::new());
        toll.pay(1 << 40);
        assert!(!toll.asks(), "there is nothing to take down");
        toll.clear();
        toll.set_price(Some(100 * SEEK));
        let round = Round::of(&toll);
        for _ in 0..99 {
            Fare::new(&round).owe(SEEK);
            assert!(!toll.asks());
        }
        // The last sixteenth may be noticed a little late.
        let late = (0..8).take_while(|_| {
            Fare::new(&round).owe(SEEK);
            !toll.asks()
        });
        assert!(late.count() < 8);
        assert!(toll.is_asked() && !toll.asks(), "another one has asked");
        toll.pay(1 << 40);
        assert!(!toll.asks(), "and the compaction is on its way");
        toll.clear();
        assert!(!toll.is_asked());
        assert!(round.is_over());
        Fare::new(&round).owe(1 << 40);
        assert!(!toll.asks(), "L3: these tables are gone");
        toll.pay(99 * SEEK);
        assert!(!toll.asks(), "who pays begins from nothing");
        toll.use_up();
        assert!(toll.paid.sum() > 0, "and keeps what it has paid until that is the price");
        toll.pay(100 * SEEK);
        assert!(toll.asks());
        toll.use_up();
        assert!(!toll.is_asked() && !toll.asks());
    }

    #[test]
    fn what_many_threads_pay_comes_together() {
        let toll = Toll::new();
        toll.set_price(Some(4_000 * STEP));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..2_000).for_each(|_| toll.pay(STEP)));
            }
        });
        assert!(toll.asks());
    }
}
