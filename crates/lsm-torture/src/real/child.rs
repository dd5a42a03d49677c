//! Starts a writing process, hears what it says, and ends it.
//!
//! # Invariants
//! C1. Whatever becomes of this process, no writing process outlives it: its input is a pipe that closes with us.
//! C2. All that a child said before its end is heard: the pipe is read to its end after the kill.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::ledger::Ledger;
use super::writer::{REPORT_BYTES, Report};

/// A writing process.
pub(crate) struct Child {
    process: std::process::Child,
    reports: Receiver<Report>,
    /// What it writes to its standard error.
    complaints: tempfile::NamedTempFile,
}

/// How a process is to be started.
#[derive(Default)]
pub(crate) struct Start<'a> {
    /// A program that becomes the process, with its arguments, or none: a shell that sets limits, a tracer.
    pub(crate) under: &'a [String],
    /// Batches of each thread.
    pub(crate) batches: Option<u64>,
    /// One batch in so many asks for a sync.
    pub(crate) sync_one_in: Option<usize>,
}

impl Child {
    /// Starts a process that writes into `dir` on behalf of `ledger`.
    pub(crate) fn start(dir: &Path, ledger: &Ledger, start: &Start<'_>) -> Result<Child> {
        let program = std::env::current_exe()?;
        let mut command = match start.under {
            [outer, arguments @ ..] => {
                let mut command = Command::new(outer);
                command.args(arguments).arg(program);
                command
            }
            [] => Command::new(program),
        };
        let from: Vec<String> = ledger.first_numbers().map(|number| number.to_string()).collect();
        command.args(["write", "--seed", &ledger.plan().seed.to_string(), "--from", &from.join(","), "--dir"]).arg(dir);
        if let Some(batches) = start.batches {
            command.args(["--batches", &batches.to_string()]);
        }
        if let Some(count) = start.sync_one_in {
            command.args(["--sync-one-in", &count.to_string()]);
        }
        let complaints = tempfile::NamedTempFile::new()?;
        let stderr = complaints.reopen()?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        let mut process = command.spawn().context("cannot start the writing process")?;
        let pipe = File::from(std::os::fd::OwnedFd::from(process.stdout.take().context("stdout is a pipe")?));
        let (sender, reports) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut bytes = [0; REPORT_BYTES];
            while pipe.read_exact(&mut bytes).is_ok() {
                match Report::decode(bytes) {
                    Some(report) if sender.send(report).is_ok() => {}
                    _ => break,
                }
            }
        });
        Ok(Child { process, reports, complaints })
    }

    /// Hears the child until `enough` says so. An error if its patience ends first, or the child.
    pub(crate) fn hear(
        &mut self,
        ledger: &mut Ledger,
        patience: Duration,
        mut enough: impl FnMut(&Ledger, Report) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            match self.reports.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(report) => {
                    ledger.note(report)?;
                    if enough(ledger, report) {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!("the process does not go on within {patience:?}{}", self.complaint())
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the process ended by itself{}", self.complaint()),
            }
        }
    }

    /// Hears the child for a while, and returns whether it is still alive.
    pub(crate) fn hear_for(&mut self, ledger: &mut Ledger, time: Duration) -> Result<bool> {
        let deadline = Instant::now() + time;
        loop {
            match self.reports.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(report) => ledger.note(report)?,
                Err(RecvTimeoutError::Timeout) => return Ok(true),
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
            }
        }
    }

    /// Ends the process by SIGKILL and hears the rest of what it said (C2). An error if it had ended by itself.
    pub(crate) fn kill(mut self, ledger: &mut Ledger) -> Result<()> {
        let early = self.process.try_wait()?;
        self.process.kill()?;
        self.process.wait()?;
        for report in self.reports.iter() {
            ledger.note(report)?;
        }
        match early {
            None => Ok(()),
            Some(status) => bail!("the process ended by itself, {status}{}", self.complaint()),
        }
    }

    /// Whether the process has said that it panicked.
    pub(crate) fn panicked(&self) -> bool {
        std::fs::read_to_string(self.complaints.path()).is_ok_and(|said| said.contains("panicked at"))
    }

    /// The last that the process complained of.
    pub(crate) fn complaint(&self) -> String {
        let said = std::fs::read_to_string(self.complaints.path()).unwrap_or_default();
        let from = said.len().saturating_sub(600);
        let from = (from..=said.len()).find(|&at| said.is_char_boundary(at)).unwrap_or(from);
        if said.is_empty() { String::new() } else { format!("; it said: {}", said[from..].trim_end()) }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Killed and waited for already, or a finding is on its way.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
