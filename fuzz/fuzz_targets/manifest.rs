//! The target `manifest` of `lsm-inputs`, which says what must hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lsm_inputs::run("manifest", bytes));
