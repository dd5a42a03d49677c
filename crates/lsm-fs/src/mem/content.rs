//! The bytes of one file: what is visible, what is durable, and the changes between the two.
//!
//! # Invariants
//! C1. The durable bytes with all pending changes applied in order are the visible bytes.
//! C2. Of each 512-byte sector a power cut leaves the durable contents or those after some pending
//!     write to it, since a disk writes a sector whole and the system writes it as it is at that moment.

use std::collections::BTreeMap;

use super::crash::Fate;

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Default)]
pub(super) struct Content {
    visible: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Content {
    /// Contents that are all durable.
    pub(super) fn durable(bytes: Vec<u8>) -> Content {
        Content { visible: bytes.clone(), durable: bytes, pending: Vec::new() }
    }

    pub(super) fn visible(&self) -> &[u8] {
        &self.visible
    }

    pub(super) fn len(&self) -> u64 {
        self.visible.len() as u64
    }

    /// Writes `bytes`, extending the file as needed.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if end > self.visible.len() {
            self.change(Change::Length(end));
        }
        self.change(Change::Write { offset, bytes: bytes.to_vec() });
    }

    /// Cuts the file or extends it with zeros.
    pub(super) fn set_len(&mut self, bytes: usize) {
        if bytes < self.visible.len() {
            // Bytes that were cut off read as zeros if the file grows again, also when only the last
            // of the two lengths reached the disk.
            self.change(Change::Write { offset: bytes, bytes: vec![0; self.visible.len() - bytes] });
        }
        if bytes != self.visible.len() {
            self.change(Change::Length(bytes));
        }
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.visible);
        self.pending.push(change);
    }

    /// The bytes that a crash leaves (C2).
    pub(super) fn crash(&self, fate: &mut Fate) -> Vec<u8> {
        let mut lengths = vec![self.durable.len()];
        let mut sectors: BTreeMap<usize, Vec<(usize, &[u8])>> = BTreeMap::new();
        for change in &self.pending {
            match change {
                Change::Length(bytes) => lengths.push(*bytes),
                Change::Write { offset, bytes } => split(*offset, bytes, |sector, piece| {
                    sectors.entry(sector).or_default().push(piece);
                }),
            }
        }
        let mut image = self.durable.clone();
        image.resize(lengths[fate.newest(lengths.len() - 1)], 0);
        for writes in sectors.values() {
            let kept = fate.newest(writes.len());
            for &(offset, bytes) in &writes[..kept] {
                overlay(&mut image, offset, bytes);
            }
            if let Some(&(offset, bytes)) = writes.get(kept) {
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
            Change::Write { offset, bytes } => overlay(image, *offset, bytes),
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
