//! Events as frames: each encoded at most once per form, whoever many listen.

use super::Form;
use crate::commit::Committed;
use crate::ws::{json, sync};
use std::sync::Arc;
use tokio_tungstenite::tungstenite::Message;

/// An event, and its frames as far as anyone asked for them.
#[derive(Debug)]
pub(super) struct Encoded<'a> {
    event: &'a Committed,
    json: Option<Arc<[Message]>>,
    sync: Option<Arc<[Message]>>,
}

impl<'a> Encoded<'a> {
    /// An event that nobody asked for yet.
    pub(super) const fn new(event: &'a Committed) -> Self {
        Self { event, json: None, sync: None }
    }

    /// Its seq; what is not in the sequence comes after every snapshot.
    pub(super) const fn seq(&self) -> u64 {
        match self.event {
            Committed::Change(change) => change.first_seq,
            Committed::Mark(_) => u64::MAX,
            Committed::Entry(entry) => entry.seq,
            Committed::Dropped(dropped) => dropped.seq,
        }
    }

    /// The last seq of what it tells, if it is in the sequence.
    pub(super) fn last_seq(&self) -> Option<u64> {
        match self.event {
            Committed::Change(change) => Some(change.last_seq),
            Committed::Mark(_) => None,
            // The change that follows has the seq.
            Committed::Entry(_) => None,
            Committed::Dropped(dropped) => Some(dropped.seq),
        }
    }

    /// Its frames in `form`.
    pub(super) fn frames(&mut self, form: &Form) -> Arc<[Message]> {
        let (encoded, encode): (_, fn(&Committed) -> Vec<Message>) = match form {
            Form::Json => (&mut self.json, json::frames_of),
            Form::Sync { user } => match sync::own_frames_of(self.event) {
                // A user has a few devices: not worth a place to keep them.
                Some((own, frames)) if own == &**user => return frames.into(),
                _ => (&mut self.sync, sync::frames_of),
            },
        };
        encoded.get_or_insert_with(|| encode(self.event).into()).clone()
    }
}
