//! The lanes, in the order of their letters.

mod crash;
mod faults;
mod model;

use crate::lane::Lane;

/// All lanes.
pub(crate) fn all() -> Vec<Box<dyn Lane>> {
    vec![Box::new(crash::Crash), Box::new(faults::Faults), Box::new(model::Model)]
}
