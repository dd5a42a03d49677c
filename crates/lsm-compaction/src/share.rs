//! Shares the parts of a job among the calling thread and whoever helps.
//!
//! The parts stand in one queue. The caller works through it itself; tasks given to the executor do
//! the same if and when they run. So a job ends whatever the executor does, and a pool that is full
//! of callers cannot deadlock.
//!
//! # Invariants
//! H1. Each part is worked on once.
//! H2. [`share`] returns when every part has ended, and waits only for parts that a running task took.
//! H3. A panic in a part is raised again in the caller, after H2.

use crate::executor::Executor;
use lsm_sync::{AtomicUsize, Condvar, Mutex, Ordering};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;

struct Shared<T, W> {
    work: W,
    /// The first part that nobody has taken.
    next: AtomicUsize,
    ended: Mutex<Ended<T>>,
    all_ended: Condvar,
}

struct Ended<T> {
    results: Vec<Option<thread::Result<T>>>,
    remaining: usize,
}

/// The results of `work(0)` to `work(count - 1)`, in order.
pub(crate) fn share<T, W>(count: usize, executor: &dyn Executor, work: W) -> Vec<T>
where
    T: Send + 'static,
    W: Fn(usize) -> T + Send + Sync + 'static,
{
    let ended = Ended { results: (0..count).map(|_| None).collect(), remaining: count };
    let shared =
        Arc::new(Shared { work, next: AtomicUsize::new(0), ended: Mutex::new(ended), all_ended: Condvar::new() });
    for _ in 1..count {
        let helper = Arc::clone(&shared);
        executor.execute(Box::new(move || helper.work_through()));
    }
    shared.work_through();
    shared.wait().into_iter().map(|result| result.unwrap_or_else(|panic| resume_unwind(panic))).collect()
}

impl<T, W: Fn(usize) -> T> Shared<T, W> {
    fn work_through(&self) {
        loop {
            // Relaxed: the number is all that is handed over; results travel through the mutex.
            let part = self.next.fetch_add(1, Ordering::Relaxed);
            if part >= self.ended.lock().results.len() {
                return;
            }
            let result = catch_unwind(AssertUnwindSafe(|| (self.work)(part)));
            let mut ended = self.ended.lock();
            ended.results[part] = Some(result);
            ended.remaining -= 1;
            if ended.remaining == 0 {
                self.all_ended.notify_all();
            }
        }
    }

    fn wait(&self) -> Vec<thread::Result<T>> {
        let mut ended = self.ended.lock();
        while ended.remaining > 0 {
            self.all_ended.wait(&mut ended);
        }
        ended.results.iter_mut().map(|result| result.take().expect("H1: every part has ended once")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::StepExecutor;

    /// Runs every task on a thread of its own.
    struct Threads(Mutex<Vec<thread::JoinHandle<()>>>);

    impl Executor for Threads {
        fn execute(&self, task: crate::executor::Task) {
            self.0.lock().push(thread::spawn(task));
        }
    }

    #[test]
    fn a_job_ends_on_an_executor_that_never_runs_anything() {
        // Covers H2.
        let executor = StepExecutor::new();
        assert_eq!(share(5, &executor, |part| part * 2), [0, 2, 4, 6, 8]);
        assert_eq!(executor.len(), 4);
        // Tasks that come too late find nothing to do.
        while executor.step() {}
        assert_eq!(share(0, &executor, |part| part), Vec::<usize>::new());
    }

    #[test]
    fn each_part_is_worked_on_once_by_many_threads() {
        // Covers H1.
        let executor = Threads(Mutex::default());
        let taken: Arc<Vec<AtomicUsize>> = Arc::new((0..100).map(|_| AtomicUsize::new(0)).collect());
        let counts = Arc::clone(&taken);
        let results = share(100, &executor, move |part| {
            counts[part].fetch_add(1, Ordering::Relaxed);
            part
        });
        assert_eq!(results, (0..100).collect::<Vec<_>>());
        assert!(taken.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        for thread in executor.0.into_inner() {
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_after_all_parts_ended() {
        // Covers H3.
        let ended = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&ended);
        let work = move |part: usize| {
            assert_ne!(part, 1, "part 1 fails");
            count.fetch_add(1, Ordering::Relaxed);
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| share(4, &StepExecutor::new(), work)));
        assert!(outcome.is_err());
        assert_eq!(ended.load(Ordering::Relaxed), 3);
    }
}
