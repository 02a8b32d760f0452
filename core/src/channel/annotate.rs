//! Editing, deleting and reacting: from what the application says to a change of the annotations.

use super::Channel;
use super::notes::{NoteId, Refusal};
use super::outbox::Push;
use crate::annotation::{AnnotationKey, AnnotationValue, Annotations};
use crate::change::{ChangeBody, ChangeView, DocKind};
use crate::entropy::Entropy;
use crate::message::MessageId;
use crate::viewport::At;
use crate::window::Window;
use std::collections::{BTreeMap, BTreeSet};

/// Most notes in one change.
const NOTES_MAX: usize = 64;

/// Edits in one change are few enough to fit a chunk, in bytes of their values.
const NOTES_BYTES_MAX: usize = 96 * 1_024;

/// Messages that are looked for at a time, of those that notes are about and no loaded window has.
const SEEK_MAX: usize = 16;

impl Channel {
    /// Says something of a message: it is shown at once. False, and nothing is said, if the rows are
    /// known not to have the message.
    pub fn annotate(&mut self, key: AnnotationKey, value: AnnotationValue) -> bool {
        self.flush();
        if self.is_absent(key.id()) {
            return false;
        }
        self.notes.say(key, value);
        self.changed.edited = true;
        true
    }

    /// What the relay would not take of what was said, since this was last called.
    pub fn take_refusals(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.notes.refusals)
    }

    /// All that is said of a message, by the relay and by this client.
    pub(super) fn annotations(&self, id: MessageId, holder: Option<Window>) -> Annotations {
        let loaded = holder.and_then(|window| self.windows.get(&window));
        let mut annotations = loaded.map(|loaded| loaded.annotations(id)).unwrap_or_default();
        self.notes.overlay(id, &mut annotations);
        annotations
    }

    /// Writes the notes whose windows are loaded and current, once the directory is known.
    pub(crate) fn write_notes(&mut self, relay_now_ms: u64, entropy: &mut Entropy) {
        if self.notes.pending() == 0 || self.head.is_none() || self.outbox.is_blocked {
            return;
        }
        self.flush();
        self.land_notes();
        let mut by_window: BTreeMap<Window, Vec<(NoteId, AnnotationValue)>> = BTreeMap::new();
        let mut absent = Vec::new();
        for (id, value) in self.notes.due(relay_now_ms) {
            match self.timeline.get(id.0.as_u128()).flatten() {
                Some(window) => {
                    by_window.entry(window).or_default().push((id.clone(), value.clone()));
                }
                None if self.is_absent(id.0) => absent.push(id.clone()),
                None => {}
            }
        }
        for id in absent {
            self.notes.refuse(&id, "not_found");
            self.changed.edited = true;
        }
        for (window, notes) in by_window {
            self.write_window(window, notes, entropy);
        }
    }

    /// What this client said once and somebody took back since is not said again: its notes go that the
    /// relay has and a loaded window contradicts.
    ///
    /// # Complexity
    /// O(notes of the window's messages).
    pub(super) fn drop_contradicted(&mut self, window: Window) {
        let Some(loaded) = self.windows.get(&window) else { return };
        let entry = self.directory.get(window);
        let Some(entry) = entry.filter(|entry| loaded.is_current(entry)) else { return };
        let (first, last) = (entry.first_ms, entry.last_ms);
        let first = MessageId::first_of(first);
        let of = self.notes.relayed_reactions(first..=MessageId::from_parts(last, u128::MAX));
        let is_other = |(id, value): &(&NoteId, &AnnotationValue)| {
            loaded.fact(id.0).is_some()
                && !matches!(standing(&loaded.annotations(id.0), &id.1, value), Standing::Same)
        };
        let over: Vec<_> = of.filter(is_other).map(|(id, _)| id.clone()).collect();
        over.iter().for_each(|id| self.notes.remove(id));
    }

    /// The same for a window that is not loaded, by a change of it that is not of this client.
    pub(super) fn drop_overruled(&mut self, view: &ChangeView) {
        let ChangeBody::Annotations(ops) = &view.body else { return };
        for op in ops {
            let id = (op.target.id(), op.target.clone());
            if self.notes.relayed_reaction(&id).is_some_and(|value| *value != op.value) {
                self.notes.remove(&id);
            }
        }
    }

    fn land_notes(&mut self) {
        let (windows, fetching) = (&self.windows, &self.fetching);
        let landed = self.notes.land(|window, seq| match windows.get(&window) {
            Some(loaded) => loaded.seqs().1 >= seq,
            None => !fetching.contains_key(&window),
        });
        landed.into_iter().for_each(|window| self.drop_contradicted(window));
    }

    /// Writes one change with notes of a window, but for those that its document has already.
    fn write_window(
        &mut self,
        window: Window,
        notes: Vec<(NoteId, AnnotationValue)>,
        entropy: &mut Entropy,
    ) {
        let Some(loaded) = self.windows.get_mut(&window) else { return };
        let current = self.directory.get(window).is_some_and(|entry| loaded.is_current(entry));
        if !current || self.fetching.contains_key(&window) || self.notes.is_flying(window) {
            return;
        }
        let (mut entries, mut ids, mut bytes) = (Vec::new(), Vec::new(), 0);
        let notes_max = if self.notes.is_single(window) { 1 } else { NOTES_MAX };
        for (id, value) in notes {
            match standing(&loaded.annotations(id.0), &id.1, &value) {
                Standing::Same => self.notes.is_relayed(&id),
                Standing::Newer => self.notes.remove(&id),
                Standing::Other => {
                    bytes += size_of(&value);
                    if entries.len() >= notes_max || !ids.is_empty() && bytes > NOTES_BYTES_MAX {
                        break;
                    }
                    entries.push((id.1.clone(), value));
                    ids.push(id);
                }
            }
        }
        if entries.is_empty() {
            return;
        }
        match loaded.annotate(|| entropy.actor(), &entries) {
            Ok(authored) => self.notes.written(window, &ids, authored.hash, authored.chunk),
            Err(error) => {
                for id in &ids {
                    self.notes.refuse(id, "bad_request");
                }
                let text = error.to_string();
                self.problems.push(super::Problem { window, hash: None, text });
            }
        }
        self.changed.edited = true;
    }

    /// The next push of annotations, with its window's generation.
    pub(crate) fn next_note_push(&mut self, reference: u64) -> Option<(Push, u32)> {
        let (window, chunk) = self.notes.next_push(reference)?;
        let generation = self.directory.get(window).map_or(0, |entry| entry.generation);
        Some((
            Push { reference, window, doc: DocKind::Annotations, chunks: vec![chunk] },
            generation,
        ))
    }

    /// The windows that notes need: those that may have their messages, and are not loaded or behind.
    pub(super) fn needed_by_notes(&mut self) -> BTreeSet<Window> {
        let mut needed = BTreeSet::new();
        if self.notes.pending() == 0 || self.head.is_none() {
            return needed;
        }
        let ids: BTreeSet<_> = self.notes.due(u64::MAX).map(|(id, _)| id.0).collect();
        let is_open = |id: &MessageId| {
            let holder = self.timeline.get(id.as_u128()).flatten();
            let loaded = holder.and_then(|window| Some((window, self.windows.get(&window)?)));
            !loaded.is_some_and(|(window, loaded)| {
                self.directory.get(window).is_some_and(|entry| loaded.is_current(entry))
            })
        };
        let open: Vec<_> = ids.into_iter().filter(is_open).take(SEEK_MAX).collect();
        for id in open {
            needed.extend(self.windows_around(id));
        }
        needed
    }

    /// The windows that may have a message and are not loaded or are behind.
    fn windows_around(&mut self, id: MessageId) -> Vec<Window> {
        let own = self.outbox.get(id).and_then(|own| own.window);
        if let Some(window) = own.filter(|window| !self.windows.contains_key(window)) {
            // Its hole may count nothing but own messages, which are shown.
            return self.directory.get(window).map(|_| window).into_iter().collect();
        }
        let rows = self.timeline.rows(0..0);
        self.needed(At::Id(id), &rows)
    }

    /// Whether the channel is known not to have a message.
    fn is_absent(&self, id: MessageId) -> bool {
        let is_listed = || {
            let holes = self.timeline.holes();
            !holes.overlapping(id.time_ms()..=id.time_ms()).is_empty()
        };
        self.head.is_some()
            && self.timeline.get(id.as_u128()).is_none()
            && self.outbox.get(id).is_none()
            && self.fetching.is_empty()
            && self.kept.looking.is_empty()
            && !is_listed()
    }
}

/// How a note compares with what its document has.
enum Standing {
    Same,
    /// An edit that was made later.
    Newer,
    Other,
}

fn standing(there: &Annotations, key: &AnnotationKey, value: &AnnotationValue) -> Standing {
    let is_same = match (key, value) {
        (AnnotationKey::Reaction { user, emoji, .. }, AnnotationValue::Reaction(on)) => {
            there.reactions.get(emoji).is_some_and(|users| users.contains(user)) == *on
        }
        (_, AnnotationValue::Delete) => there.deleted,
        (_, AnnotationValue::Edit(edit)) => match &there.edit {
            Some(known) if known.edited_at > edit.edited_at => return Standing::Newer,
            known => known.as_ref() == Some(edit),
        },
        (_, AnnotationValue::Reaction(_)) => false,
    };
    if is_same { Standing::Same } else { Standing::Other }
}

fn size_of(value: &AnnotationValue) -> usize {
    match value {
        AnnotationValue::Edit(edit) => edit.to_bytes().map_or(0, |bytes| bytes.len()),
        AnnotationValue::Delete | AnnotationValue::Reaction(_) => 64,
    }
}
