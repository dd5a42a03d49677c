//! The lock keeps off a second handle of this process, another process, and RocksDB's kind of lock.

use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;
use std::process::{Command, Stdio};

use lsm_fs::{FileType, Fs, MemFs, OsFs};
use nix::fcntl::{FcntlArg, fcntl};

/// Tells the child process, which is this test binary again, what to lock.
const PATH_VARIABLE: &str = "LSM_FS_TEST_LOCK";

#[test]
fn a_second_handle_of_the_process_is_kept_off() {
    let directory = tempfile::tempdir().unwrap();
    let cases: [(&dyn Fs, &Path); 2] = [(&OsFs, directory.path()), (&MemFs::new(), Path::new("/"))];
    for (fs, root) in cases {
        let path = root.join("LOCK");
        let lock = fs.lock(&path).unwrap();
        assert_eq!(fs.lock(&path).err().map(|error| error.kind()), Some(ErrorKind::WouldBlock));
        drop(lock);
        assert_eq!(fs.metadata(&path).unwrap().kind, FileType::File, "the file stays");
        fs.lock(&path).unwrap();
    }
}

#[test]
fn another_process_is_kept_off_until_the_holder_dies() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("LOCK");

    let lock = OsFs.lock(&path).unwrap();
    assert_eq!(run_child(&path), "lock: WouldBlock, posix: refused");
    drop(lock);

    let mut holder = child(&path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    let held = lines.find_map(|line| Some(line.unwrap().split_once("child says ")?.1.to_owned()));
    assert_eq!(held.as_deref(), Some("lock: held"));
    assert_eq!(OsFs.lock(&path).err().map(|error| error.kind()), Some(ErrorKind::WouldBlock));
    holder.kill().unwrap();
    holder.wait().unwrap();
    OsFs.lock(&path).unwrap();
}

/// A store was closed and opened again while another thread started a process: `Locked`, for a moment. The new
/// process held a copy of the lock's descriptor until it had become its program.
#[test]
fn a_lock_that_is_dropped_is_free_though_a_process_is_being_started() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("LOCK");
    let started = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..100 {
                Command::new("true").status().unwrap();
            }
            started.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        while !started.load(std::sync::atomic::Ordering::Relaxed) {
            drop(OsFs.lock(&path).unwrap());
        }
    });
}

/// Not a test of its own: the other process of the one above.
#[test]
fn child_process() {
    let Some(path) = std::env::var_os(PATH_VARIABLE) else { return };
    let path = Path::new(&path);
    match OsFs.lock(path) {
        Ok(_lock) => {
            println!("child says lock: held");
            // Until killed: the parent keeps the other end open.
            std::io::stdin().lines().count();
        }
        Err(error) => {
            let refused = if posix_lock(path) { "granted" } else { "refused" };
            println!("child says lock: {:?}, posix: {refused}", error.kind());
        }
    }
}

fn run_child(path: &Path) -> String {
    let output = child(path).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.split_once("child says ")).expect("the child says something").1.to_owned()
}

fn child(path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "lock::child_process", "--nocapture", "--test-threads=1"]).env(PATH_VARIABLE, path);
    command
}

/// The lock that RocksDB takes.
fn posix_lock(path: &Path) -> bool {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let request = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as i16,
        l_whence: nix::libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_SETLK(&request)).is_ok()
}

#[test]
fn a_lock_whose_file_was_removed_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let cases: [(&dyn Fs, &Path); 2] = [(&OsFs, directory.path()), (&MemFs::new(), Path::new("/"))];
    for (fs, root) in cases {
        let path = root.join("LOCK");
        let lock = fs.lock(&path).unwrap();
        assert!(lock.keeps_others_out().unwrap());
        fs.remove(&path).unwrap();
        assert!(!lock.keeps_others_out().unwrap());
        let other = fs.lock(&path).unwrap();
        assert!(!lock.keeps_others_out().unwrap() && other.keeps_others_out().unwrap());
    }
}
