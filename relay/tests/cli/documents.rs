//! Windows as Automerge documents, out and in, also through a stock Automerge.

use crate::bench::{Bench, field};
use automerge::transaction::{CommitOptions, Transactable};
use automerge::{AutoCommit, ROOT, ReadDoc, ScalarValue};
use backscroll_core::annotation::{AnnotationKey, Edit};
use backscroll_core::message::{Content, MessageId};
use std::fs;
use std::path::PathBuf;

/// A channel of several windows in the folder `docs`, and its exported lines.
fn exported(bench: &Bench) -> Vec<serde_json::Value> {
    bench.run("simulate --channel c --count 6000 --out f").ended(0);
    bench.run("import --data d f").ended(0);
    bench.run("export --data d --channel c --format automerge --out docs").ended(0);
    bench.export("d", "c")
}

fn documents(bench: &Bench) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(bench.path("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn documents_hold_all_messages_and_import_back() {
    let bench = Bench::new();
    let lines = exported(&bench);
    let files = documents(&bench);
    assert!(files.len() > 2, "{files:?}");
    let mut ids = Vec::new();
    for file in &files {
        let doc = AutoCommit::load(&fs::read(file).unwrap()).unwrap();
        for key in doc.keys(ROOT) {
            ids.push(MessageId::from_key(&key).unwrap().to_string());
        }
    }
    ids.sort_unstable();
    assert!(ids == field(&lines, "id"));
    let run = bench.run("import --data e --channel c docs").ended(0);
    assert!(run.out.starts_with("6000 messages: 6000 added, 0 already there"), "{}", run.out);
    assert!(bench.export("e", "c") == lines);
    let again = bench.run("import --data e --channel c docs").ended(0);
    assert!(again.out.starts_with("6000 messages: 0 added, 6000 already there"), "{}", again.out);
    bench.run("check --data e").ended(0);
    let full = bench.run("export --data d --channel c --format automerge --out docs").ended(1);
    assert!(full.log.contains("the folder docs is not empty"), "{}", full.log);
    bench.run("import --data e docs").ended(1);
    bench.run("export --data d --channel c --format automerge").ended(2);
}

#[test]
fn what_a_stock_automerge_adds_comes_back() {
    let bench = Bench::new();
    let lines = exported(&bench);
    let file = documents(&bench).pop().unwrap();
    let mut doc = AutoCommit::load(&fs::read(&file).unwrap()).unwrap();
    let key = doc.keys(ROOT).next().unwrap();
    let neighbour = MessageId::from_key(&key).unwrap();
    let id = MessageId::from_parts(neighbour.time_ms(), 1);
    let body = Content::text("elsewhere", "added by hand").to_body().unwrap();
    doc.put(ROOT, id.to_key(), ScalarValue::Bytes(body)).unwrap();
    doc.commit_with(CommitOptions::default().with_message("by hand").with_time(77));
    fs::write(&file, doc.save()).unwrap();
    annotate(&file, neighbour);
    let run = bench.run("import --data d --channel c docs").ended(0);
    assert!(run.out.starts_with("6001 messages: 1 added, 6000 already there"), "{}", run.out);
    bench.run("check --data d").ended(0);
    let now = bench.export("d", "c");
    assert_eq!(now.len(), lines.len() + 1);
    let of = |id: MessageId| now.iter().find(|row| row["id"] == id.to_string().as_str()).unwrap();
    assert_eq!(of(id)["from"], "elsewhere");
    assert_eq!(of(neighbour)["text"], "edited by hand");
    assert_eq!(of(neighbour)["reactions"]["👍"][0], "b c");
}

/// Writes annotations of a message beside its window's document.
fn annotate(file: &std::path::Path, id: MessageId) {
    let mut doc = AutoCommit::new();
    let edit = Edit::text("edited by hand", 99).to_bytes().unwrap();
    let edit_key = AnnotationKey::Edit { id }.to_string();
    doc.put(ROOT, edit_key, ScalarValue::Bytes(edit)).unwrap();
    let reaction = AnnotationKey::Reaction { id, user: "b c".to_owned(), emoji: "👍".to_owned() };
    doc.put(ROOT, reaction.to_string(), true).unwrap();
    fs::write(file.with_extension("annotations.automerge"), doc.save()).unwrap();
}

#[test]
fn a_document_that_is_none_is_named() {
    let bench = Bench::new();
    exported(&bench);
    let file = documents(&bench).pop().unwrap();
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    let mut doc = AutoCommit::new();
    doc.put(ROOT, "not a key", 1).unwrap();
    let outside = MessageId::from_parts(1, 1).to_key();
    let mut elsewhere = AutoCommit::new();
    elsewhere
        .put(ROOT, outside, ScalarValue::Bytes(Content::text("a", "t").to_body().unwrap()))
        .unwrap();
    for bytes in [b"nonsense".to_vec(), doc.save(), elsewhere.save()] {
        fs::write(&file, bytes).unwrap();
        let run = bench.run("import --data e --channel c docs").ended(1);
        assert!(run.log.contains(&name), "{}", run.log);
    }
    assert!(!bench.path("e").exists(), "nothing of a broken folder is stored");
}
