//! Names of the files in a store's directory. They are RocksDB's.
//!
//! Names are built from numbers by the functions here and nowhere else, so nothing read from disk can
//! name a file outside the directory.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use std::fmt;
use std::path::{Path, PathBuf};

/// Number of a log, table or manifest; never used twice in the life of a store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct FileNumber(pub u64);

impl fmt::Display for FileNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}", self.0)
    }
}

/// Which file a name stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FileKind {
    /// `NNNNNN.sst`, a table.
    Table(FileNumber),
    /// `NNNNNN.log`, a segment of the write-ahead log.
    Log(FileNumber),
    /// `MANIFEST-NNNNNN`.
    Manifest(FileNumber),
    /// `NNNNNN.blob`, values that RocksDB stored apart; this store refuses them.
    Blob(FileNumber),
    /// `NNNNNN.dbtmp`, a file that was to be renamed.
    Temporary(FileNumber),
    /// `OPTIONS-NNNNNN`, written by RocksDB only.
    Options(FileNumber),
    /// `CURRENT`, which names the manifest.
    Current,
    /// `IDENTITY`, the store's id.
    Identity,
    /// `LOCK`, held while a store is open.
    Lock,
}

impl FileKind {
    /// Recognises `name`; `None` for names that are not the store's.
    ///
    /// ```
    /// use lsm_core::filename::{FileKind, FileNumber};
    /// assert_eq!(FileKind::parse("000042.sst"), Some(FileKind::Table(FileNumber(42))));
    /// assert_eq!(FileKind::parse("notes.txt"), None);
    /// ```
    pub fn parse(name: &str) -> Option<FileKind> {
        match name {
            "CURRENT" => return Some(FileKind::Current),
            "IDENTITY" => return Some(FileKind::Identity),
            "LOCK" => return Some(FileKind::Lock),
            _ => {}
        }
        if let Some(digits) = name.strip_prefix("MANIFEST-") {
            return number(digits).map(FileKind::Manifest);
        }
        if let Some(digits) = name.strip_prefix("OPTIONS-") {
            return number(digits).map(FileKind::Options);
        }
        let (digits, extension) = name.split_once('.')?;
        let number = number(digits)?;
        match extension {
            "sst" | "ldb" => Some(FileKind::Table(number)),
            "log" => Some(FileKind::Log(number)),
            "blob" => Some(FileKind::Blob(number)),
            "dbtmp" => Some(FileKind::Temporary(number)),
            _ => None,
        }
    }

    /// The number in the name, if it has one.
    pub fn number(self) -> Option<FileNumber> {
        match self {
            FileKind::Table(number)
            | FileKind::Log(number)
            | FileKind::Manifest(number)
            | FileKind::Blob(number)
            | FileKind::Temporary(number)
            | FileKind::Options(number) => Some(number),
            FileKind::Current | FileKind::Identity | FileKind::Lock => None,
        }
    }

    /// The file's path in `directory`.
    pub fn path(self, directory: &Path) -> PathBuf {
        directory.join(self.to_string())
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileKind::Table(number) => write!(f, "{number}.sst"),
            FileKind::Log(number) => write!(f, "{number}.log"),
            FileKind::Manifest(number) => write!(f, "MANIFEST-{number}"),
            FileKind::Blob(number) => write!(f, "{number}.blob"),
            FileKind::Temporary(number) => write!(f, "{number}.dbtmp"),
            FileKind::Options(number) => write!(f, "OPTIONS-{number}"),
            FileKind::Current => f.write_str("CURRENT"),
            FileKind::Identity => f.write_str("IDENTITY"),
            FileKind::Lock => f.write_str("LOCK"),
        }
    }
}

fn number(digits: &str) -> Option<FileNumber> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits || digits.len() > 20 {
        return None;
    }
    digits.parse().ok().map(FileNumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for kind in [
            FileKind::Table(FileNumber(7)),
            FileKind::Log(FileNumber(1_234_567)),
            FileKind::Manifest(FileNumber(5)),
            FileKind::Blob(FileNumber(1)),
            FileKind::Temporary(FileNumber(1)),
            FileKind::Options(FileNumber(9)),
            FileKind::Current,
            FileKind::Identity,
            FileKind::Lock,
        ] {
            assert_eq!(FileKind::parse(&kind.to_string()), Some(kind));
        }
    }

    #[test]
    fn foreign_names_are_not_ours() {
        for name in [
            "",
            ".sst",
            "1.sst.bak",
            "+1.sst",
            "../1.sst",
            "MANIFEST-",
            "MANIFEST-1x",
            "99999999999999999999999.log",
            "1.txt",
        ] {
            assert_eq!(FileKind::parse(name), None, "{name}");
        }
    }
}
