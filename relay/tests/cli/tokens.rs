//! Tokens and passwords from the command line, and the commands that show them.

use crate::bench::{Bench, field};
use crate::relay::Relay;
use std::process::Stdio;

pub(crate) const SECRET: &str = "0123456789abcdef-this-is-no-real-secret";

/// A configuration of `token` mode, and its secret in a file beside it.
pub(crate) fn configure(bench: &Bench) {
    bench.write("key", format!("{SECRET}\n"));
    let key = "[[access.keys]]\nkid = \"k\"\nalgorithm = \"HS256\"\nsecret_file = \"key\"\n";
    bench.write("relay.toml", format!("[access]\nmode = \"token\"\n{key}"));
}

fn serve(bench: &Bench) -> Relay {
    let serve = "serve --listen 127.0.0.1:0 --data d --config relay.toml";
    Relay::run(bench.command(serve), Stdio::null())
}

fn token(bench: &Bench, arguments: &str) -> String {
    let run = bench.run(&format!("token --config relay.toml {arguments}")).ended(0);
    run.out.trim_end().to_owned()
}

#[test]
fn a_minted_token_lets_its_user_in_and_nobody_else() {
    let bench = Bench::new();
    configure(&bench);
    let relay = serve(&bench);
    let url = relay.url.clone();
    let send = |token: &str, rest: &str| {
        let mut command = bench.command(&format!("send --relay {url} {rest}"));
        Bench::run_of(command.env("BACKSCROLL_TOKEN", token).output().unwrap())
    };
    let none = bench.run(&format!("send --relay {url} team text")).ended(1);
    assert!(none.log.contains("401") && none.log.contains("--token"), "{}", none.log);
    let writer = token(&bench, "--user ada --channel team-*");
    send(&writer, "team-a first").ended(0);
    bench.run(&format!("send --relay {url} --token {writer} team-a second")).ended(0);
    assert!(send(&writer, "other text").ended(1).log.contains("forbidden"));
    assert!(send(&writer, "team-a text --from bob").ended(1).log.contains("forbidden"));
    let reader = token(&bench, "--user ada --channel team-a:read");
    assert!(send(&reader, "team-a text").ended(1).log.contains("forbidden"));
    let bridge = token(&bench, "--user ada --right bridge --expires-in 5m");
    send(&bridge, "team-a third --from bob").ended(0);
    assert!(send("no.real.token", "team-a text").ended(1).log.contains("401"));
    assert_eq!(relay.stop().0, Some(0));
    let rows = bench.export("d", "team-a");
    assert_eq!(field(&rows, "from"), ["ada", "ada", "bob"]);
    for wrong in
        ["--user ada --channel :read", "--user ada --right fly", "--user ada --expires-in 0s"]
    {
        bench.run(&format!("token --config relay.toml {wrong}")).ended(2);
    }
}

#[test]
fn a_hashed_password_lets_its_user_in() {
    let bench = Bench::new();
    let hash = bench.run_with_input("hash-password", b"tuna melt\n").ended(0).out;
    let user = format!("[[access.users]]\nname = \"ada\"\npassword_hash = '{}'\n", hash.trim_end());
    bench.write("relay.toml", format!("[access]\nmode = \"basic\"\n{user}"));
    let relay = serve(&bench);
    let send = |credential: &str| {
        let mut command = bench.command(&format!("send --relay {} c text", relay.url));
        Bench::run_of(command.env("BACKSCROLL_TOKEN", credential).output().unwrap())
    };
    send("ada:tuna melt").ended(0);
    assert!(send("ada:tuna").ended(1).log.contains("401"));
    assert_eq!(relay.stop().0, Some(0));
    bench.run_with_input("hash-password", b"\n").ended(1);
}

#[test]
fn secrets_are_not_printed_with_the_configuration() {
    let bench = Bench::new();
    let key =
        format!("[[access.keys]]\nkid = \"k\"\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\n");
    bench.write("relay.toml", format!("[access]\nmode = \"token\"\n{key}"));
    let printed = bench.run("serve --config relay.toml --print-config").ended(0);
    assert!(printed.out.contains("(hidden)") && printed.out.contains("HS256"), "{}", printed.out);
    assert!(!printed.out.contains(SECRET));
    bench.write("relay.toml", "[access]\nmode = \"token\"\n");
    let refused = bench.run("serve --listen 127.0.0.1:0 --data d --config relay.toml").ended(1);
    assert!(refused.log.contains("access.keys is empty"), "{}", refused.log);
    bench.write("relay.toml", key.replace(SECRET, "short-secret"));
    let refused = bench.run("serve --listen 127.0.0.1:0 --data d --config relay.toml").ended(1);
    assert!(refused.log.contains("nobody would be asked"), "{}", refused.log);
    assert!(!refused.log.contains("short-secret"));
}
