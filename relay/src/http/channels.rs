//! `/api/channels`: the list, a viewport of a channel, and a message into it.

use super::{Problem, json, json_response, peer_of};
use crate::app::App;
use crate::commit::{Identity, SendRequest};
use crate::limits::{CHANNELS_LISTED_MAX, IDEMPOTENCY_KEY_BYTES_MAX};
use crate::metrics::{self, PublishMetrics};
use crate::reader::View;
use crate::refused::{Code, Refused};
use crate::ws::json as events;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use backscroll_core::message::MessageId;
use backscroll_core::viewport::{self, At};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

#[derive(Debug, Serialize)]
struct ChannelList {
    channels: Vec<ChannelItem>,
    /// The last of them, if there are more after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Debug, Serialize)]
struct ChannelItem {
    channel: String,
    total: u64,
    seq: u64,
    newest_at: Option<u64>,
}

/// Which part of the list is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    after: Option<String>,
    limit: Option<String>,
}

impl Page {
    /// The name that the page comes after, and how many channels it has at most.
    fn read(&self) -> Result<(Option<String>, usize), Refused> {
        let after = self.after.as_deref().map(events::checked_channel).transpose()?;
        let limit = count("limit", self.limit.as_deref())?;
        let limit = limit.map_or(Ok(CHANNELS_LISTED_MAX), usize::try_from);
        match limit {
            Ok(limit) if (1..=CHANNELS_LISTED_MAX).contains(&limit) => Ok((after, limit)),
            _ => Err(Refused::bad_request(format!("limit may be 1 to {CHANNELS_LISTED_MAX}"))),
        }
    }
}

/// `GET /api/channels`: those that the caller may read, by name; of very many a page.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    page: Result<Query<Page>, QueryRejection>,
    Extension(user): Extension<Identity>,
) -> Result<Response, Problem> {
    let Query(page) = page.map_err(|rejection| Refused::bad_request(rejection.body_text()))?;
    let (after, limit) = page.read()?;
    let access = app.access.clone();
    let read = move |view: &View<'_>| {
        let may_read = |channel: &str| access.may_read(&user, channel);
        let mut channels = view.channels_after(after.as_deref(), limit + 1, may_read)?;
        let is_all = channels.len() <= limit;
        channels.truncate(limit);
        let last = channels.last().filter(|_| !is_all);
        let next = last.map(|last| last.channel.clone());
        let channels = channels
            .into_iter()
            .map(|one| ChannelItem {
                channel: one.channel,
                total: one.total,
                seq: one.seq,
                newest_at: one.newest_at,
            })
            .collect();
        Ok(json(&ChannelList { channels, next }))
    };
    let (body, held) = app.reads.answer(read, String::len).await?;
    Ok(json_response(StatusCode::OK, held.bind(body)))
}

/// The query of a viewport, as text: what is malformed gets the codes of design 8.2.
#[derive(Debug, Deserialize)]
pub(super) struct Viewport {
    at: Option<String>,
    before: Option<String>,
    after: Option<String>,
}

impl Viewport {
    fn query(&self) -> Result<viewport::Query, Refused> {
        let at = self.at.as_deref().map_or(Ok(At::Latest), str::parse)?;
        let before = count("before", self.before.as_deref())?;
        let after = count("after", self.after.as_deref())?;
        events::query_of(at, before, after)
    }
}

fn count(name: &str, text: Option<&str>) -> Result<Option<u64>, Refused> {
    let digits = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
    match text {
        None => Ok(None),
        Some(text) => match Some(text).filter(digits).and_then(|text| text.parse().ok()) {
            Some(count) => Ok(Some(count)),
            None => Err(Refused::bad_request(format!("{name} must be an integer of 0 or more"))),
        },
    }
}

/// `GET /api/channels/{channel}/messages`: the `history` answer.
pub(super) async fn history(
    State(app): State<Arc<App>>,
    channel: Result<Path<String>, PathRejection>,
    viewport: Result<Query<Viewport>, QueryRejection>,
    Extension(user): Extension<Identity>,
) -> Result<Response, Problem> {
    let channel = named(channel)?;
    app.access.check_read(&user, &channel)?;
    let Query(viewport) =
        viewport.map_err(|rejection| Refused::bad_request(rejection.body_text()))?;
    let query = viewport.query()?;
    let read = move |view: &View<'_>| {
        let history = view.history(&channel, &query)?;
        Ok(events::history(&channel, &history, None))
    };
    let (body, held) = app.reads.answer(read, String::len).await?;
    Ok(json_response(StatusCode::OK, held.bind(body)))
}

#[derive(Debug, Serialize)]
struct SentBody {
    id: MessageId,
    seq: u64,
    duplicate: bool,
}

/// `POST /api/channels/{channel}/messages`: 201, or 200 if the channel had it.
pub(super) async fn send(
    State(app): State<Arc<App>>,
    channel: Result<Path<String>, PathRejection>,
    Extension(user): Extension<Identity>,
    request: Request,
) -> Result<Response, Problem> {
    let channel = named(channel)?;
    app.access.check_write(&user, &channel)?;
    if app.throttle.is_send_too_much(&user.user, peer_of(request.extensions()).address) {
        metrics::rate_limited("http");
        return Err(Refused::new(Code::RateLimited, "too many messages").into());
    }
    let idempotency = idempotency_key(request.headers())?;
    // Only now: who may not send, or not so fast, is not listened to.
    let body =
        Bytes::from_request(request, &()).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Refused::new(Code::TooLarge, "a body may have 1 MiB"),
            _ => Refused::bad_request(rejection.body_text()),
        })?;
    let text = std::str::from_utf8(&body)
        .map_err(|_| Refused::new(Code::BadJson, "the body is not UTF-8"))?;
    let message = events::message(events::object(text)?, &app.access, &user)?;
    let (publishes, since) = (PublishMetrics::new("http"), Instant::now());
    let sent = app.engine.send(SendRequest { channel, message, idempotency }).await;
    publishes.answered(since);
    let sent = sent.map_err(Refused::from)?;
    publishes.duplicate_if(sent.duplicate);
    let status = if sent.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    let body = SentBody { id: sent.id, seq: sent.seq, duplicate: sent.duplicate };
    Ok(json_response(status, json(&body)))
}

/// A route whose channel has no name.
pub(super) async fn nameless() -> Problem {
    Refused::new(Code::BadChannel, "channel is empty").into()
}

/// The channel of the path, percent-decoded.
fn named(channel: Result<Path<String>, PathRejection>) -> Result<String, Refused> {
    match channel {
        Ok(Path(name)) => events::checked_channel(&name),
        Err(_) => Err(Refused::new(Code::BadChannel, "the channel's name is not UTF-8")),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().ok().filter(|key| (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()));
    match key {
        Some(key) => Ok(Some(key.to_owned())),
        None => {
            let bound = format!("Idempotency-Key has 1-{IDEMPOTENCY_KEY_BYTES_MAX} characters");
            Err(Refused::bad_request(bound))
        }
    }
}
