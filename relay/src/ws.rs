//! WebSocket upgrades: the handshake, the origin, and the task that serves the socket.
//!
//! The handshake is done here and not by the web framework so that the socket under it can be
//! drained before it is closed: see [`crate::connection`].

pub(crate) mod json;
pub(crate) mod sync;

use crate::app::App;
use crate::connection::{self, Answers, Close, Outbox, Protocol};
use crate::http::{Problem, is_upgrade};
use crate::metrics::{self, SocketMetrics};
use crate::refused::{Code, Refused};
use crate::serve::Patient;
use crate::shutdown::Phase;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Most channels that one socket may follow.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 1_024;

/// `GET /ws`: the JSON interface.
pub(crate) async fn serve_json(State(app): State<Arc<App>>, request: Request) -> Response {
    let make = |app: Arc<App>, outbox, answers| {
        // Without credentials to check, a JSON client is anonymous until a message names someone.
        let user = app.access.identify(None, None)?;
        Ok(json::JsonProtocol::new(app, user, outbox, answers))
    };
    upgrade(app, request, "ws", make).unwrap_or_else(IntoResponse::into_response)
}

/// `GET /sync`: the binary interface.
pub(crate) async fn serve_sync(State(app): State<Arc<App>>, request: Request) -> Response {
    let make = |app, outbox, answers| Ok(sync::SyncProtocol::new(app, outbox, answers));
    upgrade(app, request, "sync", make).unwrap_or_else(IntoResponse::into_response)
}

/// Answers the handshake and serves the socket in a task of its own.
fn upgrade<P: Protocol + 'static>(
    app: Arc<App>,
    mut request: Request,
    transport: &'static str,
    protocol: impl FnOnce(Arc<App>, Arc<Outbox>, Answers) -> Result<P, Refused>,
) -> Result<Response, Problem> {
    let key = handshake_key(request.headers())?;
    if !app.origins.allow(request.headers()) {
        metrics::refused("origin");
        return Err(Refused::new(Code::Forbidden, "this origin may not connect").into());
    }
    if app.phases.phase() != Phase::Running {
        metrics::refused("draining");
        return Err(Refused::retry().into());
    }
    let Some(on_upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return Err(Refused::bad_request("the connection cannot be upgraded").into());
    };
    let outbox = Arc::new(Outbox::default());
    let (answers, answers_out) = Answers::new();
    let protocol = protocol(app.clone(), outbox.clone(), answers)?;
    let slot = request.extensions_mut().remove::<crate::serve::Slot>();
    let sockets = app.sockets.clone();
    let task = async move {
        let metrics = SocketMetrics::new(transport);
        let Some(socket) = socket_of(on_upgrade).await else { return };
        let phases = app.phases.watch();
        let close = connection::run(socket, outbox, protocol, answers_out, phases, metrics).await;
        metrics::disconnected(close.code());
        if close == Close::Slow {
            metrics::slow_consumer();
        }
        tracing::debug!(transport, code = close.code(), "socket closed");
        drop(slot);
    };
    sockets.spawn(task);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    Ok(response)
}

/// The answer to the client's key, if the request is a handshake (RFC 6455 4.2.1).
fn handshake_key(headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    if !is_upgrade(headers) {
        return Err(Problem::new(
            StatusCode::UPGRADE_REQUIRED,
            Refused::bad_request("a WebSocket is served here"),
        ));
    }
    let version = headers.get(header::SEC_WEBSOCKET_VERSION);
    if version.is_none_or(|version| version != "13") {
        return Err(Refused::bad_request("Sec-WebSocket-Version must be 13").into());
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    key.and_then(|key| HeaderValue::from_str(&key).ok())
        .ok_or_else(|| Refused::bad_request("Sec-WebSocket-Key is missing").into())
}

/// The TCP connection under an upgraded request; `None` if it is gone.
async fn socket_of(on_upgrade: OnUpgrade) -> Option<WebSocketStream<TcpStream>> {
    let upgraded = on_upgrade.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<Patient<TcpStream>>>().ok()?;
    // A socket has deadlines of its own.
    let (socket, read) = (parts.io.into_inner().into_inner(), parts.read_buf.to_vec());
    let config = Some(connection::socket_config());
    Some(WebSocketStream::from_partially_read(socket, read, Role::Server, config).await)
}
