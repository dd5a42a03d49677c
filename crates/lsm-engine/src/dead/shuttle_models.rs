//! A model of dead stretches under shuttle's schedules: as they are, and with bugs that must be found.

use super::*;
use crate::publish::Publisher;
use crate::sync::{explore, thread};
use std::sync::Arc;

type Note = fn(&Stretches, Range<Vec<u8>>, SeqNo);
type Write = fn(&Stretches, SeqNo, &[u8]);

/// A key is put into a stretch that a walk finds dead at the same time.
fn a_key_comes_to_life(note: Note, write: Write) {
    let publisher = Arc::new(Publisher::new(SeqNo::new(1)));
    let stretches = Arc::new(Stretches::new());
    let writer = {
        let (publisher, stretches) = (Arc::clone(&publisher), Arc::clone(&stretches));
        thread::spawn(move || {
            write(&stretches, SeqNo::new(2), b"k");
            assert!(publisher.turn(SeqNo::new(2), 1).publish());
        })
    };
    let walk = {
        let (publisher, stretches) = (Arc::clone(&publisher), Arc::clone(&stretches));
        thread::spawn(move || {
            let seq = publisher.visible();
            if seq < SeqNo::new(2) {
                note(&stretches, b"a".to_vec()..b"z".to_vec(), seq);
            }
        })
    };
    let look = || {
        let seq = publisher.visible();
        if seq >= SeqNo::new(2) {
            assert_eq!(stretches.around(b"k", seq), None, "K1: a live key is hidden");
        }
    };
    look();
    [writer, walk].into_iter().for_each(|thread| thread.join().unwrap());
    look();
}

fn write(stretches: &Stretches, seq: SeqNo, key: &[u8]) {
    stretches.write(seq, std::iter::once(key));
}

#[test]
fn a_stretch_does_not_hide_what_is_written() {
    // Covers K1.
    explore::holds(|| a_key_comes_to_life(Stretches::note, write));
}

#[test]
fn who_looks_for_writes_before_it_leaves_its_stretch_is_found() {
    fn note(stretches: &Stretches, stretch: Range<Vec<u8>>, seq: SeqNo) {
        if stretches.given.load(Ordering::SeqCst) <= seq.get() {
            join(&mut stretches.kept.lock(), stretch, seq);
            stretches.any.store(true, Ordering::SeqCst);
        }
    }
    explore::finds("K1", || a_key_comes_to_life(note, write));
}

#[test]
fn a_commit_that_looks_for_stretches_before_it_says_what_it_writes_is_found() {
    fn write(stretches: &Stretches, seq: SeqNo, key: &[u8]) {
        if stretches.any.load(Ordering::SeqCst) {
            split(&mut stretches.kept.lock(), key);
        }
        stretches.given.store(seq.get(), Ordering::SeqCst);
    }
    explore::finds("K1", || a_key_comes_to_life(Stretches::note, write));
}
