//! `CURRENT`, `IDENTITY` and what else decides whether a directory holds a store: docs/format/directory.md.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use lsm_core::Error;
use lsm_core::filename::{FileKind, FileNumber};
use lsm_fs::{Fs, MemFs};
use lsm_manifest::{Manifest, State};

use crate::written::{STORE, bytes_of, empty, read, store_of};

fn exists(fs: &MemFs) -> lsm_core::Result<bool> {
    lsm_manifest::exists(fs, Path::new(STORE))
}

#[test]
fn a_lost_current_is_not_an_empty_directory() {
    assert!(!exists(&MemFs::new()).unwrap(), "the directory itself is missing");
    assert!(!exists(&empty()).unwrap());
    for harmless in [FileKind::Manifest(FileNumber(1)), FileKind::Temporary(FileNumber(1)), FileKind::Lock] {
        assert!(!exists(&store_of(&[(harmless, b"")])).unwrap(), "{harmless}");
    }
    for live in [FileKind::Table(FileNumber(7)), FileKind::Log(FileNumber(7)), FileKind::Blob(FileNumber(7))] {
        let error = exists(&store_of(&[(live, b"")])).unwrap_err();
        assert!(error.is_corruption(), "{error}");
        assert_eq!(
            error.to_string(),
            format!("corruption in /store/CURRENT: the file is missing, but {live} is there")
        );
        assert!(exists(&store_of(&[(live, b""), (FileKind::Current, b"")])).unwrap());
    }
}

#[test]
fn a_directory_without_a_store_cannot_be_read() {
    let error = read(&empty()).unwrap_err();
    assert!(matches!(&error, Error::Io(failure) if failure.source.kind() == ErrorKind::NotFound), "{error}");
}

#[test]
fn current_names_a_manifest_exactly_or_is_damaged() {
    // Covers C1.
    for content in [
        "",
        "\n",
        "MANIFEST-000001",
        "MANIFEST-000001\n\n",
        "MANIFEST-000001\r\n",
        " MANIFEST-000001\n",
        "MANIFEST-1\n",
        "MANIFEST-0000001\n",
        "manifest-000001\n",
        "MANIFEST-00000x\n",
        "MANIFEST-000001\0\n",
        "../MANIFEST-000001\n",
        "/store/MANIFEST-000001\n",
        "000001.sst\n",
        "MANIFEST-99999999999999999999\n",
        "MANIFEST-000000000000000000001\n",
    ] {
        let fs = store_of(&[(FileKind::Current, content.as_bytes())]);
        let error = read(&fs).unwrap_err();
        assert!(error.is_corruption(), "{content:?}: {error}");
        assert_eq!(error.path(), Some(Path::new("/store/CURRENT")), "{content:?}");
    }
}

#[test]
fn every_flipped_bit_and_every_cut_of_current_is_found() {
    let fs = empty();
    Manifest::create(Arc::new(fs.clone()), Path::new(STORE), State::new("id")).unwrap();
    let manifest = bytes_of(&fs, FileKind::Manifest(FileNumber(1)));
    let current = bytes_of(&fs, FileKind::Current);
    let check = |current: &[u8]| {
        let fs = store_of(&[(FileKind::Current, current), (FileKind::Manifest(FileNumber(1)), &manifest)]);
        let error = read(&fs).unwrap_err();
        assert!(error.is_corruption(), "{}: {error}", current.escape_ascii());
    };
    (0..current.len()).for_each(|length| check(&current[..length]));
    for bit in 0..current.len() * 8 {
        let mut flipped = current.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        check(&flipped);
    }
}

#[test]
fn a_missing_manifest_is_damage() {
    let error = read(&store_of(&[(FileKind::Current, b"MANIFEST-000012\n")])).unwrap_err();
    let expected = "corruption in /store/MANIFEST-000012: CURRENT names this manifest, it is missing";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn identity_is_written_once_and_stands_in_for_the_manifest() {
    let fs = empty();
    let directory = Path::new(STORE);
    let create = |id: &str| Manifest::create(Arc::new(fs.clone()), directory, State::new(id)).unwrap();
    create("first");
    create("second");
    assert_eq!(bytes_of(&fs, FileKind::Identity), b"first", "never replaced");
    assert_eq!(read(&fs).unwrap().db_id.as_deref(), Some("second"), "the manifest's counts");

    // RocksDB does not write the id into the manifest unless told to.
    let mut state = read(&fs).unwrap();
    state.db_id = None;
    Manifest::create(Arc::new(fs.clone()), directory, state).unwrap();
    assert_eq!(read(&fs).unwrap().db_id.as_deref(), Some("first"));

    fs.remove(&FileKind::Identity.path(directory)).unwrap();
    assert_eq!(read(&fs).unwrap().db_id, None);
    let mut file = fs.create(&FileKind::Identity.path(directory)).unwrap();
    file.write_all(b"\xff\xfe").unwrap();
    let error = read(&fs).unwrap_err();
    assert_eq!(error.to_string(), "corruption in /store/IDENTITY: \"\\xff\\xfe\" is not an id");
}

#[test]
fn ids_are_random_uuids() {
    let (one, other) = (lsm_manifest::new_db_id(&MemFs::new()), lsm_manifest::new_db_id(&MemFs::new()));
    assert_ne!(one, other);
    for id in [one, other] {
        let groups: Vec<_> = id.split('-').collect();
        assert_eq!(groups.iter().map(|group| group.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{id}");
        assert!(groups.concat().bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert!(groups[2].starts_with('4') && groups[3].starts_with(['8', '9', 'a', 'b']), "version 4: {id}");
    }
}

#[test]
fn taken_numbers_are_passed_over() {
    let fs = store_of(&[
        (FileKind::Manifest(FileNumber(1)), b"left by a crash"),
        (FileKind::Temporary(FileNumber(2)), b"too"),
    ]);
    let manifest = Manifest::create(Arc::new(fs.clone()), Path::new(STORE), State::new("id")).unwrap();
    assert_eq!(manifest.state().manifest, FileNumber(2));
    assert_eq!(read(&fs).unwrap(), *manifest.state());
}
