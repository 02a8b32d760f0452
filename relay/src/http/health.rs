//! Whether the relay lives, whether it is ready, and its figures.

use super::Problem;
use crate::app::App;
use crate::refused::{Code, Refused};
use crate::shutdown::Phase;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use axum::routing::get;
use std::sync::Arc;

/// `/livez` and `/readyz`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/livez", get(async || "ok\n")).route("/readyz", get(ready))
}

/// `/metrics`.
pub(super) fn metrics_route() -> Router<Arc<App>> {
    Router::new().route("/metrics", get(metrics))
}

async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    match why_not(&app) {
        None => Ok("ready\n"),
        Some(why) => Err(Refused::new(Code::Retry, why).into()),
    }
}

/// Why the relay is not ready, if it is not: what it is asked to store might not be.
fn why_not(app: &App) -> Option<&'static str> {
    match app.phases.phase() {
        Phase::Draining => return Some("the relay is stopping"),
        Phase::Failed => return Some("the store takes no writes"),
        Phase::Running => {}
    }
    if *app.engine.failed().borrow() {
        return Some("the store takes no writes");
    }
    app.disk.is_short().then_some("the disk of the store is nearly full")
}

async fn metrics(State(app): State<Arc<App>>) -> Result<impl IntoResponse, Problem> {
    let Some(handle) = &app.metrics else {
        return Err(Refused::new(Code::NotFound, "the figures are kept elsewhere").into());
    };
    let media_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, media_type)], handle.render()))
}
