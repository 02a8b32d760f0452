//! What `open` answers: the directory, whether a cursor holds, and what came late since.

use super::{ReadError, View, scan_rows};
use crate::store::StoreError;
use crate::store::keys::{self, ChannelId, bounds};
use crate::store::kv::{Direction, Family};
use crate::store::rows::{DirectoryRow, LogRow, MemberRow};
use backscroll_core::change::{ChangeBody, ChangeHash, ChangeView, DocKind};
use backscroll_core::directory::Directory;
use backscroll_core::limits::{LATE_RUNS_MAX, RESUME_SEQS_MAX};
use backscroll_core::message::MessageId;
use backscroll_core::window::Window;
use backscroll_core::wire::{LateRun, is_late};
use std::ops::ControlFlow;

/// Late messages since a seq.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LateSince {
    /// Runs of late messages with no other message between them, oldest first.
    pub runs: Vec<LateRun>,
    /// Whether these are all: not if more was missed than a resume carries.
    pub is_complete: bool,
}

impl View<'_> {
    /// The windows of a channel.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Complexity
    /// O(windows).
    pub fn directory(&self, channel: &str) -> Result<Directory, ReadError> {
        self.directory_since(channel, 0)
    }

    /// The windows that have ops above `since_seq`.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Complexity
    /// O(windows).
    pub fn directory_since(&self, channel: &str, since_seq: u64) -> Result<Directory, ReadError> {
        let rows = self.window_rows(channel)?.into_iter();
        let entries = rows.map(|(window, row)| (window, row.entry));
        Ok(entries.filter(|(_, entry)| entry.latest_seq() > since_seq).collect())
    }

    /// The directory rows of a channel.
    pub(crate) fn window_rows(
        &self,
        channel: &str,
    ) -> Result<Vec<(Window, DirectoryRow)>, StoreError> {
        let mut windows = Vec::new();
        let Some((number, _)) = self.find(channel)? else { return Ok(windows) };
        let range = keys::channel(number);
        scan_rows(&*self.rows, &range, Direction::Forward, |key, row: DirectoryRow| {
            windows.extend(keys::window_of(key).map(|window| (window, row)));
            ControlFlow::Continue(())
        })?;
        Ok(windows)
    }

    /// A channel's number and the directory row of one of its windows.
    pub(crate) fn window_row(
        &self,
        channel: &str,
        window: Window,
    ) -> Result<Option<(ChannelId, DirectoryRow)>, StoreError> {
        let Some((number, _)) = self.find(channel)? else { return Ok(None) };
        let row = self.row(Family::Directory, &keys::directory(number, window))?;
        Ok(row.map(|row| (number, row)))
    }

    /// The greatest id of a channel.
    pub(crate) fn newest(&self, channel: &str) -> Result<Option<MessageId>, StoreError> {
        Ok(self.find(channel)?.and_then(|(_, head)| head.newest))
    }

    /// Seq of the last mark of a retention.
    pub(crate) fn floor(&self, channel: &str) -> Result<u64, StoreError> {
        Ok(self.find(channel)?.map_or(0, |(_, head)| head.floor))
    }

    /// Whether `seq` is where the change `hash` ends: a cursor that holds. Seq 0 with a hash of
    /// zeroes is the cursor before the first change.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn cursor_matches(
        &self,
        channel: &str,
        seq: u64,
        hash: &ChangeHash,
    ) -> Result<bool, ReadError> {
        if seq == 0 {
            return Ok(hash.0 == [0; 32]);
        }
        let Some((number, head)) = self.find(channel)? else { return Ok(false) };
        if seq < head.floor {
            // Windows that were known then are gone, which no difference tells.
            return Ok(false);
        }
        if seq >= head.seq {
            return Ok(seq == head.seq && hash.0 == head.hash);
        }
        let mut matches = false;
        let range = keys::log_upto(number, seq);
        scan_rows(&*self.rows, &range, Direction::Reverse, |key, row: LogRow| {
            let last_seq = keys::seq_of(key).map(|first| row.last_seq(first));
            matches = last_seq == Some(seq) && row.hash == *hash;
            ControlFlow::Break(())
        })?;
        Ok(matches)
    }

    /// Late messages among the changes after `seq`, which must be the end of one.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Complexity
    /// O(changes since), at most those of a resume; one short scan for each late message.
    pub fn late_since(&self, channel: &str, seq: u64) -> Result<LateSince, ReadError> {
        let Some((number, head)) = self.find(channel)? else {
            return Ok(LateSince { runs: Vec::new(), is_complete: true });
        };
        if head.seq.saturating_sub(seq) > RESUME_SEQS_MAX {
            return Ok(LateSince::default());
        }
        let ids = self.late_ids(number, seq)?;
        let mut runs: Vec<LateRun> = Vec::new();
        for id in ids {
            if let Some(run) = runs.last_mut()
                && self.is_next(number, run.last, id)?
            {
                run.last = id;
                run.count += 1;
                continue;
            }
            if runs.len() == LATE_RUNS_MAX {
                return Ok(LateSince { runs, is_complete: false });
            }
            runs.push(LateRun { first: id, last: id, count: 1 });
        }
        Ok(LateSince { runs, is_complete: true })
    }

    /// Ids of late messages after a seq, ascending.
    fn late_ids(&self, number: ChannelId, seq: u64) -> Result<Vec<MessageId>, StoreError> {
        let (mut ids, mut erased) = (Vec::new(), Vec::new());
        let mut is_readable = true;
        let range = keys::log_from(number, seq.saturating_add(1));
        scan_rows(&*self.rows, &range, Direction::Forward, |key, row: LogRow| {
            if row.doc != DocKind::Messages || row.late.is_empty() {
                return ControlFlow::Continue(());
            }
            if row.is_erased() {
                erased.extend(keys::seq_of(key).map(|first| (row.window, first, row.ops)));
                return ControlFlow::Continue(());
            }
            let Ok(view) = ChangeView::read(&row.chunk, row.window, row.doc) else {
                is_readable = false;
                return ControlFlow::Break(());
            };
            if let ChangeBody::Messages(ops) = view.body {
                let mut of_change: Vec<_> = ops.into_iter().map(|op| op.id).collect();
                of_change.sort_unstable();
                let late = of_change.into_iter().enumerate();
                ids.extend(late.filter(|(i, _)| is_late(&row.late, *i)).map(|(_, id)| id));
            }
            ControlFlow::Continue(())
        })?;
        if !is_readable {
            return Err(StoreError::damaged(Family::Log, "a stored change does not read back"));
        }
        for (window, first, ops) in erased {
            ids.extend(self.late_of_erased(number, window, first..first + ops)?);
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Late messages of a change whose chunk was erased: their window lists them still.
    fn late_of_erased(
        &self,
        number: ChannelId,
        window: Window,
        seqs: std::ops::Range<u64>,
    ) -> Result<Vec<MessageId>, StoreError> {
        let mut ids = Vec::new();
        let range = keys::members(number, window);
        scan_rows(&*self.rows, &range, Direction::Forward, |key, row: MemberRow| {
            if row.late && seqs.contains(&row.seq) {
                ids.extend(keys::member_of(key));
            }
            ControlFlow::Continue(())
        })?;
        Ok(ids)
    }

    /// Whether no message lies between `before` and `id`.
    fn is_next(
        &self,
        number: ChannelId,
        before: MessageId,
        id: MessageId,
    ) -> Result<bool, StoreError> {
        let range = keys::messages(number, before.as_u128().saturating_add(1), None);
        let mut next = None;
        self.rows.scan(Family::Index, bounds(&range), Direction::Forward, &mut |key, _| {
            next = keys::message_of(key);
            ControlFlow::Break(())
        })?;
        Ok(next == Some(id))
    }
}
