//! The late messages that a user has not had in view (design 5.3), as far as its read state and the
//! index tell.

use super::{ReadError, View, scan_rows};
use crate::index::MessageRow;
use crate::limits::UNSEEN_SCAN_MAX;
use crate::store::StoreError;
use crate::store::keys::{self, ChannelId};
use crate::store::kv::{Direction, Family};
use crate::store::rows::{IndexRow, LateRow, LogRow, MemberRow};
use backscroll_core::change::{ChangeBody, ChangeView, DocKind};
use backscroll_core::late::{Unseen, UnseenRun};
use backscroll_core::message::MessageId;
use backscroll_core::window::Window;
use backscroll_core::wire::LateRun;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Whose late messages are looked for, and which.
struct Sought<'a> {
    user: &'a str,
    upto_seq: u64,
    /// Windows were dropped since, and messages of the runs with them.
    is_cut: bool,
    /// Rows that may still be looked at.
    room: usize,
}

impl View<'_> {
    /// Those of `user`: what its read state says, and what came late since. None if it has no read
    /// state: what was there before anyone looked is no news.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Complexity
    /// That of [`View::add_late_since`], and a bounded number of rows.
    pub(crate) fn unseen_of(&self, channel: &str, user: &str) -> Result<Unseen, ReadError> {
        let mut unseen = Unseen::default();
        let Some((number, head)) = self.find(channel)? else { return Ok(unseen) };
        let Some(state) = self.read_state(channel, user)? else { return Ok(unseen) };
        let is_cut = head.floor > state.seq;
        let mut sought = Sought { user, upto_seq: state.seq, is_cut, room: UNSEEN_SCAN_MAX };
        for run in &state.unseen_late {
            self.list(number, run, &mut sought, &mut unseen)?;
        }
        self.add_late_since(channel, state.seq, Some(user), &mut unseen)?;
        Ok(unseen)
    }

    /// Adds what came late after `seq` from others than `user`; other messages that came part the runs
    /// there are. After a long absence no more than runs are known, and nobody's are left out.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Complexity
    /// O(late messages since) and O(changes since), both bounded.
    pub(crate) fn add_late_since(
        &self,
        channel: &str,
        seq: u64,
        user: Option<&str>,
        unseen: &mut Unseen,
    ) -> Result<(), ReadError> {
        let Some((number, head)) = self.find(channel)? else { return Ok(()) };
        if head.floor > seq {
            self.forget_dropped(number, unseen)?;
        }
        if unseen.total() > 0 {
            self.part_since(number, seq, unseen)?;
        }
        let (mut late, range) = (Vec::new(), keys::late_from(number, seq.saturating_add(1)));
        scan_rows(&*self.rows, &range, Direction::Forward, |key, LateRow(id)| {
            late.push((id, keys::seq_of(key).unwrap_or(0)));
            if late.len() > UNSEEN_SCAN_MAX {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        if late.len() > UNSEEN_SCAN_MAX {
            for LateRun { first, last, count } in self.late_since(channel, seq)?.runs {
                unseen.came_as_run(UnseenRun { first, last, count: count.into() });
            }
            return Ok(());
        }
        for (id, seq) in late {
            let is_own = match user {
                Some(user) => {
                    self.message(channel, id)?.is_some_and(|row| row.content.from == user)
                }
                None => false,
            };
            if !is_own {
                unseen.came(id, seq, self.beside(number, id)?);
            }
        }
        Ok(())
    }

    /// Takes out what lies before the oldest message: a retention dropped it.
    fn forget_dropped(&self, number: ChannelId, unseen: &mut Unseen) -> Result<(), StoreError> {
        let everything = keys::messages(number, 0, None);
        let last = match self.nearest(&everything, Direction::Forward)? {
            Some(oldest) => before(oldest),
            None => Some(MessageId::from_parts(u64::MAX, u128::MAX)),
        };
        if let Some(last) = last {
            unseen.mark_seen(MessageId::first_of(0), last);
        }
        Ok(())
    }

    /// Parts runs at the messages of the changes after `seq`, the oldest of them where they are many.
    fn part_since(
        &self,
        number: ChannelId,
        seq: u64,
        unseen: &mut Unseen,
    ) -> Result<(), StoreError> {
        let (mut room, mut is_readable) = (UNSEEN_SCAN_MAX, true);
        let mut rewritten = BTreeSet::new();
        let range = keys::log_from(number, seq.saturating_add(1));
        scan_rows(&*self.rows, &range, Direction::Forward, |_, row: LogRow| {
            room -= 1;
            if row.is_mark() || row.doc != DocKind::Messages {
                // It brought no messages.
            } else if row.is_erased() {
                rewritten.insert(row.window);
            } else {
                let read = ChangeView::read(&row.chunk, row.window, row.doc);
                match read.map(|view| view.body) {
                    Ok(ChangeBody::Messages(ops)) => {
                        ops.iter().for_each(|op| unseen.part_at(op.id));
                    }
                    Ok(ChangeBody::Annotations(_)) | Err(_) => is_readable = false,
                }
            }
            if room > 0 && is_readable { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let damage = StoreError::damaged(Family::Log, "a stored change does not read back");
        if !is_readable {
            return Err(damage);
        }
        self.part_in(number, &rewritten, seq, unseen)
    }

    /// Parts runs at the messages that came after `seq` into windows of which the changes are erased:
    /// only their lists still name them.
    fn part_in(
        &self,
        number: ChannelId,
        windows: &BTreeSet<Window>,
        seq: u64,
        unseen: &mut Unseen,
    ) -> Result<(), StoreError> {
        let mut room = UNSEEN_SCAN_MAX;
        for window in windows {
            let range = keys::members(number, *window);
            scan_rows(&*self.rows, &range, Direction::Forward, |key, row: MemberRow| {
                if let Some(id) = keys::member_of(key).filter(|_| row.seq > seq) {
                    unseen.part_at(id);
                }
                room -= 1;
                if room > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            if room == 0 {
                break;
            }
        }
        Ok(())
    }

    /// The messages before and after one.
    fn beside(
        &self,
        number: ChannelId,
        id: MessageId,
    ) -> Result<[Option<MessageId>; 2], StoreError> {
        let id = id.as_u128();
        let before = keys::messages(number, 0, Some(id));
        let after = keys::messages(number, id.saturating_add(1), None);
        Ok([self.nearest(&before, Direction::Reverse)?, self.nearest(&after, Direction::Forward)?])
    }

    /// The first message of a range, from where the scan begins.
    fn nearest(
        &self,
        range: &keys::KeyRange,
        direction: Direction,
    ) -> Result<Option<MessageId>, StoreError> {
        let mut found = None;
        self.rows.scan(Family::Index, keys::bounds(range), direction, &mut |key, _| {
            found = keys::message_of(key);
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// Adds the messages of a run one by one where they can be told, else the run.
    fn list(
        &self,
        number: ChannelId,
        run: &LateRun,
        sought: &mut Sought<'_>,
        unseen: &mut Unseen,
    ) -> Result<(), StoreError> {
        let (mut found, mut own, mut before) = (Vec::new(), 0, None);
        let mut is_whole = true;
        let range = keys::messages(number, run.first.as_u128(), Some(run.last.as_u128() + 1));
        let mut damage = None;
        scan_rows(&*self.rows, &range, Direction::Forward, |key, row: IndexRow| {
            let Some(id) = keys::message_of(key) else { return ControlFlow::Continue(()) };
            if sought.room == 0 {
                is_whole = false;
                return ControlFlow::Break(());
            }
            sought.room -= 1;
            let is_sought = row.late && row.seq <= sought.upto_seq;
            let seq = row.seq;
            let from = match MessageRow::of(id, row) {
                Ok(row) => row.content.from,
                Err(error) => {
                    damage = Some(error);
                    return ControlFlow::Break(());
                }
            };
            let is_own = sought.user == from;
            own += u32::from(is_sought && is_own);
            if is_sought && !is_own {
                found.push((id, seq, before));
            }
            before = Some(id);
            ControlFlow::Continue(())
        })?;
        if let Some(error) = damage {
            return Err(error);
        }
        let count = u32::try_from(found.len()).unwrap_or(u32::MAX);
        let there = [count, count.saturating_add(own)];
        if is_whole && (there.contains(&run.count) || sought.is_cut && count <= run.count) {
            for (id, seq, before) in found {
                unseen.came(id, seq, [before, None]);
            }
        } else {
            let LateRun { first, last, count } = *run;
            unseen.came_as_run(UnseenRun { first, last, count: count.into() });
        }
        Ok(())
    }

    /// Whether the channel has a message.
    pub(crate) fn has_message(&self, channel: &str, id: MessageId) -> Result<bool, ReadError> {
        Ok(self.message(channel, id)?.is_some())
    }
}

/// The greatest id below one.
fn before(id: MessageId) -> Option<MessageId> {
    match (id.time_ms(), id.tail()) {
        (0, 0) => None,
        (time_ms, 0) => Some(MessageId::from_parts(time_ms - 1, u128::MAX)),
        (time_ms, tail) => Some(MessageId::from_parts(time_ms, tail - 1)),
    }
}

/// Unseen messages as a read state names them; of more runs than it may have the oldest are one.
pub(crate) fn runs_of(unseen: &Unseen, runs_max: usize) -> Vec<LateRun> {
    let mut runs: Vec<LateRun> = Vec::new();
    for run in unseen.runs().rev() {
        let count = u32::try_from(run.count).unwrap_or(u32::MAX);
        let is_full = runs.len() >= runs_max;
        match runs.last_mut().filter(|_| is_full) {
            None => runs.push(LateRun { first: run.first, last: run.last, count }),
            Some(oldest) => {
                oldest.first = run.first;
                oldest.count = oldest.count.saturating_add(count);
            }
        }
    }
    runs.reverse();
    runs
}
