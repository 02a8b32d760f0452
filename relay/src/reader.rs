//! Reads of what is committed, each on one snapshot, so that all it finds is of one moment.
//!
//! Calls block: use them from blocking threads. Knows rows and ranks; nothing of sockets.

mod blobs;
mod history;
mod segment;
mod sync;
mod unseen;

pub use history::History;
pub use segment::{HaveSeqs, SegmentAnswer};
pub use sync::LateSince;
pub(crate) use unseen::runs_of;

use crate::index::MessageRow;
use crate::limits::{MARKS_OPEN_MAX, MARKS_SCAN_MAX};
use crate::metrics;
use crate::ranks::RankCache;
use crate::store::keys::{self, ChannelId, bounds};
use crate::store::kv::{Direction, Family, Snapshot};
use crate::store::rows::{HeadRow, IndexRow, LogRow, Row};
use crate::store::{Store, StoreError};
use backscroll_core::message::MessageId;
use backscroll_core::read_state::ReadState;
use backscroll_core::viewport::QueryError;
use backscroll_core::window::Window;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Reads what is committed; cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    store: Store,
    ranks: Arc<RankCache>,
}

/// The store at one moment.
pub struct View<'a> {
    rows: Box<dyn Snapshot + 'a>,
    ranks: &'a RankCache,
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").finish_non_exhaustive()
    }
}

/// Why a read has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The query cannot be answered.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ReadError {
    /// Whether rows are damaged, while others can be read.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_damage())
    }
}

/// A channel in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelSummary {
    /// Its name.
    pub channel: String,
    /// Messages, deleted ones included.
    pub total: u64,
    /// Seq of its last op.
    pub seq: u64,
    /// Sent time of the newest message, in ms since the Unix epoch.
    pub newest_at: Option<u64>,
}

/// Where a channel ends. All zero where nobody wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Seq of its last op.
    pub seq: u64,
    /// Hash of its last change.
    pub hash: [u8; 32],
    /// Messages, deleted ones included.
    pub total: u64,
    /// The greatest id.
    pub newest: Option<MessageId>,
}

/// A stored change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChange {
    /// Seq of its first op.
    pub first_seq: u64,
    /// The change and its place.
    pub row: LogRow,
}

impl Reader {
    /// A reader of `store`; those that share `ranks` share what they learnt of the channels.
    #[must_use]
    pub const fn new(store: Store, ranks: Arc<RankCache>) -> Self {
        Self { store, ranks }
    }

    /// Everything as it is now.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View { rows: self.store.snapshot(), ranks: &self.ranks }
    }
}

/// Decodes the rows of a scan until one is damaged or `take` has enough.
fn scan_rows<R: Row>(
    rows: &dyn Snapshot,
    range: &keys::KeyRange,
    direction: Direction,
    mut take: impl FnMut(&[u8], R) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut damage = None;
    rows.scan(R::FAMILY, bounds(range), direction, &mut |key, row| match R::decode(row) {
        Ok(row) => take(key, row),
        Err(error) => {
            damage = Some(error);
            ControlFlow::Break(())
        }
    })?;
    damage.map_or(Ok(()), Err)
}

impl View<'_> {
    /// One row.
    pub(crate) fn row<R: Row>(&self, family: Family, key: &[u8]) -> Result<Option<R>, StoreError> {
        self.rows.get(family, key)?.map(|row| R::decode(&row)).transpose()
    }

    /// A channel's number and head; `None` where nobody wrote.
    fn find(&self, channel: &str) -> Result<Option<(ChannelId, HeadRow)>, StoreError> {
        let Some(number) = self.rows.get(Family::Meta, &keys::channel_name(channel))? else {
            return Ok(None);
        };
        let number = keys::channel_of(&number)
            .ok_or(StoreError::damaged(Family::Meta, "a channel has no number"))?;
        let head = self
            .row(Family::Meta, &keys::head(number))?
            .ok_or(StoreError::damaged(Family::Meta, "a channel has no head"))?;
        Ok(Some((number, head)))
    }

    /// At most `limit` of the channels that are `wanted` and whose names come after `after`, by
    /// name. One whose head is damaged seems empty.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Complexity
    /// O(names looked at).
    pub fn channels_after(
        &self,
        after: Option<&str>,
        limit: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<ChannelSummary>, ReadError> {
        let names = self.names_after(after, limit, wanted)?;
        let mut channels = Vec::with_capacity(names.len());
        for channel in names {
            let Head { seq, total, newest, .. } = match self.head(&channel) {
                // The others are to be found all the same.
                Err(error) if error.is_damage() => {
                    metrics::damaged_row();
                    tracing::error!(channel, %error, "a channel's head cannot be read");
                    Head::default()
                }
                head => head?,
            };
            let newest_at = newest.map(MessageId::time_ms);
            channels.push(ChannelSummary { channel, total, seq, newest_at });
        }
        Ok(channels)
    }

    /// The names of all channels, also of those whose heads are damaged.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Complexity
    /// O(channels).
    pub(crate) fn channel_names(&self) -> Result<Vec<String>, ReadError> {
        self.names_after(None, usize::MAX, |_| true)
    }

    fn names_after(
        &self,
        after: Option<&str>,
        limit: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, ReadError> {
        let mut names = Vec::new();
        let mut range = keys::channel_names();
        if let Some(after) = after {
            range.start = keys::channel_name(after);
        }
        self.rows.scan(Family::Meta, bounds(&range), Direction::Forward, &mut |key, _| {
            let name = keys::name_of(key).filter(|name| after != Some(*name) && wanted(name));
            names.extend(name.map(str::to_owned));
            if names.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(names)
    }

    /// How many windows a channel has.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Complexity
    /// O(windows).
    pub fn segments(&self, channel: &str) -> Result<u64, ReadError> {
        let Some((number, _)) = self.find(channel)? else { return Ok(0) };
        let mut segments = 0;
        let range = keys::channel(number);
        self.rows.scan(Family::Directory, bounds(&range), Direction::Forward, &mut |_, _| {
            segments += 1;
            ControlFlow::Continue(())
        })?;
        Ok(segments)
    }

    /// Where a channel ends.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn head(&self, channel: &str) -> Result<Head, ReadError> {
        let head = self.find(channel)?.map_or_else(HeadRow::default, |(_, head)| head);
        let HeadRow { seq, hash, total, newest, .. } = head;
        Ok(Head { seq, hash, total, newest })
    }

    /// The window that holds a message.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn window_of(
        &self,
        channel: &str,
        id: MessageId,
    ) -> Result<Option<Window>, ReadError> {
        let Some((number, _)) = self.find(channel)? else { return Ok(None) };
        let row: Option<IndexRow> = self.row(Family::Index, &keys::message(number, id))?;
        Ok(row.map(|row| Window::covering(row.level, id.time_ms())))
    }

    /// A message.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn message(&self, channel: &str, id: MessageId) -> Result<Option<MessageRow>, ReadError> {
        let Some((number, _)) = self.find(channel)? else { return Ok(None) };
        let row = self.row(Family::Index, &keys::message(number, id))?;
        Ok(row.map(|row| MessageRow::of(id, row)).transpose()?)
    }

    /// Stored changes whose first seq is above `after_seq`, in order, at most `limit`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn changes(
        &self,
        channel: &str,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<StoredChange>, ReadError> {
        let mut changes = Vec::new();
        let Some((number, _)) = self.find(channel)? else { return Ok(changes) };
        if limit == 0 {
            return Ok(changes);
        }
        let range = keys::log_from(number, after_seq.saturating_add(1));
        scan_rows(&*self.rows, &range, Direction::Forward, |key, row: LogRow| {
            if let Some(first_seq) = keys::seq_of(key) {
                changes.push(StoredChange { first_seq, row });
            }
            if changes.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(changes)
    }

    /// A user's marks in a channel.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn read_state(&self, channel: &str, user: &str) -> Result<Option<ReadState>, ReadError> {
        let Some((number, _)) = self.find(channel)? else { return Ok(None) };
        Ok(self.row(Family::Reads, &keys::read_state(number, user))?)
    }

    /// The marks of users other than `user`, at most [`MARKS_OPEN_MAX`], those who looked last first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn other_read_states(
        &self,
        channel: &str,
        user: &str,
    ) -> Result<Vec<(String, ReadState)>, ReadError> {
        let Some((number, _)) = self.find(channel)? else { return Ok(Vec::new()) };
        let (mut states, mut seen) = (Vec::new(), 0);
        let range = keys::channel(number);
        scan_rows(&*self.rows, &range, Direction::Forward, |key, state: ReadState| {
            seen += 1;
            let of = key.get(size_of::<ChannelId>()..).and_then(|name| str::from_utf8(name).ok());
            states.extend(of.filter(|of| *of != user).map(|of| (of.to_owned(), state)));
            if seen < MARKS_SCAN_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        states.sort_by_key(|(_, state)| std::cmp::Reverse(state.seq));
        states.truncate(MARKS_OPEN_MAX);
        Ok(states)
    }
}

#[cfg(test)]
mod tests;
