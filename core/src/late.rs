//! The late inbox: what came late and was not in view yet (design 5.3).
//!
//! [`Unseen`] keeps the messages in runs; [`Late`] is what a reader is shown of it: how many there are
//! above and below a view, the runs around it, and which to go to next.

mod unseen;

pub(crate) use unseen::{Block, BlockKey};
pub use unseen::{Unseen, UnseenRun};

use crate::message::MessageId;

/// Where a run stands to a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Before the view's first row as a whole.
    Above,
    /// Some of it is between the view's first and last row.
    InView,
    /// After the view's last row as a whole.
    Below,
}

/// Which late messages to go to from a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Toward {
    /// The next ones above it.
    Up,
    /// The next ones below it.
    Down,
    /// The oldest of all.
    Oldest,
}

/// A run of late messages not yet in view: those with no other message between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LateRun {
    /// Its first message.
    pub first: MessageId,
    /// Its last message, inclusive.
    pub last: MessageId,
    /// How many messages it has.
    pub count: u64,
    /// When its first message was sent, in ms since the Unix epoch.
    pub from_ms: u64,
    /// When its last message was sent, in ms since the Unix epoch.
    pub to_ms: u64,
    /// Where it stands to the view.
    pub place: Place,
}

/// Late messages not yet in view, as they stand to a view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Late {
    /// How many there are.
    pub total: u64,
    /// How many stand before the view's first row.
    pub above: u64,
    /// How many stand among the view's rows.
    pub in_view: u64,
    /// How many stand after the view's last row.
    pub below: u64,
    /// Their runs around the view, oldest first: all of them unless there are very many.
    pub runs: Vec<LateRun>,
}

/// The first and the last message of a view; None of one without messages, where all is below.
pub type Seen = Option<(MessageId, MessageId)>;

impl Late {
    /// What an inbox holds around a view, with the `runs_max` runs nearest to it.
    ///
    /// # Complexity
    /// O(log n), O(runs given) and O(blocks).
    #[must_use]
    pub fn around(unseen: &Unseen, rows: Seen, runs_max: usize) -> Self {
        let total = unseen.total();
        let (above, below) = rows.map_or((0, total), |(first, last)| unseen.around(first, last));
        let above = above.min(total - below);
        let mut runs = Vec::new();
        if total > 0 {
            let from = rows.map_or(MessageId::first_of(0), |(first, _)| first);
            let reaching = unseen.run_of(from).unwrap_or(from);
            let later = unseen.runs_from(reaching).take(runs_max).collect::<Vec<_>>();
            let room = runs_max - later.len().min(runs_max.div_ceil(2));
            let before = unseen.runs_before(reaching).take(room).collect::<Vec<_>>();
            let later = later.into_iter().take(runs_max - before.len());
            let all = before.into_iter().rev().chain(later);
            runs = all.map(|run| LateRun::of(*run, rows)).collect();
        }
        Self { total, above, in_view: total - above - below, below, runs }
    }

    /// The run to go to next from a view, None if there is none that way. One that reaches into the
    /// view and beyond it counts as the next on that side.
    ///
    /// # Complexity
    /// O(log n).
    #[must_use]
    pub fn next(unseen: &Unseen, rows: Seen, toward: Toward) -> Option<LateRun> {
        let run = match (toward, rows) {
            (Toward::Oldest, _) => unseen.runs().next(),
            (Toward::Up, Some((first, _))) => unseen.runs_before(first).next(),
            (Toward::Up, None) => None,
            (Toward::Down, None) => unseen.runs().next(),
            (Toward::Down, Some((_, last))) => {
                let reaching = unseen.run_at(last).filter(|run| run.last > last);
                reaching.or_else(|| unseen.runs_from(last).find(|run| run.first > last))
            }
        };
        run.map(|run| LateRun::of(*run, rows))
    }
}

impl LateRun {
    fn of(run: UnseenRun, rows: Seen) -> Self {
        let UnseenRun { first, last, count } = run;
        let place = match rows {
            Some((row, _)) if last < row => Place::Above,
            Some((_, row)) if first <= row => Place::InView,
            _ => Place::Below,
        };
        Self { first, last, count, from_ms: first.time_ms(), to_ms: last.time_ms(), place }
    }
}

#[cfg(test)]
mod tests;
