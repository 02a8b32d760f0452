//! Events of `/ws` as JSON text frames (design 8.2).

use crate::commit::{Committed, Published, Sent};
use crate::index::{MessageJson, MessageRow};
use crate::reader::History;
use crate::refused::Refused;
use backscroll_core::message::MessageId;
use serde::{Serialize, Serializer};
use tokio_tungstenite::tungstenite::Message;

/// The `history` event, and the answer to its HTTP form.
#[derive(Debug, Serialize)]
struct HistoryEvent<'a> {
    event: &'static str,
    channel: &'a str,
    messages: Rows<'a>,
    start: u64,
    total: u64,
    found_oldest: bool,
    found_newest: bool,
    seq: u64,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
}

#[derive(Debug)]
struct Rows<'a> {
    channel: &'a str,
    rows: &'a [MessageRow],
}

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.rows.iter().map(|row| row.json(self.channel)))
    }
}

#[derive(Debug, Serialize)]
struct LiveEvent<'a> {
    event: &'static str,
    channel: &'a str,
    message: MessageJson<'a>,
    index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
}

#[derive(Debug, Serialize)]
struct AckEvent<'a> {
    event: &'static str,
    id: MessageId,
    seq: u64,
    duplicate: bool,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct ErrorEvent<'a> {
    event: &'static str,
    code: &'a str,
    message: &'a str,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
}

/// The `history` event as JSON text.
pub(crate) fn history(channel: &str, history: &History, reference: Option<&str>) -> String {
    json(&HistoryEvent {
        event: "history",
        channel,
        messages: Rows { channel, rows: &history.messages },
        start: history.start,
        total: history.total,
        found_oldest: history.found_oldest,
        found_newest: history.found_newest,
        seq: history.seq,
        reference,
    })
}

/// The `ack` event.
pub(super) fn ack(sent: &Sent, reference: Option<&str>) -> Message {
    let Sent { id, seq, duplicate } = *sent;
    Message::text(json(&AckEvent { event: "ack", id, seq, duplicate, reference }))
}

/// The `error` event.
pub(super) fn error(refused: &Refused, reference: Option<&str>) -> Message {
    let (code, message) = (refused.code.as_str(), refused.text.as_str());
    Message::text(json(&ErrorEvent { event: "error", code, message, reference }))
}

/// The `message` and `update` events of what was committed.
pub(crate) fn frames_of(event: &Committed) -> Vec<Message> {
    let Committed::Change(change) = event else {
        // Marks of others and windows are not part of the JSON interface; what an erasure leaves of a
        // message is told by the change that deletes it.
        return Vec::new();
    };
    let live = |event, published: &Published, total| {
        Message::text(json(&LiveEvent {
            event,
            channel: &change.channel,
            message: published.row.json(&change.channel),
            index: published.index,
            total,
        }))
    };
    let messages = change.messages.iter().map(|new| live("message", new, Some(new.total)));
    let updates = change.updates.iter().map(|update| live("update", update, None));
    messages.chain(updates).collect()
}

fn json(event: &impl Serialize) -> String {
    // Text keys and plain values only: nothing that JSON cannot hold.
    serde_json::to_string(event).unwrap_or_default()
}
