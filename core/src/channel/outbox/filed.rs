//! The records of own messages: which are to be written, and what a stored one brings back.
//!
//! A message that the relay does not have is in family 2 of the store, written at once; one that it
//! has is in family 6, moved there with the channel record that counts it. A restored own-document is
//! retired: it pushes what it has, in order, and takes no more.

use super::{Outbox, Own, OwnChange, OwnDocument, Stage};
use crate::change::ChangeHash;
use crate::message::MessageId;
use crate::storage::{Key, OwnRecord, OwnStage, StoredRecord, WrittenChange};
use crate::window::Window;

/// Where the store has a message, as far as this client told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::channel) enum Filed {
    Nowhere,
    Unsent,
    Relayed,
}

impl Outbox {
    /// Has a store keep the messages from now on.
    pub(crate) const fn start_keeping(&mut self) {
        self.is_kept = true;
    }

    /// No store keeps them any more: nothing waits for one.
    pub(crate) fn stop_keeping(&mut self) {
        self.is_kept = false;
        self.urgent.clear();
        self.relayed.clear();
    }

    /// Notes that a message's record is not what it should be.
    pub(super) fn mark(&mut self, id: MessageId) {
        if !self.is_kept {
            return;
        }
        let has_relayed_it = match self.own.get(&id) {
            Some(Own { stage: Stage::Relayed { .. }, filed, .. }) => Some(*filed),
            _ => None,
        };
        match has_relayed_it {
            Some(filed) => {
                self.urgent.remove(&id);
                if filed != Filed::Relayed {
                    self.relayed.insert(id);
                }
            }
            None => {
                self.relayed.remove(&id);
                self.urgent.insert(id);
            }
        }
    }

    /// Whether records are to be written at once.
    pub(crate) fn has_urgent(&self) -> bool {
        !self.urgent.is_empty()
    }

    /// How many records are to be moved.
    pub(crate) fn relayed_len(&self) -> usize {
        self.relayed.len()
    }

    /// The records to be written at once, and the changes that are stored with them.
    pub(crate) fn take_urgent(&mut self, channel: &str) -> (Vec<StoredRecord>, Vec<ChangeHash>) {
        let (mut records, mut hashes) = (Vec::new(), Vec::new());
        for id in std::mem::take(&mut self.urgent) {
            let unsent = Key::Unsent { channel: channel.to_owned(), id };
            let Some((record, filed)) = self.record(id) else {
                records.push(unsent.deletion());
                continue;
            };
            if let OwnStage::Written(change) = &record.stage {
                hashes.push(change.hash);
            }
            records.push(record.to_stored(&unsent));
            if filed == Filed::Relayed {
                records.push(Key::Relayed { channel: channel.to_owned(), id }.deletion());
            }
            self.file(id, Filed::Unsent);
        }
        (records, hashes)
    }

    /// The records to be moved, of messages that `is_counted` by the channel record.
    pub(crate) fn take_relayed(
        &mut self,
        channel: &str,
        is_counted: impl Fn(&Own, u64) -> bool,
    ) -> Vec<StoredRecord> {
        let mut records = Vec::new();
        for id in std::mem::take(&mut self.relayed) {
            let Some(own) = self.own.get(&id) else { continue };
            let counted = match own.stage {
                Stage::Relayed { seq: Some(seq) } => is_counted(own, seq),
                _ => true,
            };
            if !counted {
                self.relayed.insert(id);
                continue;
            }
            records.push(Key::Unsent { channel: channel.to_owned(), id }.deletion());
            // One that the relay had from elsewhere has no change that could be pushed again.
            if let Some((record @ OwnRecord { stage: OwnStage::Written(_), .. }, _)) =
                self.record(id)
            {
                records.push(record.to_stored(&Key::Relayed { channel: channel.to_owned(), id }));
            }
            self.file(id, Filed::Relayed);
        }
        records
    }

    fn file(&mut self, id: MessageId, filed: Filed) {
        if let Some(own) = self.own.get_mut(&id) {
            own.filed = filed;
        }
    }

    /// What a message's record should be, and where it is; None if there is no such message.
    fn record(&self, id: MessageId) -> Option<(OwnRecord, Filed)> {
        let own = self.own.get(&id)?;
        let stage = match (&own.stage, self.change_of(own)) {
            (Stage::Failed { code }, _) => OwnStage::Failed { code: code.clone() },
            (Stage::Written | Stage::Relayed { .. }, Some((document, change))) => {
                OwnStage::Written(WrittenChange {
                    hash: change.hash,
                    actor: document.actor,
                    position: change.position,
                    chunk: change.chunk.clone(),
                    body_len: change.body_len,
                })
            }
            (Stage::Held { not_before_ms }, _) => OwnStage::Held { not_before_ms: *not_before_ms },
            (Stage::Written | Stage::Relayed { .. }, None) => OwnStage::Held { not_before_ms: 0 },
        };
        let (content, written_ms) = (own.content.clone(), own.written_ms);
        Some((OwnRecord { content, written_ms, window: own.window, stage }, own.filed))
    }

    pub(super) fn change_of(&self, own: &Own) -> Option<(&OwnDocument, &OwnChange)> {
        let (number, position) = own.place?;
        let document = self.documents.get(&number)?;
        let at = document.changes.binary_search_by_key(&position, |change| change.position).ok()?;
        Some((document, document.changes.get(at)?))
    }

    /// The store has a change: it may be pushed.
    pub(crate) fn is_stored(&mut self, hash: &ChangeHash) {
        let Some((number, position)) =
            self.by_hash.get(hash).and_then(|id| self.own.get(id)).and_then(|own| own.place)
        else {
            return;
        };
        if let Some(document) = self.documents.get_mut(&number)
            && let Ok(at) = document.changes.binary_search_by_key(&position, |c| c.position)
            && let Some(change) = document.changes.get_mut(at)
        {
            change.is_stored = true;
        }
    }

    /// Takes a message of the store in, unless there is one of its id already; whether it did.
    /// `foreign_until_ms` is given for one that another client wrote just now: it is not pushed
    /// before that time of the relay's clock.
    pub(crate) fn restore(
        &mut self,
        id: MessageId,
        record: OwnRecord,
        filed: Filed,
        foreign_until_ms: Option<u64>,
    ) -> bool {
        if self.own.contains_key(&id) {
            return false;
        }
        let not_before = foreign_until_ms.unwrap_or(0);
        let stage = match &record.stage {
            OwnStage::Held { not_before_ms } => {
                Stage::Held { not_before_ms: not_before.max(*not_before_ms) }
            }
            OwnStage::Written(_) => Stage::Written,
            OwnStage::Failed { code } => Stage::Failed { code: code.clone() },
        };
        let is_foreign = foreign_until_ms.is_some();
        let own = Own::new(record.content, record.written_ms, stage);
        self.enter(id, Own { window: record.window, filed, is_foreign, ..own });
        if let (OwnStage::Written(change), Some(window)) = (record.stage, record.window) {
            self.restore_change(id, window, change, not_before);
        }
        true
    }

    /// Puts a stored change in its place in its own-document.
    fn restore_change(
        &mut self,
        id: MessageId,
        window: Window,
        change: WrittenChange,
        not_before_ms: u64,
    ) {
        let (number, at) = self.restored_place(window, &change);
        let Some(document) = self.documents.get_mut(&number) else { return };
        let WrittenChange { hash, position, chunk, body_len, .. } = change;
        let mut change = OwnChange::new(id, position, hash, chunk, body_len);
        change.is_stored = true;
        document.changes.insert(at, change);
        document.not_before_ms = document.not_before_ms.max(not_before_ms);
        document.acked = document.acked.min(at);
        // Whether it was pushed is not known, so it cannot be written anew.
        document.sent = document.changes.len();
        self.busy.insert(number);
        self.by_hash.insert(hash, id);
        if let Some(own) = self.own.get_mut(&id) {
            own.place = Some((number, position));
        }
    }

    /// The document that a stored change belongs to, and its index there: a document of its own if
    /// the place is taken, or changes behind it are on their way.
    fn restored_place(&mut self, window: Window, change: &WrittenChange) -> (u64, usize) {
        let known = self.restored.get(&(window, change.actor)).copied();
        if let Some(number) = known
            && let Some(document) = self.documents.get(&number)
        {
            let place =
                document.changes.binary_search_by_key(&change.position, |known| known.position);
            let moving = document.flight.map_or(0, |flight| flight.first + flight.count);
            if let Err(at) = place
                && at >= moving
            {
                return (number, at);
            }
        }
        let number = self.next_document;
        self.next_document += 1;
        self.restored.insert((window, change.actor), number);
        let document = OwnDocument { is_restored: true, ..OwnDocument::new(window, change.actor) };
        self.documents.insert(number, document);
        (number, 0)
    }

    /// Messages between two that wait and are another client's to relay or drop.
    pub(crate) fn foreign_between(&self, first: MessageId, last: MessageId) -> Vec<MessageId> {
        let between = self.own.range(first..=last);
        between.filter(|(id, own)| self.is_siblings(**id, own)).map(|(id, _)| *id).collect()
    }

    /// Whether the store says what becomes of a message: another client wrote it, or it failed, so
    /// that any client may try it again or drop it. Not while this one has something to write of it.
    fn is_siblings(&self, id: MessageId, own: &Own) -> bool {
        let is_open = match own.stage {
            Stage::Relayed { .. } => false,
            Stage::Failed { .. } => true,
            Stage::Held { .. } | Stage::Written => own.is_foreign,
        };
        is_open && !self.urgent.contains(&id)
    }

    /// Forgets a message of another client, unless it is on its way; whether it did.
    pub(crate) fn drop_foreign(&mut self, id: MessageId) -> bool {
        let Some(own) = self.own.get(&id) else { return false };
        if let Some((number, position)) = own.place {
            let Some(document) = self.documents.get_mut(&number) else { return false };
            if document.flight.is_some() {
                return false;
            }
            document.changes.retain(|change| change.position != position);
            document.sent = document.sent.min(document.changes.len());
            document.acked = document.acked.min(document.changes.len());
            self.by_hash.retain(|_, known| *known != id);
            self.settle(number);
        }
        self.held.remove(&id);
        self.leave_window(id);
        self.pending -= self.own.remove(&id).map_or(0, |own| usize::from(own.stage.waits()));
        // Its record is not this client's to delete.
        self.urgent.remove(&id);
        true
    }

    /// Forgets another client's message if its record says something else of it now: that it was
    /// refused, or is tried again. Whether it did.
    pub(crate) fn drop_outdated(&mut self, id: MessageId, record: &OwnRecord) -> bool {
        let Some(own) = self.own.get(&id).filter(|own| self.is_siblings(id, own)) else {
            return false;
        };
        let had_failed = matches!(own.stage, Stage::Failed { .. });
        had_failed != matches!(record.stage, OwnStage::Failed { .. }) && self.drop_foreign(id)
    }

    /// Whether what is to be written agrees with the messages themselves.
    pub(super) fn check_filed(&self) -> Result<(), String> {
        if !self.is_kept && (!self.urgent.is_empty() || !self.relayed.is_empty()) {
            return Err("records are to be written, and there is no store".to_owned());
        }
        for id in &self.relayed {
            let stage = self.own.get(id).map(|own| &own.stage);
            if self.urgent.contains(id) || !matches!(stage, Some(Stage::Relayed { .. })) {
                return Err(format!("the record of {id} is to be moved by mistake"));
            }
        }
        for (id, own) in self.own.iter().filter(|_| self.is_kept) {
            let is_known =
                own.filed != Filed::Nowhere || matches!(own.stage, Stage::Relayed { .. });
            if !is_known && !self.urgent.contains(id) {
                return Err(format!("message {id} has no record"));
            }
        }
        Ok(())
    }
}
