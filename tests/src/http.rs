//! A client of the HTTP interface.

use crate::relay::Relay;
use serde_json::Value;

/// An answer: status, content type, body.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The media type, without parameters.
    pub media_type: String,
    /// The body; `Null` if it is no JSON.
    pub body: Value,
    /// The body as text.
    pub text: String,
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}

fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let mut response = response.expect("the relay answers");
    let media_type = response.headers().get("content-type").and_then(|v| v.to_str().ok());
    let media_type =
        media_type.unwrap_or_default().split(';').next().unwrap_or_default().to_owned();
    let status = response.status().as_u16();
    let text = response.body_mut().with_config().limit(64 << 20).read_to_string().expect("text");
    Answer { status, media_type, body: serde_json::from_str(&text).unwrap_or(Value::Null), text }
}

/// Asks `GET path` of the relay at `address` until it answers with this status.
///
/// # Panics
/// It does not within the deadline.
pub fn until_status(address: &str, path: &str, status: u16) {
    let from = std::time::Instant::now();
    let url = format!("http://{address}{path}");
    while agent().get(&url).call().map_or(0, |answer| answer.status().as_u16()) != status {
        assert!(from.elapsed() < crate::DEADLINE, "{path} does not come to {status}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// `GET path`.
///
/// # Panics
/// The relay does not answer.
#[must_use]
pub fn get(relay: &Relay, path: &str) -> Answer {
    answer(agent().get(relay.url(path)).call())
}

/// `POST path` with a JSON body and headers.
///
/// # Panics
/// The relay does not answer.
#[must_use]
pub fn post(relay: &Relay, path: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = agent().post(relay.url(path)).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(request.send(body))
}
