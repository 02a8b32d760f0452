//! What live views tell their hosts: rows at first, and what changed from then on.

use super::views::LiveView;
use super::{Changed, Client, CommandError, Now, ViewId};
use crate::channel::{Channel, Item, View};
use crate::late::{Late, LateRun, Toward};
use crate::message::MessageId;
use crate::viewport::{At, Batch, Delta, LiveRow, Reason, Update};

/// Most late runs in an update, those nearest to what the reader sees.
const RUNS_TOLD_MAX: usize = 256;

/// What a view tells.
#[derive(Clone, Debug, PartialEq)]
pub enum ViewUpdate {
    /// All rows of the view: at first, where it was moved, and where more changed than can be told.
    Reset {
        /// Why.
        reason: Reason,
        /// The rows.
        view: View,
        /// The late messages around what its reader sees.
        late: Late,
    },
    /// What changed since the last update.
    Delta(ViewDelta),
}

/// What changed in a view. All numbers are as after it; how it is applied is told in
/// [`crate::viewport::LiveWindow`]. A placeholder's own number is not told again when rows came in
/// above: it is the number of its row.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewDelta {
    /// Why: the most important of all that it tells.
    pub reason: Reason,
    /// The row of the view's first item: it grew by `above`.
    pub start: u64,
    /// How many rows the channel has.
    pub total: u64,
    /// Rows that came in above the view.
    pub above: u64,
    /// Rows that came in below the view.
    pub below: u64,
    /// Rows that came into the view, by ascending number.
    pub inserted: Vec<(u64, Item)>,
    /// Rows of the view that look different, by ascending number.
    pub updated: Vec<(u64, Item)>,
    /// Messages that went from the channel, and the numbers where they would stand.
    pub removed: Vec<(u64, MessageId)>,
    /// Whether the channel's first row is in the view.
    pub found_oldest: bool,
    /// Whether the channel's last row is in the view.
    pub found_newest: bool,
    /// Whether rows and their numbers are exactly the channel's, as far as its directory is known.
    pub exact: bool,
    /// The late messages around what its reader sees.
    pub late: Late,
}

/// What a view told last, beside its rows.
#[derive(Debug, Default)]
pub(super) struct Told {
    exact: bool,
    late: Late,
    /// Whether the channel's directory was known.
    known: bool,
}

impl LiveRow for Item {
    fn is_late(&self) -> bool {
        matches!(self, Self::Message(message) if message.late)
    }

    fn is_own(&self) -> bool {
        matches!(self, Self::Message(message) if message.send.is_some())
    }
}

impl From<Changed> for Batch {
    fn from(changed: Changed) -> Self {
        let Changed { sent, live, late, edited, loaded, reset, read: _ } = changed;
        // What is told as sent may also be that a message went on its way.
        Self { wrote: false, live, late, edited: edited || sent, loaded, reset }
    }
}

impl Client {
    /// What changed in a view since this was last called, None if nothing did: at first all of its
    /// rows, then deltas. All that happened in between is one update; one that would be too large tells
    /// all rows again.
    ///
    /// The first and the last row of the view stay its ends until it is moved, so nothing but its
    /// reader takes rows out of it. What comes in between its ends is in it, and what comes at an end
    /// of the channel that it has reached. When it has grown to twice the rows asked for, it is told
    /// anew without those far from its anchor.
    ///
    /// # Errors
    /// There is no such view.
    ///
    /// # Complexity
    /// O(1) if nothing happened in its channel, else O(rows of the view), and O(late runs) if those
    /// changed.
    ///
    /// # Examples
    /// ```
    /// use backscroll_core::client::{Client, Now, Options, ViewUpdate};
    /// use backscroll_core::message::Content;
    /// use backscroll_core::viewport::{At, Query, Reason};
    ///
    /// let now = Now { wall_ms: 1_700_000_000_000, steady_ms: 0 };
    /// let mut client = Client::new(Options::new("ada"), [7; 32])?;
    /// let view = client.open_view("#room", Query { at: At::Latest, before: 50, after: 0 }, now)?;
    /// let Some(ViewUpdate::Reset { reason, view: rows, .. }) = client.poll_view(view)? else { panic!() };
    /// assert_eq!((reason, rows.total), (Reason::Init, 0));
    /// assert_eq!(client.poll_view(view)?, None);
    ///
    /// client.send("#room", Content::text("ada", "hello"), None, now)?;
    /// let Some(ViewUpdate::Delta(delta)) = client.poll_view(view)? else { panic!() };
    /// assert_eq!((delta.reason, delta.start, delta.total), (Reason::Send, 0, 1));
    /// assert_eq!(delta.inserted[0].0, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn poll_view(&mut self, id: ViewId) -> Result<Option<ViewUpdate>, CommandError> {
        let view = self.views.get_mut(&id).ok_or(CommandError::NoView)?;
        let no_channel = || CommandError::NoChannel(view.channel.clone());
        let slot = self.slots.get_mut(&view.channel).ok_or_else(no_channel)?;
        if !view.is_due(&slot.replica) {
            return Ok(None);
        }
        slot.replica.flush();
        let batch = view.batch_of(&slot.replica);
        let update = view.window.poll(&view.query, &slot.replica, batch)?;
        view.batch = Batch::default();
        let rows = view.window.range();
        let needed = slot.replica.needed_in(view.query.at, rows);
        let exact = slot.replica.head().is_some() && needed.is_empty();
        if exact {
            view.settle();
        }
        let late = Late::around(slot.replica.unseen(), view.seen(&slot.replica), RUNS_TOLD_MAX);
        Ok(match update {
            Some(Update::Reset(rows)) => {
                view.told =
                    Told { exact, late: late.clone(), known: slot.replica.head().is_some() };
                let end = rows.start + rows.rows.len() as u64;
                let (start, total, items) = (rows.start, rows.total, rows.rows);
                let (found_oldest, found_newest) = (start == 0, end >= total);
                let told = View { start, total, items, found_oldest, found_newest, exact, needed };
                Some(ViewUpdate::Reset { reason: rows.reason, view: told, late })
            }
            Some(Update::Delta(delta)) => Some(view.delta(delta, exact, late)),
            None if late != view.told.late => {
                Some(view.delta(view.window.unchanged(Reason::Late), exact, late))
            }
            None if exact != view.told.exact => {
                Some(view.delta(view.window.unchanged(Reason::Loaded), exact, late))
            }
            None => None,
        })
    }

    /// The late messages of a view's channel, around what its reader sees.
    ///
    /// # Errors
    /// There is no such view.
    ///
    /// # Complexity
    /// O(late runs).
    pub fn late(&mut self, id: ViewId) -> Result<Late, CommandError> {
        let view = self.views.get(&id).ok_or(CommandError::NoView)?;
        let no_channel = || CommandError::NoChannel(view.channel.clone());
        let slot = self.slots.get_mut(&view.channel).ok_or_else(no_channel)?;
        slot.replica.flush();
        Ok(Late::around(slot.replica.unseen(), view.seen(&slot.replica), usize::MAX))
    }

    /// The late messages to go to next from what a view's reader sees; moving the view to its `first`
    /// shows them.
    ///
    /// # Errors
    /// There is no such view.
    ///
    /// # Complexity
    /// O(log n).
    pub fn late_next(
        &mut self,
        id: ViewId,
        toward: Toward,
    ) -> Result<Option<LateRun>, CommandError> {
        let view = self.views.get(&id).ok_or(CommandError::NoView)?;
        let no_channel = || CommandError::NoChannel(view.channel.clone());
        let slot = self.slots.get_mut(&view.channel).ok_or_else(no_channel)?;
        slot.replica.flush();
        Ok(Late::next(slot.replica.unseen(), view.seen(&slot.replica), toward))
    }

    /// Takes late messages out of a channel's inbox: those of a run, or all. Unlike
    /// [`Client::mark_seen`] it says nothing of what was read.
    ///
    /// # Errors
    /// The channel is not open here.
    pub fn late_seen(
        &mut self,
        channel: &str,
        run: Option<&LateRun>,
        now: Now,
    ) -> Result<(), CommandError> {
        let no_channel = || CommandError::NoChannel(channel.to_owned());
        let slot = self.slots.get_mut(channel).ok_or_else(no_channel)?;
        match run {
            Some(run) => slot.replica.late_seen(run.first, run.last),
            None => slot.replica.mark_all_seen(),
        }
        self.settle(now);
        Ok(())
    }
}

impl LiveView {
    /// Whether anything may have changed since the last update.
    fn is_due(&self, replica: &Channel) -> bool {
        self.batch.any() || self.window.is_reset() || replica.total() != self.window.total()
    }

    /// What happened; the first that is known of a channel is no more than the beginning.
    fn batch_of(&mut self, replica: &Channel) -> Batch {
        if self.batch.reset && !self.told.known && replica.head().is_some() {
            self.window.moved(Reason::Init);
        }
        self.batch
    }

    /// The rows are certain: the view holds on to them, and to the message it stands at.
    fn settle(&mut self) {
        let is_new = !self.window.is_settled();
        self.window.settle();
        let is_end = matches!(self.query.at, At::Latest | At::Oldest);
        if let Some(id) = self.window.anchor().filter(|_| is_new && !is_end) {
            self.query.at = At::Id(id);
        }
    }

    fn delta(&mut self, delta: Delta<Item>, exact: bool, late: Late) -> ViewUpdate {
        let Delta {
            reason,
            start,
            total,
            above,
            below,
            inserted,
            updated,
            removed,
            found_oldest,
            found_newest,
        } = delta;
        self.told = Told { exact, late: late.clone(), known: self.told.known };
        ViewUpdate::Delta(ViewDelta {
            reason,
            start,
            total,
            above,
            below,
            inserted,
            updated,
            removed,
            found_oldest,
            found_newest,
            exact,
            late,
        })
    }
}
