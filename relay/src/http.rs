//! HTTP (design 8.3): the routes, errors as problem+json, and what all responses share.

mod admin;
mod admission;
mod blobs;
mod channels;
mod health;
mod origins;
mod pages;

pub(crate) use admission::{peer_of, problem};
pub(crate) use blobs::Blobs;
pub(crate) use origins::Origins;

use crate::app::App;
use crate::refused::{Code, Refused, status_of};
use crate::ws;
use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use backscroll_core::limits::FRAME_BYTES_MAX;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// Everything that the public address serves. `/metrics` is among it unless there is an admin
/// address.
pub(crate) fn router(app: Arc<App>, web: Option<&Path>, with_metrics: bool) -> Router {
    let mut router = Router::new()
        .route("/api/channels", get(channels::list))
        .route("/api/channels/{channel}/messages", get(channels::history).post(channels::send))
        // An empty name is a bad channel, not a page that does not exist.
        .route("/api/channels//messages", any(channels::nameless))
        .route("/api/blobs/{sha256}", get(blobs::get).put(blobs::put))
        .route("/api/{*rest}", any(not_found))
        // Before the layers, so that these have a say in methods no route has: OPTIONS is theirs.
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(FRAME_BYTES_MAX))
        // All of it needs a credential, what does not exist as well.
        .layer(from_fn_with_state(app.clone(), admission::admitted))
        .layer(from_fn_with_state(app.clone(), admission::paced))
        // Outermost, so that pages can read every refusal.
        .layer(cors(&app))
        .merge(sockets(&app))
        .merge(health::routes());
    if with_metrics {
        router = router.merge(health::metrics_route());
    }
    let router = match web {
        Some(folder) => {
            let paced = from_fn_with_state(app.clone(), admission::paced);
            router.fallback_service(pages::service(folder).layer(paced))
        }
        None => router.fallback(not_found),
    };
    router.method_not_allowed_fallback(method_not_allowed).with_state(app)
}

fn sockets(app: &Arc<App>) -> Router<Arc<App>> {
    Router::new()
        .route("/ws", get(ws::serve_json))
        .route("/sync", get(ws::serve_sync))
        .layer(from_fn_with_state(app.clone(), admission::paced))
}

/// What the admin address serves; its page only to this machine unless it is `open_to_anyone`.
pub(crate) fn admin_router(app: Arc<App>, open_to_anyone: bool) -> Router {
    let mut page = admin::routes(&app);
    if !open_to_anyone {
        page = page.layer(from_fn(admission::called_locally));
    }
    health::routes()
        .merge(health::metrics_route())
        .merge(page)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(app)
}

fn cors(app: &Arc<App>) -> CorsLayer {
    let app = app.clone();
    let allowed = AllowOrigin::predicate(move |_, parts| app.origins.allow(&parts.headers));
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::PUT])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            axum::http::HeaderName::from_static("idempotency-key"),
        ])
        .max_age(std::time::Duration::from_secs(600))
}

/// Whether a request asks for a WebSocket.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    let names = |name: header::HeaderName, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    };
    names(header::CONNECTION, "upgrade") && names(header::UPGRADE, "websocket")
}

/// A refused request as `application/problem+json` (RFC 9457), with the stable code.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    refused: Refused,
    /// What to show instead, with 401.
    challenge: Option<&'static str>,
}

impl Problem {
    /// A refusal under a status of its own.
    pub(crate) const fn new(status: StatusCode, refused: Refused) -> Self {
        Self { status, refused, challenge: None }
    }

    /// The same, with what the client should show.
    pub(crate) fn with_challenge(self, challenge: Option<&'static str>) -> Self {
        Self { challenge, ..self }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        Self::new(status_of(&refused.code), refused)
    }
}

#[derive(Debug, Serialize)]
struct ProblemBody<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json(&ProblemBody {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.refused.code.as_str(),
            detail: &self.refused.text,
        });
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        let media_type = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, media_type);
        if let Some(challenge) = self.challenge.filter(|_| self.status == StatusCode::UNAUTHORIZED)
        {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        response
    }
}

/// JSON text of a value that JSON can hold.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A JSON response that no cache may keep.
fn json_response(status: StatusCode, body: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, body.into()).into_response()
}

async fn not_found() -> Problem {
    Refused::new(Code::NotFound, "there is nothing here").into()
}

async fn method_not_allowed() -> Problem {
    let refused = Refused::bad_request("this method has no meaning here");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, refused)
}
