//! Events of `/ws` as JSON text frames (design 8.2).

use crate::commit::{Committed, CommittedDrop, Published, Sent};
use crate::index::{MessageJson, MessageRow};
use crate::reader::History;
use crate::refused::Refused;
use crate::view::ViewDelta;
use backscroll_core::late::{Late, LateRun};
use backscroll_core::message::MessageId;
use backscroll_core::viewport::Reason;
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

/// The `view` event: all rows of a live view.
#[derive(Debug, Serialize)]
struct ViewEvent<'a> {
    event: &'static str,
    channel: &'a str,
    messages: Rows<'a>,
    start: u64,
    total: u64,
    found_oldest: bool,
    found_newest: bool,
    late: LateBody,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
}

/// The `view-delta` event: what changed in a live view. All numbers are as after it.
#[derive(Debug, Serialize)]
struct ViewDeltaEvent<'a> {
    event: &'static str,
    channel: &'a str,
    reason: &'static str,
    start: u64,
    inserted: Vec<RowBody<'a>>,
    updated: Vec<RowBody<'a>>,
    removed: Vec<RemovedBody>,
    above: u64,
    below: u64,
    total: u64,
    late: LateBody,
}

#[derive(Debug, Serialize)]
struct RowBody<'a> {
    index: u64,
    message: MessageJson<'a>,
}

#[derive(Debug, Serialize)]
struct RemovedBody {
    index: u64,
    id: MessageId,
}

/// Late messages around a live view.
#[derive(Debug, Serialize)]
struct LateBody {
    above: u64,
    below: u64,
    runs: Vec<LateRunBody>,
}

#[derive(Debug, Serialize)]
struct LateRunBody {
    first: MessageId,
    last: MessageId,
    count: u64,
    from: u64,
    to: u64,
}

impl From<&Late> for LateBody {
    fn from(late: &Late) -> Self {
        let run = |run: &LateRun| LateRunBody {
            first: run.first,
            last: run.last,
            count: run.count,
            from: run.from_ms,
            to: run.to_ms,
        };
        let runs = late.runs.iter().map(run).collect();
        Self { above: late.above, below: late.below, runs }
    }
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

/// The `view` event.
pub(super) fn view(
    channel: &str,
    history: &History,
    late: &Late,
    reference: Option<&str>,
) -> Message {
    Message::text(json(&ViewEvent {
        event: "view",
        channel,
        messages: Rows { channel, rows: &history.messages },
        start: history.start,
        total: history.total,
        found_oldest: history.found_oldest,
        found_newest: history.found_newest,
        late: late.into(),
        reference,
    }))
}

/// The `view-delta` event.
pub(super) fn view_delta(channel: &str, told: &ViewDelta) -> Message {
    let delta = &told.delta;
    let row = |(index, mark): &(u64, _)| {
        Some(RowBody { index: *index, message: told.message(*mark)?.json(channel) })
    };
    let removed = delta.removed.iter().map(|(index, id)| RemovedBody { index: *index, id: *id });
    Message::text(json(&ViewDeltaEvent {
        event: "view-delta",
        channel,
        reason: name_of(delta.reason),
        start: delta.start,
        inserted: delta.inserted.iter().filter_map(row).collect(),
        updated: delta.updated.iter().filter_map(row).collect(),
        removed: removed.collect(),
        above: delta.above,
        below: delta.below,
        total: delta.total,
        late: (&told.late).into(),
    }))
}

const fn name_of(reason: Reason) -> &'static str {
    match reason {
        Reason::Init => "init",
        Reason::Goto => "goto",
        Reason::Reset => "reset",
        Reason::Send => "send",
        Reason::Late => "late",
        Reason::Live => "live",
        Reason::Edit => "edit",
        Reason::Loaded => "loaded",
    }
}

/// The `error` event.
pub(super) fn error(refused: &Refused, reference: Option<&str>) -> Message {
    let (code, message) = (refused.code.as_str(), refused.text.as_str());
    Message::text(json(&ErrorEvent { event: "error", code, message, reference }))
}

/// The `message` and `update` events of what was committed, and a `history` of what is left where
/// messages are gone.
pub(crate) fn frames_of(event: &Committed) -> Vec<Message> {
    let change = match event {
        Committed::Change(change) => change,
        Committed::Dropped(dropped) => return vec![retold(dropped)],
        // Marks of others and windows are not part of the JSON interface; what an erasure leaves of a
        // message is told by the change that deletes it.
        Committed::Mark(_) | Committed::Entry(_) => return Vec::new(),
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

/// What a subscription brings, of a channel whose oldest messages were dropped: every index is another
/// and so is the total, which no other event tells.
fn retold(dropped: &CommittedDrop) -> Message {
    let len = dropped.newest.len() as u64;
    let start = dropped.total.saturating_sub(len);
    Message::text(json(&HistoryEvent {
        event: "history",
        channel: &dropped.channel,
        messages: Rows { channel: &dropped.channel, rows: &dropped.newest },
        start,
        total: dropped.total,
        found_oldest: start == 0,
        found_newest: true,
        seq: dropped.seq,
        reference: None,
    }))
}

fn json(event: &impl Serialize) -> String {
    // Text keys and plain values only: nothing that JSON cannot hold.
    serde_json::to_string(event).unwrap_or_default()
}
