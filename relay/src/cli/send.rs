//! `backscroll send`: one message, and the end only after the relay has it on disk.

use super::connect::{self, ConnectError, Connection, Credential, RelayUrl};
use super::{Failure, Outcome, output};
use serde_json::{Value, json};
use std::time::Duration;

/// How long the relay may take to acknowledge.
const ACK_TIMEOUT: Duration = Duration::from_secs(30);

/// What `send` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct SendArguments {
    /// The relay, as http://HOST:PORT, ws://HOST:PORT or HOST:PORT
    #[arg(long, value_name = "URL")]
    relay: RelayUrl,
    #[command(flatten)]
    credential: Credential,
    /// Channel to send to
    channel: String,
    /// The message's text
    #[arg(allow_hyphen_values = true)]
    text: String,
    /// Sender's name [default: anonymous; with a credential, its user]
    #[arg(long, value_name = "NAME")]
    from: Option<String>,
}

/// Why it is not known to be stored.
#[derive(Debug, thiserror::Error)]
#[error("no acknowledgement within {} s: the message may or may not be stored", ACK_TIMEOUT.as_secs())]
struct NoAck;

pub(super) fn run(arguments: &SendArguments) -> Result<Outcome, Failure> {
    let sending = async { tokio::time::timeout(ACK_TIMEOUT, send(arguments)).await };
    let ack = connect::block_on(sending)?.map_err(|_| NoAck)??;
    let id = ack.get("id").and_then(Value::as_str).unwrap_or_default();
    let seq = ack.get("seq").and_then(Value::as_u64).unwrap_or_default();
    output::line(&format!("{id} seq {seq}"))?;
    Ok(Outcome::Clean)
}

async fn send(arguments: &SendArguments) -> Result<Value, ConnectError> {
    let SendArguments { relay, credential, channel, text, from } = arguments;
    let mut command = json!({"command": "send", "channel": channel, "text": text, "ref": "send"});
    if let (Some(from), Some(fields)) = (from, command.as_object_mut()) {
        fields.insert("from".to_owned(), Value::from(from.as_str()));
    }
    let mut connection = Connection::open(relay, credential).await?;
    connection.feed(command.to_string()).await?;
    connection.flush().await?;
    loop {
        let event = connection.next().await?;
        if connect::is_event(&event, "error") {
            return Err(connect::refusal(&event));
        }
        if connect::is_event(&event, "ack") {
            connection.close().await;
            return Ok(event);
        }
    }
}
