//! File systems of this process's own: small ones, ones that fail, ones whose blocks are watched.
//!
//! # Invariants
//! G1. Mounts are made in a mount namespace of this process: nobody else sees them, and the system takes them back,
//!     with their loop devices, however this process ends.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};

use super::tools::{call, run};

/// Set in a process that has its own mount namespace.
const PRIVATE: &str = "LSM_TORTURE_PRIVATE_MOUNTS";

/// Puts this process into a mount namespace of its own by starting it anew there, where that is allowed (G1).
pub(crate) fn enter() {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        command
    };
    let mut probe = unshare();
    probe.arg("true").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut allowed = || probe.status().is_ok_and(|status| status.success());
    if std::env::var_os(PRIVATE).is_some() || !allowed() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        // Returns only if it fails: then this process goes on without mounts.
        let _ = unshare().arg(program).args(std::env::args_os().skip(1)).env(PRIVATE, "1").exec();
    }
}

/// Why no file system can be mounted here.
pub(crate) fn why_not() -> Option<String> {
    static WHY: OnceLock<Option<String>> = OnceLock::new();
    WHY.get_or_init(|| {
        if std::env::var_os(PRIVATE).is_none() {
            return Some("mounting needs root".to_owned());
        }
        let probe = || -> Result<()> {
            let directory = tempfile::tempdir()?;
            Mount::tmpfs(directory.path(), 1 << 20)?;
            Ok(())
        };
        probe().err().map(|error| format!("no tmpfs can be mounted: {error:#}"))
    })
    .clone()
}

/// A mounted file system, until it is dropped.
pub(crate) struct Mount {
    at: PathBuf,
}

impl Mount {
    /// A file system in memory with room for `bytes`.
    pub(crate) fn tmpfs(at: &Path, bytes: u64) -> Result<Mount> {
        let size = format!("size={bytes}");
        mount([OsStr::new("-t"), "tmpfs".as_ref(), "-o".as_ref(), size.as_ref(), "tmpfs".as_ref(), at.as_os_str()], at)
    }

    /// An image of ext4, through a loop device.
    pub(crate) fn ext4(image: &Path, at: &Path) -> Result<Mount> {
        // Its own metadata go to the disk often, so that more of what happens is between two syncs of ours.
        let arguments = [OsStr::new("-t"), "ext4".as_ref(), "-o".as_ref(), "loop,commit=1".as_ref()];
        mount(arguments.into_iter().chain([image.as_os_str(), at.as_os_str()]), at)
    }

    pub(crate) fn at(&self) -> &Path {
        &self.at
    }

    /// Lets the loop device ask for one page at a time: of a larger write that its file took in part, it says that it was
    /// taken whole.
    pub(crate) fn write_page_by_page(&self) -> Result<PageByPage> {
        let device = call("findmnt", [OsStr::new("--noheadings"), "--output=SOURCE".as_ref(), self.at.as_os_str()])?;
        let name = Path::new(&device).file_name().context("a mount without a device")?;
        let limit = Path::new("/sys/block").join(name).join("queue/max_sectors_kb");
        let before = std::fs::read_to_string(&limit).with_context(|| limit.display().to_string())?;
        std::fs::write(&limit, "4").with_context(|| limit.display().to_string())?;
        Ok(PageByPage { limit, before })
    }

    /// Changes the room of a file system in memory.
    pub(crate) fn resize(&self, bytes: u64) -> Result<()> {
        let options = format!("remount,size={bytes}");
        call("mount", [OsStr::new("-o"), options.as_ref(), self.at.as_os_str()]).map(drop)
    }
}

/// A loop device that writes one page at a time, until this is dropped.
pub(crate) struct PageByPage {
    limit: PathBuf,
    before: String,
}

impl Drop for PageByPage {
    fn drop(&mut self) {
        // The device outlives its file, and only gets slower.
        let _ = std::fs::write(&self.limit, &self.before);
    }
}

/// Makes `image` an empty ext4 of `bytes` bytes. Its tables and its journal are written, the rest is a hole.
pub(crate) fn make_ext4(image: &Path, bytes: u64) -> Result<()> {
    std::fs::File::create(image)?.set_len(bytes)?;
    let tables = ["-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"];
    let options =
        [["-q", "-F"], ["-b", "4096"], ["-N", "8192"], ["-J", "size=4"], ["-e", "remount-ro"], tables].concat();
    // Without the variable tables and journal are punched out instead of written, where that reads as zeros too.
    run(Command::new("mkfs.ext4").args(options).arg(image).env("UNIX_IO_NOZEROOUT", "1")).map(drop)
}

fn mount<'a>(arguments: impl IntoIterator<Item = &'a OsStr>, at: &Path) -> Result<Mount> {
    call("mount", arguments)?;
    Ok(Mount { at: at.to_owned() })
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A process that was killed a moment ago may still be let go of by the system.
        for _ in 0..50 {
            if call("umount", [&self.at]).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // G1: gone for good at the end of this process.
        let _ = call("umount", [OsStr::new("--lazy"), self.at.as_os_str()]);
    }
}
