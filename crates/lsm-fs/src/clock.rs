//! Time, so that tests can hold it.
//!
//! Durations come from the monotonic clock; wall time is for the eye and for fields of file formats.
//! Nothing is ordered by time.

use lsm_sync::{AtomicU64, Ordering};
use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time since some fixed moment; never goes back.
    fn monotonic(&self) -> Duration;

    /// Seconds since 1970; may jump either way.
    fn unix_seconds(&self) -> u64;
}

/// The clock of the machine.
#[derive(Clone, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> SystemClock {
        SystemClock { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn unix_seconds(&self) -> u64 {
        // A clock set before 1970 shows the beginning.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
    }
}

/// A clock that moves only when told to.
///
/// ```
/// use std::time::Duration;
/// use lsm_fs::{Clock, ManualClock};
/// let clock = ManualClock::new();
/// clock.advance(Duration::from_millis(1500));
/// assert_eq!(clock.monotonic(), Duration::from_millis(1500));
/// clock.set_unix_seconds(1_000_000_000);
/// assert_eq!(clock.unix_seconds(), 1_000_000_000);
/// ```
#[derive(Debug, Default)]
pub struct ManualClock {
    nanos: AtomicU64,
    unix_seconds: AtomicU64,
}

impl ManualClock {
    /// A clock at zero, in 1970.
    pub fn new() -> ManualClock {
        ManualClock::default()
    }

    /// Moves monotonic time on; wall time stays.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Sets wall time, back or forth.
    pub fn set_unix_seconds(&self, seconds: u64) {
        self.unix_seconds.store(seconds, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    fn unix_seconds(&self) -> u64 {
        self.unix_seconds.load(Ordering::Relaxed)
    }
}
