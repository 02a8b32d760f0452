//! Attachments over HTTP.

use super::support::{Relay, Response, request, soon};
use crate::limits::{BLOB_BYTES_MAX, BLOB_PART_BYTES};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn path(bytes: &[u8]) -> String {
    let hash: [u8; 32] = Sha256::digest(bytes).into();
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("/api/blobs/{hex}")
}

async fn put(relay: &Relay, path: &str, headers: &[(&str, &str)], bytes: &[u8]) -> Response {
    request(relay.address, "PUT", path, headers, bytes).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attachment_is_stored_once_and_served_as_it_was() {
    let relay = Relay::start().await;
    for len in [0, 1, BLOB_PART_BYTES, BLOB_PART_BYTES + 1, 3_000_000, BLOB_BYTES_MAX] {
        let bytes: Vec<u8> =
            (0..len).map(|at| u8::try_from((at * 7 + len) % 251).unwrap()).collect();
        let path = path(&bytes);
        assert_eq!(relay.get(&path).await.problem(), (404, "not_found".to_owned()));
        let stored = put(&relay, &path, &[("content-type", "image/png")], &bytes).await;
        assert_eq!((stored.status, &stored.json()["bytes"]), (201, &len.into()));
        assert_eq!(put(&relay, &path, &[], &bytes).await.status, 200);
        let served = relay.get(&path).await;
        assert_eq!(served.status, 200);
        assert_eq!(served.header("content-length"), Some(len.to_string().as_str()));
        assert_eq!(served.header("content-type"), Some("image/png"));
        assert_eq!(served.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(served.header("content-disposition"), Some("attachment"));
        let cache = served.header("cache-control").unwrap();
        assert!(cache.contains("immutable") && cache.contains("max-age=31536000"), "{cache}");
        assert!(served.body == bytes);
        let tag = served.header("etag").unwrap();
        let again = relay.request("GET", &path, &[("if-none-match", tag)], "").await;
        assert_eq!((again.status, again.body.len()), (304, 0));
        let head = relay.request("HEAD", &path, &[], "").await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), Some(len.to_string().as_str()));
    }
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_what_it_is_called_is_not_stored() {
    let relay = Relay::start().await;
    let path = path(b"this");
    let other = put(&relay, &path, &[], b"that").await;
    assert_eq!(other.problem(), (422, "bad_request".to_owned()));
    assert_eq!(relay.get(&path).await.problem().0, 404);
    for bad in ["/api/blobs/x", "/api/blobs/%ff", &format!("{path}0")] {
        assert_eq!(put(&relay, bad, &[], b"x").await.problem(), (400, "bad_request".to_owned()));
        assert_eq!(relay.get(bad).await.problem(), (400, "bad_request".to_owned()));
    }
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn attachments_have_a_bound_and_users_a_quota() {
    let relay = Relay::start_with(|config| config.blobs.user_quota_bytes = 1_000).await;
    let large = vec![7; BLOB_BYTES_MAX + 1];
    let refused = put(&relay, &path(&large), &[], &large).await;
    assert_eq!(refused.problem(), (413, "too_large".to_owned()));
    let (first, second) = ([1_u8; 600], [2_u8; 600]);
    assert_eq!(put(&relay, &path(&first), &[], &first).await.status, 201);
    // What is there costs nothing.
    assert_eq!(put(&relay, &path(&first), &[], &first).await.status, 200);
    let refused = put(&relay, &path(&second), &[], &second).await;
    assert_eq!(refused.problem(), (413, "too_large".to_owned()));
    assert_eq!(put(&relay, &path(&second[..400]), &[], &second[..400]).await.status, 201);
    relay.stop().await.unwrap();
    let none = Relay::start_with(|config| config.blobs.user_quota_bytes = 0).await;
    assert_eq!(put(&none, &path(b"x"), &[], b"x").await.problem(), (403, "forbidden".to_owned()));
    none.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_stops_is_ended() {
    let relay = Relay::start().await;
    let mut stream = TcpStream::connect(relay.address).await.unwrap();
    let head = format!("PUT {} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", path(b"x"));
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[7; 1_000]).await.unwrap();
    let mut answer = Vec::new();
    soon("an end", stream.read_to_end(&mut answer)).await.unwrap();
    let answer = Response::parse(&answer);
    assert_eq!(answer.problem(), (408, "retry".to_owned()));
    // Its place is another's.
    assert_eq!(put(&relay, &path(b"x"), &[], b"x").await.status, 201);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_allowed_origins_may_store_and_others_not() {
    let relay = Relay::start().await;
    let (own, strange) = ("http://localhost:3000", "https://evil.example");
    let ask = [("origin", own), ("access-control-request-method", "PUT")];
    let preflight = relay.request("OPTIONS", &path(b"x"), &ask, "").await;
    let allowed = preflight.header("access-control-allow-methods").unwrap().to_owned();
    assert!(allowed.contains("PUT"), "{allowed}");
    assert_eq!(put(&relay, &path(b"x"), &[("origin", own)], b"x").await.status, 201);
    let refused = put(&relay, &path(b"y"), &[("origin", strange)], b"y").await;
    assert_eq!(refused.problem(), (403, "forbidden".to_owned()));
    relay.stop().await.unwrap();
}
