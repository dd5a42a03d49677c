//! Tables: any bytes are refused, or every entry can be read; a table that verifies reads without an error.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use lsm_core::Cursor;
use lsm_sstable::{Table, TableOptions};

fuzz_target!(|bytes: &[u8]| {
    let Ok(table) = Table::open(Arc::new(bytes.to_vec()), TableOptions::default()) else { return };
    let table = Arc::new(table);
    let whole = table.verify().is_ok();
    let mut cursor = table.cursor();
    let mut outcome = cursor.seek_to_first();
    while outcome.is_ok() && cursor.valid() {
        outcome = cursor.next();
    }
    assert!(outcome.is_ok() || !whole, "a table that verifies has an entry that cannot be read");
});
