//! `/sync`: binary frames of [`backscroll_core::wire`] (design 6).
//!
//! ```text
//!   hello -------------------> who speaks; nothing else before it
//!   <------------------ welcome
//!   open --------------------> register, then read a snapshot
//!   <------------------ opened (head seq S), segments of the newest messages
//!   <------------------ changes (seq > S), and so on
//!   push, push --------------> all at the writer at once
//!   <------------------ ack, nack, in the order of the pushes
//!   fetch -------------------> window by window, as fast as the client reads
//!   <------------------ segment, segment
//! ```
//! A bad frame is answered with `error` and the socket stays open. A failure that passes is never
//! a `nack`: the socket closes with a resume code, and the client's outbox stays.

mod open;
mod outgoing;
mod segment;

pub(crate) use outgoing::{frames_of, own_frames_of};

use super::metered::Session;
use crate::app::App;
use crate::commit::{Identity, Mark, Push, PushOutcome};
use crate::connection::{Answers, Bound, Close, Incoming, Outbox, Protocol, Reply};
use crate::engine::{Unavailable, now_ms};
use crate::hub::{Form, Subscribed};
use crate::limits::{HELLO_BYTES_MAX, HELLO_TIMEOUT};
use crate::metrics::{self, PublishMetrics};
use crate::reader::View;
use crate::refused::{Code, Refused};
use crate::throttle::{Peer, UserPlace};
use backscroll_core::limits::{
    CHANNELS_PAGE_MAX, CHUNK_BYTES_MAX, FETCH_WINDOWS_MAX, FRAME_BYTES_MAX, PUSH_CHUNKS_MAX,
};
use backscroll_core::wire::{
    ChannelInfo, ClientFrame, Epoch, Have, PROTOCOL_VERSION, RelayFrame, WireLimits, decode_client,
};
use bytes::Bytes;
use outgoing::PartIds;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tokio_tungstenite::tungstenite::Message;

/// One sync client.
#[derive(Debug)]
pub(crate) struct SyncProtocol {
    app: Arc<App>,
    outbox: Arc<Outbox>,
    answers: Answers,
    /// Who it is, once it said hello.
    user: Option<Identity>,
    hello_until: tokio::time::Instant,
    caller: Caller,
    /// One of the sockets of its user.
    place: Option<UserPlace>,
    open: HashMap<String, Subscribed>,
    parts: PartIds,
    publishes: PublishMetrics,
}

/// Who asks for a socket.
#[derive(Debug)]
pub(crate) struct Caller {
    /// Where it is.
    pub(crate) peer: Peer,
    /// Whose credential the request for the socket had.
    pub(crate) brought: Option<Identity>,
    /// What it may say before hello.
    pub(crate) bound: Bound,
}

/// What a refused frame was about.
#[derive(Debug, Default)]
struct About {
    channel: Option<String>,
    reference: Option<u64>,
}

/// How a frame was handled.
type Handled = Result<Option<Close>, Refused>;

impl Protocol for SyncProtocol {
    fn deadline(&self) -> Option<tokio::time::Instant> {
        self.user.is_none().then_some(self.hello_until)
    }

    async fn handle(&mut self, frame: Incoming) -> Option<Close> {
        self.answers.begin(&frame);
        if self.user.is_none() && frame.len() > HELLO_BYTES_MAX {
            let refused = Refused::bad_request("a connection begins with hello");
            self.refuse(&refused, About::default()).await;
            return Some(Close::Hello);
        }
        let mut about = About::default();
        let handled = match read(&frame) {
            Ok(Some(frame)) => {
                about = About::of(&frame);
                self.handle_frame(frame).await
            }
            Ok(None) => Ok(None),
            Err(refused) => Err(refused),
        };
        match handled {
            Ok(close) => close,
            Err(refused) => {
                self.refuse(&refused, about).await;
                None
            }
        }
    }
}

impl Session for SyncProtocol {
    fn identity(&self) -> Option<&Identity> {
        self.user.as_ref()
    }

    // Its frames are read later instead: none is refused.
    async fn too_many(&mut self, _: &Incoming) {}
}

/// Reads a frame; `None` is one of a later version that may be skipped.
fn read(frame: &Incoming) -> Result<Option<ClientFrame>, Refused> {
    match frame {
        Incoming::Binary(bytes) => decode_client(bytes).map_err(|error| {
            let code = match error.code() {
                // The interface has one code for requests that cannot be read (design 8.2).
                Code::BadFrame => Code::BadRequest,
                code => code,
            };
            Refused::new(code, error.to_string())
        }),
        Incoming::Text(_) => Err(Refused::bad_request("binary frames of CBOR are expected")),
    }
}

impl SyncProtocol {
    /// A client that has not said hello.
    pub(crate) fn new(
        app: Arc<App>,
        outbox: Arc<Outbox>,
        answers: Answers,
        caller: Caller,
    ) -> Self {
        Self {
            app,
            caller,
            place: None,
            outbox,
            answers,
            user: None,
            hello_until: tokio::time::Instant::now() + HELLO_TIMEOUT,
            open: HashMap::new(),
            parts: PartIds::default(),
            publishes: PublishMetrics::new("sync"),
        }
    }

    async fn handle_frame(&mut self, frame: ClientFrame) -> Handled {
        let Some(user) = self.user.clone() else { return self.first(frame).await };
        match frame {
            ClientFrame::Hello { .. } => Err(Refused::bad_request("hello was said before")),
            ClientFrame::Open { channel, cursor, newest } => {
                self.open(&user, channel, cursor, newest).await?;
                Ok(None)
            }
            ClientFrame::Push { reference, channel, window, generation, doc, chunks } => {
                self.app.access.check_write(&user, &channel)?;
                let chunks = chunks.into_iter().map(Bytes::from).collect();
                let push = Push { from: user, channel, window, generation, doc, chunks };
                self.push(reference, push).await;
                Ok(None)
            }
            ClientFrame::Fetch { reference, channel, windows } => {
                self.fetch(&user, reference, channel, windows).await?;
                Ok(None)
            }
            ClientFrame::Mark { channel, epoch, seq, read, delivered, unseen_late } => {
                self.app.access.check_read(&user, &channel)?;
                let epoch = epoch.0;
                let user = user.user;
                self.mark(Mark { user, channel, epoch, seq, read, delivered, unseen_late }).await;
                Ok(None)
            }
            ClientFrame::Ephemeral { channel, payload } => {
                self.ephemeral(&user, channel, payload)?;
                Ok(None)
            }
            ClientFrame::Close { channel } => {
                self.open.remove(&channel);
                Ok(None)
            }
            ClientFrame::Channels { after } => {
                self.channels(user, after).await?;
                Ok(None)
            }
            _ => Err(Refused::bad_request("this relay does not know the frame")),
        }
    }

    /// Handles the first frame: it must be a `hello` of a version that the relay speaks.
    async fn first(&mut self, frame: ClientFrame) -> Handled {
        let ClientFrame::Hello { version, user, token } = frame else {
            let refused = Refused::bad_request("a connection begins with hello");
            self.refuse(&refused, About::of(&frame)).await;
            return Ok(Some(Close::Hello));
        };
        if version != PROTOCOL_VERSION {
            let text = format!("the relay speaks version {PROTOCOL_VERSION}");
            self.refuse(&Refused::bad_request(text), About::default()).await;
            return Ok(Some(Close::Version));
        }
        let credential = token.as_ref().map(|token| token.0.as_str());
        if let Err((refused, close)) = self.enter(&user, credential).await {
            self.refuse(&refused, About::default()).await;
            return Ok(Some(close));
        }
        self.answer(&RelayFrame::Welcome {
            version: PROTOCOL_VERSION,
            epoch: Epoch(self.app.engine.epoch()),
            server_time_ms: now_ms(),
            limits: limits(),
        });
        Ok(None)
    }

    /// Takes in a client that says hello, or tells why not and how the socket ends.
    async fn enter(
        &mut self,
        user: &str,
        credential: Option<&str>,
    ) -> Result<(), (Refused, Close)> {
        let (app, brought) = (self.app.clone(), self.caller.brought.take());
        let peer = self.caller.peer;
        let entered = app.access.hello(user, credential, brought, peer, &app.throttle).await;
        let identity = entered.map_err(|denied| {
            let close = if denied.passes() { Close::TooFast } else { Close::Unauthorized };
            (Refused::from(denied), close)
        })?;
        let place = app.throttle.socket_of_user(&identity.user, peer.address);
        self.place = place.map_err(|()| {
            metrics::refused("user");
            (Refused::new(Code::RateLimited, "too many connections"), Close::TooFast)
        })?;
        self.user = Some(identity);
        self.caller.bound.lift();
        Ok(())
    }

    async fn open(
        &mut self,
        user: &Identity,
        channel: String,
        cursor: Option<backscroll_core::wire::Cursor>,
        newest: u32,
    ) -> Result<(), Refused> {
        self.app.access.check_read(user, &channel)?;
        match self.open.get(&channel) {
            Some(subscribed) => subscribed.subscription().hold(),
            None if self.open.len() >= self.app.throttle.channels_per_socket() => {
                let max = self.app.throttle.channels_per_socket();
                let text = format!("a socket may open {max} channels");
                return Err(Refused::new(Code::RateLimited, text));
            }
            None => {
                let form = Form::Sync { user: user.user.as_str().into() };
                let subscribed = self.app.hub.subscribe(&channel, form, &self.outbox);
                self.open.insert(channel.clone(), subscribed);
            }
        }
        let question = open::Question {
            epoch: Epoch(self.app.engine.epoch()),
            channel: channel.clone(),
            user: user.user.clone(),
            cursor,
            newest,
        };
        let parts = self.parts.clone();
        let read = move |view: &View<'_>| open::answer(view, &question, &parts);
        let Some(subscribed) = self.open.get(&channel) else { return Ok(()) };
        let subscription = subscribed.subscription();
        let waits = |waits| subscription.set_unpaced(waits);
        let bytes = |answer: &open::Answer| bytes_of(&answer.frames);
        match self.app.reads.answer_telling(read, bytes, waits).await {
            Ok((answer, held)) => {
                if cursor.is_some() {
                    metrics::recovered(answer.resumed);
                }
                subscription.caught_up(answer.head_seq).await;
                subscription.open(answer.head_seq, answer.frames);
                // The outbox counts it from here.
                drop(held);
                self.windows(0, &channel, answer.more).await
            }
            Err(refused) => {
                if !subscription.go_on() {
                    self.open.remove(&channel);
                }
                Err(refused)
            }
        }
    }

    /// Hands changes to the writer and goes on reading; the answer comes when they are on disk.
    async fn push(&self, reference: u64, push: Push) {
        let (app, publishes) = (self.app.clone(), self.publishes.clone());
        let (channel, since) = (push.channel.clone(), Instant::now());
        self.answers
            .push(async move {
                let outcome = app.engine.push(push).await;
                publishes.answered(since);
                push_reply(reference, &channel, outcome)
            })
            .await;
    }

    /// Sends windows one after the other, each read when the client took the ones before.
    async fn fetch(
        &self,
        user: &Identity,
        reference: u64,
        channel: String,
        windows: Vec<Have>,
    ) -> Result<(), Refused> {
        self.app.access.check_read(user, &channel)?;
        self.windows(reference, &channel, windows).await
    }

    async fn windows(
        &self,
        reference: u64,
        channel: &str,
        windows: Vec<Have>,
    ) -> Result<(), Refused> {
        for have in windows {
            self.outbox.room().await;
            if self.outbox.has_ended() {
                return Ok(());
            }
            let (channel, parts) = (channel.to_owned(), self.parts.clone());
            let read =
                move |view: &View<'_>| segment::frames(view, &channel, reference, &have, &parts);
            let (frames, held) = self.app.reads.answer(read, |frames| bytes_of(frames)).await?;
            for frame in frames {
                self.outbox.push_answer(frame);
            }
            drop(held);
        }
        Ok(())
    }

    /// Hands marks to the writer; only a refusal is answered.
    async fn mark(&self, mark: Mark) {
        let (app, channel) = (self.app.clone(), mark.channel.clone());
        self.answers
            .push(async move {
                match app.engine.mark(mark).await {
                    Ok(()) => Reply::Frames(Vec::new()),
                    Err(refusal) => {
                        let about = About { channel: Some(channel), reference: None };
                        Reply::Frames(vec![outgoing::error(&refusal.into(), about)])
                    }
                }
            })
            .await;
    }

    fn ephemeral(&self, user: &Identity, channel: String, payload: Vec<u8>) -> Result<(), Refused> {
        let Some(subscribed) = self.open.get(&channel) else {
            return Err(Refused::new(Code::NotOpen, "the channel is not open"));
        };
        self.app.access.check_write(user, &channel)?;
        let user = user.user.clone();
        let frame = outgoing::message(&RelayFrame::Ephemeral { channel, user, payload });
        subscribed.hub().forward(subscribed.subscription(), &frame);
        Ok(())
    }

    async fn channels(&self, user: Identity, after: Option<String>) -> Result<(), Refused> {
        let (access, parts) = (self.app.access.clone(), self.parts.clone());
        let read = move |view: &View<'_>| {
            let may_read = |channel: &str| access.may_read(&user, channel);
            let page = view.channels_after(after.as_deref(), CHANNELS_PAGE_MAX + 1, may_read)?;
            let more = page.len() > CHANNELS_PAGE_MAX;
            let infos = page.into_iter().take(CHANNELS_PAGE_MAX).map(|one| ChannelInfo {
                name: one.channel,
                total: one.total,
                seq: one.seq,
                newest_at: one.newest_at,
            });
            Ok(parts.messages(&RelayFrame::Channels { list: infos.collect(), more }))
        };
        let (frames, held) = self.app.reads.answer(read, |frames| bytes_of(frames)).await?;
        for frame in frames {
            self.outbox.push_answer(frame);
        }
        drop(held);
        Ok(())
    }

    fn answer(&self, frame: &RelayFrame) {
        for frame in self.parts.messages(frame) {
            self.outbox.push_answer(frame);
        }
    }

    /// Answers with an error, after the answers to what was pushed before.
    async fn refuse(&self, refused: &Refused, about: About) {
        let answer = outgoing::error(refused, about);
        self.answers.push(async { Reply::Frames(vec![answer]) }).await;
    }
}

fn bytes_of(frames: &[Message]) -> usize {
    frames.iter().map(Message::len).sum()
}

/// The answers to a push: an `ack` for what is stored, a `nack` for what is not.
fn push_reply(reference: u64, channel: &str, outcome: Result<PushOutcome, Unavailable>) -> Reply {
    let Ok(PushOutcome { stored, refused }) = outcome else { return Reply::Close(Close::Failed) };
    let mut frames = Vec::new();
    if !stored.is_empty() {
        let channel = channel.to_owned();
        frames.push(outgoing::message(&RelayFrame::Ack { reference, channel, seqs: stored }));
    }
    match refused {
        // A nack is final, and this is not.
        Some(refused) if refused.refusal.code == Code::Retry => {
            return Reply::Close(Close::Failed);
        }
        Some(refused) => frames.push(outgoing::message(&RelayFrame::Nack {
            reference,
            channel: channel.to_owned(),
            chunk_index: refused.chunk_index,
            code: refused.refusal.code,
            text: refused.refusal.text,
        })),
        None => {}
    }
    Reply::Frames(frames)
}

fn limits() -> WireLimits {
    let bound = |bound: usize| u32::try_from(bound).unwrap_or(u32::MAX);
    WireLimits {
        frame_bytes: bound(FRAME_BYTES_MAX),
        chunk_bytes: bound(CHUNK_BYTES_MAX),
        push_chunks: bound(PUSH_CHUNKS_MAX),
        fetch_windows: bound(FETCH_WINDOWS_MAX),
    }
}

impl About {
    fn of(frame: &ClientFrame) -> Self {
        let (channel, reference) = match frame {
            ClientFrame::Push { channel, reference, .. }
            | ClientFrame::Fetch { channel, reference, .. } => (channel, Some(*reference)),
            ClientFrame::Open { channel, .. }
            | ClientFrame::Mark { channel, .. }
            | ClientFrame::Ephemeral { channel, .. }
            | ClientFrame::Close { channel } => (channel, None),
            _ => return Self::default(),
        };
        Self { channel: Some(channel.clone()), reference }
    }
}
