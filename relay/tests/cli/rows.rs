//! JSON Lines in and out: simulate, import, export, check.

use crate::bench::{Bench, field, rows};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{Read, Write};
use std::process::Stdio;

#[test]
fn simulate_writes_exactly_what_its_flags_say() {
    let bench = Bench::new();
    let flags = "simulate --channel c --count 3000 --chunk 500:100 --seed 7 --out";
    assert_eq!(bench.run(&format!("{flags} a")).ended(0).out, "");
    bench.run(&format!("{flags} b")).ended(0);
    let piped = bench.run(&format!("{flags} -")).ended(0).out;
    assert!(bench.read("a") == bench.read("b") && bench.read("a") == piped);
    let rows = rows(&piped);
    assert_eq!(rows.len(), 3_000);
    let times: Vec<_> = rows.iter().map(|row| row["sent_at"].as_u64().unwrap()).collect();
    assert_eq!(times.iter().max(), Some(&1_735_689_600_000));
    assert!(!times.is_sorted(), "some are late");
    assert_ne!(bench.run("simulate --channel c --count 3000 --seed 8 --out -").out, piped);
}

#[test]
fn import_sorts_and_a_second_import_adds_nothing() {
    let bench = Bench::new();
    bench.run("simulate --channel c --count 20000 --chunk 3000:200 --out f").ended(0);
    let first = bench.run("import --data d f").ended(0);
    assert!(first.out.starts_with("20000 messages: 20000 added, 0 already there; 0 bad lines;"));
    let again = bench.run("import --data d f").ended(0);
    assert!(
        again.out.starts_with("20000 messages: 0 added, 20000 already there;"),
        "{}",
        again.out
    );
    let exported = bench.run("export --data d --channel c").ended(0).out;
    let mut expected: Vec<_> = rows(&bench.read("f"));
    expected.sort_by_key(|row| row["id"].as_str().map(str::to_owned));
    assert!(rows(&exported) == expected);
    bench.run("check --data d").ended(0);
    bench.run("export --data d --channel c --out g").ended(0);
    assert!(bench.read("g") == exported);
    assert_eq!(bench.export("d", "nobody"), [""; 0]);
}

#[test]
fn lines_of_one_ms_keep_their_order_and_equal_ones_stay_apart() {
    let bench = Bench::new();
    let line = |text: &str, at| {
        format!("{{\"channel\":\"c\",\"from\":\"a\",\"text\":\"{text}\",\"sent_at\":{at}}}\n")
    };
    let mut file = line("last", 9_000);
    for text in ["z", "same", "a", "same", "same", " \\u0007\\n"] {
        file.push_str(&line(text, 5_000));
    }
    bench.write("f", &file);
    bench.run("import --data d f").ended(0);
    let texts = field(&bench.export("d", "c"), "text");
    assert_eq!(texts, ["z", "same", "a", "same", "same", " \u{7}\n", "last"]);
    file.push_str(&line("more", 5_000));
    bench.write("f", &file);
    let more = bench.run("import --data d f").ended(0);
    assert!(more.out.starts_with("8 messages: 1 added, 7 already there"), "{}", more.out);
    let texts = field(&bench.export("d", "c"), "text");
    assert_eq!(texts, ["z", "same", "a", "same", "same", " \u{7}\n", "more", "last"]);
}

#[test]
fn gzip_standard_input_and_several_files_read_alike() {
    let bench = Bench::new();
    let line = |i: u64| {
        format!("{{\"channel\":\"c\",\"from\":\"a\",\"text\":\"{i}\",\"sent_at\":{i}}}\n\n")
    };
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all((line(30) + &line(10)).as_bytes()).unwrap();
    bench.write("packed", gzip.finish().unwrap());
    bench.write("plain", line(20));
    let run = bench.run_with_input("import --data d packed - plain", line(5).as_bytes()).ended(0);
    assert!(run.out.starts_with("4 messages: 4 added"), "{}", run.out);
    assert_eq!(field(&bench.export("d", "c"), "text"), ["5", "10", "20", "30"]);
}

#[test]
fn bad_lines_are_named_and_skipped() {
    let bench = Bench::new();
    let id = "018bcfe5-6800-7000-8000-000000000001";
    let lines = [
        r#"{"from":"a","text":"no channel","sent_at":1}"#.to_owned(),
        r#"{"channel":"c","from":"a","text":"good","sent_at":1}"#.to_owned(),
        "nonsense".to_owned(),
        r#"{"channel":"c","from":"a","text":"tomorrow","sent_at":99999999999999}"#.to_owned(),
        format!(r#"{{"channel":"c","from":"a","text":"one","id":"{id}"}}"#),
        format!(r#"{{"channel":"c","from":"a","text":"other","id":"{id}"}}"#),
        format!(r#"{{"channel":"c","from":"a","text":"one","id":"{id}"}}"#),
    ];
    bench.write("f", lines.join("\n"));
    let run = bench.run("import --data d f").ended(1);
    assert!(
        run.out.starts_with("3 messages: 2 added, 1 already there; 4 bad lines;"),
        "{}",
        run.out
    );
    let log: Vec<_> = run.log.lines().collect();
    assert_eq!(log[0], "f:1: no channel (name one with --channel)");
    assert_eq!(log[1], "f:3: expected ident at column 2");
    assert_eq!(log[2], "f:4: sent_at 99999999999999 lies in the future");
    assert_eq!(log[3], format!("f:6: another message, f:5, has the id {id}"));
    assert_eq!(field(&bench.export("d", "c"), "text"), ["good", "one"]);
    bench.write("g", &lines[5]);
    let run = bench.run("import --data d g").ended(1);
    assert_eq!(run.log.trim_end(), format!("g:1: another message in the channel has the id {id}"));
    let all_here = bench.run("import --data e --channel here f").ended(1);
    assert!(all_here.out.starts_with("4 messages: 3 added"), "{}", all_here.out);
    assert_eq!(field(&bench.export("e", "here"), "text"), ["no channel", "good", "one"]);
}

#[test]
fn a_folder_in_use_and_one_that_is_not_there_say_so() {
    let bench = Bench::new();
    bench.write("f", "");
    let store = backscroll_relay::store::Store::open(&bench.path("d")).unwrap();
    for command in ["import --data d f", "export --data d --channel c", "check --data d"] {
        let run = bench.run(command).ended(1);
        assert!(run.log.contains("the data folder d is in use by another process"), "{}", run.log);
    }
    drop(store);
    let run = bench.run("export --data nowhere --channel c").ended(1);
    assert!(run.log.contains("there is no store in nowhere"), "{}", run.log);
    let run = bench.run("import --data d nothing").ended(1);
    assert!(run.log.contains("cannot read nothing: No such file"), "{}", run.log);
    bench.run("import --data d").ended(2);
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let bench = Bench::new();
    let mut child = bench
        .command("simulate --channel c --count 100000 --out -")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let run = Bench::run_of(child.wait_with_output().unwrap()).ended(0);
    assert_eq!(run.log, "");
}
