//! Limits: what is too much is refused with its code, counted, and hurts nobody else.

use super::access::{bearer, token, with_tokens};
use super::support::{Client, Relay, request};
use super::sync::Sync;
use crate::access::Secret;
use crate::config::{AccessMode, Apply, Config, LimitsConfig};
use backscroll_core::wire::{ClientFrame, Code, RelayFrame};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A relay that asks for tokens and limits loopback as well.
async fn limited(change: impl FnOnce(&mut LimitsConfig)) -> Relay {
    limited_with(|config| change(&mut config.limits)).await
}

async fn limited_with(change: impl FnOnce(&mut Config)) -> Relay {
    Relay::start_with(|config| {
        with_tokens(config);
        // All on, and none in reach but the one that a test sets.
        config.limits = LimitsConfig {
            apply: Apply::Always,
            connections_per_address: 1_000,
            connections_per_user: 1_000,
            accepts_per_s: 10_000,
            accepts_burst: 10_000,
            accepts_per_address_per_s: 10_000,
            accepts_per_address_burst: 10_000,
            ws_per_s: 10_000,
            ws_burst: 10_000,
            sync_per_s: 10_000,
            sync_burst: 10_000,
            http_per_s: 10_000,
            http_burst: 10_000,
            auth_failures_per_minute: 10_000,
            auth_failures_burst: 10_000,
            ..LimitsConfig::default()
        };
        change(config);
    })
    .await
}

fn ada() -> String {
    bearer(&token("ada", &[("*", "write")], &[]))
}

async fn ws(relay: &Relay, credential: &str) -> Result<Client, u16> {
    Client::connect_with(relay.address, "/ws", &[("authorization", credential)]).await
}

/// A counter of the process; other tests may raise it too.
async fn counter(relay: &Relay, name: &str) -> u64 {
    let served = async {
        loop {
            // A connection that has just been closed may still count.
            let answer = relay.get("/metrics").await;
            if answer.status == 200 {
                return answer.body;
            }
        }
    };
    let text = String::from_utf8(super::support::soon("the figures", served).await).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |value| value.trim().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_an_address_are_bounded_and_come_back() {
    let relay = limited(|limits| limits.connections_per_address = 3).await;
    let name = "backscroll_connections_refused_total{reason=\"address\"}";
    let before = counter(&relay, name).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(ws(&relay, &ada()).await.unwrap());
    }
    let refused = relay.get("/livez").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    let raw = TcpStream::connect(relay.address).await.unwrap();
    drop((raw, open.pop()));
    let back = async { while relay.get("/livez").await.status != 200 {} };
    super::support::soon("a free place", back).await;
    assert!(counter(&relay, name).await > before);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_of_a_user_are_bounded_over_both_interfaces() {
    let relay = limited(|limits| limits.connections_per_user = 2).await;
    let name = "backscroll_connections_refused_total{reason=\"user\"}";
    let before = counter(&relay, name).await;
    let one = ws(&relay, &ada()).await.unwrap();
    let token_of_ada = token("ada", &[("*", "write")], &[]);
    let hello = async || {
        let client = Client::connect(relay.address, "/sync").await;
        Sync::greet(client, "ada", Some(&token_of_ada)).await
    };
    let mut two = hello().await;
    assert!(matches!(two.frame().await, RelayFrame::Welcome { .. }));
    assert_eq!(ws(&relay, &ada()).await.err(), Some(429));
    let mut three = hello().await;
    assert_eq!(three.error().await, Code::RateLimited);
    assert_eq!(three.client.close_code().await, 4005, "it may come back");
    let bob = bearer(&token("bob", &[("*", "write")], &[]));
    assert!(ws(&relay, &bob).await.is_ok(), "another user has places of their own");
    drop(one);
    let back = async { while ws(&relay, &ada()).await.is_err() {} };
    super::support::soon("a free place", back).await;
    assert!(counter(&relay, name).await >= before + 2);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_beyond_the_rate_are_refused_and_a_flood_is_closed() {
    let relay = limited(|limits| (limits.ws_per_s, limits.ws_burst) = (1, 5)).await;
    let name = "backscroll_rate_limited_total{kind=\"ws\"}";
    let before = counter(&relay, name).await;
    let mut client = ws(&relay, &ada()).await.unwrap();
    for n in 0..20 {
        let command = json!({"command": "send", "channel": "c", "text": "x", "ref": n.to_string()});
        client.send(&command).await;
    }
    let (mut acks, mut refused) = (0, 0);
    for n in 0..20 {
        let event = client.event().await;
        assert_eq!(event["ref"], n.to_string(), "each is answered, in order");
        match event["event"].as_str() {
            Some("ack") => acks += 1,
            _ => {
                assert_eq!(event["code"], "rate_limited");
                refused += 1;
            }
        }
    }
    assert!(acks >= 5 && refused > 0, "{acks} acks, {refused} refused");
    let mut other = ws(&relay, &ada()).await.unwrap();
    let same_user = other.ask(&json!({"command": "history", "channel": "c"})).await;
    assert_eq!(same_user["code"], "rate_limited", "a user's sockets share the rate");
    let posted = [("authorization", &*ada())];
    let post = relay.request("POST", "/api/channels/c/messages", &posted, r#"{"text":"x"}"#).await;
    assert_eq!(post.problem(), (429, "rate_limited".to_owned()), "HTTP is no way around it");
    let bob = bearer(&token("bob", &[("*", "write")], &[]));
    let mut bob = ws(&relay, &bob).await.unwrap();
    bob.say("c", "of another user").await;
    let flood =
        async { while futures_util::SinkExt::send(&mut client.0, "{}".into()).await.is_ok() {} };
    super::support::soon("the end of a flood", flood).await;
    assert!(counter(&relay, name).await > before);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_told_why_it_is_closed() {
    let relay = limited(|limits| (limits.ws_per_s, limits.ws_burst) = (1, 1)).await;
    for frame in ["{}", "ping"] {
        let mut client = ws(&relay, &ada()).await.unwrap();
        for _ in 0..40 {
            let frame = match frame {
                "ping" => tokio_tungstenite::tungstenite::Message::Ping("x".into()),
                text => text.into(),
            };
            // The relay may have closed already.
            let _ = futures_util::SinkExt::send(&mut client.0, frame).await;
        }
        assert_eq!(client.close_code().await, 4005, "{frame}");
    }
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_frames_beyond_the_rate_are_answered_later_and_none_is_lost() {
    let relay = limited(|limits| (limits.sync_per_s, limits.sync_burst) = (200, 10)).await;
    let name = "backscroll_rate_limited_total{kind=\"sync\"}";
    let before = counter(&relay, name).await;
    let client = Client::connect(relay.address, "/sync").await;
    let mut sync = Sync::hello(client, "ada", Some(&token("ada", &[("*", "write")], &[]))).await;
    for _ in 0..100 {
        sync.send(&ClientFrame::Channels { after: None }).await;
    }
    for _ in 0..100 {
        assert!(matches!(sync.frame().await, RelayFrame::Channels { .. }));
    }
    assert!(counter(&relay, name).await > before, "some had to wait");
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_an_address_have_a_rate_that_health_does_not_need() {
    let relay = limited(|limits| (limits.http_per_s, limits.http_burst) = (1, 5)).await;
    let headers = [("authorization", &*ada())];
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(relay.request("GET", "/api/channels", &headers, "").await.status);
    }
    assert!(statuses.iter().filter(|status| **status == 200).count() >= 5, "{statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");
    let refused = async {
        loop {
            let headers = [headers[0], ("origin", "http://localhost:3000")];
            let answer = relay.request("GET", "/api/channels", &headers, "").await;
            if answer.status == 429 {
                return answer;
            }
        }
    };
    let refused = super::support::soon("a refusal", refused).await;
    assert_eq!(refused.problem().1, "rate_limited");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.header("access-control-allow-origin").is_some(), "a page can read it");
    for _ in 0..20 {
        assert_eq!(relay.get("/livez").await.status, 200);
    }
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_is_heard_no_more_and_who_knows_is() {
    let relay =
        limited(|limits| (limits.auth_failures_per_minute, limits.auth_failures_burst) = (1, 5))
            .await;
    let name = "backscroll_auth_failures_total{reason=\"signature\"}";
    let before = counter(&relay, name).await;
    let guess = || {
        let claims = super::access::claims("ada", &[("*", "write")], &[], u64::from(u32::MAX));
        bearer(&super::access::signed(&claims, "not the secret"))
    };
    let mut statuses = Vec::new();
    for _ in 0..10 {
        let headers = [("authorization", &*guess())];
        statuses.push(relay.request("GET", "/api/channels", &headers, "").await.status);
    }
    assert_eq!(statuses[..5], [401; 5]);
    assert_eq!(statuses[5..], [429; 5]);
    assert_eq!(ws(&relay, &guess()).await.err(), Some(429));
    let client = Client::connect(relay.address, "/sync").await;
    let mut sync = Sync::greet(client, "ada", Some("a.b.c")).await;
    assert_eq!(sync.error().await, Code::RateLimited);
    assert_eq!(sync.client.close_code().await, 4005);
    let headers = [("authorization", &*ada())];
    assert_eq!(relay.request("GET", "/api/channels", &headers, "").await.status, 200);
    assert_eq!(relay.get("/api/channels").await.status, 401, "asking is not guessing");
    assert!(counter(&relay, name).await >= before + 5);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_once_are_no_more_than_guesses_one_by_one() {
    let hash = crate::access::hash_password(&Secret::new("right")).unwrap();
    let relay = Relay::start_with(|config| {
        config.access.mode = AccessMode::Basic;
        let user = json!([{"name": "ada", "password_hash": hash}]);
        config.access.users = serde_json::from_value(user).unwrap();
        config.limits.apply = Apply::Always;
        (config.limits.auth_failures_per_minute, config.limits.auth_failures_burst) = (1, 5);
    })
    .await;
    let get = |pair: String| {
        let (address, basic) = (relay.address, format!("Basic {}", STANDARD.encode(pair)));
        async move {
            let headers = [("authorization", basic.as_str())];
            request(address, "GET", "/api/channels", &headers, b"").await.status
        }
    };
    assert_eq!(get("ada:right".to_owned()).await, 200);
    let guesses = (0..40).map(|n| get(format!("ada:guess {n}")));
    let mut statuses = futures_util::future::join_all(guesses).await;
    statuses.sort_unstable();
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 5, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 35, "{statuses:?}");
    assert_eq!(get("ada:right".to_owned()).await, 200, "who was in before gets in");
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_clients_are_told_apart_by_what_it_says() {
    let relay = limited_with(|config| {
        config.server.trusted_proxies = vec!["127.0.0.1".to_owned()];
        config.limits.connections_per_address = 2;
    })
    .await;
    let credential = ada();
    let connect = async |client: &str| {
        let headers = [("authorization", &*credential), ("x-forwarded-for", client)];
        Client::connect_with(relay.address, "/ws", &headers).await
    };
    let held = (connect("192.0.2.1").await.unwrap(), connect("192.0.2.1").await.unwrap());
    assert_eq!(connect("192.0.2.1").await.err(), Some(429));
    assert_eq!(connect("203.0.113.9, 192.0.2.1").await.err(), Some(429), "what a client adds");
    assert!(connect("192.0.2.2").await.is_ok());
    drop(held);
    let back = async { while connect("192.0.2.1").await.is_err() {} };
    super::support::soon("a free place", back).await;
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn loopback_and_open_mode_have_no_limits_unless_asked_for() {
    let tight = |config: &mut Config| {
        config.limits = LimitsConfig {
            connections_per_address: 1,
            connections_per_user: 1,
            ws_per_s: 1,
            ws_burst: 1,
            http_per_s: 1,
            http_burst: 1,
            ..LimitsConfig::default()
        };
    };
    let relay = Relay::start_with(|config| {
        with_tokens(config);
        tight(config);
    })
    .await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(ws(&relay, &ada()).await.unwrap());
    }
    for _ in 0..20 {
        clients[0].say("c", "x").await;
    }
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_follows_as_many_channels_as_it_may() {
    let relay = Relay::start_with(|config| config.limits.channels_per_socket = 2).await;
    let mut client = relay.ws().await;
    let codes =
        ["a", "b", "c", "a"].map(|channel| json!({"command": "subscribe", "channel": channel}));
    let mut answers = Vec::new();
    for command in &codes {
        answers.push(client.ask(command).await["event"].clone());
    }
    assert_eq!(answers, ["history", "history", "error", "history"]);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_or_never_ends_is_refused() {
    let relay = Relay::start().await;
    let long = "x".repeat(100_000);
    let answer = request(relay.address, "GET", &format!("/ws?token={long}"), &[], b"").await;
    assert!(matches!(answer.status, 414 | 431), "{}", answer.status);
    let mut stream = TcpStream::connect(relay.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
    let mut rest = Vec::new();
    super::support::soon("the end", stream.read_to_end(&mut rest)).await.unwrap();
    relay.stop().await.unwrap();
}
