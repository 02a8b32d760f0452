//! WebSocket upgrades: the handshake, the origin, and the task that serves the socket.
//!
//! The handshake is done here and not by the web framework so that the socket under it can be
//! drained before it is closed: see [`crate::connection`].

pub(crate) mod json;
mod metered;
pub(crate) mod sync;

use crate::access::{SUBPROTOCOL, Shown, offers_subprotocol};
use crate::app::App;
use crate::connection::{self, Answers, Bound, Close, Intake, Outbox, Stream};
use crate::http::{Problem, is_upgrade, peer_of, problem};
use crate::identity::Identity;
use crate::limits::HELLO_INTAKE_BYTES;
use crate::metrics::{self, SocketMetrics};
use crate::refused::{Code, Refused};
use crate::serve::Patient;
use crate::shutdown::Phase;
use crate::throttle::{AddressPlace, Frames, Kind, Peer, UserPlace};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use metered::{Metered, Session};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// `GET /ws`: the JSON interface. Who connects is known before the upgrade.
pub(crate) async fn serve_json(State(app): State<Arc<App>>, request: Request) -> Response {
    let served = async {
        let asked = Asked::check(&app, &request)?;
        let shown = Shown::by_upgrade(request.headers(), request.uri());
        let user = asked.enter(&app, &shown).await?;
        let place = app.throttle.socket_of_user(&user.user, asked.peer.address);
        let Ok(place) = place else {
            metrics::refused("user");
            return Err(too_many_sockets());
        };
        let make = |app: Arc<App>, outbox, answers| {
            (json::JsonProtocol::new(app, user, outbox, answers), place)
        };
        upgrade(app.clone(), request, asked, (Kind::Ws, None), make)
    };
    served.await.unwrap_or_else(IntoResponse::into_response)
}

/// `GET /sync`: the binary interface. A credential may come with the request or with `hello`.
pub(crate) async fn serve_sync(State(app): State<Arc<App>>, request: Request) -> Response {
    let served = async {
        let asked = Asked::check(&app, &request)?;
        let brought = match Shown::by_upgrade(request.headers(), request.uri()) {
            Shown::Nothing => None,
            shown => Some(asked.enter(&app, &shown).await?),
        };
        let caller =
            sync::Caller { peer: asked.peer, brought, bound: Bound::of(HELLO_INTAKE_BYTES) };
        let bound = caller.bound.clone();
        let make =
            |app, outbox, answers| (sync::SyncProtocol::new(app, outbox, answers, caller), None);
        upgrade(app.clone(), request, asked, (Kind::Sync, Some(bound)), make)
    };
    served.await.unwrap_or_else(IntoResponse::into_response)
}

/// A request for a WebSocket that is one, from a page that may connect.
#[derive(Debug)]
struct Asked {
    peer: Peer,
    key: HeaderValue,
    /// Behind a proxy, where the connection itself is not the client's.
    place: Option<AddressPlace>,
}

impl Asked {
    fn check(app: &App, request: &Request) -> Result<Self, Problem> {
        let key = handshake_key(request.headers())?;
        if !app.origins.allow(request.headers()) {
            metrics::refused("origin");
            return Err(Refused::new(Code::Forbidden, "this origin may not connect").into());
        }
        if app.phases.phase() != Phase::Running {
            metrics::refused("draining");
            return Err(Refused::retry().into());
        }
        let peer = peer_of(request.extensions());
        let mut place = None;
        if peer.via_proxy {
            place = app.throttle.socket_of_address(peer.address).map_err(|_| {
                metrics::refused("address");
                too_many_sockets()
            })?;
        }
        Ok(Self { peer, key, place })
    }

    async fn enter(&self, app: &App, shown: &Shown) -> Result<Identity, Problem> {
        let entered = app.access.enter(shown, self.peer, &app.throttle).await;
        entered.map_err(|denied| {
            metrics::refused("unauthorized");
            problem(app, denied)
        })
    }
}

fn too_many_sockets() -> Problem {
    Refused::new(Code::RateLimited, "too many connections").into()
}

/// Answers the handshake and serves the socket in a task of its own, as long as which the places
/// are kept that it takes.
fn upgrade<P: Session + 'static>(
    app: Arc<App>,
    mut request: Request,
    asked: Asked,
    (kind, bound): (Kind, Option<Bound>),
    protocol: impl FnOnce(Arc<App>, Arc<Outbox>, Answers) -> (P, Option<UserPlace>),
) -> Result<Response, Problem> {
    let Some(on_upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return Err(Refused::bad_request("the connection cannot be upgraded").into());
    };
    let transport = kind.name();
    let outbox = Arc::new(Outbox::new(app.reads.budget().clone()));
    let (answers, answers_out) = Answers::new();
    let (protocol, user_place) = protocol(app.clone(), outbox.clone(), answers);
    let frames = Frames::new(app.throttle.clone(), kind, asked.peer);
    let protocol = Metered::new(protocol, kind, frames);
    let slot = request.extensions_mut().remove::<crate::serve::Slot>();
    let places = (slot, asked.place, user_place);
    let sockets = app.sockets.clone();
    sockets.spawn(async move {
        let metrics = SocketMetrics::new(transport);
        let Some(socket) = socket_of(on_upgrade, bound).await else { return };
        let phases = app.phases.watch();
        let close = connection::run(socket, outbox, protocol, answers_out, phases, metrics).await;
        metrics::disconnected(close.code());
        if close == Close::Slow {
            metrics::slow_consumer();
        }
        tracing::debug!(transport, code = close.code(), "socket closed");
        drop(places);
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, asked.key);
    if offers_subprotocol(request.headers()) {
        let ours = HeaderValue::from_static(SUBPROTOCOL);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, ours);
    }
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
async fn socket_of(on_upgrade: OnUpgrade, bound: Option<Bound>) -> Option<WebSocketStream<Stream>> {
    let upgraded = on_upgrade.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<Patient<TcpStream>>>().ok()?;
    // A socket has deadlines of its own.
    let (socket, read) = (parts.io.into_inner().into_inner(), parts.read_buf.to_vec());
    let socket = Intake::new(socket, bound, read.len());
    let config = Some(connection::socket_config());
    Some(WebSocketStream::from_partially_read(socket, read, Role::Server, config).await)
}
