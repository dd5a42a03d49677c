//! Stops a thread at a place until somebody else is ready.

use parking_lot::{Condvar, Mutex};

/// Stops the first thread of a name that comes by while it is shut.
pub(crate) struct Gate {
    thread: &'static str,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Shut,
    Waiting,
}

impl Gate {
    /// An open gate for threads named `thread`.
    pub(crate) fn new(thread: &'static str) -> Gate {
        Gate { thread, state: Mutex::new(State::Open), changed: Condvar::new() }
    }

    pub(crate) fn shut(&self) {
        *self.state.lock() = State::Shut;
    }

    pub(crate) fn open(&self) {
        *self.state.lock() = State::Open;
        self.changed.notify_all();
    }

    /// Returns once a thread waits at the gate.
    pub(crate) fn wait_for_arrival(&self) {
        let mut state = self.state.lock();
        while *state == State::Shut {
            self.changed.wait(&mut state);
        }
    }

    /// Comes by; waits while the gate is shut.
    pub(crate) fn pass(&self) {
        let mut state = self.state.lock();
        if *state == State::Open || std::thread::current().name() != Some(self.thread) {
            return;
        }
        *state = State::Waiting;
        self.changed.notify_all();
        while *state != State::Open {
            self.changed.wait(&mut state);
        }
    }
}
