//! `/api/blobs/{sha256}`: attachments by the hash of their bytes (design 8.3).
//!
//! Content never changes under its name, so it may be cached for ever. It was written by strangers:
//! it is served as something a browser saves or shows, and never runs.

mod turns;

use super::{Problem, json, json_response, peer_of};
use crate::app::App;
use crate::blob_hash::{BlobHash, BlobHashError};
use crate::budget::Held;
use crate::commit::NewBlob;
use crate::commit::blob::room;
use crate::config::BlobsConfig;
use crate::identity::Identity;
use crate::limits::{BLOB_BYTES_MAX, BLOB_PART_BYTES, BLOB_RATE_BYTES, BLOB_RATE_EVERY};
use crate::refused::{Code, Refused};
use crate::store::rows::BlobRow;
use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::io;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};
use turns::{Turns, Uploader};

/// What is served as what it was said to be: media that browsers show and do not run.
const MEDIA_TYPES: [&str; 16] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/avif",
    "audio/mpeg",
    "audio/mp4",
    "audio/ogg",
    "audio/wav",
    "audio/webm",
    "audio/flac",
    "video/mp4",
    "video/webm",
    "video/ogg",
    "text/plain",
    "application/octet-stream",
];

/// As what everything else is served.
const BYTES: &str = "application/octet-stream";

/// The hash in a path.
type Named = Result<Path<String>, PathRejection>;

/// What is taken of attachments.
#[derive(Debug)]
pub(crate) struct Blobs {
    user_quota_bytes: u64,
    uploads: Turns,
}

impl Blobs {
    /// As configured.
    pub(crate) fn new(config: &BlobsConfig) -> Self {
        Self { user_quota_bytes: config.user_quota_bytes, uploads: Turns::new() }
    }
}

#[derive(Debug, Serialize)]
struct StoredBody<'a> {
    sha256: &'a str,
    bytes: usize,
    duplicate: bool,
}

/// `PUT`: 201 when it is on disk, 200 if it was there.
pub(super) async fn put(
    State(app): State<Arc<App>>,
    Extension(user): Extension<Identity>,
    name: Named,
    extensions: Extensions,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    app.access.check_write_anywhere(&user)?;
    let sha256 = named(name)?;
    if app.blobs.user_quota_bytes == 0 {
        return Err(Refused::new(Code::Forbidden, "this relay takes no attachments").into());
    }
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse().ok());
    if declared.is_some_and(|len: u64| len > BLOB_BYTES_MAX as u64) {
        return Err(too_large().into());
    }
    // What is refused anyway is not read: a body without a length has at least one byte.
    has_room(&app, &user, sha256, declared.unwrap_or(1)).await?;
    let uploader = if app.access.is_open() {
        Uploader::Address(peer_of(&extensions).address.into())
    } else {
        Uploader::User(user.user.clone())
    };
    let _turn = app.blobs.uploads.take(uploader).await?;
    let (bytes, found) = receive(body).await?;
    if found != sha256 {
        let refused = Refused::bad_request(format!("the body's SHA-256 is {}", BlobHash(found)));
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, refused));
    }
    let (len, quota_bytes) = (bytes.len(), app.blobs.user_quota_bytes);
    // The writer has the last word; before that nothing is written for who has no room.
    if has_room(&app, &user, sha256, len as u64).await? == Room::IsThere {
        return Ok(stored(&sha256, len, StatusCode::OK));
    }
    let blob = NewBlob {
        sha256,
        media_type: media_type(&headers).to_owned(),
        bytes,
        user: user.user,
        quota_bytes,
    };
    let is_new = app.engine.put_blob(blob).await.map_err(Refused::from)?;
    Ok(stored(&sha256, len, if is_new { StatusCode::CREATED } else { StatusCode::OK }))
}

/// Whether an attachment is to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// It is there, which costs nothing.
    IsThere,
    /// Its user has the room.
    Free,
}

/// Whether there is room for so many bytes of a user, if they are not there.
///
/// # Errors
/// There is none.
async fn has_room(
    app: &App,
    user: &Identity,
    sha256: [u8; 32],
    bytes: u64,
) -> Result<Room, Refused> {
    let (quota_bytes, by) = (app.blobs.user_quota_bytes, user.user.clone());
    let read = app.reads.run(move |view| {
        if view.blob(&sha256)?.is_some() {
            return Ok(Room::IsThere);
        }
        room(view.blob_usage(&by)?, bytes, quota_bytes).map_err(Refused::from)?;
        Ok(Room::Free)
    });
    read.await
}

fn stored(sha256: &[u8; 32], bytes: usize, status: StatusCode) -> Response {
    let name = BlobHash(*sha256).to_string();
    let duplicate = status == StatusCode::OK;
    json_response(status, json(&StoredBody { sha256: &name, bytes, duplicate }))
}

/// `GET` and `HEAD`: its bytes, part by part as the client takes them.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Extension(user): Extension<Identity>,
    name: Named,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    app.access.check_read_anywhere(&user)?;
    let sha256 = named(name)?;
    let row = app.reads.run(move |view| Ok(view.blob(&sha256)?)).await?;
    let Some(row) = row else {
        return Err(Refused::new(Code::NotFound, "there is no such attachment").into());
    };
    let tag = format!("\"{}\"", BlobHash(sha256));
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|tags| tags.to_str().ok());
    let mut known = known.flat_map(|tags| tags.split(','));
    let is_known = known.any(|known| {
        let known = known.trim();
        known == "*" || known.trim_start_matches("W/") == tag
    });
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        // What a download has in memory at a time: a part, and the end of the one before.
        let least = usize::try_from(row.bytes).unwrap_or(usize::MAX).min(BLOB_PART_BYTES);
        let held = app.reads.budget().hold_soon(least).await?;
        let parts = parts(app.clone(), sha256, row.bytes, held);
        let mut response = Response::new(Body::from_stream(parts));
        let length = HeaderValue::from(row.bytes);
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
        response
    };
    describe(response.headers_mut(), &row, &tag, app.access.is_open());
    Ok(response)
}

fn describe(headers: &mut HeaderMap, row: &BlobRow, tag: &str, is_public: bool) {
    let fixed = HeaderValue::from_static;
    let cache = if is_public {
        "public, max-age=31536000, immutable"
    } else {
        "private, max-age=31536000, immutable"
    };
    let media = MEDIA_TYPES.into_iter().find(|known| *known == row.media_type).unwrap_or(BYTES);
    headers.insert(header::CACHE_CONTROL, fixed(cache));
    headers.insert(header::CONTENT_TYPE, fixed(media));
    headers.insert(header::CONTENT_DISPOSITION, fixed("attachment"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, fixed("default-src 'none'; sandbox"));
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
}

/// The parts of an attachment, each read when the one before was taken.
fn parts(
    app: Arc<App>,
    sha256: [u8; 32],
    bytes: u64,
    held: Held,
) -> impl stream::Stream<Item = io::Result<Bytes>> + Send + 'static {
    let begun = (bytes > 0).then_some((app, 0_u32, bytes, held));
    stream::try_unfold(begun, move |begun| async move {
        let Some((app, part, left, held)) = begun else { return Ok(None) };
        let read = app.reads.run(move |view| Ok(view.blob_part(&sha256, part)?)).await;
        // The status is out: all that can be said is that the rest does not come.
        let bytes = read.map_err(io::Error::other)?.ok_or(io::ErrorKind::NotFound)?;
        let left = left.saturating_sub(bytes.len() as u64);
        // The last part holds what all of it held, until it is written.
        Ok(Some(match left {
            0 => (held.bind(bytes), None),
            _ => (Bytes::from(bytes), Some((app, part + 1, left, held))),
        }))
    })
}

/// Takes a body within its bound and at its rate, and its hash.
async fn receive(body: Body) -> Result<(Bytes, [u8; 32]), Problem> {
    let (mut bytes, mut hash) = (Vec::new(), Sha256::new());
    let mut body = body.into_data_stream();
    // Until when there must be how many bytes, or the end.
    let (mut until, mut least) = (Instant::now() + BLOB_RATE_EVERY, BLOB_RATE_BYTES);
    while let Some(more) = timeout_at(until, body.next()).await.map_err(|_| too_slow())? {
        let more = more.map_err(|_| Refused::bad_request("the body ended early"))?;
        if bytes.len() + more.len() > BLOB_BYTES_MAX {
            return Err(too_large().into());
        }
        hash.update(&more);
        bytes.extend_from_slice(&more);
        if bytes.len() >= least {
            (until, least) = (Instant::now() + BLOB_RATE_EVERY, bytes.len() + BLOB_RATE_BYTES);
        }
    }
    Ok((bytes.into(), hash.finalize().into()))
}

fn too_slow() -> Problem {
    let refused = Refused::new(Code::Retry, "the upload is too slow");
    Problem::new(StatusCode::REQUEST_TIMEOUT, refused)
}

fn too_large() -> Refused {
    Refused::new(Code::TooLarge, format!("an attachment may have {BLOB_BYTES_MAX} bytes"))
}

/// The media type that a client gave, if it is one that is served as such.
fn media_type(headers: &HeaderMap) -> &'static str {
    let given = headers.get(header::CONTENT_TYPE).and_then(|given| given.to_str().ok());
    let given = given.and_then(|given| given.split(';').next()).unwrap_or(BYTES).trim();
    MEDIA_TYPES.into_iter().find(|known| known.eq_ignore_ascii_case(given)).unwrap_or(BYTES)
}

fn named(name: Named) -> Result<[u8; 32], Refused> {
    let name = name.map_or_else(|_| String::new(), |Path(name)| name);
    let BlobHash(hash) =
        name.parse().map_err(|error: BlobHashError| Refused::bad_request(error.to_string()))?;
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_of_any_parts_is_taken_whole() {
        let parts = stream::iter((0..40_u8).map(|n| io::Result::Ok(vec![n; 10_000])));
        let (bytes, hash) = receive(Body::from_stream(parts)).await.unwrap();
        assert_eq!(bytes.len(), 400_000);
        assert_eq!(hash, <[u8; 32]>::from(Sha256::digest(&bytes)));
    }

    #[test]
    fn what_a_browser_would_run_is_bytes() {
        let of = |given: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, given.parse().unwrap());
            media_type(&headers)
        };
        assert_eq!(of("image/PNG"), "image/png");
        assert_eq!(of("text/plain; charset=utf-8"), "text/plain");
        for given in ["text/html", "image/svg+xml", "application/pdf", "x", "image/png2"] {
            assert_eq!(of(given), BYTES, "{given}");
        }
        assert_eq!(media_type(&HeaderMap::new()), BYTES);
    }
}
