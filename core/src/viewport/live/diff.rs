//! How the rows of a window became others: which stayed, which filled a placeholder, which came and went.

use crate::message::MessageId;

/// Positions in the window before and after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Steps {
    /// Messages that stayed.
    pub(super) kept: Vec<(usize, usize)>,
    /// Placeholders, and what stands there now: a placeholder or a message.
    pub(super) fills: Vec<(usize, usize)>,
    /// Messages that went.
    pub(super) removed: Vec<usize>,
}

/// What became of rows whose ids ascend; everything else in `new` was inserted. None if that cannot be
/// told: between two messages that stayed there are neither as many placeholders as before nor as many
/// rows as there were placeholders.
///
/// # Complexity
/// O(rows).
pub(super) fn diff(
    old: impl Iterator<Item = Option<MessageId>>,
    new: &[Option<MessageId>],
) -> Option<Steps> {
    let old: Vec<_> = old.collect();
    let mut steps = Steps { kept: stayed(&old, new), ..Steps::default() };
    let (mut from, mut to) = (0, 0);
    let ends = [(old.len(), new.len())];
    for (old_end, new_end) in steps.kept.clone().into_iter().chain(ends) {
        let mut holes = Vec::new();
        for (at, id) in (from..old_end).zip(old.get(from..old_end)?) {
            match id {
                Some(_) => steps.removed.push(at),
                None => holes.push(at),
            }
        }
        let rows = new.get(to..new_end)?;
        let placeholders = (to..new_end).zip(rows).filter(|(_, id)| id.is_none()).map(|(at, _)| at);
        let placeholders: Vec<_> = placeholders.collect();
        let filled = if placeholders.len() == holes.len() {
            placeholders
        } else if rows.len() == holes.len() {
            (to..new_end).collect()
        } else {
            return None;
        };
        steps.fills.extend(holes.into_iter().zip(filled));
        (from, to) = (old_end + 1, new_end + 1);
    }
    Some(steps)
}

/// The messages in both.
fn stayed(old: &[Option<MessageId>], new: &[Option<MessageId>]) -> Vec<(usize, usize)> {
    let ids = |rows: &[Option<MessageId>]| {
        let ids = rows.iter().enumerate().filter_map(|(at, id)| Some((at, (*id)?)));
        ids.collect::<Vec<_>>()
    };
    let (old, new) = (ids(old), ids(new));
    let mut new = new.into_iter().peekable();
    let mut stayed = Vec::new();
    for (from, id) in old {
        while new.next_if(|(_, other)| *other < id).is_some() {}
        if let Some((to, _)) = new.next_if(|(_, other)| *other == id) {
            stayed.push((from, to));
        }
    }
    stayed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows in letters; a dot is a placeholder.
    fn rows(text: &str) -> Vec<Option<MessageId>> {
        let id = |letter| MessageId::first_of(u64::from(u32::from(letter)));
        text.chars().map(|letter| (letter != '.').then(|| id(letter))).collect()
    }

    #[track_caller]
    fn check(old: &str, new: &str, fills: &[(usize, usize)], removed: &[usize]) {
        let steps = diff(rows(old).into_iter(), &rows(new)).expect("it can be told");
        assert_eq!((steps.fills.as_slice(), steps.removed.as_slice()), (fills, removed));
    }

    #[test]
    fn placeholders_keep_their_order_and_are_filled_where_the_count_fits() {
        check("ac", "abcd", &[], &[]);
        check("abc", "ac", &[], &[1]);
        check("a.c", "abc", &[(1, 1)], &[]);
        check("a..d", "abcd", &[(1, 1), (2, 2)], &[]);
        check("a..d", "a.b.d", &[(1, 1), (2, 3)], &[]);
        check("..", "ab", &[(0, 0), (1, 1)], &[]);
        check("..", ".b", &[(0, 0), (1, 1)], &[]);
        check("", "a", &[], &[]);
    }

    #[test]
    fn other_counts_of_placeholders_cannot_be_told() {
        for (old, new) in [("a.c", "ac"), ("a.c", "abbc"), ("ac", "a.c"), ("abc", "...")] {
            let (old, new) = (rows(old), rows(new));
            assert_eq!(diff(old.into_iter(), &new), None);
        }
    }
}
