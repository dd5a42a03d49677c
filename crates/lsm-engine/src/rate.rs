//! Limits how fast flush and compaction write, where a user asked for that.

use crate::sync::Mutex;
use lsm_fs::Clock;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for one piece of output.
const WAIT_MAX: Duration = Duration::from_secs(1);

pub(crate) struct RateLimiter {
    clock: Arc<dyn Clock>,
    bytes_per_second: Option<u64>,
    /// When the bytes let through so far are used up.
    busy_until: Mutex<Duration>,
}

impl RateLimiter {
    pub(crate) fn new(clock: Arc<dyn Clock>, bytes_per_second: Option<u64>) -> RateLimiter {
        RateLimiter { clock, bytes_per_second, busy_until: Mutex::new(Duration::ZERO) }
    }

    /// Lets `bytes` through: sleeps on the background thread that writes them as long as they take.
    pub(crate) fn pass(&self, bytes: u64) {
        let Some(rate) = self.bytes_per_second.filter(|&rate| rate > 0) else { return };
        let now = self.clock.monotonic();
        let wait = {
            let mut busy_until = self.busy_until.lock();
            *busy_until = (*busy_until).max(now) + Duration::from_secs_f64(bytes as f64 / rate as f64);
            busy_until.saturating_sub(now)
        };
        std::thread::sleep(wait.min(WAIT_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lsm_fs::SystemClock;

    #[test]
    fn bytes_take_their_time() {
        let limiter = RateLimiter::new(Arc::new(SystemClock::new()), Some(1_000_000));
        let begun = std::time::Instant::now();
        (0..10).for_each(|_| limiter.pass(2_000));
        assert!(begun.elapsed() >= Duration::from_millis(19));
    }
}
