//! Late messages that this replica was not told of: which windows may have them (design 4.4).
//!
//! A replica hears of each late message that comes while it is there, and `opened` lists those that came
//! while it was away. What came before its first look is listed nowhere; but another device of the user
//! may have been there, and its inbox is the user's. So as long as a window of that time was not loaded
//! this replica claims nothing of it: its marks say that there may be unseen late messages in it. When it
//! is loaded they are listed; or another device tells of them.

use super::Channel;
use crate::directory::{Directory, Entry};
use crate::late::{Block, UnseenRun};
use crate::message::MessageId;
use crate::read_state::{ReadState, and, join_oldest};
use crate::window::Window;
use crate::wire::LateRun;
use std::collections::{BTreeMap, BTreeSet};

/// Windows that may have late messages of some seqs that were not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unsure {
    /// They have greater seqs.
    pub(super) since_seq: u64,
    /// They have no greater seqs.
    pub(super) upto_seq: u64,
    /// Those not loaded since.
    pub(super) windows: BTreeSet<Window>,
}

impl Unsure {
    /// The windows that got messages after a seq.
    pub(super) fn since(since_seq: u64, upto_seq: u64, entries: &Directory) -> Self {
        let changed = entries.iter().filter(|(_, entry)| entry.message_doc.last_seq > since_seq);
        Self { since_seq, upto_seq, windows: changed.map(|(window, _)| window).collect() }
    }
}

/// The ids that a window's messages lie between.
const fn span_of(entry: &Entry) -> (MessageId, MessageId) {
    (MessageId::first_of(entry.first_ms), MessageId::from_parts(entry.last_ms, u128::MAX))
}

fn reaches(run: &LateRun, (first, last): (MessageId, MessageId)) -> bool {
    run.first <= last && first <= run.last
}

/// Whether the device that told these runs does not know what came late in a window either.
fn is_maybe(told: &ReadState, entry: &Entry) -> bool {
    told.unseen_late.iter().any(|run| run.count == 0 && reaches(run, span_of(entry)))
}

impl Channel {
    /// What came late in some windows was not told.
    pub(super) fn add_unsure(&mut self, unsure: Unsure) {
        if unsure.windows.is_empty() || unsure.since_seq >= unsure.upto_seq {
            return;
        }
        let windows: Vec<_> = unsure.windows.iter().copied().collect();
        self.reading.unsure.push(unsure);
        windows.into_iter().for_each(|window| self.list_late(window));
        self.kept.saw();
    }

    /// A window is loaded: what came late in it and was not told is listed.
    pub(super) fn list_unsure(&mut self, window: Window) {
        let Some(loaded) = self.windows.get(&window) else { return };
        if !self.directory.get(window).is_some_and(|entry| loaded.has_messages_of(entry)) {
            return;
        }
        let mut news = Vec::new();
        for unsure in &mut self.reading.unsure {
            if !unsure.windows.remove(&window) {
                continue;
            }
            let mut ids = loaded.ids();
            let Some(first) = ids.next() else { continue };
            let last = ids.last().unwrap_or(first);
            let late = loaded.late_in(first..=last, unsure.since_seq);
            let late = late.filter_map(|id| Some((id, loaded.fact(id)?.seq)));
            news.extend(late.filter(|(_, seq)| *seq <= unsure.upto_seq));
            // Whatever was found, a mark may claim more now.
            self.reading.is_due = true;
        }
        self.reading.unsure.retain(|unsure| !unsure.windows.is_empty());
        news.retain(|(id, seq)| {
            !self.is_own(window, *id) && !self.reading.has_seen_late(*id, *seq)
        });
        for (id, seq) in &news {
            self.unseen.add(*id, *seq);
        }
        if !news.is_empty() {
            self.changed.late = true;
            self.kept.saw();
        }
    }

    /// Whether the user of this replica wrote a message of a loaded window.
    pub(super) fn is_own(&self, window: Window, id: MessageId) -> bool {
        let loaded = self.windows.get(&window);
        self.outbox.get(id).is_some()
            || loaded
                .and_then(|loaded| loaded.content(id))
                .is_some_and(|content| content.from == self.user)
    }

    /// The unseen late messages as a mark tells them, with those that may be.
    pub(super) fn mark_runs(&self) -> Vec<LateRun> {
        let known = self.unseen.runs().map(|run| {
            let count = u32::try_from(run.count).unwrap_or(u32::MAX);
            LateRun { first: run.first, last: run.last, count }
        });
        let windows: BTreeSet<_> =
            self.reading.unsure.iter().flat_map(|unsure| &unsure.windows).collect();
        let entries = windows.into_iter().filter_map(|window| self.directory.get(*window));
        let maybe = entries.map(span_of).map(|(first, last)| LateRun { first, last, count: 0 });
        let mut runs: Vec<_> = known.chain(maybe).collect();
        runs.sort_unstable_by_key(|run| run.first);
        let mut apart: Vec<LateRun> = Vec::with_capacity(runs.len());
        for run in runs {
            match apart.last_mut().filter(|before| run.first <= before.last) {
                Some(before) => *before = and(*before, run),
                None => apart.push(run),
            }
        }
        join_oldest(apart)
    }

    /// Takes in the unseen late messages of the user as they were before this replica was there.
    pub(super) fn adopt(&mut self, told: &ReadState) {
        let upto_seq = told.seq.min(self.reading.first_seq);
        for run in &told.unseen_late {
            self.adopt_run(run, (0, upto_seq), BTreeSet::new());
        }
        let maybe = self.directory.iter().filter(|(_, entry)| is_maybe(told, entry));
        let windows = maybe.map(|(window, _)| window).collect();
        self.add_unsure(Unsure { since_seq: 0, upto_seq, windows });
        let unsure = Unsure::since(told.seq, self.reading.first_seq, &self.directory);
        self.add_unsure(unsure);
    }

    /// Another device told of the late messages that this one was not told of.
    pub(super) fn resolve_unsure(&mut self, told: &ReadState) {
        let is_open = |directory: &Directory, window: &Window| {
            directory.get(*window).is_some_and(|entry| is_maybe(told, entry))
        };
        let mut resolved = Vec::new();
        for unsure in self.reading.unsure.iter_mut().filter(|u| u.upto_seq <= told.seq) {
            let windows = std::mem::take(&mut unsure.windows);
            let (open, known): (BTreeSet<_>, BTreeSet<_>) =
                windows.into_iter().partition(|window| is_open(&self.directory, window));
            unsure.windows = open;
            resolved.push(((unsure.since_seq, unsure.upto_seq), known));
        }
        self.reading.unsure.retain(|unsure| !unsure.windows.is_empty());
        for (seqs, windows) in resolved {
            let entries = windows.iter().filter_map(|window| self.directory.get(*window));
            let spans: Vec<_> = entries.map(span_of).collect();
            for run in &told.unseen_late {
                if spans.iter().any(|span| reaches(run, *span)) {
                    // Of the other windows this replica knows what was seen.
                    let others = self.directory.iter().map(|(window, _)| window);
                    let listed = others.filter(|window| !windows.contains(window)).collect();
                    self.adopt_run(run, seqs, listed);
                }
            }
        }
    }

    fn adopt_run(
        &mut self,
        run: &LateRun,
        (since_seq, upto_seq): (u64, u64),
        listed: BTreeSet<Window>,
    ) {
        let span = run.first..=run.last;
        let known = self.unseen.seqs_in(&span).into_iter();
        let known = known.filter(|(_, seq)| (since_seq + 1..=upto_seq).contains(seq)).count();
        let left = u64::from(run.count).saturating_sub(known as u64);
        let blocks = self.unseen.blocks_in(&span).into_iter();
        let in_blocks: u64 = blocks.map(|(_, block)| block.run.count).sum();
        // Those of a block may be others. One too many is put right when its window is loaded.
        let count = left.saturating_sub(in_blocks).max(left.min(1));
        if count > 0 && since_seq < upto_seq {
            let run = UnseenRun { first: run.first, last: run.last, count };
            let partly = BTreeMap::new();
            self.unseen.add_block(Block { run, since_seq, upto_seq, listed, partly });
            self.changed.late = true;
        }
    }
}
