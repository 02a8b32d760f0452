//! Message bodies, edits, and every text that names something: keys, ids, windows, codes, anchors.

use super::script::Script;
use backscroll_core::annotation::{AnnotationKey, Edit};
use backscroll_core::message::{Content, MessageId};
use backscroll_core::viewport::At;
use backscroll_core::window::Window;
use backscroll_core::wire::Code;

/// The first byte says what the others are.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mode = script.byte();
    let bytes = script.rest();
    match mode.map(|mode| mode % 3) {
        Some(0) => body(bytes),
        Some(1) => edit(bytes),
        Some(_) => texts(bytes),
        None => {}
    }
}

fn body(bytes: &[u8]) {
    let Ok(content) = Content::from_body(bytes) else { return };
    // Other writers may spell a body longer or shorter than we do: integers as floats for one.
    let Ok(encoded) = content.to_body() else { return };
    let again = Content::from_body(&encoded).expect("what was written is read");
    assert_eq!(again, content);
    assert_eq!(again.to_body().expect("as before"), encoded);
}

fn edit(bytes: &[u8]) {
    let Ok(edit) = Edit::from_bytes(bytes) else { return };
    let Ok(encoded) = edit.to_bytes() else { return };
    let again = Edit::from_bytes(&encoded).expect("what was written is read");
    assert_eq!(again, edit);
    assert_eq!(again.to_bytes().expect("as before"), encoded);
}

fn texts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(key) = text.parse::<AnnotationKey>() {
        assert_eq!(key.to_string(), text, "an annotation key has one spelling");
    }
    if let Ok(id) = MessageId::from_key(text) {
        assert_eq!(id.to_key(), text, "a message key has one spelling");
    }
    if let Ok(id) = text.parse::<MessageId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(MessageId::from_key(&id.to_key()), Ok(id));
    }
    if let Ok(window) = text.parse::<Window>() {
        assert_eq!(window.to_string().parse(), Ok(window));
        assert!(window.contains(window.start_ms()));
    }
    if let Ok(at) = text.parse::<At>() {
        assert!(!matches!(at, At::Fraction(fraction) if !(0.0..=1.0).contains(&fraction)));
    }
    let Ok(code) = text.parse::<Code>();
    assert_eq!(code.as_str(), text);
}
