//! Lets fewer commits in at once than there are cores.
//!
//! Commits become visible in order, so one that loses its core holds up all behind it. With more writers than cores that
//! is what happens most of the time: whoever is stopped in the middle is waited for by others, who use up the cores it
//! needs, and in the end everyone goes to sleep and has to be woken for every single commit. Writers that wait outside
//! hold up nobody, and those inside find a core.
//!
//! # Invariants
//! G1. As many commits are inside as there are places, at most.
//! G2. Nobody waits inside but for the commits before its own, which are inside too: whoever finds no room in a memtable
//!     or wants a sync has left.

use std::sync::atomic;

use crate::sync::{Mutex, MutexGuard, thread};

/// How often a commit that finds no place lets others run before it sleeps. Each time, somebody inside has a core for as
/// long as the system lets it; being woken costs more than a commit.
const YIELDS: usize = if cfg!(shuttle) { 0 } else { 20 };

/// See the module.
pub(crate) struct Gate {
    places: Box<[Place]>,
}

/// A place, on a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Place(Mutex<()>);

/// Threads that have come to a gate.
static THREADS: atomic::AtomicUsize = atomic::AtomicUsize::new(0);

thread_local! {
    /// Threads begin to look at different places.
    static THREAD: usize = THREADS.fetch_add(1, atomic::Ordering::Relaxed);
}

impl Gate {
    /// A gate with this many places, or one for every other core that this process may use: flushes, compactions and
    /// readers want cores, too.
    pub(crate) fn new(places: Option<usize>) -> Gate {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let places = places.unwrap_or_else(|| if cfg!(shuttle) { 2 } else { cores().div_ceil(2) });
        Gate { places: (0..places.max(1)).map(|_| Place::default()).collect() }
    }

    /// Waits for a place, and holds it until the guard goes (G1).
    pub(crate) fn enter(&self) -> MutexGuard<'_, ()> {
        // A schedule of shuttle's must not depend on what else the process does.
        let mine = if cfg!(shuttle) { 0 } else { THREAD.with(|thread| thread % self.places.len()) };
        let (before, from) = self.places.split_at(mine);
        for _ in 0..=YIELDS {
            if let Some(guard) = from.iter().chain(before).find_map(|place| place.0.try_lock()) {
                return guard;
            }
            thread::yield_now();
        }
        self.places[mine].0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn there_are_never_more_inside_than_there_are_places() {
        // Covers G1.
        let (gate, inside) = (Gate::new(Some(3)), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let place = gate.enter();
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < 3, "G1");
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(place);
                    }
                });
            }
        });
        assert!(gate.places.iter().all(|place| place.0.try_lock().is_some()));
    }

    #[test]
    fn who_leaves_by_a_panic_leaves_the_place() {
        let gate = Gate::new(Some(1));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _place = gate.enter();
            panic!("inside");
        }));
        assert!(panicked.is_err());
        drop(gate.enter());
    }
}
