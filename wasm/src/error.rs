//! Errors as JavaScript sees them: an `Error` with a stable `code` beside its words.

use backscroll_core::client::CommandError;
use backscroll_core::message::{BodyError, ContentError};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen]
extern "C" {
    /// JavaScript's `Error`.
    #[wasm_bindgen(js_name = Error)]
    type JsError;

    #[wasm_bindgen(constructor, js_class = "Error")]
    fn new(message: &str) -> JsError;

    #[wasm_bindgen(method, setter)]
    fn set_code(this: &JsError, code: &str);
}

/// Why a call was refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    code: &'static str,
    words: String,
}

impl Refusal {
    #[expect(clippy::needless_pass_by_value, reason = "errors and texts are given as they come")]
    pub(crate) fn new(code: &'static str, words: impl ToString) -> Self {
        Self { code, words: words.to_string() }
    }
}

impl From<Refusal> for JsValue {
    fn from(refusal: Refusal) -> Self {
        let error = JsError::new(&refusal.words);
        error.set_code(refusal.code);
        error.into()
    }
}

/// The codes are those of design 8.2 where they fit.
impl From<CommandError> for Refusal {
    fn from(error: CommandError) -> Self {
        let code = match &error {
            CommandError::NoChannel(_) | CommandError::NoView => "closed",
            CommandError::NoMessage(..) => "not_found",
            CommandError::Name(ContentError::Empty { field: "channel" })
            | CommandError::Name(ContentError::TooLarge { field: "channel", .. }) => "bad_channel",
            CommandError::TooLarge { .. }
            | CommandError::Name(ContentError::TooLarge { .. })
            | CommandError::Message(BodyError::TooLarge)
            | CommandError::Message(BodyError::Content(ContentError::TooLarge { .. })) => {
                "too_large"
            }
            _ => "bad_request",
        };
        Self::new(code, error)
    }
}

impl From<ContentError> for Refusal {
    fn from(error: ContentError) -> Self {
        Self::new("bad_request", error)
    }
}

impl From<serde_json::Error> for Refusal {
    fn from(error: serde_json::Error) -> Self {
        Self::new("bad_request", error)
    }
}
