//! Frames of `/sync` as WebSocket messages, cut into parts where they are large.

use super::About;
use crate::commit::{Committed, CommittedChange, CommittedDrop, CommittedEntry, CommittedMark};
use crate::refused::Refused;
use backscroll_core::directory::Directory;
use backscroll_core::limits::FRAME_BYTES_MAX;
use backscroll_core::wire::{Cursor, Epoch, RelayFrame, encode_relay, into_parts};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_tungstenite::tungstenite::Message;

/// Gives each frame of one connection that is cut into parts a number of its own.
#[derive(Clone, Debug, Default)]
pub(super) struct PartIds(Arc<AtomicU64>);

impl PartIds {
    /// The messages that carry `frame`: one, or its parts.
    pub(super) fn messages(&self, frame: &RelayFrame) -> Vec<Message> {
        let id = self.0.fetch_add(1, Ordering::Relaxed);
        into_parts(encode_relay(frame), id).into_iter().map(Message::binary).collect()
    }
}

/// The message that carries a frame that is never large.
pub(super) fn message(frame: &RelayFrame) -> Message {
    Message::binary(encode_relay(frame))
}

/// An `error` frame.
pub(super) fn error(refused: &Refused, about: About) -> Message {
    message(&RelayFrame::Error {
        code: refused.code.clone(),
        text: refused.text.clone(),
        channel: about.channel,
        reference: about.reference,
    })
}

/// What everyone gets who has the channel open.
pub(crate) fn frames_of(event: &Committed) -> Vec<Message> {
    match event {
        Committed::Change(change) => vec![changes(change)],
        Committed::Mark(mark) => {
            vec![message(&marks(CommittedMark { unseen_late: Vec::new(), ..mark.clone() }))]
        }
        Committed::Entry(entry) => vec![entries(entry)],
        Committed::Dropped(dropped) => opened_anew(dropped),
    }
}

/// What the user gets whose marks the event is about; `None` if it is about no one's.
pub(crate) fn own_frames_of(event: &Committed) -> Option<(&str, Vec<Message>)> {
    match event {
        Committed::Change(_) | Committed::Entry(_) | Committed::Dropped(_) => None,
        Committed::Mark(mark) => Some((&mark.user, vec![message(&marks(mark.clone()))])),
    }
}

fn changes(change: &CommittedChange) -> Message {
    message(&RelayFrame::Changes {
        channel: change.channel.as_ref().to_owned(),
        seq: change.first_seq,
        window: change.window,
        generation: change.generation,
        doc: change.doc,
        chunk: change.chunk.to_vec(),
        late: change.late.to_vec(),
    })
}

fn entries(entry: &CommittedEntry) -> Message {
    message(&RelayFrame::Entries {
        channel: entry.channel.as_ref().to_owned(),
        directory: Directory::of_one(entry.window, entry.entry).encode(),
    })
}

/// The channel as it is left, in the form of an answer to `open`. A directory too large for one frame
/// is not sent: whoever misses the seq of the mark opens the channel again.
fn opened_anew(dropped: &CommittedDrop) -> Vec<Message> {
    let frame = encode_relay(&RelayFrame::Opened {
        channel: dropped.channel.as_ref().to_owned(),
        head: Cursor { epoch: Epoch(dropped.epoch), seq: dropped.seq, hash: dropped.hash },
        resumed: false,
        directory: dropped.directory.encode(),
        total: dropped.total,
        late: Vec::new(),
        late_complete: true,
    });
    if frame.len() > FRAME_BYTES_MAX { Vec::new() } else { vec![Message::binary(frame)] }
}

fn marks(mark: CommittedMark) -> RelayFrame {
    RelayFrame::Marks {
        channel: mark.channel.as_ref().to_owned(),
        user: mark.user,
        seq: mark.seq,
        read: mark.read,
        delivered: (mark.delivered > 0).then_some(mark.delivered),
        unseen_late: mark.unseen_late,
    }
}
