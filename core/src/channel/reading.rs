//! What was read: the line on this device, the user's marks on other devices, and other users'.

use super::unsure::Unsure;
use super::{Channel, MessageRow, window_of};
use crate::message::MessageId;
use crate::read_state::ReadState;
use crate::timeline::Row;
use crate::viewport::At;
use crate::window::Window;
use crate::wire::LateRun;
use std::collections::{BTreeMap, BTreeSet};

/// Most users whose marks are kept; of more, the first by name go.
const USERS_MAX: usize = 4_096;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Everything up to it counts as seen: what was in view, or what was there when the channel was
    /// first opened.
    pub(super) seen_to: Option<MessageId>,
    /// The greatest id that was in view, on any device of the user.
    pub(super) read: Option<MessageId>,
    /// The head when the channel was first opened: what came late before it is not listed here.
    pub(super) first_seq: u64,
    /// What the relay knows of the user; None until it told on this connection, or was told.
    told: Option<ReadState>,
    /// Whether there may be something that the relay does not know of.
    pub(super) is_due: bool,
    /// Whether the channel was opened for the first time, and no mark came or went since.
    pub(super) is_fresh: bool,
    /// Whether it is known what the relay knew of the user when the channel was opened.
    pub(super) is_told: bool,
    /// What of late messages this replica was not told.
    pub(super) unsure: Vec<Unsure>,
    /// The place whose windows were last asked for, to count exactly what is unread.
    asked_at: Option<MessageId>,
    /// What was written here and the relay may not have.
    pub(super) written: BTreeSet<MessageId>,
    /// The greatest seq of a late message that came.
    pub(super) last_late_seq: u64,
    others: BTreeMap<String, ReadState>,
    /// Whether rows say how far they got with other users.
    pub(super) is_shown: bool,
}

/// Who has a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipts {
    /// Other users with a device that received it, by name.
    pub delivered: Vec<String>,
    /// Other users who had it in view, by name.
    pub read: Vec<String>,
}

/// How far a message got with the other users, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// Nobody told of it.
    Unknown,
    /// A device of somebody has received it.
    Delivered,
    /// Somebody has read it.
    Read,
}

impl Reading {
    /// Whether a late message was in view on a device that has told.
    pub(super) fn has_seen_late(&self, id: MessageId, seq: u64) -> bool {
        self.told.as_ref().is_some_and(|told| told.has_seen_late(id, seq))
    }

    /// A connection begins: it is not known what the relay knows.
    pub(super) fn opened(&mut self) {
        (self.told, self.is_told, self.is_due) = (None, false, true);
    }
}

/// Whether a mark tells of more as seen than was told.
fn tells_more(told: &[LateRun], mark: &[LateRun]) -> bool {
    let within = |one: &LateRun, run: &LateRun| run.first <= one.first && one.last <= run.last;
    told.iter().any(|one| !mark.iter().any(|run| within(one, run)))
}

impl Channel {
    /// Messages newer than what was in view, on this device since the channel was first opened or on
    /// any other of the user, and late ones before that were not in view. What was written here and
    /// waits to be sent does not count.
    ///
    /// # Complexity
    /// O(late runs), O(own messages that wait), and one rank.
    #[must_use]
    pub fn unread(&self) -> u64 {
        let Some(seen) = self.reading.seen_to else { return 0 };
        self.newer_than(seen) + self.unseen.count_to(seen)
    }

    /// Messages newer than one, but for those that were written here and wait.
    fn newer_than(&self, id: MessageId) -> u64 {
        let newer = self.timeline.total() - self.timeline.rank(id.as_u128() + 1);
        let own = self.outbox.waiting_after(id);
        let own = own.chain(self.reading.written.range(id.next()..).copied());
        newer.saturating_sub(own.collect::<BTreeSet<_>>().len() as u64)
    }

    /// The first message after those that were in view, if there is one and it is loaded.
    #[must_use]
    pub fn first_unread(&self) -> Option<MessageId> {
        let seen = self.reading.seen_to.filter(|seen| self.newer_than(*seen) > 0)?;
        let row = self.timeline.rank(seen.as_u128() + 1);
        match self.timeline.select(row)? {
            Row::Message { id, .. } => MessageId::from_u128(id).ok(),
            Row::Hole => None,
        }
    }

    /// The windows around the last message that was in view, which `unread` counts from, if they are not
    /// loaded: each place once, so that what does not stay in memory is not asked for again and again.
    pub(crate) fn wanted_by_unread(&mut self) -> Vec<Window> {
        let seen = self.read_to().filter(|seen| self.newer_than(*seen) > 0);
        let Some(seen) = seen.filter(|seen| self.reading.asked_at != Some(*seen)) else {
            return Vec::new();
        };
        self.reading.asked_at = Some(seen);
        let over = self.timeline.holes().overlapping(seen.time_ms()..=seen.time_ms());
        let windows = over.iter().filter_map(window_of);
        windows.filter(|window| self.is_fetchable(*window)).collect()
    }

    /// The last message that was in view; None if it is not known yet where other devices are.
    pub(crate) fn read_to(&self) -> Option<MessageId> {
        self.reading.seen_to.filter(|_| !self.reading.is_fresh)
    }

    /// The place of the first unread message, after `read_to` and after what other devices have read.
    pub(crate) fn unread_anchor(&self, read_to: Option<MessageId>) -> At {
        let told = self.reading.told.as_ref().and_then(|told| told.read);
        let Some(last) = read_to.max(told).or(self.reading.seen_to) else { return At::Latest };
        if self.newer_than(last) == 0 { At::Latest } else { At::Id(last.next()) }
    }

    /// The end of the newest message that the directory counts. What lies beyond it was written here,
    /// by a clock that may be wrong, and is not sent.
    fn newest_counted(&self) -> Option<MessageId> {
        let newest_ms = self.directory.iter().map(|(_, entry)| entry.last_ms).max()?;
        Some(MessageId::from_parts(newest_ms, u128::MAX))
    }

    /// A message was written here: what stands before it was in view, and it will have been when the
    /// relay has it.
    pub(super) fn wrote(&mut self, id: MessageId) {
        self.reading.written.insert(id);
        self.see(id);
    }

    /// Counts as seen what was written here and the relay has by now.
    pub(super) fn see_written(&mut self) {
        if self.reading.written.is_empty() {
            return;
        }
        let Some(newest) = self.newest_counted() else { return };
        let counted: Vec<_> = self.reading.written.range(..=newest).copied().collect();
        for id in counted {
            if !self.outbox.is_waiting(id) {
                self.reading.written.remove(&id);
                if self.outbox.get(id).is_some() {
                    self.see(id);
                }
            }
        }
    }

    /// Everything up to a message was in view, as far as the directory counts.
    ///
    /// # Complexity
    /// O(windows).
    pub(super) fn see(&mut self, last: MessageId) {
        let newest = self.newest_counted();
        if newest.is_none_or(|newest| newest < last) {
            // What was written here will have been in view when the relay has it.
            let own = self.outbox.waiting_after(newest.unwrap_or(MessageId::first_of(0)));
            self.reading.written.extend(own.take_while(|id| *id <= last));
        }
        let Some(newest) = newest else { return };
        let last = last.min(newest);
        if self.reading.seen_to.is_none_or(|seen| seen < last) {
            self.reading.seen_to = Some(last);
            self.changed.read = true;
            self.kept.saw();
        }
        if self.reading.read.is_none_or(|read| read < last) {
            self.reading.read = Some(last);
            self.saw_more();
        }
    }

    /// What was in view changed: devices of the user are to know.
    pub(super) fn saw_more(&mut self) {
        self.kept.saw();
        self.reading.is_due = true;
    }

    /// Marks everything up to a message as read, or everything there is.
    pub fn mark_read(&mut self, up_to: Option<MessageId>) {
        let newest = || {
            let row = self.timeline.total().checked_sub(1)?;
            Some(MessageId::from_parts(self.timeline.time_of_row(row)?, u128::MAX))
        };
        let Some(last) = up_to.or_else(newest) else { return };
        self.see(last);
        if self.unseen.mark_seen(MessageId::first_of(0), last) {
            self.changed.late = true;
            self.saw_more();
        }
    }

    /// Whether the relay is to be told what was in view.
    #[must_use]
    pub(crate) const fn has_mark(&self) -> bool {
        self.reading.is_due && self.head.is_some()
    }

    /// Whether marks of the user may still come that were there when the channel was opened.
    #[must_use]
    pub(crate) const fn awaits_marks(&self) -> bool {
        self.head.is_some() && !self.reading.is_told
    }

    /// Whether the relay does not know that a device of the user was ever there.
    #[must_use]
    pub(crate) const fn is_unheard(&self) -> bool {
        self.reading.is_fresh && self.reading.told.is_none()
    }

    /// The marks that were there when the channel was opened have come, if there are any; whether that
    /// was not known.
    pub(crate) const fn marks_are_told(&mut self) -> bool {
        let was_told = self.reading.is_told;
        self.reading.is_told = true;
        !was_told
    }

    /// What the relay is to be told of the user, if it does not know.
    ///
    /// # Complexity
    /// O(late runs), and O(windows) of which it is not known what came late in them.
    pub(crate) fn take_mark(&mut self, with_delivered: bool) -> Option<ReadState> {
        let head = self.head.as_ref()?;
        self.reading.is_due = false;
        if std::mem::take(&mut self.reading.is_fresh) {
            self.kept.saw();
        }
        let delivered = if with_delivered { head.seq } else { 0 };
        let (read, seq, unseen_late) = (self.reading.read, head.seq, self.mark_runs());
        let mark = ReadState { read, seq, delivered, unseen_late };
        let is_news = match &self.reading.told {
            Some(told) => {
                told.read < mark.read
                    || told.delivered < mark.delivered
                    || told.seq < self.reading.last_late_seq
                    || tells_more(&told.unseen_late, &mark.unseen_late)
            }
            // That a device was there is to be known: what comes late from now on is news to the user.
            None => mark.read.is_some() || mark.seq > 0,
        };
        if is_news {
            self.reading.told.get_or_insert_default().merge(&mark);
        }
        is_news.then_some(mark)
    }

    /// Something was received; the relay may be to be told.
    pub(crate) const fn received_more(&mut self) {
        self.reading.is_due = true;
    }

    /// The relay tells what a device of this user had in view.
    ///
    /// # Complexity
    /// O(unseen late messages), O(loaded windows), and O(windows) for the first marks.
    pub(crate) fn own_marks(&mut self, marks: &ReadState) {
        self.flush();
        let told = self.reading.told.get_or_insert_default();
        told.merge(marks);
        let told = told.clone();
        let seen_here = self.reading.read;
        self.reading.read = seen_here.max(told.read);
        if std::mem::take(&mut self.reading.is_fresh) {
            if told.read.is_some() {
                // History is no news, but for what came after the other devices looked.
                self.reading.seen_to = seen_here.max(told.read);
            }
            self.adopt(&told);
        } else {
            self.reading.seen_to = self.reading.seen_to.max(told.read);
            self.resolve_unsure(&told);
        }
        self.changed.late |= self.unseen.drop_told(&told.unseen_late, told.seq);
        self.settle_blocks();
        // This device may know better.
        self.reading.is_due |= tells_more(&told.unseen_late, &self.mark_runs());
        self.changed.read = true;
        self.kept.saw();
    }

    /// Rows of this user's messages say from now on how far they got with other users.
    pub(crate) const fn show_reach(&mut self) {
        self.reading.is_shown = true;
    }

    /// The relay tells what another user had in view.
    pub(crate) fn others_marks(&mut self, user: String, marks: &ReadState) {
        if self.reading.others.len() >= USERS_MAX && !self.reading.others.contains_key(&user) {
            self.reading.others.pop_first();
        }
        let known = self.reading.others.entry(user).or_default();
        self.changed.read |= known.merge(marks);
    }

    /// The relay has another history: no seq means anything, and it is told again what was read.
    pub(super) fn forget_marks(&mut self) {
        self.reading.told = None;
        self.reading.others.clear();
        self.reading.last_late_seq = 0;
        self.reading.unsure.clear();
    }

    /// How far a message got with the other users, as far as the relay told.
    ///
    /// # Complexity
    /// O(users) until one has read it.
    pub(super) fn reach(&self, row: &MessageRow) -> Reach {
        let Some(seq) = row.seq else { return Reach::Unknown };
        let mut reach = Reach::Unknown;
        for state in self.reading.others.values() {
            if state.has_read(row.id, seq, row.late) {
                return Reach::Read;
            }
            if state.has_received(seq) {
                reach = Reach::Delivered;
            }
        }
        reach
    }

    /// Who else received and read a message, as far as the relay told; nobody for one that the relay
    /// does not have or that is not loaded.
    ///
    /// # Complexity
    /// O(users).
    #[must_use]
    pub fn receipts(&self, id: MessageId) -> Receipts {
        let row = self.get(id);
        let Some((seq, late)) = row.and_then(|row| Some((row.seq?, row.late))) else {
            return Receipts::default();
        };
        let mut receipts = Receipts::default();
        for (user, state) in &self.reading.others {
            let has_read = state.has_read(id, seq, late);
            if has_read {
                receipts.read.push(user.clone());
            }
            if has_read || state.has_received(seq) {
                receipts.delivered.push(user.clone());
            }
        }
        receipts
    }
}
