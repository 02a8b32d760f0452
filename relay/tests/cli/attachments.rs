//! Attachments as an operator sees them: erased, checked, repaired, exported.

use crate::bench::Bench;
use crate::relay::Relay;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

const MARKER: &str = "zqXkWjVvPpTtzqXkWjVvPpTt";

/// An attachment of several parts that holds the marker now and then.
fn attachment(byte: u8) -> (Vec<u8>, String) {
    let mut bytes = vec![byte; 700_000];
    for at in (0..bytes.len() - MARKER.len()).step_by(100_000) {
        bytes[at..at + MARKER.len()].copy_from_slice(MARKER.as_bytes());
    }
    let hash = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    (bytes, hash)
}

/// The status of a request.
fn ask(relay: &Relay, method: &str, hash: &str, body: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(relay.address()).unwrap();
    let head = format!(
        "{method} /api/blobs/{hash} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        relay.address(),
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let line = String::from_utf8_lossy(answer.get(9..12).unwrap()).into_owned();
    line.parse().unwrap()
}

fn is_in_files(bench: &Bench) -> bool {
    let files = fs::read_dir(bench.path("d")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).any(|path| {
        let bytes = fs::read(path).unwrap();
        bytes.windows(MARKER.len()).any(|part| part == MARKER.as_bytes())
    })
}

#[test]
fn erased_attachments_are_in_no_file_stopped_or_running_and_may_come_again() {
    let bench = Bench::new();
    let (bytes, hash) = attachment(1);
    let none = "0".repeat(64);
    let relay = Relay::start(&bench);
    assert_eq!(ask(&relay, "PUT", &hash, &bytes), 201);
    assert!(is_in_files(&bench), "the search finds what is there");
    let run = bench.run(&format!("erase --data d --blob {hash} {none}")).ended(1);
    let said = "attachments erased (700000 bytes), 1 not found";
    assert_eq!(run.out, format!("{none}: no such attachment\n1 {said}\n"));
    assert!(!is_in_files(&bench));
    assert_eq!(ask(&relay, "GET", &hash, b""), 404);
    assert_eq!(ask(&relay, "PUT", &hash, &bytes), 201);
    assert_eq!(relay.stop().0, Some(0));
    bench.run("check --data d").ended(0);
    let run = bench.run_with_input("erase --data d --blob -", hash.as_bytes()).ended(0);
    assert_eq!(run.out, "1 attachments erased (700000 bytes), 0 not found\n");
    assert!(!is_in_files(&bench));
    bench.run("check --data d").ended(0);
    let relay = Relay::start(&bench);
    assert_eq!(ask(&relay, "GET", &hash, b""), 404);
    assert_eq!(ask(&relay, "PUT", &hash, &bytes), 201);
    assert_eq!(ask(&relay, "GET", &hash, b""), 200);
    assert_eq!(relay.stop().0, Some(0));
    let asked_wrongly = ["erase --data d", "erase --data d --blob", "erase --data d --channel c"];
    for wrong in asked_wrongly {
        bench.run(wrong).ended(2);
    }
    bench.run(&format!("erase --data d --channel c --blob {hash}")).ended(2);
    bench.run("erase --data d --blob 123").ended(1);
}

#[test]
fn attachments_that_messages_name_are_exported_as_files() {
    let bench = Bench::new();
    let ((bytes, hash), (_, gone)) = (attachment(1), attachment(2));
    let relay = Relay::start(&bench);
    assert_eq!(ask(&relay, "PUT", &hash, &bytes), 201);
    assert_eq!(relay.stop().0, Some(0));
    let row = |sha256: &str, at: u64| {
        format!(
            r#"{{"channel":"c","from":"ada","text":"see","sent_at":{at},"attachments":[{{"name":"a.png","media_type":"image/png","size":700000,"sha256":"{sha256}"}}]}}"#
        )
    };
    bench.write(
        "rows.jsonl",
        [row(&hash, 1_700_000_000_000), row(&hash, 1_700_000_000_001)].join("\n"),
    );
    bench.run("import --data d rows.jsonl").ended(0);
    bench.run("export --data d --channel c --blobs files").ended(0);
    assert!(fs::read(bench.path("files").join(&hash)).unwrap() == bytes);
    bench.write("rows.jsonl", row(&gone, 1_700_000_000_002));
    bench.run("import --data d rows.jsonl").ended(0);
    let run = bench.run("export --data d --channel c --out all.jsonl --blobs more").ended(1);
    assert!(run.log.contains(&format!("attachment {gone}: the relay does not have it")));
    assert_eq!(bench.read("all.jsonl").lines().count(), 3);
    let names: Vec<_> =
        fs::read_dir(bench.path("more")).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert_eq!(names, [hash.as_str()]);
}
