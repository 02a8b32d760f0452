//! Live views: a query that stays where its reader is while the channel grows around it.
//!
//! A view by index, fraction or time keeps its rows until they are exact, then holds on to the message it
//! stands at, so that what comes in above does not move it.

use super::live::Told;
use super::{Client, CommandError, Now};
use crate::channel::{Changed, Channel, Item, View};
use crate::late::Toward;
use crate::limits::ROWS_MAX;
use crate::message::MessageId;
use crate::viewport::{At, Batch, LiveWindow, Query, QueryError, Ranked, Reason, resolve};
use crate::window::Window;
use std::cmp::Ordering;
use std::ops::Range;

/// The name of a live view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewId(pub u64);

/// The first or the last row that a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// A message.
    Id(MessageId),
    /// A row by its number, as that of a placeholder.
    Index(u64),
}

#[derive(Debug)]
pub(super) struct LiveView {
    pub(super) channel: String,
    pub(super) query: Query,
    /// Rows before and after the anchor together, as it was opened with or moved to.
    rows: u64,
    /// When it was moved last: greater is later.
    pub(super) moved: u64,
    /// The rows that its host was told of.
    pub(super) window: LiveWindow<Item>,
    /// What happened since.
    pub(super) batch: Batch,
    pub(super) told: Told,
    /// The first and the last message that its reader sees, or about where they stand, if that was
    /// told.
    visible: Option<(MessageId, MessageId)>,
    /// Whether it goes to the first unread message, and where that is is not known for certain.
    seeks_unread: bool,
    /// The last message that was read when it began to.
    read_to: Option<MessageId>,
    /// When it was moved last, in steady ms.
    pub(super) moved_ms: u64,
    /// How many queries its channel had answered then.
    pub(super) moved_query: u64,
    /// When what it needs is asked for although much is on its way, in steady ms, if it waits for that.
    pub(super) rest_at_ms: Option<u64>,
    /// What its reader scrolls towards, until it was asked for.
    pub(super) ahead: Option<Query>,
}

/// How many screens ahead of its reader a view looks.
const SCREENS_AHEAD: u64 = 2;

impl LiveView {
    fn new(channel: &str, query: Query) -> Self {
        Self {
            channel: channel.to_owned(),
            query,
            rows: query.before + query.after,
            moved: 0,
            window: LiveWindow::new(),
            batch: Batch::default(),
            told: Told::default(),
            visible: None,
            seeks_unread: false,
            read_to: None,
            moved_ms: 0,
            moved_query: 0,
            rest_at_ms: None,
            ahead: None,
        }
    }

    /// The rows it needs: what it asks for, and what its host was told of.
    pub(super) fn queries(&self) -> impl Iterator<Item = Query> + use<> {
        let told = self.window.range();
        let after = (told.end - told.start).min(ROWS_MAX);
        let told = Query { at: At::Index(told.start), before: 0, after };
        let is_more = after > 0 && !self.window.is_reset();
        std::iter::once(self.query).chain(is_more.then_some(told))
    }

    /// Takes in between which messages its reader is; which way that went, if any.
    fn see(&mut self, ends: (MessageId, MessageId)) -> Option<Toward> {
        let before = self.visible.replace(ends)?;
        match ends.0.cmp(&before.0) {
            Ordering::Less => Some(Toward::Up),
            Ordering::Greater => Some(Toward::Down),
            Ordering::Equal => None,
        }
    }

    /// Looks a few screens beyond the rows it holds.
    fn look_ahead(&mut self, toward: Toward, held: &Range<u64>, screen: u64) {
        let rows = screen.saturating_mul(SCREENS_AHEAD).min(ROWS_MAX);
        self.ahead = Some(match toward {
            Toward::Down => Query { at: At::Index(held.end), before: 0, after: rows },
            Toward::Up | Toward::Oldest => {
                Query { at: At::Index(held.start), before: rows, after: 0 }
            }
        });
    }

    /// The first and the last message that its reader sees, or about where they stand; all of the view
    /// as long as nothing else was told.
    pub(super) fn seen(&self, replica: &Channel) -> Option<(MessageId, MessageId)> {
        if self.visible.is_some() {
            return self.visible;
        }
        let is_told = !self.window.is_reset();
        let asked = || resolve(&self.query, replica).unwrap_or_default();
        let rows = if is_told { self.window.range() } else { asked() };
        ends_of(replica, &rows)
    }
}

/// The first and the last message of some rows, or about where they stand.
fn ends_of(replica: &Channel, rows: &Range<u64>) -> Option<(MessageId, MessageId)> {
    let end = rows.end.min(replica.total());
    let last = end.checked_sub(1).filter(|last| rows.start <= *last)?;
    let id = |row: u64| replica.ids(row..row + 1).first().copied().flatten();
    let time_ms = |row| replica.time_of_row(row);
    let first = id(rows.start).or_else(|| Some(MessageId::first_of(time_ms(rows.start)?)))?;
    let last = id(last).or_else(|| Some(MessageId::from_parts(time_ms(last)?, u128::MAX)))?;
    Some((first, last))
}

impl Client {
    /// Opens a live view on a channel, which is opened if it is not.
    ///
    /// # Errors
    /// The channel's name or the query is out of bounds.
    pub fn open_view(
        &mut self,
        channel: &str,
        query: Query,
        now: Now,
    ) -> Result<ViewId, CommandError> {
        self.open_channel(channel, now)?;
        let id = ViewId(self.next_view);
        let seeks_unread = query.at == At::FirstUnread;
        let query = self.checked(channel, query)?;
        self.next_view += 1;
        self.views.insert(id, LiveView { seeks_unread, ..LiveView::new(channel, query) });
        self.place_unread(channel);
        self.moved(id, now);
        Ok(id)
    }

    /// Moves a view.
    ///
    /// # Errors
    /// There is no such view, or the query is out of bounds.
    pub fn move_view(&mut self, id: ViewId, query: Query, now: Now) -> Result<(), CommandError> {
        let channel = self.views.get(&id).ok_or(CommandError::NoView)?.channel.clone();
        let seeks_unread = query.at == At::FirstUnread;
        let query = self.checked(&channel, query)?;
        if let Some(view) = self.views.get_mut(&id) {
            (view.seeks_unread, view.read_to) = (seeks_unread, None);
            view.rows = query.before + query.after;
            view.query = query;
            view.visible = None;
            view.ahead = None;
            view.window.moved(Reason::Goto);
        }
        self.place_unread(&channel);
        self.moved(id, now);
        Ok(())
    }

    /// Ends a view.
    pub fn close_view(&mut self, id: ViewId) {
        self.views.remove(&id);
    }

    /// The rows of a view as they are now.
    ///
    /// # Errors
    /// There is no such view.
    ///
    /// # Complexity
    /// As [`crate::channel::Channel::view`].
    pub fn view(&mut self, id: ViewId) -> Result<View, CommandError> {
        let view = self.views.get_mut(&id).ok_or(CommandError::NoView)?;
        let no_channel = || CommandError::NoChannel(view.channel.clone());
        let slot = self.slots.get_mut(&view.channel).ok_or_else(no_channel)?;
        let rows = slot.replica.view(&view.query)?;
        if rows.exact
            && matches!(view.query.at, At::Index(_) | At::Fraction(_) | At::Time(_))
            && let Some(id) = anchor_of(&view.query, &rows, &slot.replica)?
        {
            view.query.at = At::Id(id);
        }
        Ok(rows)
    }

    /// The windows to load before the rows of a view are certain, most important first.
    ///
    /// # Errors
    /// There is no such view.
    ///
    /// # Complexity
    /// O(rows of the view), and O(loaded windows).
    pub fn needed(&mut self, id: ViewId) -> Result<Vec<Window>, CommandError> {
        let view = self.views.get(&id).ok_or(CommandError::NoView)?;
        let no_channel = || CommandError::NoChannel(view.channel.clone());
        let slot = self.slots.get_mut(&view.channel).ok_or_else(no_channel)?;
        slot.replica.flush();
        let rows = resolve(&view.query, &slot.replica)?;
        Ok(slot.replica.needed_in(view.query.at, rows))
    }

    /// Tells which rows of a view its reader sees: late messages among them are seen, and the view
    /// moves along when they come near its ends. At the end of the channel it follows new messages.
    ///
    /// # Errors
    /// There is no such view.
    pub fn set_visible(
        &mut self,
        id: ViewId,
        first: Edge,
        last: Edge,
        follow: Follow,
        now: Now,
    ) -> Result<(), CommandError> {
        let view = self.views.get_mut(&id).ok_or(CommandError::NoView)?;
        let no_channel = || CommandError::NoChannel(view.channel.clone());
        let slot = self.slots.get_mut(&view.channel).ok_or_else(no_channel)?;
        slot.replica.flush();
        let row_of = |edge| match edge {
            Edge::Id(id) => slot.replica.rank(id),
            Edge::Index(index) => index,
        };
        let (first_row, last_row) = (row_of(first), row_of(last));
        let end = last_row.saturating_add(1).min(first_row.saturating_add(view.rows));
        let seen: Vec<_> = slot.replica.ids(first_row..end).into_iter().flatten().collect();
        let toward = ends_of(&slot.replica, &(first_row..end)).and_then(|ends| view.see(ends));
        // Who scrolls has found a place.
        view.seeks_unread &= toward.is_none();
        slot.replica.see_rows(&seen);
        let held = resolve(&view.query, &slot.replica)?;
        let total = slot.replica.total();
        let margin = view.rows / 4;
        let near_start = held.start > 0 && first_row < held.start + margin;
        let near_end = held.end < total && last_row.saturating_add(margin) >= held.end;
        let (before, after) = (view.rows / 2, view.rows - view.rows / 2);
        let query = match (follow, first) {
            (Follow::End, _) => Query { at: At::Latest, before: view.rows, after: 0 },
            (Follow::Stay, first) if near_start || near_end || view.query.at == At::Latest => {
                let at = match first {
                    Edge::Id(id) => At::Id(id),
                    Edge::Index(index) => At::Index(index),
                };
                Query { at, before, after }
            }
            (Follow::Stay, _) => view.query,
        };
        if let Some(toward) = toward {
            let held = resolve(&query, &slot.replica)?;
            view.look_ahead(toward, &held, end.saturating_sub(first_row));
            slot.hungry = true;
        }
        if query != view.query {
            view.query = query;
            view.window.moved(Reason::Loaded);
            self.moved(id, now);
        }
        self.settle(now);
        Ok(())
    }

    /// Notes for every view of a channel what happened in it.
    pub(super) fn note_changed(&mut self, channel: &str, changed: Changed) {
        let mut batch = Batch::from(changed);
        batch.edited |= changed.read && self.options.delivered;
        for view in self.views.values_mut().filter(|view| view.channel == channel) {
            view.batch = view.batch.and(batch);
        }
    }

    /// Notes for every view of a channel that its reader wrote.
    pub(super) fn note_written(&mut self, channel: &str) {
        for view in self.views.values_mut().filter(|view| view.channel == channel) {
            view.batch.wrote = true;
        }
    }

    fn moved(&mut self, id: ViewId, now: Now) {
        let order = self.next_reference();
        let Some(view) = self.views.get_mut(&id) else { return };
        (view.moved, view.moved_ms) = (order, now.steady_ms);
        view.rest_at_ms = None;
        if let Some(slot) = self.slots.get_mut(&view.channel) {
            slot.hungry = true;
            view.moved_query = slot.replica.queries();
        }
        self.settle(now);
    }

    /// A query within bounds; the first unread message is one now, wherever it moves to later.
    fn checked(&self, channel: &str, mut query: Query) -> Result<Query, CommandError> {
        let no_channel = || CommandError::NoChannel(channel.to_owned());
        let slot = self.slots.get(channel).ok_or_else(no_channel)?;
        if query.at == At::FirstUnread {
            query.at = slot.replica.unread_anchor(slot.replica.read_to());
        }
        resolve(&query, &slot.replica)?;
        Ok(query)
    }

    /// Moves the views that go to a channel's first unread message to where that is by now, until what
    /// other devices have read is known. What came into view meanwhile does not move them.
    pub(super) fn place_unread(&mut self, channel: &str) {
        let Some(slot) = self.slots.get_mut(channel) else { return };
        let is_known = slot.replica.head().is_some() && !slot.replica.awaits_marks();
        for view in self.views.values_mut().filter(|view| view.channel == channel) {
            if !view.seeks_unread {
                continue;
            }
            view.read_to = view.read_to.or(slot.replica.read_to());
            view.seeks_unread = !is_known;
            let at = slot.replica.unread_anchor(view.read_to);
            let rows = |at| resolve(&Query { at, ..view.query }, &slot.replica).ok();
            if rows(at) != rows(view.query.at) {
                view.query.at = at;
                view.window.moved(Reason::Init);
            } else if at != view.query.at && !view.window.is_settled() {
                view.query.at = at;
            }
            slot.hungry = true;
        }
    }
}

/// Whether a view follows the end of its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// It shows the newest messages as they come.
    End,
    /// It stays at the first row its reader sees.
    Stay,
}

/// The message at the anchor of an exact view.
fn anchor_of(
    query: &Query,
    view: &View,
    ranked: &impl Ranked,
) -> Result<Option<MessageId>, QueryError> {
    let here = resolve(&Query { before: 0, after: 1, ..*query }, ranked)?;
    let at = usize::try_from(here.start.saturating_sub(view.start)).unwrap_or(usize::MAX);
    Ok(match view.items.get(at) {
        Some(Item::Message(message)) => Some(message.id),
        Some(Item::Placeholder { .. }) | None => None,
    })
}
