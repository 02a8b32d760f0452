//! What every request passes before its route: not too many of one address, from a page that may
//! write, with a credential.

use super::Problem;
use super::origins::is_loopback_host;
use crate::access::{Denied, Shown};
use crate::app::App;
use crate::metrics;
use crate::refused::{Code, Refused};
use crate::throttle::Peer;
use axum::extract::{Request, State};
use axum::http::{Extensions, Method};
use axum::middleware::Next;
use axum::response::Response;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Refuses what an address asks too often.
pub(super) async fn paced(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if app.throttle.is_request_too_much(peer_of(request.extensions()).address) {
        metrics::rate_limited("http");
        return Err(Refused::new(Code::RateLimited, "too many requests").into());
    }
    Ok(next.run(request).await)
}

/// Refuses who calls the admin page by another name than loopback's, as a stranger's page would
/// that had its own name point here.
pub(super) async fn called_locally(request: Request, next: Next) -> Result<Response, Problem> {
    if !is_loopback_host(request.headers()) {
        metrics::refused("origin");
        let text = "the admin page is called by a name of loopback";
        return Err(Refused::new(Code::Forbidden, text).into());
    }
    Ok(next.run(request).await)
}

/// Lets in whose credential is right; the route finds the [`Identity`](crate::identity::Identity)
/// among the request's extensions.
pub(super) async fn admitted(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !reads && !app.origins.allow(request.headers()) {
        metrics::refused("origin");
        return Err(Refused::new(Code::Forbidden, "this origin may not write").into());
    }
    let peer = peer_of(request.extensions());
    let shown = Shown::by(request.headers());
    let entered = app.access.enter(&shown, peer, &app.throttle).await;
    let identity = entered.map_err(|denied| problem(&app, denied))?;
    request.extensions_mut().insert(identity);
    Ok(next.run(request).await)
}

/// What a client is told that is not let in, with what it should show.
pub(crate) fn problem(app: &App, denied: Denied) -> Problem {
    Problem::from(Refused::from(denied)).with_challenge(app.access.challenge())
}

/// Who sends a request. One that came past the accept loop has no address that could be exempt.
pub(crate) fn peer_of(extensions: &Extensions) -> Peer {
    let nobody = Peer { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), via_proxy: false };
    extensions.get().copied().unwrap_or(nobody)
}
