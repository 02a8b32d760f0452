//! A window as a `segment` frame.

use super::outgoing::PartIds;
use crate::reader::{HaveSeqs, SegmentAnswer, View};
use crate::reads::Unread;
use backscroll_core::directory::Directory;
use backscroll_core::window::Window;
use backscroll_core::wire::{Have, RelayFrame, encode_late, encode_seqs};
use tokio_tungstenite::tungstenite::Message;

/// The window for a client that has `have` of it.
pub(super) fn frames(
    view: &View<'_>,
    channel: &str,
    reference: u64,
    have: &Have,
    parts: &PartIds,
) -> Result<Vec<Message>, Unread> {
    let has = HaveSeqs {
        generation: have.generation,
        messages: have.messages_seq,
        annotations: have.annotations_seq,
    };
    let answer = view.segment(channel, have.window, has)?;
    Ok(parts.messages(&segment(reference, channel, have.window, answer)))
}

fn segment(reference: u64, channel: &str, window: Window, answer: SegmentAnswer) -> RelayFrame {
    let entry = answer.entry.map(|entry| {
        let mut one = Directory::new();
        one.set(window, entry);
        one.encode()
    });
    RelayFrame::Segment {
        reference,
        channel: channel.to_owned(),
        window,
        as_of: answer.as_of,
        entry: entry.unwrap_or_default(),
        messages: answer.messages,
        seqs: encode_seqs(answer.seqs),
        late: encode_late(answer.late),
        message_tail: answer.message_tail,
        annotations: answer.annotations,
        annotation_tail: answer.annotation_tail,
    }
}
