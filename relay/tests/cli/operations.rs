//! Backup, restore, erasure and repair as an operator runs them.

use crate::bench::{Bench, field};
use crate::relay::Relay;
use std::fs;

const MARKER: &str = "zqXkWjVvPpTtzqXkWjVvPpTt";

fn import(bench: &Bench) {
    let row = |i: u64| {
        let text = if i == 3 { MARKER.to_owned() } else { format!("number {i}") };
        format!(
            r#"{{"channel":"c","from":"ada","text":"{text}","sent_at":{}}}"#,
            1_700_000_000_000 + i
        )
    };
    let rows: Vec<_> = (0..500).map(row).collect();
    bench.write("rows.jsonl", rows.join("\n"));
    bench.run("import --data d rows.jsonl").ended(0);
}

fn is_in_files(bench: &Bench, folder: &str, text: &str) -> bool {
    let files = fs::read_dir(bench.path(folder)).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).any(|path| {
        let bytes = fs::read(path).unwrap();
        bytes.windows(text.len()).any(|part| part == text.as_bytes())
    })
}

#[test]
fn a_backup_of_a_stopped_and_of_a_running_relay_is_restored() {
    let bench = Bench::new();
    import(&bench);
    let run = bench.run("backup --data d --to b1").ended(0);
    assert_eq!(run.out, "backed up to b1\n");
    let refused = bench.run("backup --data d --to b1").ended(1);
    assert!(refused.log.contains("b1 exists already"), "{}", refused.log);
    let relay = Relay::start(&bench);
    bench.run(&format!("send --relay {} c live", relay.url)).ended(0);
    bench.run("backup --data d --to deep/er/b2").ended(0);
    bench.run(&format!("send --relay {} c later", relay.url)).ended(0);
    let in_use = bench.run("restore --from b1 --data d").ended(1);
    assert!(in_use.log.contains("d exists already"), "{}", in_use.log);
    assert_eq!(relay.stop().0, Some(0));
    for (backup, count) in [("b1", 500), ("deep/er/b2", 501)] {
        let to = format!("from-{count}");
        let run = bench.run(&format!("restore --from {backup} --data {to}")).ended(0);
        assert!(run.out.starts_with(&format!("restored to {to}, epoch ")), "{}", run.out);
        bench.run(&format!("check --data {to}")).ended(0);
        assert_eq!(bench.export(&to, "c").len(), count);
    }
    let left = fs::read_dir(bench.path("d")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with("checkpoint-")));
}

#[test]
fn a_restore_that_is_killed_leaves_no_store_and_is_begun_anew() {
    let bench = Bench::new();
    import(&bench);
    bench.run("backup --data d --to b").ended(0);
    let restoring = bench.path("to").join("restoring");
    // One that was done before the kill is no case of it.
    let is_cut_off = (0..50).any(|_| {
        let _ = fs::remove_dir_all(bench.path("to"));
        let mut child = bench.command("restore --from b --data to").spawn().unwrap();
        while !restoring.exists() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        restoring.exists() && !bench.path("to").join("CURRENT").exists()
    });
    assert!(is_cut_off, "it is always done before it can be killed");
    for command in ["serve --listen 127.0.0.1:0 --data to", "export --data to --channel c"] {
        let refused = bench.run(command).ended(1);
        assert!(refused.log.contains("a restore to to was cut off"), "{}", refused.log);
    }
    bench.run("restore --from b --data to").ended(0);
    bench.run("check --data to").ended(0);
    assert_eq!(bench.export("to", "c").len(), 500);
}

#[test]
fn erased_messages_are_in_no_file_stopped_or_running() {
    let bench = Bench::new();
    import(&bench);
    assert!(is_in_files(&bench, "d", MARKER), "the search finds what is there");
    let rows = bench.export("d", "c");
    let (ids, texts) = (field(&rows, "id"), field(&rows, "text"));
    let marked = ids[texts.iter().position(|text| text == MARKER).unwrap()].clone();
    let none = "018bcfe5-6800-7000-8000-00000000ffff";
    let run = bench.run(&format!("erase --data d --channel c {marked} {none}")).ended(1);
    let said =
        format!("{none}: no such message\n1 messages erased, 0 erased before, 1 not found\n");
    assert_eq!(run.out, said);
    assert!(!is_in_files(&bench, "d", MARKER));
    bench.run("check --data d").ended(0);
    assert!(!is_in_files(&bench, "d", MARKER));
    let relay = Relay::start(&bench);
    let run = bench.run_with_input("erase --data d --channel c -", ids[7].as_bytes()).ended(0);
    assert!(run.out.starts_with("1 messages erased"), "{}", run.out);
    assert_eq!(relay.stop().0, Some(0));
    bench.run("check --data d").ended(0);
    let after = bench.export("d", "c");
    assert_eq!(field(&after, "id"), ids);
    let mut expected = texts;
    expected[7].clear();
    *expected.iter_mut().find(|text| *text == MARKER).unwrap() = String::new();
    assert_eq!(field(&after, "text"), expected);
    bench.run("erase --data d --channel c no-id").ended(1);
}

#[test]
fn what_a_check_finds_nothing_wrong_with_is_not_repaired() {
    let bench = Bench::new();
    import(&bench);
    assert_eq!(bench.run("check --data d --repair").ended(0).out, "everything agrees\n");
    let run = bench.run("check --data d --recover-wal point-in-time").ended(0);
    assert!(run.log.contains("another epoch"), "{}", run.log);
}
