//! Which calls fail, and the command that makes them.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use lsm_core::filename::{FileKind, FileNumber};
use lsm_testkit::Choices;

use crate::real::tools;

/// Numbers of files that a process is expected to make: a fault comes early, and the later ones are sound.
const NUMBERS_AHEAD: u64 = 400;

/// What a call is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum On {
    Logs,
    Tables,
    Manifests,
    /// `CURRENT` and what is to take its place.
    Current,
    Lock,
    Directory,
}

use On::{Current, Directory, Lock, Logs, Manifests, Tables};

/// Calls that the store makes, and the errors that they may answer.
const CALLS: &[(&str, On, &[&str])] = &[
    ("fdatasync", Logs, &["EIO", "ENOSPC"]),
    ("fallocate", Logs, &["ENOSPC", "EIO"]),
    ("mmap", Logs, &["ENOMEM"]),
    ("pwrite64", Logs, &["EIO", "ENOSPC"]),
    ("ftruncate", Logs, &["EIO"]),
    ("openat", Logs, &["ENOSPC", "EIO", "EMFILE"]),
    ("rename", Logs, &["EIO", "ENOSPC"]),
    ("unlink", Logs, &["EIO"]),
    ("pread64", Logs, &["EIO"]),
    ("write", Tables, &["EIO", "ENOSPC"]),
    ("fdatasync", Tables, &["EIO", "ENOSPC"]),
    ("openat", Tables, &["ENOSPC", "EIO", "EMFILE"]),
    ("pread64", Tables, &["EIO"]),
    ("unlink", Tables, &["EIO"]),
    ("write", Manifests, &["EIO", "ENOSPC"]),
    ("fdatasync", Manifests, &["EIO", "ENOSPC"]),
    ("openat", Manifests, &["ENOSPC", "EIO", "EMFILE"]),
    ("write", Current, &["EIO", "ENOSPC"]),
    ("fdatasync", Current, &["EIO"]),
    ("rename", Current, &["EIO", "ENOSPC"]),
    ("fcntl", Lock, &["EIO"]),
    ("fsync", Directory, &["EIO"]),
    ("openat", Directory, &["EMFILE", "EIO"]),
    ("getdents64", Directory, &["EIO"]),
];

pub(super) const KINDS: u64 = CALLS.len() as u64;

/// Calls of one kind that fail.
pub(super) struct Fault {
    call: &'static str,
    on: On,
    error: &'static str,
    /// The first that fails, counted by each thread for itself.
    first: usize,
    for_good: bool,
}

impl Fault {
    /// The fault of a kind, counted round.
    pub(super) fn of(kind: u64, choices: &mut Choices) -> Fault {
        let (call, on, errors) = CALLS[(kind % KINDS) as usize];
        let most = *choices.pick(&[2, 8, 40]);
        let error = *choices.pick::<&str>(errors);
        Fault { call, on, error, first: choices.within(1..=most), for_good: choices.one_in(3) }
    }

    pub(super) fn call(&self) -> &'static str {
        self.call
    }

    /// Whether the store must be read-only once such a call has failed.
    pub(super) fn must_end_writes(&self) -> bool {
        matches!((self.call, self.on), ("fdatasync", Logs | Manifests) | ("fsync", Directory))
    }

    /// What goes in front of the process to be traced, which notes failed calls in `notes`.
    ///
    /// The tracer is a child of the process and not the other way round, so that who kills the process kills it.
    pub(super) fn command(&self, dir: &Path, notes: &Path) -> Vec<String> {
        let mut words: Vec<String> = ["strace", "-D", "-f", "-qq", "-y", "--seccomp-bpf"].map(str::to_owned).into();
        let for_good = if self.for_good { "+" } else { "" };
        words.push(format!("--trace={}", self.call));
        words.push(format!("--inject={}:error={}:when={}{for_good}", self.call, self.error, self.first));
        words.push(format!("--output={}", notes.display()));
        for path in self.paths(dir) {
            words.push(format!("--trace-path={}", path.display()));
        }
        words
    }

    /// The files for which calls fail: those that are there, and those that may come.
    fn paths(&self, dir: &Path) -> BTreeSet<PathBuf> {
        let kinds: &[fn(FileNumber) -> FileKind] = match self.on {
            Logs => &[FileKind::Log],
            Tables => &[FileKind::Table],
            Manifests => &[FileKind::Manifest],
            Current => &[FileKind::Temporary, |_| FileKind::Current],
            Lock => &[|_| FileKind::Lock],
            Directory => return BTreeSet::from([dir.to_owned()]),
        };
        let mut numbers = existing(dir);
        let next = numbers.last().map_or(1, |last| last + 1);
        numbers.extend(next..next + NUMBERS_AHEAD);
        let files = numbers.iter().flat_map(|&number| kinds.iter().map(move |kind| kind(FileNumber(number))));
        files.map(|file| file.path(dir)).collect()
    }
}

/// Numbers of files in `dir`, ascending; none if it does not exist yet.
fn existing(dir: &Path) -> Vec<u64> {
    let names =
        std::fs::read_dir(dir).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut numbers: Vec<u64> = names.filter_map(|name| Some(FileKind::parse(&name)?.number()?.0)).collect();
    numbers.sort_unstable();
    numbers
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { call, on, error, first, for_good } = self;
        let on = format!("{on:?}").to_lowercase();
        let how = if *for_good { "on from" } else { "at" };
        write!(f, "{call} on {on} fails with {error} {how} call {first}")
    }
}

/// How many calls failed, as the tracer noted.
pub(super) fn failed_calls(notes: &Path) -> Result<u64> {
    let notes = std::fs::read_to_string(notes)?;
    Ok(notes.lines().filter(|line| line.ends_with("(INJECTED)")).count() as u64)
}

/// Why no call can be made to fail here.
pub(super) fn why_not() -> Option<String> {
    if !tools::is_there("strace") {
        return Some("strace is not installed".to_owned());
    }
    let mut words = ["-D", "-f", "-qq", "--seccomp-bpf", "--output=/dev/null"].map(str::to_owned).to_vec();
    let mut calls: Vec<_> = CALLS.iter().map(|(call, ..)| *call).collect();
    calls.sort_unstable();
    calls.dedup();
    words.push(format!("--trace={}", calls.join(",")));
    words.push("--inject=fsync:error=EIO".to_owned());
    words.push("true".to_owned());
    tools::call("strace", words).err().map(|error| format!("strace cannot trace here: {error:#}"))
}
