//! Who runs the parts of a job that other threads may help with.
//!
//! A job never waits for a task to *start* (see `share.rs`), so an executor may be slow, full, or never
//! run anything at all.

use lsm_sync::Mutex;
use std::collections::VecDeque;
use std::fmt;

/// A piece of work.
pub type Task = Box<dyn FnOnce() + Send>;

/// Runs tasks some time, on some thread, or never.
pub trait Executor: Send + Sync {
    /// Takes `task` without waiting for it.
    fn execute(&self, task: Task);

    /// Runs a task that waits for someone to step it, on the calling thread, and says whether there was
    /// one. Who waits for background work calls it first; executors with threads of their own need no help.
    fn help(&self) -> bool {
        false
    }
}

/// Runs tasks on Tokio's threads for blocking work.
#[derive(Clone, Debug)]
pub struct TokioExecutor {
    handle: tokio::runtime::Handle,
}

impl TokioExecutor {
    /// Uses the runtime behind `handle`; a runtime that shuts down drops tasks that have not started.
    pub fn new(handle: tokio::runtime::Handle) -> TokioExecutor {
        TokioExecutor { handle }
    }
}

impl Executor for TokioExecutor {
    fn execute(&self, task: Task) {
        // A task reports its end itself; nobody joins it.
        drop(self.handle.spawn_blocking(task));
    }
}

/// Keeps tasks until someone steps them: for tests that choose the order of everything.
#[derive(Default)]
pub struct StepExecutor {
    tasks: Mutex<VecDeque<Task>>,
}

impl StepExecutor {
    /// No task yet.
    pub fn new() -> StepExecutor {
        StepExecutor::default()
    }

    /// Runs the oldest task on this thread; `false` if there is none.
    pub fn step(&self) -> bool {
        let task = self.tasks.lock().pop_front();
        match task {
            Some(task) => {
                task();
                true
            }
            None => false,
        }
    }

    /// How many tasks are waiting.
    pub fn len(&self) -> usize {
        self.tasks.lock().len()
    }

    /// Whether no task is waiting.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Executor for StepExecutor {
    fn execute(&self, task: Task) {
        self.tasks.lock().push_back(task);
    }

    fn help(&self) -> bool {
        self.step()
    }
}

impl fmt::Debug for StepExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepExecutor").field("tasks", &self.len()).finish()
    }
}
