//! Whether the store may be used: open, closed, opened read-only, or read-only after a failure.
//!
//! # Invariants
//! F1. A failure that leaves it open what is on disk (a failed sync of log, manifest or directory) is
//!     latched: no later call is acknowledged on this handle, whatever the disk says then.

use crate::sync::{AtomicBool, Ordering};
use crate::{Error, Result};
use std::sync::OnceLock;

pub(crate) struct Health {
    read_only: bool,
    closed: AtomicBool,
    failure: OnceLock<Error>,
}

impl Health {
    pub(crate) fn new(read_only: bool) -> Health {
        Health { read_only, closed: AtomicBool::new(false), failure: OnceLock::new() }
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_closed() { Err(Error::closed()) } else { Ok(()) }
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        if self.read_only {
            return Err(Error::opened_read_only());
        }
        match self.failure.get() {
            Some(failure) => Err(Error::became_read_only(failure.clone())),
            None => Ok(()),
        }
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Closes; returns whether this call did it.
    pub(crate) fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    /// Makes the store read-only because of `error`; the first failure stays the reason (F1).
    pub(crate) fn latch(&self, error: &Error) {
        self.failure.get_or_init(|| error.clone());
    }

    pub(crate) fn failure(&self) -> Option<Error> {
        self.failure.get().cloned()
    }
}
