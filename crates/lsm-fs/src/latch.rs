//! Remembers that a sync failed (F3), and lets concurrent callers share one that succeeds.

use std::io;

use lsm_sync::Mutex;

/// A sync that failed once and is never tried again (F3).
#[derive(Debug, Default)]
pub(crate) struct SyncLatch {
    failure: Option<Failure>,
}

/// Enough of an [`io::Error`], which is not `Clone`, to return it again.
#[derive(Clone, Debug)]
enum Failure {
    System(i32),
    Other(io::ErrorKind, String),
}

impl SyncLatch {
    /// Runs `sync`, unless one failed before: then that error comes back.
    pub(crate) fn run(&mut self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.check()?;
        sync().inspect_err(|error| self.failure = Some(Failure::of(error)))
    }

    /// The error of the sync that failed, if one did.
    pub(crate) fn check(&self) -> io::Result<()> {
        self.failure.as_ref().map_or(Ok(()), |failure| Err(failure.repeat()))
    }
}

impl Failure {
    fn of(error: &io::Error) -> Failure {
        match error.raw_os_error() {
            Some(number) => Failure::System(number),
            None => Failure::Other(error.kind(), error.to_string()),
        }
    }

    fn repeat(&self) -> io::Error {
        match self {
            Failure::System(number) => io::Error::from_raw_os_error(*number),
            Failure::Other(kind, text) => io::Error::new(*kind, text.clone()),
        }
    }
}

/// The shared sync of a segment: how many of its bytes are durable.
#[derive(Debug, Default)]
pub(crate) struct SharedSync {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    durable: u64,
    latch: SyncLatch,
}

impl SharedSync {
    /// Returns once at least `wanted` bytes are durable, or as many as `deliver` found there to be.
    ///
    /// `deliver` says how many bytes the system has; it may fail and be tried again (G4). `sync` makes
    /// those durable. The lock is held during the I/O on purpose: who waits for it finds its bytes done.
    pub(crate) fn sync(
        &self,
        wanted: u64,
        deliver: impl FnOnce() -> io::Result<u64>,
        sync: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<u64> {
        let mut state = self.state.lock();
        state.latch.check()?;
        if state.durable < wanted {
            let delivered = deliver()?;
            state.latch.run(sync)?;
            state.durable = delivered;
        }
        Ok(state.durable)
    }

    /// Makes the whole file durable in its new shape, in which it has `bytes` bytes.
    pub(crate) fn sync_all(&self, bytes: u64, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state.lock();
        state.latch.run(sync)?;
        state.durable = bytes;
        Ok(())
    }

    /// Notes that the file has only `bytes` bytes any more.
    pub(crate) fn cut(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.durable = state.durable.min(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Covers F3, G4.
    #[test]
    fn a_failed_sync_is_never_tried_again() {
        let shared = SharedSync::default();
        let full = shared.sync(10, || Err(io::ErrorKind::StorageFull.into()), || unreachable!());
        assert_eq!(full.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(shared.sync(10, || Ok(12), || Ok(())).unwrap(), 12);
        assert_eq!(shared.sync(12, || unreachable!(), || unreachable!()).unwrap(), 12);
        let failed = shared.sync(13, || Ok(13), || Err(io::Error::from_raw_os_error(5)));
        assert_eq!(failed.unwrap_err().raw_os_error(), Some(5));
        let again = shared.sync(13, || Ok(13), || Ok(()));
        assert_eq!(again.unwrap_err().raw_os_error(), Some(5));
        let finish = shared.sync_all(13, || Ok(()));
        assert_eq!(finish.unwrap_err().raw_os_error(), Some(5));
    }

    #[test]
    fn an_error_that_is_not_the_systems_comes_back_with_its_kind_and_text() {
        let mut latch = SyncLatch::default();
        latch.run(|| Err(io::Error::new(io::ErrorKind::StorageFull, "no room"))).unwrap_err();
        let again = latch.run(|| unreachable!()).unwrap_err();
        assert_eq!((again.kind(), again.to_string().as_str()), (io::ErrorKind::StorageFull, "no room"));
    }
}
