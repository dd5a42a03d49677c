//! The errors that every layer of the store can return.
//!
//! A variant exists only where a caller would act differently: retry, restore, upgrade, or fix the
//! call. "Not found" is an `Option`. Bytes from disk give [`Corruption`], never a panic.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, sorted by what the caller can do about it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused: retry or give up.
    Io(Box<IoFailure>),
    /// Bytes are not what was once written: restore or repair.
    Corruption(Box<Corruption>),
    /// The bytes use a feature that this store does not have.
    Unsupported(Box<Unsupported>),
    /// The call cannot be carried out as it was made; nothing happened.
    InvalidArgument(Box<InvalidArgument>),
    /// A background job was told to stop before it was done; nothing of it remains.
    Cancelled,
}

// What returns nothing but an error does so in registers. With a path and a string in the error itself every step of a
// cursor, a decoder and a lookup wrote it to memory and read it back: up to 7 % of scans and puts.
const _: () = assert!(size_of::<Result<()>>() == 2 * size_of::<usize>());

/// A call of the operating system that failed.
#[derive(Debug)]
pub struct IoFailure {
    /// The call that failed, as in "write" or "sync".
    pub op: &'static str,
    /// The file or directory it was for.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// A feature that this store does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// The feature, as in "blob files".
    pub feature: String,
    /// The file that uses it.
    pub path: Option<PathBuf>,
}

/// A call that cannot be carried out as it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidArgument {
    /// What is wrong with it.
    pub detail: String,
}

/// Where a damaged byte lies and what was expected there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corruption {
    /// The damaged file, where the layer that found it knows one.
    pub path: Option<PathBuf>,
    /// Offset in bytes of the damaged record, block or field.
    pub offset: Option<u64>,
    /// What was found and what was expected: lower case, no full stop.
    pub detail: String,
}

impl Error {
    /// Wraps an error of the operating system.
    pub fn io(op: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Error {
        Error::Io(Box::new(IoFailure { op, path: path.into(), source }))
    }

    /// Damage without a known place; [`Error::at`] and [`Error::in_file`] add it.
    pub fn corruption(detail: impl Into<String>) -> Error {
        Error::Corruption(Box::new(Corruption { path: None, offset: None, detail: detail.into() }))
    }

    /// A feature that this store does not have.
    pub fn unsupported(feature: impl Into<String>) -> Error {
        Error::Unsupported(Box::new(Unsupported { feature: feature.into(), path: None }))
    }

    /// A call that cannot be carried out as it was made.
    pub fn invalid_argument(detail: impl Into<String>) -> Error {
        Error::InvalidArgument(Box::new(InvalidArgument { detail: detail.into() }))
    }

    /// Adds the offset of the damage, unless a deeper layer already knew it.
    pub fn at(mut self, offset: u64) -> Error {
        if let Error::Corruption(corruption) = &mut self {
            corruption.offset.get_or_insert(offset);
        }
        self
    }

    /// Adds the file, unless a deeper layer already knew it.
    pub fn in_file(mut self, file: &Path) -> Error {
        match &mut self {
            Error::Corruption(corruption) => {
                corruption.path.get_or_insert_with(|| file.to_owned());
            }
            Error::Unsupported(unsupported) => {
                unsupported.path.get_or_insert_with(|| file.to_owned());
            }
            Error::Io(failure) if failure.path.as_os_str().is_empty() => failure.path = file.to_owned(),
            Error::Io(_) | Error::InvalidArgument(_) | Error::Cancelled => {}
        }
        self
    }

    /// Whether this is [`Error::Corruption`].
    pub fn is_corruption(&self) -> bool {
        matches!(self, Error::Corruption(_))
    }

    /// The file that the error names, if it names one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Error::Io(failure) => Some(&failure.path),
            Error::Corruption(corruption) => corruption.path.as_deref(),
            Error::Unsupported(unsupported) => unsupported.path.as_deref(),
            Error::InvalidArgument(_) | Error::Cancelled => None,
        }
    }

    /// A second error that says the same, for one failure that several callers must hear of.
    pub fn duplicate(&self) -> Error {
        match self {
            Error::Io(failure) => {
                let IoFailure { op, path, source } = &**failure;
                let source = match source.raw_os_error() {
                    Some(code) => io::Error::from_raw_os_error(code),
                    None => io::Error::new(source.kind(), source.to_string()),
                };
                Error::io(op, path.clone(), source)
            }
            Error::Corruption(corruption) => Error::Corruption(corruption.clone()),
            Error::Unsupported(unsupported) => Error::Unsupported(unsupported.clone()),
            Error::InvalidArgument(argument) => Error::InvalidArgument(argument.clone()),
            Error::Cancelled => Error::Cancelled,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(failure) => write!(f, "{} {}: {}", failure.op, failure.path.display(), failure.source),
            Error::Corruption(corruption) => corruption.fmt(f),
            Error::Unsupported(unsupported) => {
                unsupported.path.iter().try_for_each(|path| write!(f, "{}: ", path.display()))?;
                write!(f, "not supported: {}", unsupported.feature)
            }
            Error::InvalidArgument(argument) => f.write_str(&argument.detail),
            Error::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "corruption in {}", path.display())?,
            None => f.write_str("corruption")?,
        }
        if let Some(offset) = self.offset {
            write!(f, " at offset {offset}")?;
        }
        write!(f, ": {}", self.detail)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io(failure) => Some(&failure.source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_layer_names_the_place() {
        let error =
            Error::corruption("checksum 1, stored 2").at(10).at(20).in_file(Path::new("a")).in_file(Path::new("b"));
        assert_eq!(error.to_string(), "corruption in a at offset 10: checksum 1, stored 2");
    }
}
