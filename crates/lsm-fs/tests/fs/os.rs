//! What only the real file system has: modes, links, pipes.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use lsm_fs::{FileType, Fs, OsFs, SegmentAccess};
use nix::sys::stat::{Mode, umask};

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn only_the_owner_gets_at_files_and_directories() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    // The widest umask there is; tests beside this one do not mind.
    let before = umask(Mode::empty());
    OsFs.create_dir(&at("x/y")).unwrap();
    OsFs.create(&at("file")).unwrap();
    OsFs.create_segment(&at("mapped"), 4096, SegmentAccess::Mapped).unwrap();
    OsFs.create_segment(&at("positioned"), 4096, SegmentAccess::Positioned).unwrap();
    OsFs.lock(&at("LOCK")).unwrap();
    umask(before);
    assert_eq!([mode(&at("x")), mode(&at("x/y"))], [0o700; 2]);
    assert_eq!(["file", "mapped", "positioned", "LOCK"].map(|name| mode(&at(name))), [0o600; 4]);
}

// Covers F5.
#[test]
fn symbolic_links_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    OsFs.create(&at("target")).unwrap().write_all(b"precious").unwrap();
    symlink(at("target"), at("link")).unwrap();
    symlink(at("nothing"), at("dangling")).unwrap();

    assert!(OsFs.open(&at("link")).is_err());
    assert!(OsFs.lock(&at("link")).is_err());
    assert!(OsFs.lock(&at("dangling")).is_err());
    assert_eq!(OsFs.metadata(&at("link")).unwrap().kind, FileType::Other);
    for name in ["link", "dangling"] {
        assert_eq!(OsFs.create(&at(name)).err().unwrap().kind(), ErrorKind::AlreadyExists);
        let segment = OsFs.create_segment(&at(name), 10, SegmentAccess::Mapped);
        assert_eq!(segment.err().unwrap().kind(), ErrorKind::AlreadyExists);
        assert!(OsFs.recycle_segment(&at(name), &at("log"), SegmentAccess::Mapped).unwrap().is_none());
    }
    assert!(!at("nothing").exists(), "nothing was created behind the link");
    assert_eq!(std::fs::read(at("target")).unwrap(), b"precious");
}

#[test]
fn a_pipe_is_refused_without_waiting_for_its_other_end() {
    let root = tempfile::tempdir().unwrap();
    let pipe = root.path().join("pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    assert_eq!(OsFs.open(&pipe).err().unwrap().kind(), ErrorKind::InvalidInput);
    assert_eq!(OsFs.lock(&pipe).err().unwrap().kind(), ErrorKind::InvalidInput);
    assert!(OsFs.recycle_segment(&pipe, &root.path().join("log"), SegmentAccess::Mapped).unwrap().is_none());
}

#[test]
fn a_directory_may_be_reached_through_a_link_and_is_found_there() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("real")).unwrap();
    symlink(root.path().join("real"), root.path().join("link")).unwrap();
    OsFs.create_dir(&root.path().join("link")).unwrap();
    OsFs.create(&root.path().join("link/file")).unwrap();
    assert_eq!(OsFs.read_dir(&root.path().join("real")).unwrap(), ["file"]);
}

#[test]
fn names_that_are_not_utf8_are_left_out() {
    use std::os::unix::ffi::OsStrExt;
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join(std::ffi::OsStr::from_bytes(b"\xff")), b"").unwrap();
    std::fs::write(root.path().join("ok"), b"").unwrap();
    assert_eq!(OsFs.read_dir(root.path()).unwrap(), ["ok"]);
}

#[test]
fn a_segment_that_gets_no_room_leaves_no_name_behind() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    for access in [SegmentAccess::Mapped, SegmentAccess::Positioned] {
        // Larger than any file may be. Where nothing can be allocated, the size is no promise and no error.
        match OsFs.create_segment(&path, 1 << 62, access) {
            Err(error) => {
                assert!([ErrorKind::FileTooLarge, ErrorKind::StorageFull].contains(&error.kind()), "{error:?}");
                assert!(!path.exists());
            }
            Ok(segment) => {
                assert_eq!(segment.access(), SegmentAccess::Positioned);
                OsFs.remove(&path).unwrap();
            }
        }
    }
    assert!(OsFs.free_space(root.path()).unwrap() > 0);
}
