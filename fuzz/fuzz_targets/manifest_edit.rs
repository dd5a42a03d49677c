//! Edits from a manifest: any bytes are refused or are an edit that can be written and read back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lsm_manifest::VersionEdit;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(edit) = VersionEdit::decode(bytes) {
        let again = VersionEdit::decode(&edit.encode()).expect("what was read can be written");
        assert_eq!(again, edit);
    }
});
