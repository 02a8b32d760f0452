//! The accept loop: HTTP/1 connections with a deadline for headers, bounded in number, over all and
//! by address.
//!
//! The web framework's own loop installs no timer, so that a silent client would stay for ever, and
//! counts nothing (references: relay 5).

use super::patient::Patient;
use crate::http::Problem;
use crate::limits::{ADMIN_CONNECTIONS_MAX, BLOB_UPLOAD_TIMEOUT, REFUSALS_MAX};
use crate::metrics;
use crate::refused::{Code, Refused};
use crate::shutdown::Phases;
use crate::throttle::{AddressPlace, Crowded, Throttle, TrustedProxies};
use axum::Router;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use tower::Service;

/// How long a client may take to send its request's headers.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request may take, its body included, until its response begins.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Pause after the system refused a connection, as it does without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection that is turned away may take to read its answer and go.
const REFUSE_WITHIN: Duration = Duration::from_millis(200);

/// What a client is told when there are too many.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";

/// What a client is told whose address has too many, or when too many come at once.
const SLOW_DOWN: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";

/// One of the connections that may be open at a time, over all and of its address; a socket keeps
/// it until it ends.
#[derive(Clone, Debug)]
pub(crate) struct Slot(
    #[expect(dead_code, reason = "held, not read")]
    Arc<(OwnedSemaphorePermit, Option<AddressPlace>)>,
);

/// Who may connect how often.
#[derive(Clone, Debug)]
pub(super) struct Door {
    /// `None` limits nobody, as on the admin address.
    pub(super) throttle: Option<Arc<Throttle>>,
    pub(super) proxies: Arc<TrustedProxies>,
}

/// Accepts connections until the relay no longer runs.
#[derive(Clone, Debug)]
pub(super) struct Acceptor {
    phases: Phases,
    slots: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    connections: TaskTracker,
    door: Door,
}

impl Acceptor {
    /// An acceptor of at most `connections_max` connections.
    pub(super) fn new(phases: Phases, connections_max: usize, door: Door) -> Self {
        let slots = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
        let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
        Self { phases, slots, refusals, connections: TaskTracker::new(), door }
    }

    /// One for the admin address, with connections of its own: it must answer when the public one is
    /// crowded, and whoever reaches it takes nothing of that one's. Both end together.
    pub(super) fn for_admin(&self) -> Self {
        let door = Door { throttle: None, proxies: Arc::default() };
        let slots = Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX));
        Self { slots, door, ..self.clone() }
    }

    /// Serves `router` on `listener` until the relay no longer runs.
    pub(super) async fn run(mut self, listener: TcpListener, router: Router) {
        loop {
            let accepted = tokio::select! {
                _ = self.phases.left_running() => break,
                accepted = listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok((stream, remote)) => (stream, remote.ip()),
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            metrics::accepted();
            match self.slot(address) {
                Ok(slot) => {
                    let client = Client { address, slot, proxies: self.door.proxies.clone() };
                    let phases = self.phases.clone();
                    self.connections.spawn(serve(stream, router.clone(), client, phases));
                }
                Err((reason, answer)) => {
                    metrics::refused(reason);
                    // In a flood there is no time for an answer to everyone.
                    if let Ok(permit) = self.refusals.clone().try_acquire_owned() {
                        tokio::spawn(refuse(stream, answer, permit));
                    }
                }
            }
        }
        self.connections.close();
    }

    /// A place for a connection of `address`, or why there is none and what it is told.
    fn slot(&self, address: IpAddr) -> Result<Slot, (&'static str, &'static [u8])> {
        // A proxy's connections are those of its clients: they are counted by request.
        let throttle = self.door.throttle.as_ref().filter(|_| !self.door.proxies.trust(address));
        let place = match throttle.map_or(Ok(None), |throttle| throttle.connect(address)) {
            Ok(place) => place,
            Err(Crowded::Accepts) => return Err(("accept_rate", SLOW_DOWN)),
            Err(Crowded::Address) => return Err(("address", SLOW_DOWN)),
        };
        match self.slots.clone().try_acquire_owned() {
            Ok(permit) => Ok(Slot(Arc::new((permit, place)))),
            Err(_) => Err(("too_many", TOO_MANY)),
        }
    }

    /// Waits until every HTTP connection has ended; upgraded ones end here when they are upgraded.
    pub(super) async fn ended(&self) {
        self.connections.close();
        self.connections.wait().await;
    }
}

async fn refuse(mut stream: TcpStream, answer: &'static [u8], _permit: OwnedSemaphorePermit) {
    let answer = async {
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        // Closing over a request that was not read would reset the connection and lose the answer.
        tokio::io::copy(&mut stream.take(HEAD_BYTES_MAX as u64), &mut tokio::io::sink()).await
    };
    let _ = timeout(REFUSE_WITHIN, answer).await;
}

/// Who is at the other end of a connection.
#[derive(Debug)]
struct Client {
    address: IpAddr,
    slot: Slot,
    proxies: Arc<TrustedProxies>,
}

async fn serve(stream: TcpStream, router: Router, client: Client, mut phases: Phases) {
    // Small frames must not wait for the acknowledgement of the ones before.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let peer = client.proxies.peer(client.address, request.headers());
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(client.slot.clone());
        respond(router.clone(), request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Patient::new(stream)), service)
        .with_upgrades();
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        _ = phases.left_running() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

/// How long a request may take. An upload has a rate to keep instead, as long as that lasts.
fn time_for(method: &Method, path: &str) -> Duration {
    let is_upload = *method == Method::PUT && path.starts_with("/api/blobs/");
    if is_upload { BLOB_UPLOAD_TIMEOUT } else { REQUEST_TIMEOUT }
}

async fn respond(
    mut router: Router,
    request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    match timeout(time_for(request.method(), request.uri().path()), router.call(request)).await {
        Ok(response) => response,
        Err(_) => {
            let refused = Refused::new(Code::Retry, "the request took too long");
            Ok(Problem::new(StatusCode::REQUEST_TIMEOUT, refused).into_response())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::BLOB_BYTES_MAX;

    #[test]
    fn a_large_upload_on_a_slow_line_has_the_time_it_needs() {
        // 20 kB a second, which is faster than the least.
        let needed = Duration::from_secs(BLOB_BYTES_MAX as u64 / 20_000);
        assert!(time_for(&Method::PUT, "/api/blobs/00") > needed);
        for (method, path) in
            [(Method::GET, "/api/blobs/00"), (Method::POST, "/api/channels/c/messages")]
        {
            assert_eq!(time_for(&method, path), REQUEST_TIMEOUT);
        }
    }
}
