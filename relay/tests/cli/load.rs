//! `backscroll load`: a good relay passes, and every kind of fault in a history is found.

use crate::bench::{Bench, rows};
use crate::relay::Relay;
use serde_json::Value;

/// Runs a profile with small numbers; its report.
fn load(bench: &Bench, relay: &Relay, flags: &str) -> Value {
    let run = bench.run(&format!("load --relay {} --json {flags}", relay.url)).ended(0);
    serde_json::from_str(&run.out).unwrap()
}

#[test]
fn a_good_relay_passes() {
    let bench = Bench::new();
    let relay = Relay::start(&bench);
    let mixed = load(&bench, &relay, "--senders 3 --subscribers 3 --count 600 --history h");
    let figures = &mixed["figures"];
    assert_eq!((&figures["acknowledged"], &figures["delivered"]), (&600.0.into(), &1800.0.into()));
    assert!(figures["ack_ms_p99"].as_f64() > Some(0.0), "{mixed}");
    let publish = load(&bench, &relay, "--profile publish --senders 4 --count 200 --floor");
    assert!(publish["ratios"]["acks_per_s"].as_f64() > Some(0.0), "{publish}");
    assert!(publish["floor"]["fdatasync_ms_p50"].as_f64() > Some(0.0), "{publish}");
    let fanout = load(&bench, &relay, "--profile fanout --subscribers 20 --count 50 --bytes 2000");
    assert_eq!(fanout["figures"]["delivered"], 1000.0);
    let storm = load(&bench, &relay, "--profile storm --subscribers 10 --count 300 --rate 50");
    let figures = &storm["figures"];
    assert_eq!(figures["reconnects"], 10.0);
    assert_eq!(figures["caught_up_by_history"], 3000.0, "{storm}");
    let idle = load(&bench, &relay, "--profile idle --subscribers 10 --seconds 0.1");
    assert_eq!(idle["figures"]["sockets"], 10.0);
    let accept = load(&bench, &relay, "--profile accept --count 30");
    assert_eq!(accept["figures"]["upgrades"], 30.0);
    let again = bench.run("load --check h --json").ended(0);
    assert_eq!(serde_json::from_str::<Value>(&again.out).unwrap()["violations"], 0);
    assert_eq!(relay.stop().0, Some(0));
}

#[test]
fn viewports_of_a_channel_are_right() {
    let bench = Bench::new();
    bench.run("simulate --channel c --count 3000 --out f").ended(0);
    bench.run("import --data d f").ended(0);
    let relay = Relay::start(&bench);
    let view = load(&bench, &relay, "--profile view --channel c --count 120 --senders 2");
    assert_eq!(view["figures"]["messages_in_channel"], 3000.0);
    assert!(view["figures"]["page_ms_p50"].as_f64() > Some(0.0), "{view}");
    bench.run(&format!("load --relay {} --profile view", relay.url)).ended(1);
}

#[test]
fn a_history_with_a_fault_fails() {
    let bench = Bench::new();
    let relay = Relay::start(&bench);
    load(&bench, &relay, "--senders 2 --subscribers 2 --count 40 --history good");
    let good: Vec<String> = bench.read("good").lines().map(str::to_owned).collect();
    let is = |line: &str, kind: &str| line.contains(&format!("\"kind\":\"{kind}\""));
    let of = |kind: &str| good.iter().position(|line| is(line, kind)).unwrap();
    let check = |what: &str, lines: &[String], said: &str| {
        bench.write("bad", lines.join("\n"));
        let run = bench.run("load --check bad").ended(1);
        assert!(run.out.contains(said), "{what}: {}", run.out);
    };
    let without = |at: usize| [&good[..at], &good[at + 1..]].concat();
    let twice = |at: usize| [&good[..=at], &good[at..]].concat();
    let changed = |at: usize, from: &str, to: &str| {
        let mut lines = good.clone();
        lines[at] = lines[at].replace(from, to);
        lines
    };
    check("a delivery is missing", &without(of("seen")), "lost: r");
    check("a delivery came twice", &twice(of("seen")), "doubled: r");
    let id = rows(&good[of("seen")])[0]["id"].as_str().unwrap().to_owned();
    let other = id.replace(&id[24..], "0123456789ab");
    check("a message nobody sent", &changed(of("seen"), &id, &other), "never sent: r");
    check("a stored row is missing", &without(of("stored")), "lost: the store");
    check("a refused message is there", &changed(of("ok"), "\"ok\"", "\"fail\""), "refused and");
    check("another number", &changed(of("ok"), "\"seq\":", "\"seq\":7"), "renumbered: ");
    // The second of two deliveries of one subscriber comes first.
    let first = of("seen");
    let client = if good[first].contains("\"r0\"") { "\"r0\"" } else { "\"r1\"" };
    let next = (first + 1..good.len())
        .find(|at| is(&good[*at], "seen") && good[*at].contains(client))
        .unwrap();
    let mut swapped = good.clone();
    swapped.swap(first, next);
    check("out of order", &swapped, "out of order: r");
    bench.write("bad", without(of("invoke")).join("\n"));
    assert!(bench.run("load --check bad").ended(1).log.contains("was never sent"));
    bench.write("bad", "no history");
    assert!(bench.run("load --check bad").ended(1).log.contains("line 1 of bad"));
    assert_eq!(relay.stop().0, Some(0));
}

#[test]
fn another_machine_is_left_alone() {
    let bench = Bench::new();
    // An address of the documentation's block: nothing may be sent to it.
    let run = bench.run("load --relay 192.0.2.1:9").ended(1);
    assert!(run.log.contains("--allow-remote"), "{}", run.log);
}
