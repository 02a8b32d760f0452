//! Saved documents: loaded, read, written to, saved and loaded again.
//!
//! Automerge panics on some documents that were made to break it. That a host has to catch
//! (docs/measurements.md lists the places); a panic in our own code, a hang or an allocation out of
//! bounds is a finding.

use super::changes::T0;
use super::script::{Script, fix_chunk};
use backscroll_core::annotation::{AnnotationKey, AnnotationValue};
use backscroll_core::change::{ActorId16, DocKind, MessageAuthor};
use backscroll_core::message::{Content, MessageId};
use backscroll_core::segment::SegmentDoc;
use backscroll_core::window::Window;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};
use std::sync::{Mutex, Once};

/// Document, level, whether to mend the checksum, and the document's bytes.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let (Some(kind), Some(level), Some(fix)) = (script.byte(), script.byte(), script.byte()) else {
        return;
    };
    let kind = if kind % 2 == 0 { DocKind::Messages } else { DocKind::Annotations };
    let window = Window::covering(level % 12, T0);
    let mut bytes = script.rest().to_vec();
    if fix % 4 != 3 {
        fix_chunk(&mut bytes);
    }
    forgiving_automerge(|| document(window, kind, &bytes));
}

fn document(window: Window, kind: DocKind, bytes: &[u8]) {
    let Ok(mut doc) = SegmentDoc::load(window, kind, bytes) else { return };
    let (digest, heads) = (doc.digest(), doc.heads());
    assert_eq!(doc.ids().len(), if kind == DocKind::Messages { doc.messages().count() } else { 0 });
    for (id, _) in doc.messages() {
        let _content = doc.message(id);
    }
    for (key, _) in doc.annotations() {
        let _all = doc.summary(key.id());
    }
    let saved = doc.save();
    // Not all that Automerge loads it can load again: who saves is who made it, or one's own relay.
    let Ok(again) = SegmentDoc::load(window, kind, &saved) else { return };
    assert_eq!((again.digest(), again.heads()), (digest, heads));
    let id = MessageId::from_parts(window.start_ms(), 1 << 70);
    match kind {
        DocKind::Messages => {
            let body = Content::text("ada", "one more").to_body().expect("a small body");
            let mut author = MessageAuthor::new(window, ActorId16([0xfe; 16]));
            let authored = author.write(&[(id, body)]).expect("a small change");
            // Refused where foreign actors are in it.
            let _applied = doc.apply(&[authored.chunk]);
        }
        DocKind::Annotations => {
            let key = AnnotationKey::Delete { id };
            let _annotated = doc.annotate(ActorId16([0xfe; 16]), &[(key, AnnotationValue::Delete)]);
        }
    }
    let saved = doc.save();
    let _loaded = SegmentDoc::load(window, kind, &saved);
}

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    /// Where the last panic was.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Places in Automerge that panicked so far; each is told once.
static PLACES: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Runs `f`, whose panics are passed on unless they happen inside Automerge.
pub fn forgiving_automerge(f: impl FnOnce()) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let other = take_hook();
        set_hook(Box::new(move |info| {
            if WATCHED.get()
                && let Some(place) = info.location()
            {
                let inside = is_of_automerge(place.file());
                let text = format!("{place}: {}", info.payload_as_str().unwrap_or_default());
                PLACE.set(inside.then_some(text));
                if inside {
                    return;
                }
            }
            other(info);
        }));
    });
    WATCHED.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(f));
    WATCHED.set(false);
    if let Err(panic) = outcome {
        let Some(place) = PLACE.take() else { resume_unwind(panic) };
        if let Ok(mut places) = PLACES.lock()
            && places.insert(place.split(": ").next().unwrap_or_default().to_owned())
        {
            let _told = writeln!(std::io::stderr(), "automerge panics at {place}");
        }
    }
}

/// Whether a panic in this file is Automerge's: one in the standard library is, if Automerge is nearer
/// on the stack than our own code.
fn is_of_automerge(file: &str) -> bool {
    if !file.starts_with("/rustc/") {
        return ["/automerge-", "/hexane-"].iter().any(|name| file.contains(name));
    }
    let trace = std::backtrace::Backtrace::force_capture().to_string();
    let ours = trace.find("backscroll_core").unwrap_or(usize::MAX);
    let theirs = ["/automerge-", "/hexane-"].iter().filter_map(|name| trace.find(name)).min();
    theirs.is_some_and(|theirs| theirs < ours)
}
