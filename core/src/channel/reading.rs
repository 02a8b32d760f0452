//! What was read: the line on this device, the user's marks on other devices, and other users'.

use super::{Channel, MessageRow};
use crate::late::{Block, UnseenRun};
use crate::message::MessageId;
use crate::read_state::ReadState;
use crate::wire::LateRun;
use std::collections::{BTreeMap, BTreeSet};

/// Most late runs in one mark; a relay takes no more. Of more, the oldest are told as one: a device
/// that hears of it takes what is in none of them for seen.
const MARK_RUNS_MAX: usize = 256;

/// Most users whose marks are kept; those heard of first go first.
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
    /// What the relay knows of the user.
    told: Option<ReadState>,
    /// Whether something was in view that the relay does not know of.
    is_due: bool,
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

impl Channel {
    /// Everything up to a message was in view.
    pub(super) fn see(&mut self, last: MessageId) {
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

    /// What the relay is to be told of the user, if it does not know.
    pub(crate) fn take_mark(&mut self, with_delivered: bool) -> Option<ReadState> {
        let head = self.head.as_ref()?;
        self.reading.is_due = false;
        let mut unseen_late: Vec<LateRun> = Vec::new();
        for run in self.unseen.runs().rev() {
            let count = u32::try_from(run.count).unwrap_or(u32::MAX);
            let is_full = unseen_late.len() == MARK_RUNS_MAX;
            match unseen_late.last_mut().filter(|_| is_full) {
                Some(oldest) => {
                    (oldest.first, oldest.count) = (run.first, oldest.count.saturating_add(count));
                }
                None => unseen_late.push(LateRun { first: run.first, last: run.last, count }),
            }
        }
        unseen_late.reverse();
        let delivered = if with_delivered { head.seq } else { 0 };
        let mark = ReadState { read: self.reading.read, seq: head.seq, delivered, unseen_late };
        let told = self.reading.told.get_or_insert_default();
        let is_news = told.read < mark.read
            || told.unseen_late != mark.unseen_late
            || told.delivered < mark.delivered;
        if is_news {
            told.merge(&mark);
        }
        is_news.then_some(mark)
    }

    /// Something was received; the relay may be to be told.
    pub(crate) const fn received_more(&mut self) {
        self.reading.is_due = true;
    }

    /// The relay tells what a device of this user had in view.
    pub(crate) fn own_marks(&mut self, marks: ReadState) {
        // Marks that were there at the first look tell of late messages that are not listed here;
        // later ones of messages that are.
        let is_first = self.reading.told.is_none()
            && self.reading.read.is_none()
            && marks.seq <= self.reading.first_seq;
        self.reading.read = self.reading.read.max(marks.read);
        if is_first && let Some(read) = marks.read {
            // Nothing was in view here yet: the line is where other devices left it.
            self.reading.seen_to = Some(read);
            for run in &marks.unseen_late {
                let (first, last, count) = (run.first, run.last, u64::from(run.count));
                let run = UnseenRun { first, last, count };
                let (since_seq, upto_seq, listed) = (0, marks.seq, BTreeSet::new());
                self.unseen.add_block(Block { run, since_seq, upto_seq, listed });
            }
        } else {
            self.reading.seen_to = self.reading.seen_to.max(marks.read);
            // Of late messages that came since, the other device knew nothing.
            let knew_all = marks.seq >= self.reading.last_late_seq;
            if knew_all && self.unseen.keep_only(&marks.unseen_late) {
                self.changed.late = true;
            }
        }
        match &mut self.reading.told {
            Some(told) => _ = told.merge(&marks),
            told @ None => *told = Some(marks),
        }
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
        self.reading.is_due = self.reading.read.is_some();
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
