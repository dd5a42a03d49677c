//! Compactions when the disk is full.
//!
//! A compaction holds its inputs until its outputs are whole, so on a disk with little room it can fill all that is
//! left, fail, and give it back, again and again, while writes that would fit are refused. So once one has
//! failed for want of room, the next has to fit: all that running compactions and itself may write must be free,
//! as RocksDB's `SstFileManager` has it. If it does not, tables of level 0 are merged with each other as far as that
//! fits, so that writers do not have to stop for their number.

use std::time::Duration;

use crate::Error;

/// After this time one as large as the one that failed is tried again if it should fit, even if nothing was freed that can be seen: a quota
/// does not show in the free space of a file system.
const PAUSE: Duration = Duration::from_secs(1);

/// A compaction failed for want of room.
#[derive(Debug)]
pub(crate) struct Shortage {
    pub(crate) error: Error,
    /// What it read.
    pub(crate) input_bytes: u64,
    /// What was free once its outputs were removed.
    pub(crate) free_bytes: u64,
    pub(crate) since: Duration,
}

impl Shortage {
    /// What a compaction may read at most, now that `free_bytes` are free and those that run read `running_bytes`.
    pub(crate) fn room(&self, free_bytes: u64, running_bytes: u64, now: Duration) -> u64 {
        let room = free_bytes.saturating_sub(running_bytes);
        let changed = free_bytes > self.free_bytes || now.saturating_sub(self.since) >= PAUSE;
        // Else nothing as large as the one that failed, which had seemed to fit, too.
        if changed { room } else { room.min(self.input_bytes.saturating_sub(1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_what_is_free_and_less_than_failed_unless_something_has_changed() {
        let error = Error::stalled("the disk is full");
        let shortage = Shortage { error, input_bytes: 80, free_bytes: 100, since: Duration::from_secs(10) };
        let (soon, later) = (Duration::from_secs(10), Duration::from_secs(11));
        assert_eq!(shortage.room(100, 0, soon), 79, "one of 80 has failed");
        assert_eq!(shortage.room(101, 0, soon), 101);
        assert_eq!(shortage.room(100, 0, later), 100);
        assert_eq!(shortage.room(100, 30, later), 70);
        assert_eq!(shortage.room(100, 130, later), 0);
    }
}
