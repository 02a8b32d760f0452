//! The demo app's files.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use std::path::Path;
use tower_http::services::{ServeDir, ServeFile};

/// Serves the files of `folder`, and `index.html` for what is none.
pub(super) fn service(folder: &Path) -> Router {
    let files = ServeDir::new(folder).fallback(ServeFile::new(folder.join("index.html")));
    Router::new().fallback_service(files).layer(from_fn(cached))
}

/// Bundlers put a hash into the names under `/assets/`: those never change. All others are asked
/// for anew and answered `304` while they are the same.
async fn cached(request: Request, next: Next) -> Response {
    let hashed = request.uri().path().starts_with("/assets/");
    let mut response = next.run(request).await;
    let is_page = response.headers().get(header::CONTENT_TYPE).is_some_and(|media_type| {
        media_type.to_str().is_ok_and(|media_type| media_type.starts_with("text/html"))
    });
    let cache = if hashed && !is_page && !response.status().is_client_error() {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
