//! Calls that may hang, and the test with them.

use std::sync::mpsc::channel;
use std::time::Duration;

/// What `work` returns, on a thread of its own; `None` if it panics or takes longer than `patience`. The thread is left
/// to itself then.
pub fn in_time<T: Send + 'static>(patience: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(patience).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_or_panics_has_no_answer() {
        assert_eq!(in_time(Duration::from_secs(60), || 7), Some(7));
        assert_eq!(in_time(Duration::from_secs(60), || panic!("as planned")), None::<()>);
        assert_eq!(in_time(Duration::from_millis(1), || std::thread::sleep(Duration::from_secs(60))), None);
    }
}
