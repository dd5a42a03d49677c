//! The counters of a [`super::FaultFs`], what is planned, and who watches.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_fs::MemFs;
use parking_lot::Mutex;

use super::{Failure, Fault, Observer, Repeat};

/// A kind of call, as far as failures tell them apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Call {
    /// Asks for something and takes neither space nor a descriptor.
    Look,
    /// Reads bytes of a file.
    Read,
    /// Takes a descriptor.
    Open,
    /// Takes a descriptor and space.
    Create,
    /// Changes names or cuts a file, and takes no space.
    Change,
    /// Renames, or makes room.
    TakesSpace,
    /// Appends to a file.
    Write,
    /// Hands the bytes of a segment to the system.
    Deliver,
    /// Copies a record into a mapping; no failure hits it but a panic.
    Commit,
    Sync,
}

const CALLS: [Call; 10] = [
    Call::Look,
    Call::Read,
    Call::Open,
    Call::Create,
    Call::Change,
    Call::TakesSpace,
    Call::Write,
    Call::Deliver,
    Call::Commit,
    Call::Sync,
];

impl Call {
    fn changes_something(self) -> bool {
        !matches!(self, Call::Look | Call::Read | Call::Open)
    }
}

impl Failure {
    fn hits(self, call: Call) -> bool {
        match self {
            Failure::Io => call != Call::Commit,
            Failure::Panic => true,
            Failure::NoSpace => matches!(call, Call::Create | Call::TakesSpace | Call::Write | Call::Deliver),
            Failure::TooManyFiles => matches!(call, Call::Open | Call::Create),
            Failure::ShortRead => call == Call::Read,
            Failure::ShortWrite | Failure::Interrupted => call == Call::Write,
            Failure::TornWrite => matches!(call, Call::Write | Call::Deliver),
            Failure::Sync | Failure::SyncNoSpace => call == Call::Sync,
        }
    }

    pub(super) fn error(self) -> io::Error {
        const EINTR: i32 = 4;
        const EIO: i32 = 5;
        const EMFILE: i32 = 24;
        const ENOSPC: i32 = 28;
        io::Error::from_raw_os_error(match self {
            Failure::NoSpace | Failure::SyncNoSpace => ENOSPC,
            Failure::TooManyFiles => EMFILE,
            Failure::Interrupted => EINTR,
            _ => EIO,
        })
    }
}

/// A call that is about to change something.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// How many such calls there were before.
    pub number: u64,
    /// What it does.
    pub name: &'static str,
    /// To which file.
    pub path: &'a Path,
}

#[derive(Default)]
pub(super) struct Script {
    pub(super) state: Mutex<State>,
    memory: Option<MemFs>,
}

#[derive(Default)]
pub(super) struct State {
    counts: [u64; CALLS.len()],
    pub(super) faults: Vec<Fault>,
    pub(super) observer: Option<Arc<Observer>>,
    pub(super) struck: u64,
    pub(super) first_struck: Option<String>,
    pub(super) failed_syncs: Vec<PathBuf>,
    pub(super) retried_syncs: u64,
}

impl State {
    pub(super) fn count(&self, failure: Failure) -> u64 {
        self.counted(|call| failure.hits(call))
    }

    fn counted(&self, kind: impl Fn(Call) -> bool) -> u64 {
        CALLS.into_iter().filter(|call| kind(*call)).map(|call| self.counts[call as usize]).sum()
    }

    fn due(&self, call: Call) -> Option<Failure> {
        let due = |fault: &&Fault| {
            let index = self.count(fault.failure);
            // Of interruptions without an end no caller would come out.
            let again = fault.failure != Failure::Interrupted || index.abs_diff(fault.at).is_multiple_of(2);
            let due = index == fault.at || index > fault.at && fault.repeat == Repeat::Sticky && again;
            fault.failure.hits(call) && due
        };
        self.faults.iter().find(due).map(|fault| fault.failure)
    }
}

impl Script {
    pub(super) fn over(memory: MemFs) -> Script {
        Script { memory: Some(memory), ..Script::default() }
    }

    /// Shows a call to the observer, counts it, and says what goes wrong with it.
    pub(super) fn strike(&self, call: Call, name: &'static str, path: &Path) -> Option<Failure> {
        if call.changes_something() {
            let (observer, number) = {
                let state = self.state.lock();
                (state.observer.clone(), state.counted(Call::changes_something))
            };
            if let Some(observer) = observer {
                observer(&Moment { number, name, path });
            }
        }
        let mut state = self.state.lock();
        let struck = state.due(call);
        state.counts[call as usize] += 1;
        if struck.is_some() {
            state.struck += 1;
            state.first_struck.get_or_insert_with(|| format!("{name} {}", path.display()));
        }
        drop(state);
        assert!(struck != Some(Failure::Panic), "planted panic: {name} {}", path.display());
        struck
    }

    /// As [`Script::strike`], for calls that fail as a whole.
    pub(super) fn check(&self, call: Call, name: &'static str, path: &Path) -> io::Result<()> {
        self.strike(call, name, path).map_or(Ok(()), |failure| Err(failure.error()))
    }

    /// As [`Script::check`] for a sync; a failure loses what the sync covered.
    pub(super) fn check_sync(&self, name: &'static str, path: &Path) -> io::Result<()> {
        self.check(Call::Sync, name, path).inspect_err(|_| {
            self.state.lock().failed_syncs.push(path.to_owned());
            if let Some(memory) = &self.memory {
                // Of a directory either state of a name may be on the disk. A file without a name is lost anyway.
                let _ = memory.fail_sync(path);
            }
        })
    }

    /// Notes a sync that is tried again after it failed.
    pub(super) fn note_retry(&self) {
        self.state.lock().retried_syncs += 1;
    }
}
