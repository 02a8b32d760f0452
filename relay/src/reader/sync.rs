//! What `open` answers: the directory, whether a cursor holds, and what came late since.

use super::{ReadError, View, scan_rows};
use crate::store::StoreError;
use crate::store::keys::{self, ChannelId, bounds};
use crate::store::kv::{Direction, Family};
use crate::store::rows::{DirectoryRow, LateRow, LogRow};
use backscroll_core::change::ChangeHash;
use backscroll_core::directory::Directory;
use backscroll_core::limits::{LATE_RUNS_MAX, RESUME_LATE_EXACT_MAX, RESUME_LATE_MAX};
use backscroll_core::message::MessageId;
use backscroll_core::window::Window;
use backscroll_core::wire::LateRun;
use std::cmp::Reverse;
use std::ops::ControlFlow;

/// Joins runs across the shortest times between them until there are `most`. A joined run counts
/// late messages only; others may lie between them.
fn joined(runs: Vec<LateRun>, most: usize) -> Vec<LateRun> {
    let gap = |a: &LateRun, b: &LateRun| b.first.time_ms().saturating_sub(a.last.time_ms());
    let next = runs.iter().skip(1);
    let mut gaps: Vec<_> =
        runs.iter().zip(next).zip(1..).map(|((a, b), i)| (Reverse(gap(a, b)), i)).collect();
    if gaps.len() >= most {
        gaps.sort_unstable();
        gaps.truncate(most.saturating_sub(1));
    }
    let mut starts: Vec<usize> = gaps.into_iter().map(|(_, i)| i).collect();
    starts.sort_unstable();
    let mut out: Vec<LateRun> = Vec::with_capacity(starts.len() + 1);
    let mut starts = starts.into_iter().peekable();
    for (i, run) in runs.into_iter().enumerate() {
        let begins = i == 0 || starts.next_if_eq(&i).is_some();
        match out.last_mut().filter(|_| !begins) {
            Some(last) => {
                last.last = run.last;
                last.count = last.count.saturating_add(run.count);
            }
            None => out.push(run),
        }
    }
    out
}

/// Late messages since a seq.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LateSince {
    /// Runs of late messages, oldest first: with no other message between them, unless they would be
    /// too many to tell.
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

    /// Late messages with a seq above `seq`.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Complexity
    /// O(late messages since), one short scan for each as long as they are few.
    pub fn late_since(&self, channel: &str, seq: u64) -> Result<LateSince, ReadError> {
        let mut ids = Vec::new();
        let Some((number, _)) = self.find(channel)? else {
            return Ok(LateSince { runs: Vec::new(), is_complete: true });
        };
        let range = keys::late_from(number, seq.saturating_add(1));
        scan_rows(&*self.rows, &range, Direction::Forward, |_, LateRow(id)| {
            ids.push(id);
            if ids.len() > RESUME_LATE_MAX {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        if ids.len() > RESUME_LATE_MAX {
            return Ok(LateSince::default());
        }
        ids.sort_unstable();
        let is_exact = ids.len() <= RESUME_LATE_EXACT_MAX;
        let mut runs: Vec<LateRun> = Vec::new();
        for id in ids {
            match runs.last_mut() {
                Some(run) if is_exact && self.is_next(number, run.last, id)? => {
                    run.last = id;
                    run.count += 1;
                }
                _ => runs.push(LateRun { first: id, last: id, count: 1 }),
            }
        }
        Ok(LateSince { runs: joined(runs, LATE_RUNS_MAX), is_complete: true })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_runs_are_joined_across_the_shortest_gaps() {
        let run = |ms: u64, count| {
            let id = MessageId::from_parts(ms, 1);
            LateRun { first: id, last: id, count }
        };
        let runs = vec![run(0, 1), run(100, 2), run(130, 3), run(200, 4), run(210, 5)];
        let told = |runs: &[LateRun]| -> Vec<_> {
            runs.iter().map(|run| (run.first.time_ms(), run.last.time_ms(), run.count)).collect()
        };
        assert_eq!(joined(runs.clone(), 5), runs);
        assert_eq!(told(&joined(runs.clone(), 3)), [(0, 0, 1), (100, 130, 5), (200, 210, 9)]);
        assert_eq!(told(&joined(runs, 1)), [(0, 210, 15)]);
        assert_eq!(joined(Vec::new(), 3), []);
    }
}
