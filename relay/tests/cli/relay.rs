//! A relay and the commands that talk to it: serve, send, tail, simulate.

use crate::bench::{Bench, field, rows};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A relay of its own; stopped at the end of the test at the latest.
pub(crate) struct Relay {
    child: Child,
    out: BufReader<ChildStdout>,
    pub(crate) url: String,
}

impl Relay {
    pub(crate) fn start(bench: &Bench) -> Self {
        let mut command = bench.command("serve --listen 127.0.0.1:0 --data d");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let url = line.strip_prefix("listening on ").unwrap().trim_end().to_owned();
        Self { child, out, url }
    }

    /// Asks it to stop; its exit status, and what else it wrote to standard output.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_sent_is_followed_and_stays() {
    let bench = Bench::new();
    let relay = Relay::start(&bench);
    let url = relay.url.clone();
    let first = bench.run(&format!("send --relay {url} #c first --from ann")).ended(0);
    assert!(first.out.trim_end().ends_with(" seq 1"), "{}", first.out);
    let mut tail = bench
        .command(&format!("tail --relay {url} #c --last 5 --json"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut followed = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut next = || rows(&followed.next().unwrap().unwrap()).remove(0);
    assert_eq!(next()["text"], "first");
    bench.run(&format!("send --relay {url} #c --second")).ended(0);
    let second = next();
    assert_eq!((&second["text"], &second["from"]), (&"--second".into(), &"anonymous".into()));
    tail.kill().unwrap();
    tail.wait().unwrap();
    let refused = bench.run(&format!("send --relay {url} {} text", "c".repeat(300))).ended(1);
    assert!(refused.log.contains("bad_channel"), "{}", refused.log);
    let busy = bench.run("check --data d").ended(1);
    assert!(busy.log.contains("in use"), "{}", busy.log);
    assert_eq!(relay.stop(), (Some(0), String::new()), "one line, and a clean end");
    assert_eq!(field(&bench.export("d", "#c"), "text"), ["first", "--second"]);
}

#[test]
fn simulated_arrivals_are_all_acknowledged() {
    let bench = Bench::new();
    let relay = Relay::start(&bench);
    let flags =
        "--channel c --count 2000 --rate 100000 --chunk 500:50 --seed 3 --until 1735689600000";
    let run = bench.run(&format!("simulate --relay {} {flags}", relay.url)).ended(0);
    assert!(run.out.starts_with("2000 messages acknowledged (0 of them there before), 0 refused"));
    let again = bench.run(&format!("simulate --relay {} {flags}", relay.url)).ended(0);
    assert!(
        again.out.starts_with("2000 messages acknowledged (2000 of them there"),
        "{}",
        again.out
    );
    assert_eq!(relay.stop().0, Some(0));
    bench.run(&format!("simulate --out f {flags}")).ended(0);
    let mut expected = field(&rows(&bench.read("f")), "id");
    expected.sort_unstable();
    assert!(field(&bench.export("d", "c"), "id") == expected);
    bench.run("check --data d").ended(0);
}

#[test]
fn a_relay_that_is_not_there_says_so() {
    let bench = Bench::new();
    for command in
        ["send --relay {} c text", "tail --relay {} c", "simulate --relay {} --channel c"]
    {
        // Nothing listens on the discard port of loopback.
        let run = bench.run(&command.replace("{}", "127.0.0.1:9")).ended(1);
        assert!(run.log.contains("cannot connect to ws://127.0.0.1:9/ws"), "{}", run.log);
        bench.run(&command.replace("{}", "https://example.org")).ended(2);
    }
}

#[test]
fn the_configuration_that_results_is_printed() {
    let bench = Bench::new();
    bench.write("relay.toml", "[server]\nlisten = \"127.0.0.1:1\"\n");
    let printed = bench
        .command("serve --config relay.toml --data here --print-config")
        .env("BACKSCROLL_SERVER__LISTEN", "127.0.0.1:2")
        .output()
        .unwrap();
    let run = Bench::run_of(printed).ended(0);
    assert!(run.out.contains("listen = \"127.0.0.1:2\"") && run.out.contains("data = \"here\""));
    bench.write("relay.toml", "[server]\nlissen = \"127.0.0.1:1\"\n");
    let run = bench.run("serve --config relay.toml").ended(1);
    assert!(run.log.contains("lissen"), "{}", run.log);
}
