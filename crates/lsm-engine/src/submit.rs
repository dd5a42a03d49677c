//! Writes handed over a channel: the caller goes on at once, a thread of the store commits.
//!
//! The queue is bounded in bytes. The writer thread takes all that waits, commits batch by batch in the
//! order they were handed over, and syncs once for all that asked for it.
//!
//! # Invariants
//! Q1. Submitted batches commit in the order of their submission.
//! Q2. Every submitted batch gets its result, also when the store fails or is closed first, or its write panics.
//! Q3. The writer thread survives a panic, and the batches of the group that panicked no longer take room.

use crate::contain::ignoring_panics;
use crate::store::Store;
use crate::sync::thread::{Builder, JoinHandle, ThreadId, current};
use crate::sync::{Condvar, Mutex};
use crate::{Durability, Error, Result, WriteOptions};
use lsm_core::{SeqNo, WriteBatch};
use std::any::Any;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Bytes of batches that may wait for the writer thread; in a model about two batches.
const QUEUE_BYTES_MAX: usize = if cfg!(shuttle) { 64 } else { 8 << 20 };

#[derive(Default)]
pub(crate) struct Submissions {
    queue: Mutex<Queue>,
    /// Something was queued, taken, or the queue was closed.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Submission>,
    bytes: usize,
    thread: Option<JoinHandle<()>>,
    /// The thread's, for as long as the queue lives.
    thread_id: Option<ThreadId>,
    closed: bool,
}

struct Submission {
    batch: WriteBatch,
    options: WriteOptions,
    outcome: Arc<Outcome>,
}

/// A write on its way. Dropping it cancels nothing.
///
/// It is a future, to be awaited on any runtime or none; [`Commit::wait`] blocks instead.
///
/// ```
/// # fn main() -> lsm_engine::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = lsm_engine::Db::open(dir.path())?;
/// let mut batch = lsm_engine::WriteBatch::new();
/// batch.put("key", "value");
/// let commit = db.submit(batch);
/// commit.wait()?;
/// assert_eq!(db.get("key")?.unwrap(), "value");
/// # Ok(())
/// # }
/// ```
#[must_use = "a commit may fail; wait for it, or drop it knowingly"]
pub struct Commit(Arc<Outcome>);

impl std::fmt::Debug for Commit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Commit").field("sequence", &self.sequence()).finish_non_exhaustive()
    }
}

struct Outcome {
    state: Mutex<OutcomeState>,
    done: Condvar,
}

#[derive(Default)]
struct OutcomeState {
    result: Option<Result<SeqNo>>,
    wakers: Vec<Waker>,
}

impl Commit {
    fn pending() -> (Commit, Arc<Outcome>) {
        let outcome = Arc::new(Outcome { state: Mutex::default(), done: Condvar::new() });
        (Commit(Arc::clone(&outcome)), outcome)
    }

    pub(crate) fn refused(error: Error) -> Commit {
        let (commit, outcome) = Commit::pending();
        outcome.resolve(Err(error));
        commit
    }

    /// Blocks until the batch has the durability that it asked for.
    ///
    /// # Errors
    /// What kept it from being written.
    pub fn wait(&self) -> Result<()> {
        let mut state = self.0.state.lock();
        loop {
            match &state.result {
                Some(result) => return result.clone().map(drop),
                None => self.0.done.wait(&mut state),
            }
        }
    }

    /// Whether the batch has the durability that it asked for.
    pub fn is_durable(&self) -> bool {
        matches!(self.0.state.lock().result, Some(Ok(_)))
    }

    /// Sequence number of the batch's last write, once it has been written.
    pub fn sequence(&self) -> Option<u64> {
        let state = self.0.state.lock();
        state.result.as_ref()?.as_ref().ok().map(|seq| seq.get())
    }
}

impl Future for Commit {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.0.state.lock();
        if let Some(result) = &state.result {
            return Poll::Ready(result.clone().map(drop));
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            state.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Outcome {
    /// Gives the batch its result, unless it has one.
    fn resolve(&self, result: Result<SeqNo>) {
        let mut state = self.state.lock();
        state.result.get_or_insert(result);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.done.notify_all();
        // An executor may run the task right here.
        wakers.into_iter().for_each(|waker| ignoring_panics(|| waker.wake()));
    }
}

impl Submissions {
    /// Queues a batch as soon as there is room; `start` starts the writer thread for the first one.
    fn push(
        &self,
        batch: WriteBatch,
        options: &WriteOptions,
        start: impl FnOnce() -> io::Result<JoinHandle<()>>,
    ) -> Commit {
        let bytes = batch.byte_size();
        let mut queue = self.queue.lock();
        // A task that was woken by the writer thread, and runs on it, would wait for itself.
        let may_wait = queue.thread_id != Some(current().id());
        while may_wait && queue.bytes > 0 && queue.bytes + bytes > QUEUE_BYTES_MAX && !queue.closed {
            if options.no_stall {
                return Commit::refused(Error::stalled("the queue of submitted batches is full"));
            }
            self.changed.wait(&mut queue);
        }
        if queue.closed {
            return Commit::refused(Error::closed());
        }
        if queue.thread.is_none() {
            match start() {
                Ok(thread) => {
                    queue.thread_id = Some(thread.thread().id());
                    queue.thread = Some(thread);
                }
                Err(error) => return Commit::refused(lsm_core::Error::io("start thread", "lsm-writer", error).into()),
            }
        }
        let (commit, outcome) = Commit::pending();
        queue.bytes += bytes;
        queue.waiting.push_back(Submission { batch, options: options.clone(), outcome });
        drop(queue);
        self.changed.notify_all();
        commit
    }

    /// The writer thread: hands all that waits to `write`, again and again, until the queue is closed and empty.
    /// Should that panic, `panicked` says what to answer to those who have no result (Q2, Q3).
    fn drain(&self, write: impl Fn(&mut VecDeque<Submission>), panicked: impl Fn(&(dyn Any + Send)) -> Error) {
        loop {
            let mut group = {
                let mut queue = self.queue.lock();
                while queue.waiting.is_empty() && !queue.closed {
                    self.changed.wait(&mut queue);
                }
                std::mem::take(&mut queue.waiting)
            };
            if group.is_empty() {
                return;
            }
            let bytes: usize = group.iter().map(|submission| submission.batch.byte_size()).sum();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| write(&mut group))) {
                let error = panicked(&*panic);
                group.iter().for_each(|submission| submission.outcome.resolve(Err(error.clone())));
            }
            self.queue.lock().bytes -= bytes;
            self.changed.notify_all();
        }
    }

    /// Whether this is the writer thread.
    pub(crate) fn is_writer_thread(&self) -> bool {
        self.queue.lock().thread_id == Some(current().id())
    }

    /// Takes no more batches, and returns once all that were taken are written.
    fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        let thread = queue.thread.take();
        drop(queue);
        self.changed.notify_all();
        // A task that ends with its commit may hold the last handle, and then ends on the writer thread itself.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != current().id()) {
            // A panic of the writer thread has been reported by itself; there is nothing to add.
            let _ = thread.join();
        }
    }
}

impl Store {
    pub(crate) fn submit(self: &Arc<Self>, batch: WriteBatch, options: &WriteOptions) -> Commit {
        self.submissions.push(batch, options, || {
            let store = Arc::clone(self);
            let drain = move || {
                store.submissions.drain(|group| store.write_group(group), |panic| store.note_panic(panic));
            };
            Builder::new().name("lsm-writer".into()).spawn(drain)
        })
    }

    /// Writes what was submitted so far, and ends the writer thread.
    pub(crate) fn finish_submissions(&self) {
        self.submissions.close();
    }

    /// Applies a group in order (Q1), then waits once for the strongest durability asked for.
    fn write_group(self: &Arc<Self>, group: &mut VecDeque<Submission>) {
        let mut applied = Vec::with_capacity(group.len());
        for Submission { batch, options, outcome } in group {
            match self.apply(batch, options) {
                Ok(done) => applied.push((done, outcome)),
                Err(error) => outcome.resolve(Err(error)),
            }
        }
        // The last log position covers all before it: syncing a log first syncs the logs before it.
        let last_synced = applied.iter().rev().find(|(done, _)| done.durability == Durability::Synced);
        let synced = last_synced.map_or(Ok(()), |(done, _)| self.settle(done));
        for (done, outcome) in applied {
            let result = match done.durability {
                Durability::Synced => synced.clone(),
                Durability::Buffered | Durability::Unlogged => self.settle(&done),
            };
            outcome.resolve(result.map(|()| done.last_seq));
        }
    }
}

#[cfg(all(test, shuttle))]
mod shuttle_models;
