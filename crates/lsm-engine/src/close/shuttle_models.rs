//! Models of closing under shuttle's schedules: as it is, and with bugs that must be found.

use super::*;
use crate::sync::{AtomicBool, AtomicUsize, Ordering, explore, thread};

type Begin = fn(&Closing) -> bool;
type End = fn(&Closing);

const BEGIN: Begin = |closing| closing.begin(|| false);

/// Three threads close at once: one does the work, and nobody returns before the lock is free.
fn threads_close(begin: Begin, end: End) {
    let closing = Arc::new(Closing::default());
    let (closers, is_free) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let threads = [(); 3].map(|()| {
        let (closing, closers, is_free) = (Arc::clone(&closing), Arc::clone(&closers), Arc::clone(&is_free));
        thread::spawn(move || {
            if begin(&closing) {
                closers.fetch_add(1, Ordering::SeqCst);
                is_free.store(true, Ordering::SeqCst);
                end(&closing);
            }
            assert!(is_free.load(Ordering::SeqCst), "O1: the lock is not free");
        })
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(closers.load(Ordering::SeqCst), 1, "one closes");
}

/// The closing thread waits for the writer thread, where the last handle of a task goes; a third one closes too.
fn writer_thread_closes_too(cannot_wait: fn() -> bool) {
    let closing = Arc::new(Closing::default());
    assert!(BEGIN(&closing));
    let [writer, other] = [cannot_wait, || false].map(|cannot_wait| {
        let closing = Arc::clone(&closing);
        thread::spawn(move || assert!(!closing.begin(cannot_wait)))
    });
    writer.join().unwrap();
    closing.end();
    other.join().unwrap();
}

#[test]
fn all_who_close_find_the_lock_free() {
    // Covers O1.
    explore::holds(|| threads_close(BEGIN, Closing::end));
}

#[test]
fn the_writer_thread_does_not_wait_for_who_waits_for_it() {
    // Covers O1.
    explore::holds(|| writer_thread_closes_too(|| true));
    explore::finds("deadlock", || writer_thread_closes_too(|| false));
}

#[test]
fn a_second_close_that_does_not_wait_is_found() {
    fn begin(closing: &Closing) -> bool {
        let mut phase = closing.phase.lock();
        let is_first = *phase == Phase::Open;
        *phase = Phase::Begun;
        is_first
    }
    explore::finds("O1", || threads_close(begin, Closing::end));
}

#[test]
fn an_end_without_a_notification_is_found() {
    explore::finds("deadlock", || threads_close(BEGIN, |closing| *closing.phase.lock() = Phase::Ended));
}
