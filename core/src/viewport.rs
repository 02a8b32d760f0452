//! Viewports: which rows of the timeline a reader asks for, and what becomes of them (design 5.2).
//!
//! A query names an anchor and how many rows it wants on both sides of it; [`resolve`] makes row
//! indices of it by the counts of whoever holds the timeline: the relay's index or a replica. The
//! JSON form of an anchor is that of design 8.2, the text form that of 8.3. A [`LiveWindow`] stays where
//! its reader is and tells what changed in it.

mod at;
mod live;

pub use at::{At, AtError};
pub use live::{Batch, Delta, LiveRow, LiveWindow, Reason, Snapshot, Source, Update};

use crate::limits::ROWS_MAX;
use crate::message::{MessageId, TIME_MS_MAX};
use std::ops::Range;

/// A viewport query: `before` rows up to the anchor and `after` rows from it on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Query {
    /// The anchor.
    pub at: At,
    /// Rows before the anchor's index.
    pub before: u64,
    /// Rows from the anchor's index on; the anchor's own row is the first of them.
    pub after: u64,
}

/// A timeline that can tell how many messages it has, and how many before an id.
pub trait Ranked {
    /// Number of messages, deleted ones included.
    fn total(&self) -> u64;

    /// Number of messages with a smaller id, whether or not the id itself exists.
    fn rank(&self, id: MessageId) -> u64;
}

/// Why a query cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// It asks for more rows than an answer may have.
    #[error("a query may ask for {ROWS_MAX} rows, before and after together")]
    TooManyRows,
    /// The fraction is below 0, above 1, or no number.
    #[error("a fraction lies within 0 and 1")]
    Fraction,
    /// First-unread was asked without a read state.
    #[error("first-unread needs the read state of a user")]
    NoReadState,
}

/// The rows that a query asks for: [i - before, i + after) around the anchor's index i, clipped to
/// what exists (design 5.2).
///
/// # Errors
/// Too many rows, a fraction outside 0..1, or first-unread, which needs a read state.
///
/// # Complexity
/// One rank at most.
pub fn resolve(query: &Query, timeline: &impl Ranked) -> Result<Range<u64>, QueryError> {
    if query.before.checked_add(query.after).is_none_or(|rows| rows > ROWS_MAX) {
        return Err(QueryError::TooManyRows);
    }
    let total = timeline.total();
    let index = anchor_index(query.at, total, |id| timeline.rank(id))?.min(total);
    let end = index.saturating_add(query.after).min(total);
    Ok(index.saturating_sub(query.before)..end)
}

fn anchor_index(
    at: At,
    total: u64,
    rank: impl FnOnce(MessageId) -> u64,
) -> Result<u64, QueryError> {
    Ok(match at {
        At::Latest => total,
        At::Oldest => 0,
        At::FirstUnread => return Err(QueryError::NoReadState),
        At::Id(id) => rank(id),
        At::Time(time_ms) if time_ms > TIME_MS_MAX => total,
        At::Time(time_ms) => rank(MessageId::first_of(time_ms)),
        At::Index(index) => index,
        At::Fraction(fraction) => index_of_fraction(fraction, total)?,
    })
}

/// round(fraction * total), halves up.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn index_of_fraction(fraction: f64, total: u64) -> Result<u64, QueryError> {
    if !(0.0..=1.0).contains(&fraction) {
        return Err(QueryError::Fraction);
    }
    Ok((fraction * total as f64).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The plain reference: ids in order.
    struct Sorted(Vec<MessageId>);

    impl Ranked for Sorted {
        fn total(&self) -> u64 {
            self.0.len() as u64
        }

        fn rank(&self, id: MessageId) -> u64 {
            self.0.iter().filter(|known| **known < id).count() as u64
        }
    }

    fn id(time_ms: u64, tail: u128) -> MessageId {
        MessageId::from_parts(time_ms, tail)
    }

    /// Ten messages, at 100, 200, ... 1000 ms.
    fn ten() -> Sorted {
        Sorted((1..=10).map(|i| id(i * 100, 7)).collect())
    }

    #[track_caller]
    fn check(at: At, before: u64, after: u64, rows: Range<u64>) {
        assert_eq!(resolve(&Query { at, before, after }, &ten()), Ok(rows));
    }

    #[test]
    fn anchors_stand_where_the_design_says() {
        check(At::Latest, 3, 3, 7..10);
        check(At::Oldest, 3, 3, 0..3);
        check(At::Id(id(400, 7)), 2, 3, 1..6);
        check(At::Time(400), 2, 3, 1..6);
        check(At::Time(401), 2, 3, 2..7);
        check(At::Index(3), 2, 3, 1..6);
        check(At::Fraction(0.5), 1, 1, 4..6);
        check(At::Fraction(0.0), 1, 1, 0..1);
        check(At::Fraction(1.0), 1, 1, 9..10);
        check(At::Fraction(0.25), 0, 1, 3..4);
    }

    #[test]
    fn the_anchors_row_is_the_first_of_after() {
        check(At::Id(id(400, 7)), 0, 1, 3..4);
        check(At::Id(id(400, 7)), 1, 0, 2..3);
    }

    #[test]
    fn an_id_that_does_not_exist_anchors_where_it_would_stand() {
        check(At::Id(id(400, 6)), 0, 1, 3..4);
        check(At::Id(id(400, 8)), 0, 1, 4..5);
        check(At::Id(id(1, 0)), 1, 1, 0..1);
        check(At::Id(id(9_999, 0)), 1, 1, 9..10);
    }

    #[test]
    fn beyond_the_end_is_the_end() {
        check(At::Index(10), 2, 2, 8..10);
        check(At::Index(u64::MAX), 2, 2, 8..10);
        check(At::Time(u64::MAX), 2, 2, 8..10);
        check(At::Time((1 << 48) + 400), 2, 2, 8..10);
    }

    #[test]
    fn an_empty_channel_has_no_rows() {
        for at in [At::Latest, At::Oldest, At::Index(5), At::Fraction(0.5), At::Time(5)] {
            let query = Query { at, before: 10, after: 10 };
            assert_eq!(resolve(&query, &Sorted(Vec::new())), Ok(0..0));
        }
    }

    #[test]
    fn queries_out_of_bounds_are_refused() {
        let error = |at, before, after| resolve(&Query { at, before, after }, &ten()).unwrap_err();
        assert_eq!(error(At::Latest, 5_000, 1), QueryError::TooManyRows);
        assert_eq!(error(At::Latest, u64::MAX, 1), QueryError::TooManyRows);
        for fraction in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(error(At::Fraction(fraction), 1, 1), QueryError::Fraction);
        }
        assert_eq!(error(At::FirstUnread, 1, 1), QueryError::NoReadState);
    }

    proptest! {
        #[test]
        fn rows_are_those_of_a_plain_list(
            times in proptest::collection::btree_set(0..500_u64, 0..60),
            at in prop_oneof![
                (0..600_u64).prop_map(At::Time),
                (0..600_u64, 0..3_u128).prop_map(|(ms, tail)| At::Id(id(ms, tail))),
                (0..80_u64).prop_map(At::Index),
                (0.0..=1.0_f64).prop_map(At::Fraction),
                Just(At::Latest),
                Just(At::Oldest),
            ],
            before in 0..40_u64,
            after in 0..40_u64,
        ) {
            let ids: Vec<_> = times.into_iter().map(|ms| id(ms, 1)).collect();
            let total = ids.len();
            let anchor = match at {
                At::Time(ms) => ids.iter().position(|i| i.time_ms() >= ms).unwrap_or(total),
                At::Id(id) => ids.iter().position(|i| *i >= id).unwrap_or(total),
                At::Index(i) => usize::try_from(i).unwrap().min(total),
                At::Fraction(f) => (0..=total).find(|i| *i as f64 + 0.5 > f * total as f64).unwrap(),
                At::Oldest => 0,
                At::Latest | At::FirstUnread => total,
            } as i64;
            let wanted: Vec<_> = (anchor - before as i64..anchor + after as i64)
                .filter_map(|row| usize::try_from(row).ok().and_then(|row| ids.get(row)))
                .collect();
            let rows = resolve(&Query { at, before, after }, &Sorted(ids.clone())).unwrap();
            let got: Vec<_> = rows.map(|row| &ids[usize::try_from(row).unwrap()]).collect();
            prop_assert_eq!(got, wanted);
        }
    }
}
