//! The HTTP interface (design 8.3).

use super::support::Relay;
use crate::limits::CHANNELS_LISTED_MAX;
use serde_json::{Value, json};

const MESSAGES: &str = "/api/channels/c/messages";

fn texts(history: &Value) -> Vec<&str> {
    history["messages"].as_array().unwrap().iter().map(|m| m["text"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_in_by_post_and_come_out_by_get() {
    let relay = Relay::start().await;
    for n in 0..10_u64 {
        let sent_at = 1_700_000_000_000 + n * 1_000;
        let body = json!({"from": "ada", "text": n.to_string(), "sent_at": sent_at});
        let response = relay.post(MESSAGES, &body).await;
        assert_eq!((response.status, &response.json()["seq"]), (201, &(n + 1).into()));
        assert_eq!(response.json()["duplicate"], false);
    }
    let channels = relay.get("/api/channels").await.json();
    let channel = json!({"channel": "c", "total": 10, "seq": 10,
        "newest_at": 1_700_000_009_000_u64});
    assert_eq!(channels, json!({"channels": [channel]}));
    let history = relay.get(MESSAGES).await.json();
    assert_eq!(history["event"], "history");
    assert_eq!(texts(&history), ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    assert_eq!((&history["start"], &history["total"]), (&0.into(), &10.into()));
    for (query, expected) in [
        ("at=latest&before=2", vec!["8", "9"]),
        ("at=oldest&before=0&after=2", vec!["0", "1"]),
        ("at=index:4&before=1&after=1", vec!["3", "4"]),
        ("at=time:1700000004500&before=1&after=1", vec!["4", "5"]),
        ("at=fraction:0.5&before=0&after=1", vec!["5"]),
        ("at=index:99&before=1&after=1", vec!["9"]),
        ("at=index:4&after=2", vec!["4", "5"]),
        ("at=oldest", vec!["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]),
    ] {
        let history = relay.get(&format!("{MESSAGES}?{query}")).await.json();
        assert_eq!(texts(&history), expected, "{query}");
    }
    let id = history["messages"][3]["id"].as_str().unwrap();
    let around = relay.get(&format!("{MESSAGES}?at=id:{id}&before=1&after=1")).await.json();
    assert_eq!(texts(&around), ["2", "3"]);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_of_channels_comes_in_pages_by_name() {
    let relay = Relay::start().await;
    let mut client = relay.ws().await;
    let count = CHANNELS_LISTED_MAX * 2 + 5;
    let names: Vec<_> = (0..count).map(|n| format!("c/{n:03}")).collect();
    for name in names.iter().rev() {
        client.say(name, "x").await;
    }
    for limit in ["".to_owned(), "limit=7".to_owned(), format!("limit={CHANNELS_LISTED_MAX}")] {
        let per_page =
            limit.split_once('=').map_or(CHANNELS_LISTED_MAX, |(_, n)| n.parse().unwrap());
        let (mut listed, mut after) = (Vec::new(), String::new());
        loop {
            let page = relay.get(&format!("/api/channels?{limit}{after}")).await.json();
            let page_names = page["channels"].as_array().unwrap().iter();
            let page_names: Vec<_> =
                page_names.map(|one| one["channel"].as_str().unwrap().to_owned()).collect();
            assert!(page_names.len() <= per_page);
            listed.extend(page_names);
            let Some(next) = page["next"].as_str() else { break };
            assert_eq!(Some(next), listed.last().map(String::as_str));
            after = format!("&after={}", next.replace('/', "%2F"));
        }
        assert_eq!(listed, names, "{limit}");
    }
    // A page that is just full is the last.
    let last = &names[count - 8];
    let page = relay.get(&format!("/api/channels?limit=7&after={last}")).await.json();
    assert_eq!((page["channels"].as_array().unwrap().len(), &page["next"]), (7, &Value::Null));
    let above = format!("limit={}", CHANNELS_LISTED_MAX + 1);
    for bad in ["limit=0", "limit=-1", "limit=x", &above] {
        let refused = relay.get(&format!("/api/channels?{bad}")).await;
        assert_eq!(refused.problem(), (400, "bad_request".to_owned()), "{bad}");
    }
    let long = format!("/api/channels?after={}", "x".repeat(256));
    assert_eq!(relay.get(&long).await.problem(), (400, "bad_channel".to_owned()));
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_post_is_the_same_message() {
    let relay = Relay::start().await;
    let body = json!({"id": "018bcfe5-6800-7000-8000-00000000004d", "text": "x"});
    assert_eq!(relay.post(MESSAGES, &body).await.status, 201);
    let again = relay.post(MESSAGES, &body).await;
    assert_eq!((again.status, &again.json()["duplicate"]), (200, &true.into()));
    let key = [("Idempotency-Key", "k1")];
    let body = json!({"from": "ada", "text": "y"}).to_string();
    let first = relay.request("POST", MESSAGES, &key, &body).await;
    let second = relay.request("POST", MESSAGES, &key, &body).await;
    assert_eq!((first.status, second.status), (201, 200));
    assert_eq!(first.json()["id"], second.json()["id"]);
    assert_eq!(relay.get(MESSAGES).await.json()["total"], 2);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_problems_with_the_codes_of_the_interface() {
    let relay = Relay::start().await;
    let long = format!("/api/channels/{}/messages", "x".repeat(256));
    for (path, problem) in [
        (long.as_str(), (400, "bad_channel")),
        ("/api/channels//messages", (400, "bad_channel")),
        ("/api/channels/%FF/messages", (400, "bad_channel")),
        ("/api/channels/c/messages?at=index:-1", (400, "bad_request")),
        ("/api/channels/c/messages?at=fraction:2", (400, "bad_request")),
        ("/api/channels/c/messages?at=id:zzz", (400, "bad_id")),
        ("/api/channels/c/messages?before=-1", (400, "bad_request")),
        ("/api/channels/c/messages?before=4000&after=1001", (400, "bad_request")),
        ("/api/nothing", (404, "not_found")),
        ("/nothing", (404, "not_found")),
        ("/ws", (426, "bad_request")),
    ] {
        let (status, code) = relay.get(path).await.problem();
        assert_eq!((status, code.as_str()), problem, "{path:.60}");
    }
    for (body, problem) in [
        ("{", (400, "bad_json")),
        ("[]", (400, "bad_json")),
        ("{}", (400, "bad_request")),
        (r#"{"text":"x","id":"9b2c1a52-3a44-4f6e-8a55-0d3c6f7a1b2c"}"#, (400, "bad_id")),
        (r#"{"text":"x","id":"ffffffff-ffff-7fff-bfff-ffffffffffff"}"#, (400, "future_id")),
    ] {
        let (status, code) = relay.request("POST", MESSAGES, &[], body).await.problem();
        assert_eq!((status, code.as_str()), problem, "{body}");
    }
    let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(70_000));
    assert_eq!(relay.request("POST", MESSAGES, &[], &large).await.problem().0, 413);
    let huge = " ".repeat((1 << 20) + 1);
    assert_eq!(relay.request("POST", MESSAGES, &[], &huge).await.problem().0, 413);
    let delete = relay.request("DELETE", MESSAGES, &[], "").await;
    assert_eq!(delete.problem().0, 405);
    assert_eq!(relay.get("/api/channels").await.json(), json!({"channels": []}));
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_named_by_any_text() {
    let relay = Relay::start().await;
    for (path, name) in [("a%2Fb%20%23", "a/b #"), ("%E2%9C%93", "✓"), ("..%2F", "../")] {
        let path = format!("/api/channels/{path}/messages");
        assert_eq!(relay.post(&path, &json!({"text": "x"})).await.status, 201);
        assert_eq!(relay.get(&path).await.json()["channel"], name);
    }
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told() {
    let relay = Relay::start().await;
    assert_eq!(relay.get("/livez").await.status, 200);
    assert_eq!(relay.get("/readyz").await.status, 200);
    relay.stop().await.unwrap();
    let relay = Relay::start_with(|config| config.store.disk_reserve_mib = u64::MAX).await;
    assert_eq!(relay.get("/livez").await.status, 200);
    assert_eq!(relay.get("/readyz").await.problem(), (503, "retry".to_owned()));
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn allowed_origins_get_cors_headers_and_others_none() {
    let relay = Relay::start_with(|config| {
        config.server.origins = vec!["https://chat.example.org".to_owned()];
    })
    .await;
    let allowed = relay.request("GET", MESSAGES, &[("Origin", "https://chat.example.org")], "");
    let allow = "access-control-allow-origin";
    assert_eq!(allowed.await.header(allow), Some("https://chat.example.org"));
    let other = relay.request("GET", MESSAGES, &[("Origin", "https://evil.example")], "").await;
    assert_eq!(other.header(allow), None);
    let preflight = [
        ("Origin", "https://chat.example.org"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type,idempotency-key"),
    ];
    let response = relay.request("OPTIONS", MESSAGES, &preflight, "").await;
    assert_eq!(response.status, 200);
    assert!(response.header("access-control-allow-methods").unwrap().contains("POST"));
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_app_is_served_with_the_right_types() {
    let web = tempfile::tempdir().unwrap();
    std::fs::create_dir(web.path().join("assets")).unwrap();
    std::fs::write(web.path().join("index.html"), "<!doctype html>").unwrap();
    std::fs::write(web.path().join("assets/core-1a2b.wasm"), b"\0asm").unwrap();
    let folder = web.path().to_owned();
    let relay = Relay::start_with(|config| config.server.web = Some(folder)).await;
    let page = relay.get("/").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html")));
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    let wasm = relay.get("/assets/core-1a2b.wasm").await;
    assert_eq!(wasm.header("content-type"), Some("application/wasm"));
    assert!(wasm.header("cache-control").unwrap().contains("immutable"));
    assert_eq!(wasm.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(relay.get("/some/place").await.body, page.body);
    assert_eq!(relay.get("/api/nothing").await.problem().0, 404);
    assert_ne!(relay.get("/../secret").await.body, b"secret");
    relay.stop().await.unwrap();
}
