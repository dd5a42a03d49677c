//! Models of the queue of submitted batches under shuttle's schedules: as it is, and with bugs that must be found.

use super::*;
use crate::commit::entries;
use crate::sync::{explore, thread};
use lsm_core::ColumnFamilyId;

/// Batches of each of two submitters: together more than there is room for.
const BATCHES: u8 = 2;

/// What a model runs: the code as it is, or a version with a bug.
#[derive(Clone, Copy)]
struct Code {
    drain: fn(&Submissions, &dyn Fn(&mut VecDeque<Submission>)),
    resolve: fn(&Outcome, Result<SeqNo>),
}

const CODE: Code =
    Code { drain: |submissions, write| submissions.drain(write, |_| Error::closed()), resolve: Outcome::resolve };

/// A store that is no more than the list of what was written.
struct World {
    code: Code,
    submissions: Submissions,
    written: Mutex<Vec<[u8; 2]>>,
}

impl World {
    fn submit(self: &Arc<Self>, key: [u8; 2]) -> Commit {
        let mut batch = WriteBatch::new();
        batch.put(ColumnFamilyId::DEFAULT, &key, &[0; 8]);
        self.submissions.push(batch, &WriteOptions::default(), || {
            let world = Arc::clone(self);
            let write = move || (world.code.drain)(&world.submissions, &|group| world.write(group));
            Builder::new().spawn(write)
        })
    }

    fn write(&self, group: &mut VecDeque<Submission>) {
        for Submission { batch, outcome, .. } in group {
            let written = entries(batch).map(|entry| <[u8; 2]>::try_from(entry.key).unwrap());
            self.written.lock().extend(written);
            (self.code.resolve)(outcome, Ok(SeqNo::ZERO));
        }
    }

    /// Submits all batches, then says how many were taken: the first thread blocks, the other one awaits.
    fn submitter(self: Arc<Self>, submitter: u8) -> u8 {
        let commits: Vec<Commit> = (0..BATCHES).map(|number| self.submit([submitter, number])).collect();
        let settle = |commit: Commit| match submitter {
            0 => commit.wait(),
            _ => shuttle::future::block_on(commit),
        };
        commits.into_iter().map(settle).map(|result| u8::from(result.is_ok())).sum()
    }
}

/// Two threads submit. `close` runs beside them and says whether it closes the queue.
fn threads_submit(code: Code, close: impl FnOnce(&Submissions) -> bool) {
    let world = Arc::new(World { code, submissions: Submissions::default(), written: Mutex::default() });
    let submitters = [0, 1].map(|submitter| {
        let world = Arc::clone(&world);
        thread::spawn(move || world.submitter(submitter))
    });
    let closed_early = close(&world.submissions);
    let taken = submitters.map(|submitter| submitter.join().unwrap());
    world.submissions.close();
    let written = world.written.lock().clone();
    for (submitter, taken) in (0..).zip(taken) {
        let numbers = written.iter().filter(|key| key[0] == submitter).map(|key| key[1]);
        assert!(numbers.eq(0..taken), "Q1: one thread's batches are written in its order: {written:?}");
        assert!(closed_early || taken == BATCHES, "an open queue refuses nothing");
    }
}

fn store_stays_open(code: Code) {
    threads_submit(code, |_| false);
}

fn store_is_closed(code: Code) {
    threads_submit(code, |submissions| {
        submissions.close();
        true
    });
}

#[test]
fn batches_are_written_in_order_and_all_who_wait_hear_of_it() {
    // Covers Q1, Q2.
    explore::holds(|| store_stays_open(CODE));
}

#[test]
fn a_close_meets_submitters_and_every_batch_has_its_result() {
    // Covers Q1, Q2.
    explore::holds(|| store_is_closed(CODE));
}

#[test]
fn a_writer_that_ends_with_batches_waiting_is_found() {
    fn drain(submissions: &Submissions, write: &dyn Fn(&mut VecDeque<Submission>)) {
        while !submissions.queue.lock().closed {
            let mut queue = submissions.queue.lock();
            while queue.waiting.is_empty() && !queue.closed {
                submissions.changed.wait(&mut queue);
            }
            let mut group = std::mem::take(&mut queue.waiting);
            queue.bytes = 0;
            drop(queue);
            write(&mut group);
            submissions.changed.notify_all();
        }
    }
    explore::finds("deadlock", || store_is_closed(Code { drain, ..CODE }));
}

#[test]
fn a_writer_that_makes_room_without_a_notification_is_found() {
    fn drain(submissions: &Submissions, write: &dyn Fn(&mut VecDeque<Submission>)) {
        loop {
            let mut queue = submissions.queue.lock();
            while queue.waiting.is_empty() && !queue.closed {
                submissions.changed.wait(&mut queue);
            }
            let mut group = std::mem::take(&mut queue.waiting);
            drop(queue);
            if group.is_empty() {
                return;
            }
            let bytes: usize = group.iter().map(|submission| submission.batch.byte_size()).sum();
            write(&mut group);
            submissions.queue.lock().bytes -= bytes;
        }
    }
    explore::finds("deadlock", || store_stays_open(Code { drain, ..CODE }));
}

#[test]
fn an_outcome_that_takes_the_wakers_before_there_is_a_result_is_found() {
    fn resolve(outcome: &Outcome, result: Result<SeqNo>) {
        let wakers = std::mem::take(&mut outcome.state.lock().wakers);
        outcome.state.lock().result = Some(result);
        outcome.done.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }
    explore::finds("deadlock", || store_stays_open(Code { resolve, ..CODE }));
}

#[test]
fn an_outcome_that_notifies_before_there_is_a_result_is_found() {
    fn resolve(outcome: &Outcome, result: Result<SeqNo>) {
        outcome.done.notify_all();
        let mut state = outcome.state.lock();
        state.result = Some(result);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
    explore::finds("deadlock", || store_stays_open(Code { resolve, ..CODE }));
}

/// Work that panics without the hook, which would print it thousands of times.
fn panics(_: &mut VecDeque<Submission>) {
    std::panic::resume_unwind(Box::new("planted"));
}

/// The writer's work panics; submitters hand over more than there is room for, look once at each commit as a future
/// and drop some, and block for the others.
fn work_panics(drain: fn(&Submissions, &dyn Fn(&mut VecDeque<Submission>))) {
    let world = Arc::new(World {
        code: Code { drain, ..CODE },
        submissions: Submissions::default(),
        written: Mutex::default(),
    });
    let submitters = [0_u8, 1].map(|submitter| {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            for number in 0..2_u8 {
                let mut batch = WriteBatch::new();
                batch.put(ColumnFamilyId::DEFAULT, &[submitter, number], &[0; 8]);
                let mut commit = world.submissions.push(batch, &WriteOptions::default(), || {
                    let world = Arc::clone(&world);
                    Builder::new().spawn(move || (world.code.drain)(&world.submissions, &panics))
                });
                let _ = Pin::new(&mut commit).poll(&mut Context::from_waker(Waker::noop()));
                if number == 1 {
                    assert!(commit.wait().is_err(), "Q2");
                }
            }
        })
    });
    submitters.into_iter().for_each(|submitter| submitter.join().unwrap());
    world.submissions.close();
    assert_eq!(world.submissions.queue.lock().bytes, 0, "Q3");
}

#[test]
fn work_that_panics_leaves_nobody_waiting() {
    // Covers Q2, Q3.
    explore::holds(|| work_panics(CODE.drain));
}

#[test]
fn a_writer_that_dies_of_a_panic_is_found() {
    fn drain(submissions: &Submissions, write: &dyn Fn(&mut VecDeque<Submission>)) {
        // As it once was: the thread's end went unnoticed.
        let group = {
            let mut queue = submissions.queue.lock();
            while queue.waiting.is_empty() && !queue.closed {
                submissions.changed.wait(&mut queue);
            }
            std::mem::take(&mut queue.waiting)
        };
        let _ = catch_unwind(AssertUnwindSafe(|| write(&mut { group })));
    }
    explore::finds("deadlock", || work_panics(drain));
}
