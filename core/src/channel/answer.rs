//! Whole windows: the answer to a fetch, loaded, checked and shown.

use super::loaded::Loaded;
use super::receive::{Answer, ChannelError, ids_of};
use super::{Channel, Problem, RECENT_MAX, key_of};
use crate::change::{ChangeView, DocKind};
use crate::directory::Entry;
use crate::message::MessageId;
use crate::storage::Fact;
use crate::window::Window;
use crate::wire::{decode_seqs, is_late};

impl Channel {
    /// Takes in the answer to a fetch: the window is loaded from then on.
    ///
    /// # Errors
    /// It does not load, or is not what its directory entry says. The window stays as it was and is
    /// not fetched again on this connection.
    ///
    /// # Complexity
    /// O(messages of the window).
    pub fn answer(&mut self, mut answer: Answer) -> Result<(), ChannelError> {
        let window = answer.window;
        self.flush();
        let asked = self.fetching.remove(&window);
        if asked.is_none() && self.windows.contains_key(&window) {
            // Not asked for, and older than what live changes have made of the window.
            return Ok(());
        }
        let kept = asked.unwrap_or_default();
        let Some(entry) = answer.entry else {
            // The relay has nothing of a window that its directory listed: nothing to show.
            return self.answer_failed(window, ChannelError::Mismatch(window));
        };
        let before = self.windows.remove(&window);
        let ids_before: Vec<_> = before.iter().flat_map(Loaded::ids).collect();
        let is_restored = before.as_ref().is_some_and(|before| before.is_restored);
        match load(before, &answer, &entry) {
            Ok(mut loaded) => {
                loaded.is_restored = false;
                if self.kept.is_on
                    && let Some(saved) = answer.messages.take_if(|_| answer.message_tail.is_empty())
                {
                    loaded.keep_bytes(saved.bytes);
                }
                // An erasure may have taken messages away.
                let gone = |id: &MessageId| loaded.fact(*id).is_none();
                let gone: Vec<_> = ids_before.into_iter().filter(gone).collect();
                self.take_out(window, &gone);
                gone.iter().for_each(|id| self.late_seen(*id, *id));
                self.windows.insert(window, loaded);
            }
            Err(error) => {
                // What was loaded may have taken part of the answer: back to a hole.
                self.forget(window, &ids_before);
                if is_restored {
                    // The store's part may be to blame: it is asked for whole.
                    self.kept.erased(window);
                    return Err(error);
                }
                return self.answer_failed(window, error);
            }
        }
        self.show(window);
        self.take_entry(window, entry);
        self.kept.loaded(window);
        for arrived in kept.into_iter().filter(|arrived| arrived.last_seq > answer.as_of) {
            self.keep(window, arrived, true);
        }
        self.refresh_hole(window);
        self.flush();
        self.list_late(window);
        self.drop_erased(window);
        self.drop_contradicted(window);
        self.changed.loaded = true;
        Ok(())
    }

    fn answer_failed(&mut self, window: Window, error: ChannelError) -> Result<(), ChannelError> {
        self.damaged.insert(window);
        self.problems.push(Problem { window, hash: None, text: error.to_string() });
        Err(error)
    }

    /// Puts a window's messages in the place of its hole.
    pub(super) fn show(&mut self, window: Window) {
        let Some(loaded) = self.windows.get_mut(&window) else { return };
        // As if a view had touched it: what was just asked for is not the first to be dropped.
        loaded.used = self.clock;
        self.recent.retain(|(recent, _)| *recent != window);
        self.recent.push_back((window, self.clock));
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
        let run: Vec<_> = loaded.ids().map(|id| (id.as_u128(), Some(window))).collect();
        let skipped = self.timeline.load(key_of(window), &run);
        debug_assert!(skipped.is_ok(), "a loaded window has ascending ids");
        for id in skipped.unwrap_or_default() {
            let holder = self.timeline.get(id).flatten();
            if holder.is_none_or(|holder| window < holder) {
                self.timeline.replace(id, Some(window));
            }
        }
        let newest = loaded.ids().last();
        if let Some(id) = newest {
            self.ids.observe(id);
        }
        self.find_loaded(window);
    }

    /// Finds messages that this client waits to push in a loaded window: the relay has them, by this
    /// client's change or by a sibling's.
    pub(super) fn find_loaded(&mut self, window: Window) {
        let Some(loaded) = self.windows.get(&window) else { return };
        let waiting = self.outbox.waiting();
        let found = waiting.filter_map(|id| Some((id, loaded.fact(id)?.seq, loaded.content(id)?)));
        for (id, seq, content) in found.collect::<Vec<_>>() {
            if self.outbox.get(id).is_some_and(|own| own.content == content) {
                let hash = self.outbox.hash_of(id);
                let is_void = !hash.is_some_and(|hash| loaded.has_change(&hash));
                self.outbox.found(id, window, seq, is_void);
                self.changed.sent = true;
            }
        }
        self.see_written();
    }

    /// Takes an answer's entry into the directory, unless live changes have moved it on.
    pub(super) fn take_entry(&mut self, window: Window, entry: Entry) {
        let age = |entry: &Entry| (entry.generation, entry.latest_seq());
        if self.directory.get(window).is_none_or(|known| age(known) <= age(&entry)) {
            self.directory.set(window, entry);
            self.kept.moved();
        }
    }

    fn take_out(&mut self, window: Window, ids: &[MessageId]) {
        for id in ids {
            if self.timeline.get(id.as_u128()) == Some(Some(window)) {
                self.timeline.remove(id.as_u128());
            }
        }
    }

    fn forget(&mut self, window: Window, ids: &[MessageId]) {
        self.take_out(window, ids);
        self.kept.unloaded(window);
        self.refresh_hole(window);
        self.changed.loaded = true;
    }
}

/// Loads an answer on its own or on top of what is there, and checks it against its entry.
fn load(before: Option<Loaded>, answer: &Answer, entry: &Entry) -> Result<Loaded, ChannelError> {
    let window = answer.window;
    let mut loaded = match before {
        Some(before) if before.generation == entry.generation => before,
        _ => Loaded::empty(window, entry.generation),
    };
    if let Some(saved) = &answer.messages {
        loaded.load(DocKind::Messages, &saved.bytes)?;
        let ids = loaded.ids_in_document();
        let seqs = decode_seqs(&saved.seqs, ids.len())?;
        for (at, (id, seq)) in ids.into_iter().zip(seqs).enumerate() {
            loaded.note(id, Fact { seq, late: is_late(&saved.late, at), arrived_ms: None });
        }
    }
    let chunks: Vec<_> = answer.message_tail.iter().map(|tail| &tail.chunk).collect();
    loaded.apply(DocKind::Messages, &chunks)?;
    for tail in &answer.message_tail {
        let view = ChangeView::read(&tail.chunk, window, DocKind::Messages)?;
        for (seq, (at, id)) in (tail.seq..).zip(ids_of(&view).into_iter().enumerate()) {
            loaded.note(id, Fact { seq, late: is_late(&tail.late, at), arrived_ms: None });
        }
    }
    if let Some(bytes) = &answer.annotations {
        loaded.load(DocKind::Annotations, bytes)?;
    }
    loaded.apply(DocKind::Annotations, &answer.annotation_tail)?;
    if !loaded.matches(entry) {
        return Err(ChannelError::Mismatch(window));
    }
    loaded.set_marks(entry);
    Ok(loaded)
}
