//! What becomes of a command that meets a damaged row: it alone is refused, and nothing of it stays.
//!
//! The refusal says `retry`: no client takes that for an acknowledgement, and each keeps what it wrote.

use super::check::{Stop, chain};
use super::command::{Code, Refusal};
use crate::metrics;
use crate::store::StoreError;

/// Where attachments are, for people.
pub(super) const ATTACHMENTS: &str = "attachments";

/// Where idempotency keys of all channels are, for people.
pub(super) const IDEMPOTENCY: &str = "idempotency keys";

/// The refusal of a command that met damage in a channel.
///
/// # Errors
/// It is no damage: the store fails, and nothing more may be written.
pub(super) fn refusal(channel: &str, error: StoreError) -> Result<Refusal, StoreError> {
    if !error.is_damage() {
        return Err(error);
    }
    metrics::damaged_row();
    let error = chain(&error);
    let text = format!("{channel}: {error}");
    tracing::error!(channel, error, "a command is refused: run `backscroll check --repair`");
    Ok(Refusal::new(Code::Retry, text))
}

/// What a command is answered, if the store goes on.
///
/// # Errors
/// The store fails.
pub(super) fn answer_to<T>(
    channel: &str,
    result: Result<T, Stop>,
) -> Result<Result<T, Refusal>, StoreError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Stop::Refused(refusal)) => Ok(Err(refusal)),
        Err(Stop::Store(error)) => refusal(channel, error).map(Err),
    }
}
