//! Who is let in, by which way, and for how long; and the tokens that the other tests show.

use super::support::{Client, Relay, soon};
use super::sync::{Sync, now_ms};
use crate::access::{Secret, hash_password};
use crate::config::{AccessMode, Config, KeyAlgorithm, KeyConfig, UserConfig};
use backscroll_core::wire::{Code, RelayFrame};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use std::time::Duration;

const SECRET: &str = "a secret of the tests, which is long enough";

/// A relay that asks for tokens.
pub(super) fn with_tokens(config: &mut Config) {
    config.access.mode = AccessMode::Token;
    config.access.keys = vec![KeyConfig {
        kid: "k".to_owned(),
        algorithm: KeyAlgorithm::HS256,
        secret: Some(Secret::new(SECRET)),
        secret_file: None,
        secret_env: None,
        public_key: None,
        public_key_file: None,
    }];
}

/// A token of these claims, signed with `secret`.
pub(super) fn signed(claims: &Value, secret: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&json!({"alg": "HS256", "kid": "k"})), part(claims));
    let mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    let signature = mac.chain_update(&message).finalize().into_bytes();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A token of `user` for these channels, for an hour.
pub(super) fn token(user: &str, grants: &[(&str, &str)], rights: &[&str]) -> String {
    signed(&claims(user, grants, rights, now_ms() / 1_000 + 3_600), SECRET)
}

pub(super) fn claims(user: &str, grants: &[(&str, &str)], rights: &[&str], exp: u64) -> Value {
    let grant = |(name, access): &(&str, &str)| json!({"name": name, "access": access});
    let channels: Vec<_> = grants.iter().map(grant).collect();
    json!({"sub": user, "exp": exp, "channels": channels, "rights": rights})
}

pub(super) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// All that is no credential, as the value of `Authorization`.
pub(super) fn bad_credentials() -> Vec<(&'static str, Option<String>)> {
    let all = [("*", "write")];
    let in_an_hour = now_ms() / 1_000 + 3_600;
    let good = token("ada", &all, &[]);
    let (message, _) = good.rsplit_once('.').unwrap();
    let none = URL_SAFE_NO_PAD.encode(json!({"alg": "none"}).to_string());
    let body = message.split('.').nth(1).unwrap();
    let late = json!({"sub": "ada", "exp": in_an_hour, "nbf": in_an_hour,
        "channels": [{"name": "*", "access": "write"}]});
    let of = |token: String| Some(bearer(&token));
    vec![
        ("nothing", None),
        ("another's key", of(signed(&claims("ada", &all, &[], in_an_hour), "another secret"))),
        ("an expired one", of(signed(&claims("ada", &all, &[], 1_700_000_000), SECRET))),
        ("one not valid yet", of(signed(&late, SECRET))),
        ("one for another service", {
            let mut other = claims("ada", &all, &[], in_an_hour);
            other["aud"] = json!("mail");
            of(signed(&other, SECRET))
        }),
        ("no signature", of(format!("{message}."))),
        ("no algorithm", of(format!("{none}.{body}."))),
        ("a password", Some(format!("Basic {}", STANDARD.encode("ada:x")))),
        ("the secret itself", of(SECRET.to_owned())),
        ("an empty one", Some("Bearer ".to_owned())),
    ]
}

const HISTORY: &str = "/api/channels/c/messages";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_served_without_a_credential_but_health() {
    let relay = Relay::start_with(with_tokens).await;
    for (what, credential) in bad_credentials() {
        let headers: Vec<_> =
            credential.iter().map(|value| ("authorization", value.as_str())).collect();
        for (method, path) in [
            ("GET", "/api/channels"),
            ("GET", HISTORY),
            ("POST", HISTORY),
            ("POST", "/api/channels//messages"),
            ("GET", "/api/no/such/thing"),
            ("GET", "/api/blobs/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("PUT", "/api/blobs/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("DELETE", "/api/channels"),
        ] {
            let answer = relay.request(method, path, &headers, r#"{"text":"x"}"#).await;
            let found = answer.problem();
            assert_eq!(found, (401, "unauthorized".to_owned()), "{what}: {method} {path}");
            let challenge = answer.header("www-authenticate");
            assert_eq!(challenge, Some("Bearer realm=\"backscroll\""), "{what}");
        }
        let headers: Vec<_> =
            credential.iter().map(|value| ("authorization", value.as_str())).collect();
        assert_eq!(Client::connect_with(relay.address, "/ws", &headers).await.err(), Some(401));
        if credential.is_some() {
            let sync = Client::connect_with(relay.address, "/sync", &headers).await;
            assert_eq!(sync.err(), Some(401), "{what}");
        }
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(relay.get(path).await.status, 200);
    }
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_taken_wherever_it_may_be() {
    let relay = Relay::start_with(with_tokens).await;
    let token = token("ada", &[("c", "write")], &[]);
    let authorization = ("authorization", &*bearer(&token));
    assert_eq!(relay.request("GET", HISTORY, &[authorization], "").await.status, 200);
    let protocol = format!("backscroll, bearer.{token}");
    let query = format!("/ws?token={token}");
    for (path, headers) in [
        ("/ws", vec![authorization]),
        ("/ws", vec![("sec-websocket-protocol", protocol.as_str())]),
        (query.as_str(), vec![]),
    ] {
        let mut client = Client::connect_with(relay.address, path, &headers).await.unwrap();
        client.ask(&json!({"command": "subscribe", "channel": "c"})).await;
        client.say("c", "hi").await;
    }
    // The name is the credential's.
    let history = relay.request("GET", HISTORY, &[authorization], "").await.json();
    assert!(history["messages"].as_array().unwrap().iter().all(|one| one["from"] == "ada"));
    // The query counts for sockets only.
    let listed = relay.get(&format!("/api/channels?token={token}")).await;
    assert_eq!(listed.problem().0, 401);
    let client = Client::connect(relay.address, "/sync").await;
    drop(Sync::hello(client, "ada", Some(&token)).await);
    let client = Client::connect_with(relay.address, "/sync", &[authorization]).await.unwrap();
    drop(Sync::hello(client, "ada", None).await);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_without_the_users_own_credential_ends_the_socket() {
    let relay = Relay::start_with(with_tokens).await;
    let (ada, bob) = (token("ada", &[("*", "write")], &[]), token("bob", &[("*", "write")], &[]));
    let mut cases: Vec<(String, Option<String>)> = bad_credentials()
        .into_iter()
        .filter(|(what, _)| *what != "a password")
        .map(|(_, value)| ("ada".to_owned(), value.map(|value| value[7..].to_owned())))
        .collect();
    cases.push(("bob".to_owned(), Some(ada.clone())));
    cases.push(("anonymous".to_owned(), Some(ada.clone())));
    for (user, credential) in cases {
        let client = Client::connect(relay.address, "/sync").await;
        let mut sync = Sync::greet(client, &user, credential.as_deref()).await;
        assert_eq!(sync.error().await, Code::Unauthorized, "{user} {credential:?}");
        assert_eq!(sync.client.close_code().await, 4501);
    }
    for (user, credential) in [("bob", None), ("bob", Some(&bob)), ("ada", Some(&bob))] {
        let headers = [("authorization", &*bearer(&ada))];
        let client = Client::connect_with(relay.address, "/sync", &headers).await.unwrap();
        let mut sync = Sync::greet(client, user, credential.map(String::as_str)).await;
        assert_eq!(sync.error().await, Code::Unauthorized, "{user}");
        assert_eq!(sync.client.close_code().await, 4501);
    }
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_ends_when_its_credential_does() {
    let relay = Relay::start_with(with_tokens).await;
    let exp = now_ms() / 1_000 + 2;
    let short = signed(&claims("ada", &[("c", "write")], &[], exp), SECRET);
    let headers = [("authorization", &*bearer(&short))];
    let mut ws = Client::connect_with(relay.address, "/ws", &headers).await.unwrap();
    ws.ask(&json!({"command": "subscribe", "channel": "c"})).await;
    let client = Client::connect(relay.address, "/sync").await;
    let mut sync = Sync::hello(client, "ada", Some(&short)).await;
    // One that does not read is not forgotten.
    let mut asks = Client::connect_with(relay.address, "/ws", &headers).await.unwrap();
    asks.ask(&json!({"command": "subscribe", "channel": "c"})).await;
    let other = token("bob", &[("c", "write")], &[]);
    let headers = [("authorization", &*bearer(&other))];
    let mut bob = Client::connect_with(relay.address, "/ws", &headers).await.unwrap();
    assert_eq!(ws.close_code().await, 4004);
    assert!(now_ms() >= exp * 1_000, "not before its time");
    assert_eq!(sync.client.close_code().await, 4004);
    assert_eq!(asks.close_code().await, 4004);
    bob.say("c", "after").await;
    // Who comes back gets in with a fresh one only.
    let client = Client::connect(relay.address, "/sync").await;
    let mut stale = Sync::greet(client, "ada", Some(&short)).await;
    assert_eq!(stale.error().await, Code::Unauthorized);
    let client = Client::connect(relay.address, "/sync").await;
    drop(Sync::hello(client, "ada", Some(&token("ada", &[("c", "write")], &[]))).await);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_reads_nothing_ends_with_its_credential_as_well() {
    let relay = Relay::start_with(with_tokens).await;
    let writer = bearer(&token("bob", &[("c", "write")], &[]));
    let headers = [("authorization", &*writer)];
    let mut writer = Client::connect_with(relay.address, "/ws", &headers).await.unwrap();
    let text = "x".repeat(60_000);
    for _ in 0..135 {
        writer.say("c", &text).await;
    }
    let exp = now_ms() / 1_000 + 3;
    let short = signed(&claims("ada", &[("c", "read")], &[], exp), SECRET);
    let mut stuck =
        Client::connect_with_small_buffer(relay.address, &[("authorization", &*bearer(&short))])
            .await;
    stuck.send(&json!({"command": "history", "channel": "c", "before": 200})).await;
    let is_so = |held: bool| {
        let budget = relay.budget.clone();
        async move {
            while (budget.held() > 4 << 20) != held {
                tokio::task::yield_now().await;
            }
        }
    };
    soon("an answer", is_so(true)).await;
    // Half as long as others have whose socket is closed in the middle of an answer.
    let time =
        Duration::from_millis((exp * 1_000).saturating_sub(now_ms())) + Duration::from_secs(7);
    tokio::time::timeout(time, is_so(false)).await.expect("the answer is given up");
    assert!(now_ms() >= exp * 1_000, "not before its time");
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_basic_mode_names_and_passwords_are_credentials() {
    let hash = hash_password(&Secret::new("tuna:melt")).unwrap();
    let relay = Relay::start_with(|config| {
        config.access.mode = AccessMode::Basic;
        config.access.users = vec![UserConfig {
            name: "ada".to_owned(),
            password_hash: Some(Secret::new(hash)),
            password_hash_file: None,
            channels: serde_json::from_value(json!([{"name": "c", "access": "write"}])).unwrap(),
            rights: Vec::new(),
        }];
    })
    .await;
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    let get = async |pair: &str| {
        let headers = [("authorization", &*basic(pair))];
        relay.request("GET", HISTORY, &headers, "").await
    };
    assert_eq!(get("ada:tuna:melt").await.status, 200);
    let (wrong, unknown) = (get("ada:tuna").await, get("eve:tuna").await);
    assert_eq!(wrong.problem(), (401, "unauthorized".to_owned()));
    let undated = |head: &str| -> Vec<String> {
        head.lines().filter(|line| !line.starts_with("date:")).map(str::to_owned).collect()
    };
    assert_eq!(undated(&wrong.head), undated(&unknown.head), "no difference");
    assert_eq!(wrong.body, unknown.body, "no difference");
    assert!(wrong.header("www-authenticate").unwrap().starts_with("Basic realm="));
    let headers = [("authorization", &*basic("ada:tuna:melt"))];
    let foreign = relay.request("GET", "/api/channels/d/messages", &headers, "").await;
    assert_eq!(foreign.problem(), (403, "forbidden".to_owned()));
    let protocol = format!("backscroll, basic.{}", URL_SAFE_NO_PAD.encode("ada:tuna:melt"));
    let headers = [("sec-websocket-protocol", protocol.as_str())];
    let mut client = Client::connect_with(relay.address, "/ws", &headers).await.unwrap();
    client.say("c", "hi").await;
    let hello = async |user: &str, password: &str| {
        let client = Client::connect(relay.address, "/sync").await;
        Sync::greet(client, user, Some(password)).await.frame().await
    };
    assert!(matches!(hello("ada", "tuna:melt").await, RelayFrame::Welcome { .. }));
    for (user, password) in [("ada", "tuna"), ("eve", "tuna:melt")] {
        let RelayFrame::Error { code, .. } = hello(user, password).await else { panic!("error") };
        assert_eq!(code, Code::Unauthorized);
    }
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_strangers_may_not_connect_with_a_credential_either() {
    let relay = Relay::start_with(|config| {
        with_tokens(config);
        config.server.origins = vec!["https://chat.example.org".to_owned()];
    })
    .await;
    let authorization = bearer(&token("ada", &[("*", "write")], &[]));
    for (origin, allowed) in [
        ("https://chat.example.org", true),
        ("https://evil.example", false),
        ("http://localhost:3000", false),
        ("null", false),
    ] {
        let headers = [("authorization", authorization.as_str()), ("origin", origin)];
        for path in ["/ws", "/sync"] {
            let connected = Client::connect_with(relay.address, path, &headers).await;
            assert_eq!(connected.err(), (!allowed).then_some(403), "{origin}");
        }
        let posted = relay.request("POST", HISTORY, &headers, r#"{"text":"x"}"#).await;
        assert_eq!(posted.status, if allowed { 201 } else { 403 }, "{origin}");
        let read = relay.request("GET", HISTORY, &headers, "").await;
        let shared = read.header("access-control-allow-origin");
        assert_eq!(shared, allowed.then_some(origin), "a browser shows it to this page only");
        // What a page asks before it may send a credential needs none.
        let preflight = [("origin", origin), ("access-control-request-method", "POST")];
        let asked = relay.request("OPTIONS", HISTORY, &preflight, "").await;
        assert_eq!(asked.header("access-control-allow-origin"), allowed.then_some(origin));
    }
    relay.stop().await.unwrap();
}
