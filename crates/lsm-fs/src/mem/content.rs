//! The bytes of one file: what is visible, what is durable, and the changes between the two.
//!
//! # Invariants
//! C1. The durable bytes with all pending changes applied in order are the visible bytes, until a sync fails:
//!     what that one covered is visible and never becomes durable.
//! C2. Of each 512-byte sector a power cut leaves the durable contents or those after some pending
//!     write to it, since a disk writes a sector whole and the system writes it as it is at that moment: between
//!     two writes, or in the midst of a copy to a mapping, of which the front is there then.
//!     A sector by which a write made the file longer is zeros if the write itself is lost: file systems that show
//!     what an older file left there (ext4 with data=writeback) are not what the store is made for.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::crash::Fate;

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Default)]
pub(super) struct Content {
    // Shared with what crashes left, until one of the two is written.
    visible: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write {
        offset: usize,
        bytes: Vec<u8>,
        by: By,
    },
    /// New bytes are zeros.
    Length(usize),
}

/// How bytes come into a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// A call, during which the system writes no page that it is about (Linux locks the page).
    Write,
    /// A copy to a mapping, at any moment of which the system may write the page.
    Mapping,
}

/// What a write puts into one sector.
struct Piece<'a> {
    offset: usize,
    bytes: &'a [u8],
    by: By,
}

impl Content {
    /// Contents that are all durable.
    fn of(bytes: Arc<Vec<u8>>) -> Content {
        Content { visible: Arc::clone(&bytes), durable: bytes, pending: Vec::new() }
    }

    pub(super) fn visible(&self) -> &[u8] {
        &self.visible
    }

    pub(super) fn len(&self) -> u64 {
        self.visible.len() as u64
    }

    /// Writes `bytes`, extending the file as needed.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8], by: By) {
        let end = offset + bytes.len();
        if end > self.visible.len() {
            self.change(Change::Length(end));
        }
        self.change(Change::Write { offset, bytes: bytes.to_vec(), by });
    }

    /// Cuts the file or extends it with zeros.
    pub(super) fn set_len(&mut self, bytes: usize) {
        if bytes < self.visible.len() {
            // Bytes that were cut off read as zeros if the file grows again, also when only the last
            // of the two lengths reached the disk.
            let zeros = vec![0; self.visible.len() - bytes];
            self.change(Change::Write { offset: bytes, bytes: zeros, by: By::Write });
        }
        if bytes != self.visible.len() {
            self.change(Change::Length(bytes));
        }
    }

    pub(super) fn sync(&mut self) {
        if !self.pending.is_empty() {
            let durable = Arc::make_mut(&mut self.durable);
            self.pending.drain(..).for_each(|change| change.apply(durable));
        }
    }

    /// A sync that fails: what it covered counts as clean from now on and reaches the disk never.
    pub(super) fn fail_sync(&mut self) {
        self.pending.clear();
    }

    fn change(&mut self, change: Change) {
        change.apply(Arc::make_mut(&mut self.visible));
        self.pending.push(change);
    }

    /// What a power cut leaves (C2).
    pub(super) fn crash(&self, fate: &mut Fate) -> Content {
        if self.pending.is_empty() {
            Content::of(Arc::clone(&self.durable))
        } else {
            Content::of(Arc::new(self.image(fate)))
        }
    }

    fn image(&self, fate: &mut Fate) -> Vec<u8> {
        let mut lengths = vec![self.durable.len()];
        let mut sectors: BTreeMap<usize, Vec<Piece<'_>>> = BTreeMap::new();
        for change in &self.pending {
            match change {
                Change::Length(bytes) => lengths.push(*bytes),
                Change::Write { offset, bytes, by } => split(*offset, bytes, |sector, (offset, bytes)| {
                    sectors.entry(sector).or_default().push(Piece { offset, bytes, by: *by });
                }),
            }
        }
        let mut image = Vec::clone(&self.durable);
        image.resize(lengths[fate.newest(lengths.len() - 1)], 0);
        for writes in sectors.values() {
            let kept = fate.newest(writes.len());
            for &Piece { offset, bytes, .. } in &writes[..kept] {
                overlay(&mut image, offset, bytes);
            }
            if let Some(&Piece { offset, bytes, by: By::Mapping }) = writes.get(kept) {
                overlay(&mut image, offset, &bytes[..fate.torn(bytes.len())]);
            }
        }
        image
    }
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Change::Length(bytes) => image.resize(*bytes, 0),
            Change::Write { offset, bytes, .. } => overlay(image, *offset, bytes),
        }
    }
}

/// Cuts a write at the borders of sectors.
fn split<'a>(mut offset: usize, mut bytes: &'a [u8], mut piece: impl FnMut(usize, (usize, &'a [u8]))) {
    while !bytes.is_empty() {
        let count = bytes.len().min(SECTOR_BYTES - offset % SECTOR_BYTES);
        piece(offset / SECTOR_BYTES, (offset, &bytes[..count]));
        offset += count;
        bytes = &bytes[count..];
    }
}

/// Copies `bytes` to `offset`; what lies behind the end of the image is lost.
fn overlay(image: &mut [u8], offset: usize, bytes: &[u8]) {
    if let Some(target) = image.get_mut(offset..) {
        let count = bytes.len().min(target.len());
        target[..count].copy_from_slice(&bytes[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Crash;
    use super::*;
    use quickcheck::quickcheck;

    /// Writes or cuts as the numbers say, and calls `each` after every change.
    fn play(steps: &[(u16, u16, u8)], mut each: impl FnMut(&mut Content, u8)) -> Content {
        let mut content = Content::default();
        for &(offset, count, byte) in steps {
            match byte % 4 {
                0 => content.set_len(usize::from(offset) % 3000),
                _ => content.write(usize::from(offset) % 3000, &vec![byte; usize::from(count) % 1200], By::Write),
            }
            each(&mut content, byte);
        }
        content
    }

    fn sector(image: &[u8], index: usize) -> Vec<u8> {
        let mut bytes = vec![0; SECTOR_BYTES];
        let part = image.get(index * SECTOR_BYTES..).unwrap_or_default();
        let part = &part[..part.len().min(SECTOR_BYTES)];
        bytes[..part.len()].copy_from_slice(part);
        bytes
    }

    quickcheck! {
        // Covers C1.
        fn a_sync_makes_the_visible_bytes_durable(steps: Vec<(u16, u16, u8)>) -> bool {
            let mut content = play(&steps, |content, byte| if byte % 5 == 0 { content.sync() });
            content.sync();
            content.durable == content.visible && content.crash(&mut Fate::new(Crash::DropUnsynced)).visible == content.visible
        }

        // Covers C2.
        fn each_sector_is_as_it_once_was(steps: Vec<(u16, u16, u8)>, bits: u64, is_random: bool) -> bool {
            let mut images = vec![Arc::default()];
            let content = play(&steps, |content, _| images.push(content.visible.clone()));
            let crash = if is_random { Crash::Random(bits) } else { Crash::Subset(bits) };
            let crashed = content.crash(&mut Fate::new(crash)).visible;
            let once = |index: usize| {
                // A length that was lost cuts the last sector.
                let (found, kept) = (sector(&crashed, index), crashed.len() - index * SECTOR_BYTES);
                let kept = kept.min(SECTOR_BYTES);
                images.iter().any(|image| sector(image, index)[..kept] == found[..kept])
            };
            images.iter().any(|image| image.len() == crashed.len())
                && (0..crashed.len().div_ceil(SECTOR_BYTES)).all(once)
                && content.crash(&mut Fate::new(Crash::KeepAll)).visible == content.visible
        }
    }
    // Covers C1: the second sync succeeds, and the bytes of the first are gone all the same.
    #[test]
    fn what_a_failed_sync_covered_never_becomes_durable() {
        let mut content = Content::default();
        content.write(0, b"covered", By::Write);
        content.fail_sync();
        content.write(7, b" later", By::Write);
        content.sync();
        assert_eq!(content.visible(), b"covered later");
        let left = content.crash(&mut Fate::new(Crash::Subset(u64::MAX)));
        assert_eq!(left.visible(), b"\0\0\0\0\0\0\0 later");
    }
}
