//! Tests of annotation keys, values and their fold.

use super::*;
use proptest::prelude::*;
use serde_json::json;

const T0: u64 = 1_700_000_000_000;

fn id() -> MessageId {
    MessageId::from_parts(T0, 7)
}

fn reaction(user: &str, emoji: &str) -> AnnotationKey {
    AnnotationKey::Reaction { id: id(), user: user.to_owned(), emoji: emoji.to_owned() }
}

#[test]
fn keys_have_these_texts() {
    let key = id().to_key();
    assert_eq!(AnnotationKey::Edit { id: id() }.to_string(), format!("{key}:e"));
    assert_eq!(AnnotationKey::Delete { id: id() }.to_string(), format!("{key}:d"));
    assert_eq!(reaction("ada", "+1").to_string(), format!("{key}:r:ada:%2B1"));
    assert_eq!(reaction("a:b é", "👍").to_string(), format!("{key}:r:a%3Ab%20%C3%A9:%F0%9F%91%8D"));
}

#[test]
fn only_the_one_encoding_of_a_key_is_read() {
    let key = id().to_key();
    let refused = |rest: &str| format!("{key}{rest}").parse::<AnnotationKey>().unwrap_err();
    for form in ["", ":", ":x", ":e:", ":ee", ":r", ":r:", ":r:ada"] {
        assert_eq!(refused(form), AnnotationKeyError::Form, "{form}");
    }
    for encoding in [
        ":r:ada:%2b1",   // lower-case hex
        ":r:%61da:x",    // an unreserved character encoded
        ":r:a da:x",     // a reserved one not encoded
        ":r:ada:x:y",    // a colon not encoded
        ":r:ada:%",      // cut off
        ":r:ada:%F",     // cut off
        ":r:ada:%FF",    // not UTF-8
        ":r:ada:\u{e9}", // not ASCII
    ] {
        assert_eq!(refused(encoding), AnnotationKeyError::Encoding, "{encoding}");
    }
    assert!(matches!(refused(":r::x"), AnnotationKeyError::Content(_)));
    assert!(matches!(refused(":r:ada:"), AnnotationKeyError::Content(_)));
    assert!(matches!(
        refused(&format!(":r:ada:{}", "x".repeat(65))),
        AnnotationKeyError::Content(_)
    ));
    assert!(matches!("00:e".parse::<AnnotationKey>(), Err(AnnotationKeyError::Id(_))));
}

fn full() -> Edit {
    Edit {
        attachments: Some(vec![Attachment {
            name: "a.png".to_owned(),
            media_type: "image/png".to_owned(),
            size: 3,
            url: Some("https://example.org/a.png".to_owned()),
            sha256: None,
        }]),
        data: Some(json!({"n": [1, null]}).into()),
        ..Edit::text("hi", T0)
    }
}

#[test]
fn every_field_of_an_edit_comes_back() {
    for edit in [
        full(),
        Edit::text("", 0),
        Edit {
            text: None,
            attachments: Some(Vec::new()),
            data: Some(json!(null).into()),
            edited_at: 1,
        },
    ] {
        assert_eq!(Edit::from_bytes(&edit.to_bytes().unwrap()).unwrap(), edit);
    }
}

#[test]
fn malformed_edits_are_refused_with_what_is_wrong() {
    let error = |bytes: &[u8]| Edit::from_bytes(bytes).unwrap_err().to_string();
    assert_eq!(error(&[0xa0]), "the message body has no edited_at");
    let mut bytes = full().to_bytes().unwrap();
    bytes.push(0);
    assert_eq!(error(&bytes), "the message body is followed by other bytes");
    assert!(error(&vec![0; BODY_BYTES_MAX + 1]).contains("larger"));
    assert!(Edit::text(&"x".repeat(65_537), 0).to_bytes().is_err());
}

#[test]
fn a_tombstone_stays_and_reactions_come_and_go() {
    let mut annotations = Annotations::default();
    assert!(annotations.is_empty());
    annotations.apply(&AnnotationKey::Delete { id: id() }, AnnotationValue::Delete);
    annotations.apply(&AnnotationKey::Edit { id: id() }, AnnotationValue::Edit(full()));
    assert!(annotations.deleted);
    for user in ["ada", "bob"] {
        annotations.apply(&reaction(user, "+1"), AnnotationValue::Reaction(true));
    }
    annotations.apply(&reaction("ada", "+1"), AnnotationValue::Reaction(false));
    assert_eq!(annotations.reactions["+1"].iter().collect::<Vec<_>>(), ["bob"]);
    annotations.apply(&reaction("bob", "+1"), AnnotationValue::Reaction(false));
    assert!(annotations.reactions.is_empty());
}

proptest! {
    #[test]
    fn every_user_and_emoji_come_back(user in "\\PC{1,60}", emoji in "\\PC{1,16}") {
        let key = reaction(&user, &emoji);
        prop_assert_eq!(key.to_string().parse::<AnnotationKey>().unwrap(), key);
    }

    #[test]
    fn a_key_that_is_read_is_written_the_same(rest in "[rde:%0-9A-Fa-z~ ]{0,12}") {
        let text = format!("{}:r:{rest}", id().to_key());
        if let Ok(key) = text.parse::<AnnotationKey>() {
            prop_assert_eq!(key.to_string(), text);
        }
    }
}
