//! What goes to JavaScript, as JSON: names as the TypeScript surface has them.

use backscroll_core::annotation::Edit;
use backscroll_core::channel::{Channel, Item, MessageRow, Reach, Receipts, SendState};
use backscroll_core::client::{Client, ConnectionState, Event, StoredChannel, ViewUpdate};
use backscroll_core::late::{Late, LateRun, Place};
use backscroll_core::message::{Attachment, Content, Data, MessageId};
use backscroll_core::storage::ReadRequest;
use backscroll_core::viewport::{At, Query, Reason};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How an engine is set up.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct OptionsIn {
    pub(crate) user: String,
    pub(crate) newest: Option<u32>,
    pub(crate) memory_bytes: Option<u64>,
    #[serde(default)]
    pub(crate) storage: bool,
    #[serde(default)]
    pub(crate) receipts: bool,
}

/// A message to send.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SendIn {
    pub(crate) text: String,
    pub(crate) reply_to: Option<MessageId>,
    #[serde(default)]
    pub(crate) attachments: Vec<AttachmentJson>,
    pub(crate) data: Option<Data>,
    pub(crate) sent_at: Option<u64>,
}

impl SendIn {
    pub(crate) fn into_content(self, from: &str) -> Content {
        Content {
            from: from.to_owned(),
            text: self.text,
            reply_to: self.reply_to,
            attachments: self.attachments.into_iter().map(Attachment::from).collect(),
            data: self.data,
        }
    }
}

/// What an edit replaces.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct EditIn {
    text: String,
    attachments: Option<Vec<AttachmentJson>>,
    data: Option<Data>,
}

impl EditIn {
    pub(crate) fn into_edit(self, edited_at: u64) -> Edit {
        let Self { text, attachments, data } = self;
        let attachments =
            attachments.map(|all| all.into_iter().map(Attachment::from).collect::<Vec<_>>());
        Edit { text: Some(text), attachments, data, edited_at }
    }
}

/// An attachment, in camel case.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AttachmentJson {
    name: String,
    media_type: String,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

impl From<AttachmentJson> for Attachment {
    fn from(json: AttachmentJson) -> Self {
        let AttachmentJson { name, media_type, size, url, sha256 } = json;
        Self { name, media_type, size, url, sha256 }
    }
}

impl From<Attachment> for AttachmentJson {
    fn from(attachment: Attachment) -> Self {
        let Attachment { name, media_type, size, url, sha256 } = attachment;
        Self { name, media_type, size, url, sha256 }
    }
}

/// A viewport query.
#[derive(Debug, Deserialize)]
pub(crate) struct QueryIn {
    at: At,
    before: u64,
    after: u64,
}

impl From<QueryIn> for Query {
    fn from(query: QueryIn) -> Self {
        Self { at: query.at, before: query.before, after: query.after }
    }
}

/// The ends of what a reader sees: an id or a row.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum EdgeIn {
    Index(u64),
    Id(MessageId),
}

/// What changed in a view: all of its rows, or those that are others.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ViewOut {
    reason: &'static str,
    start: u64,
    total: u64,
    found_oldest: bool,
    found_newest: bool,
    exact: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Vec<ItemOut>>,
    /// With the numbers of their rows.
    inserted: Vec<(u64, ItemOut)>,
    /// With the numbers of their rows.
    updated: Vec<(u64, ItemOut)>,
    removed: Vec<MessageId>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum ItemOut {
    Message(Box<MessageOut>),
    Placeholder { placeholder: bool, index: u64 },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageOut {
    id: MessageId,
    from: String,
    text: String,
    sent_at: u64,
    arrived_at: u64,
    late: bool,
    reactions: BTreeMap<String, BTreeSet<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<MessageId>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<AttachmentJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data>,
    #[serde(skip_serializing_if = "Option::is_none")]
    edited_at: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    send: Option<SendOut>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum SendOut {
    State(&'static str),
    Failed { failed: String, retryable: bool },
}

impl From<SendState> for SendOut {
    fn from(state: SendState) -> Self {
        match state {
            SendState::Queued => Self::State("queued"),
            SendState::Relayed => Self::State("relayed"),
            SendState::Failed(code) => {
                // These depend on who asks when; every other refusal is of the message itself.
                let retryable =
                    matches!(code.as_str(), "forbidden" | "unauthorized" | "rate_limited");
                Self::Failed { failed: code, retryable }
            }
        }
    }
}

/// Where a message of this user stands.
fn send_of(send: Option<SendState>, reach: Reach) -> Option<SendOut> {
    match (send, reach) {
        (Some(state @ (SendState::Queued | SendState::Failed(_))), _) => Some(state.into()),
        (_, Reach::Read) => Some(SendOut::State("read")),
        (_, Reach::Delivered) => Some(SendOut::State("delivered")),
        (state, Reach::Unknown) => state.map(SendOut::from),
    }
}

impl From<MessageRow> for MessageOut {
    fn from(row: MessageRow) -> Self {
        Self {
            id: row.id,
            from: row.content.from,
            text: row.content.text,
            sent_at: row.id.time_ms(),
            arrived_at: row.arrived_ms,
            late: row.late,
            reactions: row.reactions,
            seq: row.seq,
            reply_to: row.content.reply_to,
            attachments: row.content.attachments.into_iter().map(AttachmentJson::from).collect(),
            data: row.content.data,
            edited_at: row.edited_ms,
            deleted: row.deleted,
            send: send_of(row.send, row.reach),
        }
    }
}

impl From<Item> for ItemOut {
    fn from(item: Item) -> Self {
        match item {
            Item::Message(row) => Self::Message(Box::new((*row).into())),
            Item::Placeholder { index } => Self::Placeholder { placeholder: true, index },
        }
    }
}

impl From<ViewUpdate> for ViewOut {
    fn from(update: ViewUpdate) -> Self {
        let items = |items: Vec<Item>| items.into_iter().map(ItemOut::from).collect();
        let placed = |rows: Vec<(u64, Item)>| {
            rows.into_iter().map(|(index, item)| (index, item.into())).collect()
        };
        match update {
            ViewUpdate::Reset { reason, view, late: _ } => Self {
                reason: name_of(reason),
                start: view.start,
                total: view.total,
                found_oldest: view.found_oldest,
                found_newest: view.found_newest,
                exact: view.exact,
                items: Some(items(view.items)),
                ..Self::default()
            },
            ViewUpdate::Delta(delta) => Self {
                reason: name_of(delta.reason),
                start: delta.start,
                total: delta.total,
                found_oldest: delta.found_oldest,
                found_newest: delta.found_newest,
                exact: delta.exact,
                items: None,
                inserted: placed(delta.inserted),
                updated: placed(delta.updated),
                removed: delta.removed.into_iter().map(|(_, id)| id).collect(),
            },
        }
    }
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

/// An event for the facade.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub(crate) enum EventOut {
    Connect,
    Disconnect { code: &'static str },
    Connection,
    Channels,
    Changed { channel: String, reset: bool, sent: bool },
    Error { code: String, text: String },
    Problem { channel: String, text: String },
    Refused { channel: String, id: String, code: String },
    Ephemeral { channel: String, user: String, payload: String },
    StorageFailed { text: String },
    BadRecord { text: String },
}

impl From<Event> for EventOut {
    fn from(event: Event) -> Self {
        match event {
            Event::Connect => Self::Connect,
            Event::Disconnect { code } => Self::Disconnect { code },
            Event::Connection => Self::Connection,
            Event::Channels => Self::Channels,
            Event::Changed { channel, changed } => {
                Self::Changed { channel, reset: changed.reset, sent: changed.sent }
            }
            Event::Error { code, text } => Self::Error { code, text },
            Event::Refused { channel, id, code } => {
                Self::Refused { channel, id: id.to_string(), code }
            }
            Event::Ephemeral { channel, user, payload } => {
                let payload = String::from_utf8_lossy(&payload).into_owned();
                Self::Ephemeral { channel, user, payload }
            }
            Event::StorageFailed { text } => Self::StorageFailed { text },
            Event::BadRecord { key, text } => {
                let family = key.first().copied().unwrap_or(0);
                Self::BadRecord { text: format!("family {family}: {text}") }
            }
            Event::Problem { channel, problem } => {
                let text = format!("window {}: {}", problem.window, problem.text);
                Self::Problem { channel, text }
            }
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConnectionOut {
    state: &'static str,
    pending_out: usize,
    refused: Vec<RefusedOut>,
}

/// A channel that the relay refused to open.
#[derive(Debug, Serialize)]
struct RefusedOut {
    channel: String,
    code: String,
}

impl ConnectionOut {
    pub(crate) fn of(client: &Client) -> Self {
        let state = match client.state() {
            ConnectionState::Offline => "offline",
            ConnectionState::Connecting => "connecting",
            ConnectionState::Syncing => "syncing",
            ConnectionState::Live => "live",
        };
        let refused = client.open_channels().filter_map(|(name, _)| {
            let code = client.refusal(name)?.to_owned();
            Some(RefusedOut { channel: name.to_owned(), code })
        });
        Self { state, pending_out: client.pending_len(), refused: refused.collect() }
    }
}

/// A question to the store.
#[derive(Debug, Serialize)]
pub(crate) struct QuestionOut {
    id: u64,
    from: Vec<u8>,
    to: Vec<u8>,
    values: bool,
    limit: usize,
}

impl From<ReadRequest> for QuestionOut {
    fn from(request: ReadRequest) -> Self {
        let ReadRequest { id, range, values, limit } = request;
        Self { id, from: range.from, to: range.to, values, limit }
    }
}

/// A line of the channel list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChannelOut {
    id: String,
    total: u64,
    unread: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    newest_at: Option<u64>,
}

/// The relay's channels, those in the store and those open here, by name; who comes later in this
/// order knows more.
pub(crate) fn channels(client: &Client) -> Vec<ChannelOut> {
    let kept = client.stored_channels().iter().map(|kept| {
        let StoredChannel { name, total, unread, newest_ms } = kept.clone();
        (name.clone(), ChannelOut { id: name, total, unread, newest_at: newest_ms })
    });
    let mut channels: BTreeMap<_, _> = kept.collect();
    for info in client.channels() {
        let (id, total, newest_at) = (info.name.clone(), info.total, info.newest_at);
        let unread = channels.get(&id).map_or(0, |kept| kept.unread);
        channels.insert(info.name.clone(), ChannelOut { id, total, unread, newest_at });
    }
    for (name, channel) in client.open_channels() {
        let known = channels.get(name).and_then(|known| known.newest_at);
        let newest_at = channel.total().checked_sub(1).and_then(|row| channel.time_of_row(row));
        let line = ChannelOut {
            id: name.to_owned(),
            total: channel.total().max(channels.get(name).map_or(0, |known| {
                // Until it is open the relay's list knows more.
                if channel.head().is_some() { 0 } else { known.total }
            })),
            unread: channel.unread(),
            newest_at: newest_at.or(known),
        };
        channels.insert(name.to_owned(), line);
    }
    channels.into_values().collect()
}

/// What is known of a channel as a whole.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InfoOut {
    total: u64,
    unread: u64,
    first_unread: Option<MessageId>,
    /// Whether the directory came.
    known: bool,
}

impl InfoOut {
    pub(crate) fn of(channel: &Channel) -> Self {
        Self {
            total: channel.total(),
            unread: channel.unread(),
            first_unread: channel.first_unread(),
            known: channel.head().is_some(),
        }
    }
}

/// The late inbox.
#[derive(Debug, Serialize)]
pub(crate) struct LateOut {
    total: u64,
    above: u64,
    below: u64,
    runs: Vec<RunOut>,
}

#[derive(Debug, Serialize)]
pub(crate) struct RunOut {
    first: MessageId,
    last: MessageId,
    count: u64,
    from: u64,
    to: u64,
    #[serde(rename = "where")]
    place: &'static str,
}

impl From<LateRun> for RunOut {
    fn from(run: LateRun) -> Self {
        let LateRun { first, last, count, from_ms, to_ms, place } = run;
        let place = match place {
            Place::Above => "above",
            Place::InView => "in-view",
            Place::Below => "below",
        };
        Self { first, last, count, from: from_ms, to: to_ms, place }
    }
}

impl From<Late> for LateOut {
    fn from(late: Late) -> Self {
        let Late { total, above, below, runs, in_view: _ } = late;
        Self { total, above, below, runs: runs.into_iter().map(RunOut::from).collect() }
    }
}

/// Who received a message, and who read it.
#[derive(Debug, Serialize)]
pub(crate) struct ReceiptsOut {
    delivered: Vec<String>,
    read: Vec<String>,
}

impl From<Receipts> for ReceiptsOut {
    fn from(Receipts { delivered, read }: Receipts) -> Self {
        Self { delivered, read }
    }
}

/// A point of the scrollbar.
#[derive(Debug, Serialize)]
pub(crate) struct TickOut {
    pub(crate) index: u64,
    pub(crate) time: u64,
}
