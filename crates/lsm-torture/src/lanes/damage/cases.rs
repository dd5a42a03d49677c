//! The places and kinds of damage.

use lsm_core::filename::{FileKind, FileNumber};

use super::golden::{Files, Golden};

const SECTOR_BYTES: usize = 512;

/// One damage to one file.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) file: String,
    pub(super) damage: Damage,
}

#[derive(Clone, Debug)]
pub(super) enum Damage {
    /// One bit is another one.
    Flip { byte: usize, bit: u8 },
    /// The file ends early.
    Truncate(usize),
    /// A sector, or what there is of one, is all the same byte.
    Fill { sector: usize, with: u8 },
    /// Two sectors of the file have changed places.
    SwapSectors(usize, usize),
    /// A sector is that of another file.
    SectorOf { sector: usize, other: String },
    /// All bytes are zero.
    Zeros,
    /// More follows behind the end.
    Extend { bytes: usize, with: u8 },
    /// The file is gone.
    Remove,
    /// The file is there once more, under a number that nobody uses.
    Duplicate,
    /// Two files of the store have changed places.
    Swap(String),
    /// The file is that of another store.
    FromTwin,
}

/// Every damage to every file, in an order that is the same each time.
pub(super) fn all(golden: &Golden) -> impl Iterator<Item = Case> + '_ {
    let files = || golden.files.iter();
    let of = |name: &String| {
        let file = name.clone();
        move |damage| Case { file: file.clone(), damage }
    };
    // The largest first: they are few, and what only they find is found soon.
    let whole = files().flat_map(move |(name, _)| whole_file(golden, name).map(of(name)));
    let parts = files().flat_map(move |(name, content)| sectors(golden, name, content).map(of(name)));
    let bits = files().flat_map(move |(name, content)| in_place(content).map(of(name)));
    whole.chain(parts).chain(bits)
}

fn in_place(content: &[u8]) -> impl Iterator<Item = Damage> {
    let bits = (0..content.len()).flat_map(|byte| (0..8).map(move |bit| Damage::Flip { byte, bit }));
    bits.chain((0..content.len()).map(Damage::Truncate))
}

fn sectors<'a>(golden: &'a Golden, name: &'a str, content: &'a [u8]) -> impl Iterator<Item = Damage> + 'a {
    let count = content.len().div_ceil(SECTOR_BYTES);
    let fills = (0..count).flat_map(|sector| [0, 0xff].map(|with| Damage::Fill { sector, with }));
    let swaps = (0..count).flat_map(move |one| (one + 1..count).map(move |other| Damage::SwapSectors(one, other)));
    let others = golden.files.keys().filter(move |other| *other != name);
    let foreign =
        others.flat_map(move |other| (0..count).map(move |sector| Damage::SectorOf { sector, other: other.clone() }));
    fills.chain(swaps).chain(foreign)
}

fn whole_file<'a>(golden: &'a Golden, name: &'a str) -> impl Iterator<Item = Damage> + 'a {
    let kind = FileKind::parse(name);
    let same_kind = move |other: &&String| {
        let other = FileKind::parse(other);
        kind.zip(other).is_some_and(|(one, other)| std::mem::discriminant(&one) == std::mem::discriminant(&other))
    };
    let swaps = golden.files.keys().filter(move |other| *other != name).filter(same_kind).cloned().map(Damage::Swap);
    let extended = [1, 7, 100, 600].into_iter().flat_map(|bytes| [0, 0xa5].map(|with| Damage::Extend { bytes, with }));
    [Damage::Zeros, Damage::Remove, Damage::Duplicate, Damage::FromTwin].into_iter().chain(extended).chain(swaps)
}

impl Case {
    /// The first byte of the file that is another one; `None` if the file as a whole is.
    pub(super) fn begins_at(&self, files: &Files) -> Option<usize> {
        match &self.damage {
            Damage::Flip { byte, .. } => Some(*byte),
            Damage::Truncate(bytes) => Some(*bytes),
            Damage::Fill { sector, .. } | Damage::SectorOf { sector, .. } => Some(sector * SECTOR_BYTES),
            Damage::SwapSectors(one, other) => Some(one.min(other) * SECTOR_BYTES),
            Damage::Extend { .. } => files.get(&self.file).map(Vec::len),
            _ => None,
        }
    }

    /// The files that are damaged.
    pub(super) fn files(&self) -> impl Iterator<Item = &String> {
        let other = if let Damage::Swap(other) = &self.damage { Some(other) } else { None };
        std::iter::once(&self.file).chain(other)
    }

    pub(super) fn moves_sectors(&self) -> bool {
        matches!(self.damage, Damage::SwapSectors(..) | Damage::SectorOf { .. })
    }

    /// The files with this damage done; `None` if it changes nothing here.
    pub(super) fn apply(&self, golden: &Golden) -> Option<Files> {
        let mut files = golden.files.clone();
        let content = files.get_mut(&self.file)?;
        match &self.damage {
            Damage::Flip { byte, bit } => content[*byte] ^= 1 << bit,
            Damage::Truncate(bytes) => content.truncate(*bytes),
            Damage::Fill { sector, with } => sector_of(content, *sector).fill(*with),
            Damage::SwapSectors(one, other) => swap_sectors(content, *one, *other),
            Damage::SectorOf { sector, other } => {
                let foreign = &golden.files[other];
                for (target, source) in
                    sector_of(content, *sector).iter_mut().zip(foreign.iter().skip(sector * SECTOR_BYTES))
                {
                    *target = *source;
                }
            }
            Damage::Zeros => content.fill(0),
            Damage::Extend { bytes, with } => content.resize(content.len() + bytes, *with),
            Damage::Remove => drop(files.remove(&self.file)),
            Damage::Duplicate => {
                let copy = content.clone();
                files.insert(unused_name(&self.file)?, copy);
            }
            Damage::Swap(other) => {
                let (one, two) = (files[&self.file].clone(), files[other].clone());
                files.insert(self.file.clone(), two);
                files.insert(other.clone(), one);
            }
            Damage::FromTwin => *content = golden.twin.get(&self.file)?.clone(),
        }
        (files != golden.files).then_some(files)
    }
}

fn sector_of(content: &mut [u8], sector: usize) -> &mut [u8] {
    let start = sector * SECTOR_BYTES;
    let end = content.len().min(start + SECTOR_BYTES);
    &mut content[start..end]
}

fn swap_sectors(content: &mut [u8], one: usize, other: usize) {
    let length = sector_of(content, one).len().min(sector_of(content, other).len());
    for index in 0..length {
        content.swap(one * SECTOR_BYTES + index, other * SECTOR_BYTES + index);
    }
}

/// The name of a file of the same kind that the store does not have.
fn unused_name(name: &str) -> Option<String> {
    let number = FileNumber(900);
    let kind = match FileKind::parse(name)? {
        FileKind::Table(_) => FileKind::Table(number),
        FileKind::Log(_) => FileKind::Log(number),
        FileKind::Manifest(_) => FileKind::Manifest(number),
        _ => return None,
    };
    Some(kind.to_string())
}
