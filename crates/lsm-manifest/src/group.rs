//! Puts the edits of an atomic group back together.
//!
//! A flush of several families at once, and any [`Manifest::apply`](crate::Manifest::apply) of several edits, is
//! written as consecutive records that count down to zero. They take effect together or not at all: a group
//! whose end is missing when the manifest ends was never acknowledged.

use lsm_core::{Error, Result};

use crate::edit::VersionEdit;

/// The edits of a group that has not ended yet.
#[derive(Debug, Default)]
pub(crate) struct Group {
    edits: Vec<VersionEdit>,
    remaining: u32,
}

impl Group {
    /// Whether edits wait for the rest of their group.
    pub(crate) fn is_open(&self) -> bool {
        !self.edits.is_empty()
    }

    /// Takes the next edit and returns those that take effect now: none while a group is open.
    pub(crate) fn push(&mut self, edit: VersionEdit) -> Result<Vec<VersionEdit>> {
        match edit.group_remaining {
            None if self.is_open() => {
                Err(Error::corruption(format!("an atomic group lacks its last {} edits", self.remaining)))
            }
            None => Ok(vec![edit]),
            Some(remaining) if self.is_open() && remaining != self.remaining - 1 => Err(Error::corruption(format!(
                "an edit of an atomic group says that {remaining} more follow, {} should",
                self.remaining - 1
            ))),
            Some(remaining) => {
                self.edits.push(edit);
                self.remaining = remaining;
                Ok(if remaining == 0 { std::mem::take(&mut self.edits) } else { Vec::new() })
            }
        }
    }
}

/// Marks `edits` as one group; a single edit needs no mark.
#[expect(clippy::expect_used, reason = "what is written, not what is read")]
pub(crate) fn mark(edits: &mut [VersionEdit]) {
    if edits.len() > 1 {
        for (remaining, edit) in edits.iter_mut().rev().enumerate() {
            edit.group_remaining = Some(u32::try_from(remaining).expect("a group has fewer than 2^32 edits"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push_all(remaining: &[Option<u32>]) -> Vec<Result<usize, String>> {
        let mut group = Group::default();
        let edit = |&group_remaining| VersionEdit { group_remaining, ..VersionEdit::default() };
        let push = |edit| group.push(edit).map(|edits| edits.len()).map_err(|error| error.to_string());
        remaining.iter().map(edit).map(push).collect()
    }

    #[test]
    fn groups_take_effect_at_their_end() {
        assert_eq!(push_all(&[None, Some(2), Some(1), Some(0), None]), [Ok(1), Ok(0), Ok(0), Ok(3), Ok(1)]);
        assert_eq!(push_all(&[Some(0), Some(0)]), [Ok(1), Ok(1)]);
    }

    #[test]
    fn interrupted_groups_are_refused() {
        for (remaining, message) in [
            ([Some(2), None], "an atomic group lacks its last 2 edits"),
            ([Some(2), Some(2)], "says that 2 more follow, 1 should"),
            ([Some(2), Some(0)], "says that 0 more follow, 1 should"),
        ] {
            let last = push_all(&remaining).pop().unwrap().unwrap_err();
            assert!(last.contains(message), "{last}");
        }
    }

    #[test]
    fn marks_count_down() {
        let mut edits = vec![VersionEdit::default(); 3];
        mark(&mut edits);
        let remaining: Vec<_> = edits.iter().map(|edit| edit.group_remaining).collect();
        assert_eq!(remaining, [Some(2), Some(1), Some(0)]);
        mark(&mut edits[..1]);
        assert_eq!(edits[0].group_remaining, Some(2), "a single edit is left as it is");
    }
}
