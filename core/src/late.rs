//! The late inbox as its reader sees it: what came late and was not in view yet, around a view.

use crate::channel::{Unseen, UnseenRun};
use crate::message::MessageId;

/// Where a run stands to a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Before the view's first row as a whole.
    Above,
    /// Some of it is among the view's rows.
    InView,
    /// After the view's last row as a whole.
    Below,
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
    /// Their runs, oldest first.
    pub runs: Vec<LateRun>,
}

impl Late {
    /// What an inbox holds around the rows from `first` to `last`; without rows all of it is below.
    #[must_use]
    pub fn around(unseen: &Unseen, rows: Option<(MessageId, MessageId)>) -> Self {
        let total = unseen.total();
        let (above, below) = rows.map_or((0, total), |(first, last)| unseen.around(first, last));
        let runs = unseen.runs().map(|run| LateRun::of(*run, rows)).collect();
        Self { total, above, in_view: total - above - below, below, runs }
    }
}

impl LateRun {
    fn of(run: UnseenRun, rows: Option<(MessageId, MessageId)>) -> Self {
        let UnseenRun { first, last, count } = run;
        let place = match rows {
            Some((first, _)) if last < first => Place::Above,
            Some((_, last)) if first <= last => Place::InView,
            _ => Place::Below,
        };
        Self { first, last, count, from_ms: first.time_ms(), to_ms: last.time_ms(), place }
    }
}
