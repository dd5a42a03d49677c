//! Panics of merge operators, listeners, file systems, and of bugs: they end no more than they must.
//!
//! # Invariants
//! N1. A panic in the middle of a change that others rely on makes the store read-only, with the panic's message,
//!     before any lock around it is free: locks are not poisoned, so nobody else would notice.
//! N2. Who waits for work that a panic has ended wakes up with an error.
//! N3. A panic goes on to the caller on whose thread it happened. Threads of the store survive it.

use crate::store::Store;
use crate::{Error, Result};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

impl Store {
    /// Runs `work` on the caller's thread, which changes what others rely on (N1, N3).
    pub(crate) fn fenced<R>(&self, work: impl FnOnce() -> R) -> R {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            self.note_panic(&*panic);
            resume_unwind(panic)
        })
    }

    /// Runs `work` of the store's own, for which a panic is a failure as any other (N1, N3).
    pub(crate) fn contained<R>(&self, work: impl FnOnce() -> Result<R>) -> Result<R> {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(self.note_panic(&*panic)))
    }

    /// Makes the store read-only because of a panic.
    pub(crate) fn note_panic(&self, panic: &(dyn Any + Send)) -> Error {
        self.fail(Error::panicked(message(panic)))
    }

    /// Why no commit becomes visible any more.
    pub(crate) fn halted(&self) -> Error {
        self.health.check_writable().err().unwrap_or_else(Error::closed)
    }
}

/// What the panic says, as far as it is text.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}

/// Runs code of the user's that must not keep the store from going on. Its panic has been reported by itself.
pub(crate) fn ignoring_panics(work: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(work));
}
