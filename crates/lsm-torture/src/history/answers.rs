//! What the store answers, compared with the record.

use std::collections::BTreeMap;
use std::ops::Bound;

use anyhow::{Context, Result, ensure};
use lsm_core::SeqNo;
use lsm_engine::{ColumnFamily, Iter, Slice, Snapshot};

use super::op::{KEYS, SLOTS, key};
use super::record::Record;
use super::world::World;

/// All entries of a family, ascending.
pub(super) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

impl World {
    /// Whether the store shows exactly the state at `at`.
    pub(super) fn shows(&self, record: &Record, at: SeqNo) -> Result<bool> {
        let snapshot = self.db()?.snapshot();
        for slot in 0..SLOTS {
            if (slot == 0 || self.families[slot].is_some())
                && entries(&snapshot, self.families[slot].as_ref())? != record.all(slot, at)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Everything by every way, for the present and all snapshots.
    pub(crate) fn check_all(&self) -> Result<()> {
        let record = self.record.lock();
        let present = (self.db()?.snapshot(), record.last());
        for (snapshot, at) in self.snapshots.iter().chain([&present]) {
            for slot in 0..SLOTS {
                // A family that was dropped since is not asked.
                if slot == 0 || self.families[slot].is_some() && *at == present.1 {
                    check_family(snapshot, self.families[slot].as_ref(), &record.all(slot, *at))
                        .with_context(|| format!("family {slot} at {at}"))?;
                }
            }
            let keys: Vec<Vec<u8>> = (0..=KEYS).map(key).collect();
            for (key, found) in keys.iter().zip(snapshot.multi_get(&keys)?) {
                let expected = record.get(0, key, *at);
                ensure!(found.as_deref() == expected.as_deref(), "multi_get of {} at {at}", key.escape_ascii());
            }
        }
        Ok(())
    }

    pub(super) fn check_get(&self, key: &[u8]) -> Result<()> {
        let record = self.record.lock();
        let found = self.db()?.get(key).context("get")?;
        let expected = record.get(0, key, record.last());
        ensure!(
            found.as_deref() == expected.as_deref(),
            "get of {}: {}, expected {}",
            key.escape_ascii(),
            short(found.as_deref()),
            short(expected.as_deref())
        );
        if let Some(family) = &self.families[1] {
            let found = family.get(key).context("get")?;
            let expected = record.get(1, key, record.last());
            ensure!(found.as_deref() == expected.as_deref(), "get of {} in the second family", key.escape_ascii());
        }
        if let Some((snapshot, at)) = self.snapshots.first() {
            let found = snapshot.get(key).context("get")?;
            let expected = record.get(0, key, *at);
            ensure!(found.as_deref() == expected.as_deref(), "get of {} at {at}", key.escape_ascii());
        }
        Ok(())
    }

    pub(super) fn check_range(&self, from: &[u8], to: &[u8]) -> Result<()> {
        let record = self.record.lock();
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        let expected = record.model.scan_at(record.slots[0].id, bounds, record.last());
        // From both ends at once, a step here and a step there.
        let mut items = self.db()?.range(from..to);
        let (mut front, mut back) = (Vec::new(), Vec::new());
        while let Some(item) = items.next() {
            front.push(item?);
            let Some(item) = items.next_back() else { break };
            back.push(item?);
        }
        ensure!(items.next().is_none() && items.next_back().is_none(), "an iterator goes on behind its end");
        front.extend(back.into_iter().rev());
        compare(&owned(front), &expected).context("range from both ends")
    }

    pub(super) fn walk(&self, moves: &[(u8, u8)]) -> Result<()> {
        let record = self.record.lock();
        let items: BTreeMap<_, _> = record.all(0, record.last()).into_iter().collect();
        let mut cursor = self.db()?.cursor();
        for (which, number) in moves {
            let target = key(number % (KEYS + 1));
            let here = cursor.valid().then(|| cursor.key().to_vec());
            let expected = match (which % 8, here) {
                (0, _) => {
                    cursor.seek_to_first()?;
                    items.iter().next()
                }
                (1, _) => {
                    cursor.seek_to_last()?;
                    items.iter().next_back()
                }
                (2, _) => {
                    cursor.seek(&target)?;
                    items.range(target..).next()
                }
                (3, _) => {
                    cursor.seek_for_prev(&target)?;
                    items.range(..=target).next_back()
                }
                (4 | 5, Some(here)) => {
                    cursor.next()?;
                    items.range((Bound::Excluded(here), Bound::Unbounded)).next()
                }
                (_, Some(here)) => {
                    cursor.prev()?;
                    items.range(..here).next_back()
                }
                (_, None) => continue,
            };
            let found = cursor.valid().then(|| (cursor.key().to_vec(), cursor.value().to_vec()));
            ensure!(
                found.as_ref().map(|(key, value)| (key, value)) == expected,
                "move {which} of a cursor to {}",
                key(number % (KEYS + 1)).escape_ascii()
            );
        }
        Ok(())
    }
}

/// All entries of a family forwards; `None` is the default one.
pub(super) fn entries(snapshot: &Snapshot, family: Option<&ColumnFamily>) -> Result<Entries> {
    collect(iterator(snapshot, family))
}

fn iterator(snapshot: &Snapshot, family: Option<&ColumnFamily>) -> Iter {
    match family {
        Some(family) => snapshot.column_family(family).iter(),
        None => snapshot.iter(),
    }
}

fn collect(items: impl Iterator<Item = lsm_engine::Result<(Slice, Slice)>>) -> Result<Entries> {
    Ok(owned(items.collect::<lsm_engine::Result<Vec<_>>>()?))
}

fn owned(items: Vec<(Slice, Slice)>) -> Entries {
    items.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

/// Both scans and every get.
pub(super) fn check_family(snapshot: &Snapshot, family: Option<&ColumnFamily>, expected: &Entries) -> Result<()> {
    compare(&entries(snapshot, family)?, expected).context("forwards")?;
    let mut backward = collect(iterator(snapshot, family).rev())?;
    backward.reverse();
    compare(&backward, expected).context("backwards")?;
    let mut rest = expected.iter().peekable();
    let mut keys: Vec<Vec<u8>> = (0..=KEYS).map(key).collect();
    keys.sort();
    for key in keys {
        let found = match family {
            Some(family) => snapshot.column_family(family).get(&key),
            None => snapshot.get(&key),
        };
        let expected = rest.next_if(|(next, _)| *next == key).map(|(_, value)| value.as_slice());
        ensure!(found.context("get")?.as_deref() == expected, "get of {}", key.escape_ascii());
    }
    Ok(())
}

fn compare(found: &Entries, expected: &Entries) -> Result<()> {
    ensure!(found == expected, "found {}, expected {}", all_short(found), all_short(expected));
    Ok(())
}

/// Keys and the first bytes of values: enough to see what went wrong.
fn all_short(items: &Entries) -> String {
    let item = |(key, value): &(Vec<u8>, Vec<u8>)| format!("{}={}", key.escape_ascii(), short(Some(value)));
    items.iter().map(item).collect::<Vec<_>>().join(" ")
}

fn short(value: Option<&[u8]>) -> String {
    value.map_or_else(
        || "nothing".to_owned(),
        |value| format!("{}…{}", value[..value.len().min(12)].escape_ascii(), value.len()),
    )
}
