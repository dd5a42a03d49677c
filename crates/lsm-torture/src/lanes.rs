//! The lanes, in the order of their letters.

mod crash;
mod damage;
mod faults;
mod full;
mod isolation;
mod kill;
mod locks;
mod model;
mod power;
mod syscalls;
mod writeback;

use crate::lane::Lane;

/// All lanes.
pub(crate) fn all() -> Vec<Box<dyn Lane>> {
    vec![
        Box::new(crash::Crash),
        Box::new(faults::Faults),
        Box::new(damage::Damage),
        Box::new(model::Model),
        Box::new(isolation::Isolation),
        Box::new(kill::Kill),
        Box::new(power::Power),
        Box::new(full::Full),
        Box::new(locks::Locks),
        Box::new(syscalls::Syscalls),
        Box::new(writeback::Writeback),
    ]
}
