//! Compactions when the disk is full.
//!
//! A compaction holds its inputs until its outputs are whole, so on a disk with little room it can fill all that is
//! left, fail, and give it back, again and again, while writes that would fit are refused. So once one has
//! failed for want of room, the next has to fit: all that running compactions and itself may write must be free,
//! as RocksDB's `SstFileManager` has it. If it does not, tables of level 0 are merged with each other as far as that
//! fits, so that writers do not have to stop for their number. That goes on until one as large has found room, or would.

use std::time::Duration;

use lsm_compaction::Plan;

use crate::Error;

/// After this time one as large as the one that failed is tried again if it should fit, even if nothing was freed that
/// can be seen: a quota does not show in the free space of a file system.
const PAUSE: Duration = Duration::from_secs(1);

/// A compaction failed for want of room.
#[derive(Debug)]
pub(crate) struct Shortage {
    pub(crate) error: Error,
    /// What it would have written at most.
    pub(crate) needed_bytes: u64,
    /// What was free once its outputs were removed.
    pub(crate) free_bytes: u64,
    pub(crate) since: Duration,
}

/// What `plan` writes at most, but for a line in the manifest.
pub(crate) fn needed_bytes(plan: &Plan) -> u64 {
    if plan.trivial_move { 0 } else { plan.input_bytes() }
}

impl Shortage {
    /// What a compaction may write at most, now that `free_bytes` are free and those that run write up to
    /// `running_bytes`; `None` if none may be tried.
    pub(crate) fn room(&self, free_bytes: u64, running_bytes: u64, now: Duration) -> Option<u64> {
        let room = free_bytes.saturating_sub(running_bytes);
        let changed = free_bytes > self.free_bytes || now.saturating_sub(self.since) >= PAUSE;
        // Else nothing as large as the one that failed, which had seemed to fit, too.
        if changed { Some(room) } else { Some(room.min(self.needed_bytes.checked_sub(1)?)) }
    }

    /// Whether one as large as the one that failed fits by now: `finished_bytes` are what another one wrote at most that did.
    pub(crate) fn is_over(&self, finished_bytes: u64, free_bytes: u64, running_bytes: u64, now: Duration) -> bool {
        finished_bytes >= self.needed_bytes
            || self.room(free_bytes, running_bytes, now).is_some_and(|room| room >= self.needed_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_what_is_free_and_less_than_failed_unless_something_has_changed() {
        let error = Error::stalled("the disk is full");
        let shortage = Shortage { error, needed_bytes: 80, free_bytes: 100, since: Duration::from_secs(10) };
        let (soon, later) = (Duration::from_secs(10), Duration::from_secs(11));
        assert_eq!(shortage.room(100, 0, soon), Some(79), "one of 80 has failed");
        assert_eq!(shortage.room(101, 0, soon), Some(101));
        assert_eq!(shortage.room(100, 0, later), Some(100));
        assert_eq!(shortage.room(100, 30, later), Some(70));
        assert_eq!(shortage.room(100, 130, later), Some(0));
        // A small one that fits, or a move, says nothing about a large one, unless that fits as well by now.
        assert!(!shortage.is_over(0, 100, 0, soon) && !shortage.is_over(79, 100, 0, soon));
        assert!(shortage.is_over(80, 0, 0, soon));
        assert!(shortage.is_over(0, 101, 0, soon) && shortage.is_over(0, 100, 0, later));
        assert!(!shortage.is_over(0, 101, 30, soon) && !shortage.is_over(0, 79, 0, later));
        let of_a_move = Shortage { needed_bytes: 0, ..shortage };
        assert_eq!(of_a_move.room(100, 0, soon), None, "there was no room for a line in the manifest");
    }
}
