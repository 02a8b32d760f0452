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
    let text = match app.phases.phase() {
        Phase::Running if app.engine.has_room() => return Ok("ready\n"),
        Phase::Running => "the disk is full",
        Phase::Draining => "the relay is stopping",
        Phase::Failed => "the store takes no writes",
    };
    Err(Refused::new(Code::Retry, text).into())
}

async fn metrics(State(app): State<Arc<App>>) -> Result<impl IntoResponse, Problem> {
    let Some(handle) = &app.metrics else {
        return Err(Refused::new(Code::NotFound, "the figures are kept elsewhere").into());
    };
    // What the store says is asked for when somebody wants to know. Blocks for a few file sizes.
    let engine = app.engine.clone();
    if let Ok(figures) = tokio::task::spawn_blocking(move || engine.figures()).await {
        crate::metrics::store(&figures);
    }
    crate::metrics::answers_held(app.reads.budget().held());
    let media_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, media_type)], handle.render()))
}
