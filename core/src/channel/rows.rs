//! The rows a reader sees: messages, and placeholders for what is not loaded.

use super::Channel;
use super::outbox::{SendState, Stage};
use super::reading::Reach;
use crate::annotation::Annotations;
use crate::message::{Content, MessageId};
use crate::timeline::{HoleKey, Row, Rows};
use crate::viewport::{At, Query, QueryError, Ranked, Source, resolve};
use crate::window::Window;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Range, RangeInclusive};

/// A message as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct MessageRow {
    /// Its id, which says when it was sent.
    pub id: MessageId,
    /// What it says, its newest edit applied; of a deleted message only the sender.
    pub content: Content,
    /// The relay's number of it, if known.
    pub seq: Option<u64>,
    /// Whether it came late (design 5.3).
    pub late: bool,
    /// Local time at which it came or was written, in ms since the Unix epoch; for history, which
    /// this device did not see arriving, the sent time.
    pub arrived_ms: u64,
    /// When it was last edited, in ms since the Unix epoch.
    pub edited_ms: Option<u64>,
    /// Whether it was deleted.
    pub deleted: bool,
    /// Who reacted with what.
    pub reactions: BTreeMap<String, BTreeSet<String>>,
    /// Where it stands on its way out, if this client wrote it.
    pub send: Option<SendState>,
    /// How far it got with the other users, if this user wrote it and the replica's rows say so
    /// ([`crate::client::Options::delivered`]).
    pub reach: Reach,
}

/// One row of a view.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A message.
    Message(Box<MessageRow>),
    /// A message that is not loaded, at this row.
    Placeholder {
        /// The row, from the channel's first.
        index: u64,
    },
}

/// The answer to a viewport query (design 5.2).
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The row of the first item.
    pub start: u64,
    /// How many rows there are.
    pub total: u64,
    /// Rows, oldest first.
    pub items: Vec<Item>,
    /// Whether the channel's first row is among them, or would be.
    pub found_oldest: bool,
    /// Whether the channel's last row is among them, or would be.
    pub found_newest: bool,
    /// Whether rows and their numbers are exactly the channel's, as far as its directory is known.
    pub exact: bool,
    /// Windows to fetch before they are, most important first.
    pub needed: Vec<Window>,
}

impl Ranked for Channel {
    fn total(&self) -> u64 {
        self.timeline.total()
    }

    fn rank(&self, id: MessageId) -> u64 {
        self.timeline.rank(id.as_u128())
    }
}

impl Source for Channel {
    type Row = Item;

    fn ids(&self, rows: Range<u64>) -> Vec<Option<MessageId>> {
        Self::ids(self, rows)
    }

    fn row(&self, index: u64, id: Option<MessageId>) -> Item {
        let message = id.and_then(|id| self.get(id));
        message.map_or(Item::Placeholder { index }, |message| Item::Message(Box::new(message)))
    }
}

impl Channel {
    /// Answers a viewport query from what is loaded.
    ///
    /// # Errors
    /// The query is out of bounds.
    ///
    /// # Complexity
    /// O(rows asked for), a few microseconds each, and O(loaded windows).
    pub fn view(&mut self, query: &Query) -> Result<View, QueryError> {
        self.flush();
        let range = resolve(query, self)?;
        let rows = self.timeline.rows(range);
        self.clock += 1;
        let needed = self.needed(query.at, &rows);
        let items = rows.items.iter().zip(rows.start..).map(|(row, index)| self.item(row, index));
        Ok(View {
            start: rows.start,
            total: rows.total,
            items: items.collect(),
            found_oldest: rows.start == 0,
            found_newest: rows.start + rows.items.len() as u64 >= rows.total,
            exact: self.head.is_some() && needed.is_empty(),
            needed,
        })
    }

    /// The windows of a query that can be fetched now: needed, not asked for, not damaged, and not in
    /// the store.
    ///
    /// # Errors
    /// The query is out of bounds.
    pub fn wanted(&mut self, query: &Query) -> Result<Vec<Window>, QueryError> {
        self.flush();
        let range = resolve(query, self)?;
        let rows = self.timeline.rows(range);
        self.clock += 1;
        let mut wanted = self.needed(query.at, &rows);
        wanted.retain(|window| self.is_fetchable(*window));
        Ok(wanted)
    }

    /// The windows that what was said of messages needs, and can be fetched now.
    pub(crate) fn wanted_by_notes(&mut self) -> Vec<Window> {
        let needed = self.needed_by_notes();
        needed.into_iter().filter(|window| self.is_fetchable(*window)).collect()
    }

    pub(super) fn is_fetchable(&self, window: Window) -> bool {
        (self.windows.contains_key(&window) || !self.kept.stored.contains(&window))
            && !self.fetching.contains_key(&window)
            && !self.damaged.contains(&window)
    }

    /// Whether a window is in the store, not loaded and not being read.
    fn is_readable(&self, window: Window) -> bool {
        self.kept.stored.contains(&window)
            && !self.kept.looking.contains(&window)
            && !self.windows.contains_key(&window)
    }

    /// The windows that what was said of messages needs, and the store has.
    pub(crate) fn wanted_stored_by_notes(&mut self) -> Vec<Window> {
        let needed = self.needed_by_notes();
        needed.into_iter().filter(|window| self.is_readable(*window)).collect()
    }

    /// The windows to load before a range of rows is certain, and what is touched by it as used.
    pub(crate) fn needed_in(&mut self, at: At, range: Range<u64>) -> Vec<Window> {
        let rows = self.timeline.rows(range);
        self.clock += 1;
        self.needed(at, &rows)
    }

    /// The windows of a query that the store has and are not loaded nor being read.
    pub(crate) fn wanted_stored(&mut self, query: &Query) -> Vec<Window> {
        if self.kept.stored.is_empty() {
            return Vec::new();
        }
        let Ok(range) = resolve(query, self) else { return Vec::new() };
        let rows = self.timeline.rows(range);
        let mut needed = self.needed(query.at, &rows);
        needed.retain(|window| self.is_readable(*window));
        needed
    }

    /// The messages of a range of rows, without their content; None where one is not loaded.
    #[must_use]
    pub fn ids(&self, range: Range<u64>) -> Vec<Option<MessageId>> {
        let rows = self.timeline.rows(range);
        let id = |row: &Row<_>| match row {
            Row::Message { id, .. } => MessageId::from_u128(*id).ok(),
            Row::Hole => None,
        };
        rows.items.iter().map(id).collect()
    }

    /// When the message of a row was sent, about when if it is not loaded.
    #[must_use]
    pub fn time_of_row(&self, row: u64) -> Option<u64> {
        self.timeline.time_of_row(row)
    }

    /// The windows to load before rows are certain: those behind, then those not loaded. An anchor
    /// by id or time has its row by what stands before it, so windows that cover it count as well.
    pub(super) fn needed(&mut self, at: At, rows: &Rows<Option<Window>>) -> Vec<Window> {
        let anchor_ms = match at {
            At::Id(id) => Some(id.time_ms()),
            At::Time(time_ms) => Some(time_ms),
            At::Latest | At::Oldest | At::FirstUnread | At::Index(_) | At::Fraction(_) => None,
        };
        let anchor = anchor_ms.map(|time_ms| time_ms..=time_ms);
        let span = self.span_of(rows);
        let of_anchor = anchor.clone().map(|at| self.timeline.holes().overlapping(at));
        let missing = rows.needed.iter().chain(of_anchor.iter().flatten()).filter_map(window_of);
        let mut needed: Vec<Window> = Vec::new();
        let behind = [span, anchor].into_iter().flatten().flat_map(|span| self.touch(&span));
        for window in behind.collect::<Vec<_>>().into_iter().chain(missing) {
            // One that is behind also has a hole, for the messages it lacks.
            if !needed.contains(&window) {
                needed.push(window);
            }
        }
        needed
    }

    /// Marks the loaded windows that overlap a span of time as used; gives those that are behind.
    fn touch(&mut self, span: &RangeInclusive<u64>) -> Vec<Window> {
        let mut behind = Vec::new();
        for (window, loaded) in &mut self.windows {
            let Some(entry) = self.directory.get(*window) else { continue };
            if entry.first_ms <= *span.end() && *span.start() <= entry.last_ms {
                loaded.used = self.clock;
                if !loaded.is_current(entry) {
                    behind.push(*window);
                }
            }
        }
        behind
    }

    fn span_of(&self, rows: &Rows<Option<Window>>) -> Option<RangeInclusive<u64>> {
        let last = (rows.start + rows.items.len() as u64).checked_sub(1)?;
        if rows.items.is_empty() {
            return None;
        }
        Some(self.timeline.time_of_row(rows.start)?..=self.timeline.time_of_row(last)?)
    }

    fn item(&self, row: &Row<Option<Window>>, index: u64) -> Item {
        let Row::Message { id, value } = *row else { return Item::Placeholder { index } };
        let message = MessageId::from_u128(id).ok().and_then(|id| self.message(id, value));
        message.map_or(Item::Placeholder { index }, |message| Item::Message(Box::new(message)))
    }

    fn message(&self, id: MessageId, holder: Option<Window>) -> Option<MessageRow> {
        let own = self.outbox.get(id);
        let send = own.and_then(|_| self.outbox.state(id));
        let Some(window) = holder else {
            let own = own?;
            let (content, arrived_ms) = (own.content.clone(), own.written_ms);
            let seq = match own.stage {
                Stage::Relayed { seq } => seq,
                Stage::Held { .. } | Stage::Written | Stage::Failed { .. } => None,
            };
            let row = MessageRow { seq, send, ..MessageRow::plain(id, content, arrived_ms) };
            return Some(row.annotated(self.annotations(id, None)).reaching(self));
        };
        let loaded = self.windows.get(&window)?;
        let fact = loaded.fact(id)?;
        let arrived_ms = own.map(|own| own.written_ms).or(fact.arrived_ms);
        let plain =
            MessageRow::plain(id, loaded.content(id)?, arrived_ms.unwrap_or_else(|| id.time_ms()));
        let row = MessageRow { seq: Some(fact.seq), late: fact.late, send, ..plain };
        Some(row.annotated(self.annotations(id, holder)).reaching(self))
    }

    /// The message of an id, if this replica holds it.
    #[must_use]
    pub fn get(&self, id: MessageId) -> Option<MessageRow> {
        let holder = self.timeline.get(id.as_u128())?;
        self.message(id, holder)
    }
}

impl MessageRow {
    const fn plain(id: MessageId, content: Content, arrived_ms: u64) -> Self {
        Self {
            id,
            content,
            seq: None,
            late: false,
            arrived_ms,
            edited_ms: None,
            deleted: false,
            reactions: BTreeMap::new(),
            send: None,
            reach: Reach::Unknown,
        }
    }

    fn reaching(mut self, channel: &Channel) -> Self {
        if channel.reading.is_shown && self.content.from == channel.user {
            self.reach = channel.reach(&self);
        }
        self
    }

    fn annotated(mut self, annotations: Annotations) -> Self {
        if annotations.deleted {
            self.content = Content::text(&self.content.from, "");
            self.deleted = true;
            return self;
        }
        if let Some(edit) = annotations.edit {
            self.edited_ms = Some(edit.edited_at);
            self.content.text = edit.text.unwrap_or(self.content.text);
            self.content.attachments = edit.attachments.unwrap_or(self.content.attachments);
            self.content.data = edit.data.or(self.content.data);
        }
        self.reactions = annotations.reactions;
        self
    }
}

pub(super) fn window_of(key: &HoleKey) -> Option<Window> {
    Window::new(key.level, key.start_ms).ok()
}
