//! A replica of one channel: directory, loaded segments, timeline and outbox, kept in step.
//!
//! What the relay says comes in by [`Channel::opened`], [`Channel::change`] and
//! [`Channel::answer`]; what this client writes by [`Channel::send`], and goes out by
//! [`Channel::next_push`]. Rows are asked for by [`Channel::view`]. A replica knows nothing of
//! frames, connections or timers; those are `client.rs`.
//!
//! **Counts.** A row of the timeline is a message of a loaded window, a message of this client that
//! no loaded window has (its holder is None), or one of a hole. A hole stands for what the directory
//! counts in its window, less the own messages that are shown and counted there as well.
//!
//! **Currency.** A loaded window that lacks something the directory counts (after a resume) is
//! *behind*: a hole beside its messages stands for those it lacks, live changes are only counted,
//! and it is fetched again from where it stands. While a fetch is out the window's changes are kept,
//! and those above the answer's seq applied to it.

mod annotate;
mod answer;
mod fetches;
mod inbox;
mod kept;
mod loaded;
mod notes;
mod outbox;
mod place;
mod reading;
mod receive;
mod restore;
mod rows;
mod unseen;
mod unsure;

pub use crate::late::{Unseen, UnseenRun};
pub(crate) use kept::{Repush, Secured};
pub use loaded::Problem;
pub use notes::Refusal;
pub use outbox::{Push, SendState};
pub use place::WritingTime;
pub use reading::{Reach, Receipts};
pub use receive::{Answer, AnswerTail, Arrival, ChannelError, Opened, SavedAnswer};
pub(crate) use restore::{OwnRecords, Restored};
use rows::window_of;
pub use rows::{Item, MessageRow, View};

use crate::directory::Directory;
use crate::message::{IdMaker, MessageId};
use crate::timeline::{Hole, HoleKey, Timeline};
use crate::window::Window;
use crate::wire::Cursor;
use kept::Kept;
use loaded::{Arrived, Loaded};
use notes::Notes;
use outbox::{Outbox, Stage};
use reading::Reading;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How many of the windows loaded last may stay beyond the budget: more than one place needs.
const RECENT_MAX: usize = 32;

/// Which loaded window a row's message is in; None for one of this client that is in none.
type Holder = Option<Window>;

/// Why rows changed since a host last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// A message of this client was written, or its state changed.
    pub sent: bool,
    /// New messages came in their turn.
    pub live: bool,
    /// Messages came late.
    pub late: bool,
    /// Something was said of messages that were there.
    pub edited: bool,
    /// A window was loaded, or dropped.
    pub loaded: bool,
    /// The directory was replaced.
    pub reset: bool,
    /// More was read on this device.
    pub read: bool,
}

impl Changed {
    /// Whether anything did.
    #[must_use]
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

/// A replica of one channel.
#[derive(Debug, Default)]
pub struct Channel {
    /// Whose replica it is: what this user wrote, on whichever device, is no news.
    user: String,
    directory: Directory,
    /// Where this replica stands in the relay's order; None until the directory came.
    head: Option<Cursor>,
    windows: BTreeMap<Window, Loaded>,
    /// Loaded windows with changes not applied yet.
    waiting: BTreeSet<Window>,
    /// Windows asked for, with the changes kept meanwhile.
    fetching: BTreeMap<Window, Vec<Arrived>>,
    /// Windows whose answers do not match the directory: not asked for again on this connection.
    damaged: BTreeSet<Window>,
    /// Windows that the relay would put no more messages into.
    full: BTreeSet<Window>,
    timeline: Timeline<Holder>,
    outbox: Outbox,
    notes: Notes,
    unseen: Unseen,
    reading: Reading,
    ids: IdMaker,
    /// When the connection was lost, by the relay's clock; None while it is there.
    complete_until_ms: Option<u64>,
    /// What a store has of all this, and lacks.
    kept: Kept,
    problems: Vec<Problem>,
    changed: Changed,
    /// Whether messages came into windows that are not loaded, which views may need now.
    holes_grown: bool,
    /// The windows loaded last, with the number of queries made before.
    recent: VecDeque<(Window, u64)>,
    /// Counts view queries, for the order of eviction.
    clock: u64,
}

impl Channel {
    /// A replica that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A user's replica that knows nothing yet.
    #[must_use]
    pub fn of_user(user: &str) -> Self {
        Self { user: user.to_owned(), ..Self::default() }
    }

    /// Where this replica stands; an `open` with it resumes.
    #[must_use]
    pub const fn head(&self) -> Option<&Cursor> {
        self.head.as_ref()
    }

    /// The windows of the channel, as far as known.
    #[must_use]
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Rows: messages known to exist and those of this client that wait.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.timeline.total()
    }

    /// Messages and annotations of this client that the relay does not have yet.
    #[must_use]
    pub fn pending_len(&self) -> usize {
        self.outbox.pending() + self.notes.pending()
    }

    /// Whether nothing waits for the relay, nor for a change to be passed over that it has already.
    #[must_use]
    pub(crate) fn is_sent(&self) -> bool {
        self.pending_len() == 0 && self.outbox.is_all_acked()
    }

    /// The state of a message of this client, None for any other.
    #[must_use]
    pub fn send_state(&self, id: MessageId) -> Option<SendState> {
        self.outbox.state(id)
    }

    /// The late messages that came and were not in view yet.
    #[must_use]
    pub const fn unseen(&self) -> &Unseen {
        &self.unseen
    }

    /// Marks a range as seen: late messages in it, and everything up to its end as read.
    pub fn mark_seen(&mut self, first: MessageId, last: MessageId) {
        self.see(last);
        self.late_seen(first, last);
    }

    /// Marks rows as seen that were in view, by ascending id: late messages among them, and
    /// everything up to the last as read. What stands between them and is not loaded was not seen.
    pub(crate) fn see_rows(&mut self, ids: &[MessageId]) {
        let Some((first, last)) = ids.first().zip(ids.last()) else { return };
        self.see(*last);
        for id in self.unseen.known_in(&(*first..=*last)) {
            if ids.binary_search(&id).is_ok() {
                self.late_seen(id, id);
            }
        }
    }

    /// Takes the late messages of a range out of the inbox.
    pub fn late_seen(&mut self, first: MessageId, last: MessageId) {
        if self.unseen.mark_seen(first, last) {
            self.changed.late = true;
            self.saw_more();
        }
    }

    /// Marks every late message as seen.
    pub fn mark_all_seen(&mut self) {
        if self.unseen.clear() {
            self.changed.late = true;
            self.saw_more();
        }
    }

    /// What changed since this was last called.
    pub fn take_changed(&mut self) -> Changed {
        std::mem::take(&mut self.changed)
    }

    /// Whether rows changed since [`Channel::take_changed`], or changes wait for a batch.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.changed.any() || !self.waiting.is_empty()
    }

    /// Whether messages came since into windows that are not loaded.
    pub(crate) fn take_holes_grown(&mut self) -> bool {
        std::mem::take(&mut self.holes_grown)
    }

    /// What went wrong since this was last called.
    pub fn take_problems(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.problems)
    }

    /// Number of loaded windows.
    #[must_use]
    pub fn loaded_len(&self) -> usize {
        self.windows.len()
    }

    /// About how much memory the loaded windows take, in bytes, with changes that wait.
    ///
    /// # Complexity
    /// O(loaded windows and changes that wait).
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let bytes =
            |(window, loaded): (&Window, &Loaded)| loaded.memory_bytes(self.directory.get(*window));
        let kept = self.fetching.values().flatten().map(Arrived::memory_bytes);
        self.windows.iter().map(bytes).sum::<u64>() + kept.sum::<u64>()
    }

    /// Drops loaded windows back to holes, least recently viewed first, until they fit `bytes_max`.
    /// Those that a query touched after the first `keep_since` queries stay, and the last few that were
    /// loaded after the first `loaded_since`: where a hole lies is estimated, so that a view may need a
    /// window only as long as it is not loaded, and would ask for it again and again.
    ///
    /// # Complexity
    /// O(loaded windows) and the messages dropped.
    pub fn evict(&mut self, bytes_max: u64, keep_since: u64, loaded_since: u64) {
        let mut bytes = self.memory_bytes();
        if bytes <= bytes_max {
            return;
        }
        let recent = self.recent.iter().filter(|(_, clock)| *clock >= loaded_since);
        let recent: BTreeSet<_> = recent.map(|(window, _)| *window).collect();
        let idle = |(window, loaded): (&Window, &Loaded)| {
            let busy = recent.contains(window)
                || loaded.has_waiting()
                || self.fetching.contains_key(window)
                || self.notes.is_flying(*window);
            (!busy && loaded.used < keep_since).then_some((loaded.used, *window))
        };
        let mut idle: Vec<_> = self.windows.iter().filter_map(idle).collect();
        idle.sort_unstable();
        for (_, window) in idle {
            if bytes <= bytes_max {
                return;
            }
            let entry = self.directory.get(window);
            bytes -= self.windows.get(&window).map_or(0, |loaded| loaded.memory_bytes(entry));
            self.unload(window);
            self.changed.loaded = true;
        }
    }

    /// How many queries were made: what a query touches from now on has a greater number.
    #[must_use]
    pub const fn queries(&self) -> u64 {
        self.clock
    }

    /// Puts a hole in the place of a loaded window.
    fn unload(&mut self, window: Window) {
        let Some(loaded) = self.windows.remove(&window) else { return };
        self.waiting.remove(&window);
        self.kept.unloaded(window);
        let ids: Vec<_> = loaded.ids().map(MessageId::as_u128).collect();
        // Own messages that the relay has leave with their window: the hole counts them.
        let hole = self.hole_of(window).unwrap_or_else(|| empty_hole(window));
        let left = self.timeline.unload(&ids, |holder| holder == Some(window), hole);
        debug_assert!(left.is_ok(), "a loaded window has ascending ids");
    }

    /// Sets the hole of a window to what the directory counts in it and is not loaded.
    fn refresh_hole(&mut self, window: Window) {
        match self.hole_of(window) {
            Some(hole) => {
                let set = self.timeline.set_hole(hole);
                debug_assert!(set.is_ok(), "a directory entry lies in its window");
            }
            None => {
                self.timeline.remove_hole(key_of(window));
            }
        }
    }

    fn hole_of(&self, window: Window) -> Option<Hole> {
        let entry = self.directory.get(window)?;
        let there = match self.windows.get(&window) {
            // What waits for the next batch is there as well, and in no fact yet.
            Some(loaded) if loaded.has_messages_of(entry) => return None,
            Some(loaded) => loaded.len(),
            None => 0,
        };
        let counted = |own: &outbox::Own| matches!(own.stage, Stage::Relayed { seq: Some(seq) } if seq <= entry.message_doc.last_seq);
        let shown = |id: MessageId| self.timeline.get(id.as_u128()) == Some(None);
        let own = self.outbox.in_window(window).filter(|(id, own)| counted(own) && shown(*id));
        let count = entry.messages.saturating_sub(own.count() as u64 + there);
        Some(Hole {
            level: window.level(),
            start_ms: window.start_ms(),
            min_ms: entry.first_ms,
            max_ms: entry.last_ms,
            count: u32::try_from(count).unwrap_or(u32::MAX),
        })
    }

    /// Lets a loaded window hold a message, unless a window before it does (design 4.3).
    fn hold(timeline: &mut Timeline<Holder>, id: MessageId, window: Window) {
        if timeline.insert(id.as_u128(), Some(window)) {
            return;
        }
        let holder = timeline.get(id.as_u128()).flatten();
        if holder.is_none_or(|holder| window < holder) {
            timeline.replace(id.as_u128(), Some(window));
        }
    }

    /// Checks what the other methods rely on.
    ///
    /// # Errors
    /// A sentence about the first disagreement found.
    ///
    /// # Complexity
    /// O(everything held).
    pub fn check_invariants(&self) -> Result<(), String> {
        self.timeline.check_invariants()?;
        self.outbox.check_invariants()?;
        self.notes.check_invariants()?;
        self.check_kept()?;
        self.unseen.check_invariants()?;
        for (window, loaded) in &self.windows {
            let current = self.directory.get(*window).is_some_and(|entry| loaded.is_current(entry));
            if loaded.has_waiting() && !current {
                return Err(format!("window {window} is behind and takes live changes"));
            }
            if loaded.has_waiting() != self.waiting.contains(window) {
                return Err(format!("window {window} has changes waiting, unnoticed"));
            }
            let missing = loaded.ids().find(|id| {
                !matches!(self.timeline.get(id.as_u128()), Some(Some(holder)) if holder <= *window)
            });
            if let Some(id) = missing {
                return Err(format!("message {id} of window {window} is not shown"));
            }
        }
        for (window, _) in self.directory.iter() {
            let hole = self.timeline.holes().get(key_of(window)).map(|hole| hole.count);
            let expected = self.hole_of(window).map(|hole| hole.count).filter(|count| *count > 0);
            if hole.filter(|count| *count > 0) != expected {
                return Err(format!("the hole {window} counts {hole:?}, not {expected:?}"));
            }
        }
        for (id, own) in self.outbox.iter() {
            let waits = !matches!(own.stage, Stage::Relayed { .. });
            if waits && self.timeline.get(id.as_u128()).is_none() {
                return Err(format!("own message {id} is not shown"));
            }
        }
        Ok(())
    }
}

const fn key_of(window: Window) -> HoleKey {
    HoleKey { level: window.level(), start_ms: window.start_ms() }
}

const fn empty_hole(window: Window) -> Hole {
    let start_ms = window.start_ms();
    Hole { level: window.level(), start_ms, min_ms: start_ms, max_ms: start_ms, count: 0 }
}
