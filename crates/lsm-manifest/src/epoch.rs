//! Epochs for manifests that were written before epochs existed.
//!
//! An epoch says how old a table is among those of level 0. RocksDB infers missing ones at recovery, and so
//! does this store, by the same rule: the tables of one deeper level share an epoch, the deepest level has the
//! lowest, then come the tables of level 0 from the oldest to the newest.

use std::sync::Arc;

use crate::meta::TableMeta;
use crate::version::{LEVELS, Version};

/// Gives every table an epoch if one of them has none; otherwise returns `version` as it is.
pub(crate) fn infer_epochs(version: Version) -> Version {
    if version.tables().all(|(_, table)| table.epoch != 0) {
        return version;
    }
    let mut epoch = 0;
    let mut inferred = version.clone();
    for level in (1..LEVELS).rev().filter(|&level| !version.level(level).is_empty()) {
        epoch += 1;
        let tables = version.level(level).iter().map(|table| with_epoch(table, epoch)).collect();
        inferred = inferred.with_level(level, tables);
    }
    let mut newest_first = version.level(0).to_vec();
    for table in newest_first.iter_mut().rev() {
        epoch += 1;
        *table = with_epoch(table, epoch);
    }
    inferred.with_level(0, newest_first)
}

fn with_epoch(table: &TableMeta, epoch: u64) -> Arc<TableMeta> {
    Arc::new(TableMeta { epoch, ..table.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{added, table};

    #[test]
    fn deeper_is_older_and_level_0_keeps_its_order() {
        let mut tables: Vec<_> =
            [(0, 9, "a-m", 20), (0, 8, "a-m", 10), (2, 5, "a-b", 1), (2, 6, "c-d", 2), (6, 1, "a-z", 0)]
                .map(|(level, number, range, seq)| (level, table(number, range, seq)))
                .to_vec();
        let version = Version::new().apply(&[added(tables.clone())]).unwrap();
        let epochs = |version: &Version| -> Vec<_> {
            version.tables().map(|(_, table)| (table.number.0, table.epoch)).collect()
        };
        let inferred = infer_epochs(version);
        assert_eq!(epochs(&inferred), [(9, 4), (8, 3), (5, 2), (6, 2), (1, 1)]);
        inferred.check().unwrap();
        assert_eq!(inferred.epoch_max(), 4);

        // With all epochs known nothing changes, even where sequences say otherwise.
        for (index, (_, table)) in tables.iter_mut().enumerate() {
            table.epoch = 10 + index as u64;
        }
        let version = infer_epochs(Version::new().apply(&[added(tables)]).unwrap());
        assert_eq!(epochs(&version), [(8, 11), (9, 10), (5, 12), (6, 13), (1, 14)]);
    }
}
