//! The bugs that `cargo xtask sabotage` plants.

use super::Catcher::{Lane, Loom, Shuttle, Test};
use super::Plant;

/// All plants, by what they break.
pub(crate) const PLANTS: &[Plant] = &[
    // What was acknowledged is durable.
    Plant {
        name: "ack-before-sync",
        file: "crates/lsm-engine/src/commit.rs",
        find: "Durability::Synced => log.sync(*position),",
        plant: "Durability::Synced => log.deliver(*position),",
        caught_by: Lane("crash"),
    },
    Plant {
        name: "ack-before-delivery",
        file: "crates/lsm-engine/src/commit.rs",
        find: "        let delivered = self.deliver(&staged);",
        plant: "        let delivered: Result<()> = Ok(());",
        caught_by: Lane("crash"),
    },
    Plant {
        name: "table-not-synced",
        file: "crates/lsm-engine/src/output.rs",
        find: "written.and_then(|()| self.out.get_mut().sync().map_err(|error| Error::io(\"sync\", &self.path, error)))",
        plant: "written",
        caught_by: Lane("crash"),
    },
    Plant {
        name: "directory-not-synced-behind-flush",
        file: "crates/lsm-engine/src/flush.rs",
        find: "        self.sync_directory()?;\n        Ok(written)",
        plant: "        Ok(written)",
        caught_by: Lane("crash"),
    },
    Plant {
        name: "directory-not-synced-behind-compaction",
        file: "crates/lsm-engine/src/compact.rs",
        find: "            self.sync_directory()?;\n            (plan.edit",
        plant: "            (plan.edit",
        caught_by: Lane("crash"),
    },
    Plant {
        name: "manifest-not-synced",
        file: "crates/lsm-manifest/src/output.rs",
        find: "self.file.sync().map_err(|source| Error::io(\"sync\", &self.path, source))?;",
        plant: "",
        caught_by: Lane("crash"),
    },
    Plant {
        name: "current-not-synced",
        file: "crates/lsm-manifest/src/current.rs",
        find: "    file.sync().map_err(|source| Error::io(\"sync\", path, source))",
        plant: "    Ok(())",
        caught_by: Lane("crash"),
    },
    Plant {
        name: "logs-not-synced-before-flush-counts",
        file: "crates/lsm-engine/src/flush.rs",
        find: "if self.families.load().len() > 1 {",
        plant: "if self.families.load().len() > 100 {",
        caught_by: Lane("crash"),
    },
    Plant {
        name: "log-freed-too-early",
        file: "crates/lsm-engine/src/flush.rs",
        find: "younger.map_or(view.active_log, |frozen| frozen.log)",
        plant: "younger.map_or(view.active_log, |_| view.active_log)",
        caught_by: Lane("crash"),
    },
    // What fails is said, and not tried again.
    Plant {
        name: "failed-directory-sync-not-latched",
        file: "crates/lsm-engine/src/flush.rs",
        find: "synced.map_err(|error| self.fail(lsm_core::Error::io(\"sync\", &self.directory, error)))",
        plant: "synced.map_err(|error| lsm_core::Error::io(\"sync\", &self.directory, error).into())",
        caught_by: Lane("faults"),
    },
    Plant {
        name: "failed-sync-tried-again",
        file: "crates/lsm-fs/src/latch.rs",
        find: "sync().inspect_err(|error| self.failure = Some(Failure::of(error)))",
        plant: "sync()",
        caught_by: Test("-p lsm-fs --lib"),
    },
    // What is read is what was written.
    Plant {
        name: "snapshot-ignored-by-flush",
        file: "crates/lsm-engine/src/flush.rs",
        find: "let snapshots = self.snapshots.seqs();",
        plant: "let snapshots: Vec<lsm_core::SeqNo> = Vec::new();",
        caught_by: Lane("model"),
    },
    Plant {
        name: "snapshot-ignored-by-compaction",
        file: "crates/lsm-engine/src/compact.rs",
        find: "snapshots: self.snapshots.seqs(),",
        plant: "snapshots: Vec::new(),",
        caught_by: Lane("model"),
    },
    Plant {
        name: "published-before-inserted",
        file: "crates/lsm-engine/src/commit.rs",
        find: "        if delivered.is_ok() {\n            staged.insert(&batch);\n        }\n        self.publisher.publish(staged.first, count);",
        plant: "        self.publisher.publish(staged.first, count);\n        if delivered.is_ok() {\n            staged.insert(&batch);\n        }",
        caught_by: Lane("isolation"),
    },
    Plant {
        name: "wake-up-lost",
        file: "crates/lsm-engine/src/publish.rs",
        find: "            drop(self.lock.lock());\n            self.moved.notify_all();",
        plant: "            self.moved.notify_all();",
        caught_by: Shuttle("publish::shuttle_models"),
    },
    Plant {
        name: "commits-published-out-of-order",
        file: "crates/lsm-engine/src/publish.rs",
        find: "            self.wait_for(SeqNo::new(before));\n        }\n        self.visible.store(before + count, Ordering::SeqCst);",
        plant: "        }\n        self.visible.fetch_max(before + count, Ordering::SeqCst);",
        caught_by: Shuttle("publish::shuttle_models"),
    },
    Plant {
        name: "log-number-of-family-ignored",
        file: "crates/lsm-engine/src/recover.rs",
        find: "is_some_and(|family| family.log_number <= log)",
        plant: "is_some()",
        caught_by: Lane("crash"),
    },
    Plant {
        name: "link-published-relaxed",
        file: "crates/lsm-memtable/src/skiplist.rs",
        find: "Link::from_bits(unsafe { node::link(&self.arena, node, level) }.load(Order::Acquire))",
        plant: "Link::from_bits(unsafe { node::link(&self.arena, node, level) }.load(Order::Relaxed))",
        caught_by: Loom(""),
    },
    // Bytes from disk are hostile.
    Plant {
        name: "block-checksum-ignored",
        file: "crates/lsm-sstable/src/checksum.rs",
        find: "        if computed == stored {",
        plant: "        if computed == stored || offset < u64::MAX {",
        caught_by: Lane("damage"),
    },
    Plant {
        name: "record-checksum-ignored",
        file: "crates/lsm-wal/src/format.rs",
        find: "if unmask(stored_crc) != actual_crc {",
        plant: "if unmask(stored_crc) != actual_crc && covered.is_empty() {",
        caught_by: Lane("damage"),
    },
];
