//! Batches from a log: any bytes are refused or are a batch whose records add up.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lsm_core::WriteBatch;
use lsm_core::batch::{Record, header, records, validate};

fuzz_target!(|bytes: &[u8]| {
    if validate(bytes).is_err() {
        return;
    }
    let (seq, count) = header(bytes).expect("a valid batch has a header");
    let mut again = WriteBatch::new();
    again.set_seq(seq);
    for record in records(bytes).expect("a valid batch has records") {
        match record.expect("every record of a valid batch is valid") {
            Record::Entry(entry) => again.push(entry),
            Record::LogData(data) => again.log_data(data),
        }
    }
    assert_eq!(again.count(), count);
    validate(again.as_bytes()).expect("what was read can be written");
});
