//! The lanes, in the order of their letters.

mod crash;
mod damage;
mod faults;
mod model;

use crate::lane::Lane;

/// All lanes.
pub(crate) fn all() -> Vec<Box<dyn Lane>> {
    vec![Box::new(crash::Crash), Box::new(faults::Faults), Box::new(damage::Damage), Box::new(model::Model)]
}
