//! Lane E: every bit, every length, every file of small stores is damaged, one place at a time.
//!
//! A store with a damaged file may refuse to open, or refuse a read; it never shows anything wrong, and it does not
//! go quiet: what it shows without an error is all there is. `verify` finds what no read has met.
//!
//! | module | what it does |
//! |---|---|
//! | [`golden`] | small stores that hold every kind of file and block |
//! | [`rocksdb`] | one of them, which RocksDB wrote |
//! | [`cases`] | the places and kinds of damage |
//! | [`judge`] | opens a damaged store, reads it by every way, and compares |
//! | [`pieces`] | which entries lie where, and what a store shows without some of them |
//! | [`repair`] | repairs a damaged store, and holds it to all that was not damaged |
//!
//! # Invariants
//! E1. A read answers what was written or an error that names the file.
//! E2. Damage that could make a read wrong is found by open, by a read, or by `verify`. What is not found is one
//!     of the harmless places that [`judge`] lists with their reasons.
//! E3. What a repair leaves is whole, and holds nothing that was never written. It is all that lay outside of the
//!     blocks and records that were damaged, and the report names the file of what is missing.
//! E4. No damage makes the store ask for more memory than the files warrant.

mod cases;
mod golden;
mod judge;
mod pieces;
mod repair;
mod rocksdb;

use anyhow::ensure;

use crate::lane::{Lane, Steps};
use crate::memory;
use golden::Golden;

/// Seeds that share the places of one golden store among them.
const SLICES: u64 = 24;

pub(crate) struct Damage;

impl Lane for Damage {
    fn letter(&self) -> char {
        'E'
    }

    fn name(&self) -> &'static str {
        "damage"
    }

    fn about(&self) -> &'static str {
        "every bit, length, sector and file of small stores is damaged: no read is wrong, nothing goes unnoticed"
    }

    fn unit(&self) -> &'static str {
        "cases"
    }

    fn figure(&self) -> u64 {
        300_000
    }

    fn seeds(&self) -> u64 {
        SLICES * golden::KINDS
    }

    fn run(&self, seed: u64, steps: &mut Steps) -> anyhow::Result<()> {
        let golden = Golden::build(seed % golden::KINDS, seed / golden::KINDS / SLICES)?;
        let slice = seed / golden::KINDS % SLICES;
        for (step, case) in cases::all(&golden).enumerate().skip(slice as usize).step_by(SLICES as usize) {
            if steps.begin(step as u64) {
                let (outcome, peak) = memory::peak(|| judge::judge(&golden, &case));
                let outcome = outcome?;
                let limit = golden.memory_limit();
                ensure!(peak <= limit, "{case:?}: {peak} bytes of memory, files of this size warrant {limit}");
                steps.case();
                steps.count(outcome.name(), 1);
            }
        }
        Ok(())
    }
}
