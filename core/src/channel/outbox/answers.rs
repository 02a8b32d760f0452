//! What the relay says of pushes, and what becomes of the messages: relayed, failed, written anew.

use super::{Flight, MessageId, Outbox, Refused, Stage, Window};
use crate::change::ChangeHash;
use std::collections::BTreeSet;

/// How long a message waits that the relay still takes for one from the future, in ms.
const POSTPONE_MS: u64 = 30_000;

/// How long a message waits for the news of an erasure that voided its window, in ms.
const ERASED_MS: u64 = 1_000;

impl Outbox {
    /// The relay has stored a push, or a prefix of it: the first seq of each change. Returns the
    /// messages concerned.
    pub(crate) fn acked(&mut self, reference: u64, seqs: &[u64]) -> Vec<MessageId> {
        let Some((number, flight)) = self.flight(reference) else { return Vec::new() };
        let Some(document) = self.documents.get_mut(&number) else { return Vec::new() };
        let count = seqs.len().min(flight.count);
        let stored = document.changes.iter().skip(flight.first).take(count);
        let ids: Vec<_> = stored.map(|change| change.id).collect();
        document.acked = document.acked.max(flight.first + count);
        if count == flight.count {
            document.flight = None;
        }
        self.settle(number);
        for (id, seq) in ids.iter().zip(seqs) {
            self.set_stage(*id, Stage::Relayed { seq: Some(*seq) });
        }
        ids
    }

    /// The relay has refused the change `index` of a push, and with it those that follow.
    ///
    /// Its document takes no more messages; what follows is written anew, ids and window unchanged.
    pub(crate) fn nacked(
        &mut self,
        reference: u64,
        index: usize,
        code: &str,
        now_ms: u64,
    ) -> Refused {
        let Some((number, flight)) = self.flight(reference) else { return Refused::Unknown };
        let Some(document) = self.documents.get_mut(&number) else { return Refused::Unknown };
        document.flight = None;
        let is_restored = document.is_restored;
        let at = flight.first + index.min(flight.count.saturating_sub(1));
        let Some(refused) = document.changes.get(at).map(|change| change.id) else {
            return Refused::Unknown;
        };
        let window = document.window;
        let stored = document.changes.iter().take(at).skip(flight.first);
        let stored: Vec<_> = stored.map(|change| change.id).collect();
        document.acked = document.acked.max(at);
        self.withdraw(number, at, 0);
        for id in stored {
            if matches!(self.own.get(&id).map(|own| &own.stage), Some(Stage::Written)) {
                self.set_stage(id, Stage::Relayed { seq: None });
            }
        }
        let is_found = !self.is_waiting(refused);
        match code {
            // It came meanwhile, by the change of a sibling.
            _ if is_found => Refused::Unknown,
            "duplicate" => {
                self.held.remove(&refused);
                self.leave_window(refused);
                self.set_stage(refused, Stage::Relayed { seq: None });
                Refused::Duplicate(refused)
            }
            "window_full" => {
                self.leave_window(refused);
                self.forget_windows(window);
                Refused::WindowFull(refused, window)
            }
            // What came before it in its document was lost here, or at a relay that was restored:
            // written anew.
            "bad_change" if is_restored => Refused::Postponed(refused),
            // Erased meanwhile: written anew for the window as it is now.
            "stale_generation" => self.postpone(refused, now_ms.saturating_add(ERASED_MS)),
            "future_id" => self.postpone(refused, now_ms.saturating_add(POSTPONE_MS)),
            _ => {
                self.fail(refused, code);
                Refused::Failed(refused)
            }
        }
    }

    fn postpone(&mut self, id: MessageId, not_before_ms: u64) -> Refused {
        self.set_stage(id, Stage::Held { not_before_ms });
        Refused::Postponed(id)
    }

    /// A change of this client came back from the relay, in the channel's order.
    pub(crate) fn confirmed(&mut self, hash: &ChangeHash, seq: u64) -> Option<MessageId> {
        let id = *self.by_hash.get(hash)?;
        self.set_stage(id, Stage::Relayed { seq: Some(seq) });
        Some(id)
    }

    /// Whether a message is not known to be at the relay.
    pub(crate) fn is_waiting(&self, id: MessageId) -> bool {
        let stage = self.own.get(&id).map(|own| &own.stage);
        stage.is_some_and(|stage| !matches!(stage, Stage::Relayed { .. }))
    }

    /// The name of a message's change, if it is in an own-document.
    pub(crate) fn hash_of(&self, id: MessageId) -> Option<ChangeHash> {
        self.own.get(&id).and_then(|own| self.change_of(own)).map(|(_, change)| change.hash)
    }

    /// The relay has a message in this window. If `is_void`, by a change that is not this client's: a
    /// sibling wrote it as well. What this client wrote would be refused then, and is not pushed.
    pub(crate) fn found(&mut self, id: MessageId, window: Window, seq: u64, is_void: bool) {
        let Some(own) = self.own.get(&id) else { return };
        if let Some((number, position)) = own.place
            && let Some(document) = self.documents.get_mut(&number)
            && let Ok(at) = document.changes.binary_search_by_key(&position, |c| c.position)
            && let Some(change) = document.changes.get_mut(at)
        {
            change.is_void = is_void;
        }
        self.held.remove(&id);
        self.leave_window(id);
        self.by_window.entry(window).or_default().insert(id);
        if let Some(own) = self.own.get_mut(&id) {
            own.window = Some(window);
        }
        self.set_stage(id, Stage::Relayed { seq: Some(seq) });
    }

    /// The connection is gone: the fate of what was on its way is unknown, it is pushed again.
    pub(crate) fn disconnected(&mut self) {
        for document in self.documents.values_mut() {
            document.flight = None;
        }
    }

    /// The relay has another history: every seq is void, and every own change is pushed again.
    pub(crate) fn epoch_changed(&mut self) {
        for (number, document) in &mut self.documents {
            document.flight = None;
            document.acked = 0;
            for change in &mut document.changes {
                change.is_void = false;
            }
            if !document.changes.is_empty() {
                self.busy.insert(*number);
            }
        }
        let of_documents: BTreeSet<_> = self.by_hash.values().copied().collect();
        let ids: Vec<_> = self.own.keys().copied().collect();
        for id in ids {
            if matches!(self.own.get(&id).map(|own| &own.stage), Some(Stage::Relayed { .. })) {
                let known = of_documents.contains(&id);
                let stage = if known { Stage::Written } else { Stage::Relayed { seq: None } };
                // Its record stays where it is: the channel's says that these are pushed again.
                self.enter_stage(id, stage);
                self.relayed.remove(&id);
            }
        }
    }

    /// Whether a push is on its way.
    pub(crate) fn is_pushing(&self, reference: u64) -> bool {
        self.flight(reference).is_some()
    }

    fn flight(&self, reference: u64) -> Option<(u64, Flight)> {
        let mut flights =
            self.busy.iter().filter_map(|n| Some((*n, self.documents.get(n)?.flight?)));
        flights.find(|(_, flight)| flight.reference == reference)
    }

    /// Takes the changes from `at` on out of a document, retires it, and holds their messages.
    pub(super) fn withdraw(&mut self, number: u64, at: usize, not_before_ms: u64) {
        let Some(document) = self.documents.get_mut(&number) else { return };
        document.author = None;
        document.sent = document.sent.min(at);
        let window = document.window;
        let withdrawn = document.changes.split_off(at.min(document.changes.len()));
        if self.current.get(&window) == Some(&number) {
            self.current.remove(&window);
        }
        for change in &withdrawn {
            self.by_hash.remove(&change.hash);
        }
        self.settle(number);
        for change in withdrawn {
            if let Some(own) = self.own.get_mut(&change.id) {
                own.place = None;
            }
            if !change.is_void {
                self.hold_again(change.id, not_before_ms);
            }
        }
    }

    pub(super) fn hold_again(&mut self, id: MessageId, not_before_ms: u64) {
        self.held.insert(id);
        self.set_stage(id, Stage::Held { not_before_ms });
    }

    /// Held messages that were placed in a window that is full are placed anew.
    fn forget_windows(&mut self, window: Window) {
        for id in self.held.clone() {
            if self.own.get(&id).is_some_and(|own| own.window == Some(window)) {
                self.leave_window(id);
            }
        }
    }

    pub(super) fn leave_window(&mut self, id: MessageId) {
        let Some(own) = self.own.get_mut(&id) else { return };
        if let Some(window) = own.window.take()
            && let Some(ids) = self.by_window.get_mut(&window)
        {
            ids.remove(&id);
        }
        self.mark(id);
    }

    pub(super) fn settle(&mut self, number: u64) {
        let done = self.documents.get(&number).is_none_or(|d| d.acked >= d.changes.len());
        if done {
            self.busy.remove(&number);
        }
    }

    pub(super) fn set_stage(&mut self, id: MessageId, stage: Stage) {
        self.enter_stage(id, stage);
        self.mark(id);
    }

    fn enter_stage(&mut self, id: MessageId, stage: Stage) {
        let Some(own) = self.own.get_mut(&id) else { return };
        self.pending += usize::from(stage.waits());
        self.pending -= usize::from(own.stage.waits());
        own.stage = stage;
    }
}
