//! The one error type of the facade.
//!
//! Callers match [`Error::kind`]; people read its `Display`, which names the file, the offset and what was
//! expected where the store knows them. Keys and values never stand in a message.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. Cheap to clone: one failure may be reported to many callers.
#[derive(Clone)]
pub struct Error(Arc<Cause>);

enum Cause {
    Core(lsm_core::Error),
    Locked { path: PathBuf },
    ReadOnly { because: Option<Error> },
    Stalled { because: &'static str },
    Panicked { message: String },
    Closed,
}

/// What a caller can do about an error.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused: retry or give up.
    Io,
    /// The disk or a quota is full: free space, then retry.
    NoSpace,
    /// Bytes on disk are not what was written: restore or repair.
    Corruption,
    /// A transaction met another one: retry it.
    Conflict,
    /// Another handle has the directory open.
    Locked,
    /// The store was opened read-only, or became so after a failure: see the message, reopen.
    ReadOnly,
    /// Compaction is behind and the call was not to wait: retry later.
    Stalled,
    /// The store was closed.
    Closed,
    /// The call cannot be carried out as it was made; nothing happened.
    InvalidArgument,
    /// The files use a feature that this store does not have.
    Unsupported,
}

impl Error {
    pub(crate) fn locked(path: &Path) -> Error {
        Error(Arc::new(Cause::Locked { path: path.to_owned() }))
    }

    pub(crate) fn opened_read_only() -> Error {
        Error(Arc::new(Cause::ReadOnly { because: None }))
    }

    pub(crate) fn became_read_only(because: Error) -> Error {
        Error(Arc::new(Cause::ReadOnly { because: Some(because) }))
    }

    pub(crate) fn stalled(because: &'static str) -> Error {
        Error(Arc::new(Cause::Stalled { because }))
    }

    /// A thread panicked in the middle of a change.
    pub(crate) fn panicked(message: String) -> Error {
        Error(Arc::new(Cause::Panicked { message }))
    }

    pub(crate) fn closed() -> Error {
        Error(Arc::new(Cause::Closed))
    }

    pub(crate) fn invalid_argument(detail: impl Into<String>) -> Error {
        lsm_core::Error::invalid_argument(detail).into()
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match &*self.0 {
            Cause::Core(lsm_core::Error::Io(failure)) => match failure.source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
                _ => ErrorKind::Io,
            },
            Cause::Core(lsm_core::Error::Corruption(_)) => ErrorKind::Corruption,
            Cause::Core(lsm_core::Error::Unsupported { .. }) => ErrorKind::Unsupported,
            // Only the end of the store cancels work.
            Cause::Core(lsm_core::Error::Cancelled) => ErrorKind::Closed,
            Cause::Core(_) => ErrorKind::InvalidArgument,
            Cause::Locked { .. } => ErrorKind::Locked,
            Cause::ReadOnly { .. } | Cause::Panicked { .. } => ErrorKind::ReadOnly,
            Cause::Stalled { .. } => ErrorKind::Stalled,
            Cause::Closed => ErrorKind::Closed,
        }
    }

    /// Whether a transaction met another one.
    pub fn is_conflict(&self) -> bool {
        self.kind() == ErrorKind::Conflict
    }

    /// Whether the same call may succeed later without anything else being done first, save freeing
    /// space or closing another handle.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind(), ErrorKind::Conflict | ErrorKind::Stalled | ErrorKind::NoSpace | ErrorKind::Locked)
    }

    /// The file that the error is about, if it is about one.
    pub fn path(&self) -> Option<&Path> {
        match &*self.0 {
            Cause::Core(error) => error.path(),
            Cause::Locked { path } => Some(path),
            Cause::ReadOnly { because } => because.as_ref()?.path(),
            Cause::Stalled { .. } | Cause::Panicked { .. } | Cause::Closed => None,
        }
    }
}

impl From<lsm_core::Error> for Error {
    fn from(error: lsm_core::Error) -> Error {
        Error(Arc::new(Cause::Core(error)))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Cause::Core(error) => error.fmt(f),
            Cause::Locked { path } => write!(f, "{}: another handle has this store open", path.display()),
            Cause::ReadOnly { because: None } => f.write_str("the store was opened read-only"),
            Cause::ReadOnly { because: Some(because) } => {
                write!(f, "the store is read-only until it is reopened, after: {because}")
            }
            Cause::Stalled { because } => write!(f, "writes are held back: {because}"),
            Cause::Panicked { message } => write!(f, "a panic in the middle of work: {message}"),
            Cause::Closed => f.write_str("the store is closed"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.0 {
            Cause::Core(error) => error.source(),
            Cause::ReadOnly { because } => because.as_ref().map(|because| because as _),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_a_kind_of_its_own() {
        let full = lsm_core::Error::io("write", "a.log", io::ErrorKind::StorageFull.into());
        let error = Error::became_read_only(full.into());
        assert_eq!(error.kind(), ErrorKind::ReadOnly);
        assert_eq!(error.path(), Some(Path::new("a.log")));
        let source = std::error::Error::source(&error).unwrap().downcast_ref::<Error>().unwrap();
        assert_eq!(source.kind(), ErrorKind::NoSpace);
        assert!(source.is_retryable() && !error.is_retryable());
    }
}
