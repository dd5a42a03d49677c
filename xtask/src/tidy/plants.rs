//! Planted bugs: each still finds the text that it replaces.

use std::path::Path;

use super::Finding;
use crate::sabotage::PLANTS;

/// A plant whose text is gone, or is there twice, would be caught by nobody.
pub(super) fn check(root: &Path) -> Vec<Finding> {
    let stale = PLANTS.iter().filter_map(|plant| {
        let text = std::fs::read_to_string(root.join(plant.file)).unwrap_or_default();
        let count = text.matches(plant.find).count();
        (count != 1).then(|| {
            Finding::in_file(plant.file, format!("holds the text that plant `{}` replaces {count} times", plant.name))
        })
    });
    stale.collect()
}
