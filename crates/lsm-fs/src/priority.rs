//! Threads that leave processors to others.

/// How far the calling thread stands back. Where processors are short Linux gives it a third of what it gives a thread that
/// does not, and all there is where they are not (sched(7); weights 335 and 1024).
const NICENESS: i32 = 5;

/// Lets other threads of this process, and others, come before the calling one where processors are short.
///
/// For good: a thread may lower its priority, but not raise it again without a privilege. Where the system refuses,
/// nothing changes.
pub fn stand_back() {
    // On Linux "no process" means the calling thread alone.
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getpriority_process;

    #[test]
    fn only_the_calling_thread_stands_back() {
        let before = getpriority_process(None).unwrap();
        let behind = std::thread::spawn(|| {
            stand_back();
            getpriority_process(None).unwrap()
        });
        assert_eq!(behind.join().unwrap(), before.max(NICENESS));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
