//! Tokens that are right, and all the ways in which they are not.

use super::*;
use crate::access::Secret;
use crate::identity::ChannelAccess;
use ed25519_dalek::pkcs8::EncodePublicKey;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};

const NOW_S: u64 = 1_790_000_000;
const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn hs256(kid: &str, secret: &str) -> KeyConfig {
    KeyConfig {
        kid: kid.to_owned(),
        algorithm: KeyAlgorithm::HS256,
        secret: Some(Secret::new(secret)),
        secret_file: None,
        secret_env: None,
        public_key: None,
        public_key_file: None,
    }
}

fn eddsa(kid: &str, public_key: &str) -> KeyConfig {
    KeyConfig {
        algorithm: KeyAlgorithm::EdDSA,
        public_key: Some(public_key.to_owned()),
        secret: None,
        ..hs256(kid, "")
    }
}

fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn public_key_text() -> String {
    URL_SAFE_NO_PAD.encode(signing_key().verifying_key().as_bytes())
}

fn tokens(keys: Vec<KeyConfig>) -> Tokens {
    Tokens::new(&AccessConfig { keys, ..AccessConfig::default() }).unwrap()
}

fn claims() -> Value {
    json!({"sub": "ada", "exp": NOW_S + 60, "channels": [{"name": "team-*", "access": "read"}]})
}

/// A token of any header, signed as `sign` does.
fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn hmac(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> + '_ {
    use hmac::{Hmac, KeyInit, Mac};
    move |message| {
        let mac = Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
        mac.chain_update(message).finalize().into_bytes().to_vec()
    }
}

fn with(mut value: Value, field: &str, new: Value) -> Value {
    match new {
        Value::Null => drop(value.as_object_mut().unwrap().remove(field)),
        new => value[field] = new,
    }
    value
}

#[test]
fn a_token_says_who_where_and_for_how_long() {
    let tokens = tokens(vec![hs256("k", SECRET)]);
    let claims = json!({"sub": "ada", "exp": NOW_S + 60, "nbf": NOW_S, "iat": 1, "jti": "x",
        "channels": [{"name": "team-*", "access": "write"}], "rights": ["bridge", "replicate"]});
    let header = json!({"alg": "HS256", "typ": "JWT", "kid": "k"});
    let token = token(&header, &claims, hmac(SECRET.as_bytes()));
    let identity = tokens.verify(&token, NOW_S * 1_000).unwrap();
    assert_eq!(identity.user, "ada");
    assert!(identity.rights.bridge && identity.rights.replicate && !identity.rights.moderate);
    assert!(identity.channels.allow("team-a", ChannelAccess::Write));
    assert!(!identity.channels.allow("a", ChannelAccess::Read));
    assert_eq!(identity.expires_ms, Some((NOW_S + 60) * 1_000));
}

#[test]
fn what_is_minted_is_valid() {
    let tokens = tokens(vec![eddsa("public", &public_key_text()), hs256("k", SECRET)]);
    let claims = Claims {
        sub: "ada".to_owned(),
        exp: NOW_S + 1,
        nbf: None,
        aud: None,
        channels: vec![ChannelGrant::everything()],
        rights: vec![Right::Moderate],
    };
    let token = tokens.mint(&claims, None).unwrap();
    assert!(tokens.verify(&token, NOW_S * 1_000).unwrap().rights.moderate);
    assert_eq!(tokens.verify(&token, (NOW_S + 1) * 1_000).unwrap_err(), Denied::Expired);
    assert!(matches!(tokens.mint(&claims, Some("public")), Err(AccessError::CannotSign)));
    assert!(matches!(tokens.mint(&claims, Some("none")), Err(AccessError::CannotSign)));
}

#[test]
fn times_are_kept_to() {
    let tokens = tokens(vec![hs256("k", SECRET)]);
    let check = |claims: Value, expected: Result<(), Denied>| {
        let token = token(&json!({"alg": "HS256"}), &claims, hmac(SECRET.as_bytes()));
        let found = tokens.verify(&token, NOW_S * 1_000).map(|_| ());
        assert_eq!(found, expected, "{claims}");
    };
    check(claims(), Ok(()));
    check(with(claims(), "exp", json!(NOW_S)), Err(Denied::Expired));
    check(with(claims(), "exp", json!(NOW_S as f64 + 0.5)), Ok(()));
    check(with(claims(), "exp", json!(0)), Err(Denied::Expired));
    for bad in [json!(-5), json!(1e300), json!("soon"), json!(null), json!([1])] {
        let found = Err(if bad.is_number() { Denied::Claims } else { Denied::Malformed });
        check(with(claims(), "exp", bad), found);
    }
    check(with(claims(), "nbf", json!(NOW_S + 30)), Ok(()));
    check(with(claims(), "nbf", json!(NOW_S + 31)), Err(Denied::NotYet));
    check(with(claims(), "nbf", json!("later")), Err(Denied::Malformed));
}

#[test]
fn claims_that_are_not_understood_are_refused() {
    let tokens = tokens(vec![hs256("k", SECRET)]);
    for (field, value) in [
        ("sub", json!(null)),
        ("sub", json!("")),
        ("sub", json!("x".repeat(256))),
        ("sub", json!(5)),
        ("channels", json!(null)),
        ("channels", json!("*")),
        ("channels", json!([{"name": "a"}])),
        ("channels", json!([{"name": "a", "access": "own"}])),
        ("channels", json!([{"name": "a", "access": "write", "only_on": "monday"}])),
        ("rights", json!(["fly"])),
        ("aud", json!("another")),
        ("aud", json!(["another"])),
    ] {
        let claims = with(claims(), field, value);
        let token = token(&json!({"alg": "HS256"}), &claims, hmac(SECRET.as_bytes()));
        assert!(tokens.verify(&token, NOW_S * 1_000).is_err(), "{claims}");
    }
}

#[test]
fn a_configured_audience_must_be_named() {
    let audience = Some("chat".to_owned());
    let keys = vec![hs256("k", SECRET)];
    let tokens = Tokens::new(&AccessConfig { keys, audience, ..AccessConfig::default() }).unwrap();
    for (aud, ok) in [
        (json!("chat"), true),
        (json!(["mail", "chat"]), true),
        (json!("mail"), false),
        (json!([]), false),
        (json!(null), false),
    ] {
        let claims = with(claims(), "aud", aud);
        let token = token(&json!({"alg": "HS256"}), &claims, hmac(SECRET.as_bytes()));
        assert_eq!(tokens.verify(&token, NOW_S * 1_000).is_ok(), ok, "{claims}");
    }
}

#[test]
fn the_key_decides_the_algorithm_and_the_kid_the_key() {
    let ed = signing_key();
    let tokens = tokens(vec![hs256("secret", SECRET), eddsa("public", &public_key_text())]);
    let by_ed = |message: &[u8]| ed.sign(message).to_bytes().to_vec();
    let by_secret = hmac(SECRET.as_bytes());
    // The public key is known to everyone: it must not serve as a secret.
    let public = ed.verifying_key().to_bytes();
    let by_public = hmac(&public);
    let pem = ed.verifying_key().to_public_key_pem(Default::default()).unwrap();
    let by_pem = hmac(pem.as_bytes());
    let none = |_: &[u8]| Vec::new();
    type Sign<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    type Case<'a> = (&'a str, Option<&'a str>, Sign<'a>, Result<(), Denied>);
    let cases: [Case<'_>; 14] = [
        ("HS256", Some("secret"), &by_secret, Ok(())),
        ("EdDSA", Some("public"), &by_ed, Ok(())),
        ("HS256", Some("public"), &by_public, Err(Denied::Algorithm)),
        ("HS256", Some("public"), &by_pem, Err(Denied::Algorithm)),
        ("HS256", Some("public"), &by_secret, Err(Denied::Algorithm)),
        ("EdDSA", Some("secret"), &by_ed, Err(Denied::Algorithm)),
        ("EdDSA", Some("public"), &by_secret, Err(Denied::Signature)),
        ("HS256", Some("secret"), &by_ed, Err(Denied::Signature)),
        ("HS256", Some("other"), &by_secret, Err(Denied::UnknownKey)),
        ("HS256", None, &by_secret, Err(Denied::UnknownKey)),
        ("HS512", Some("secret"), &by_secret, Err(Denied::Algorithm)),
        ("RS256", Some("public"), &by_ed, Err(Denied::Algorithm)),
        ("none", Some("secret"), &none, Err(Denied::Malformed)),
        ("HS256", Some("secret"), &none, Err(Denied::Signature)),
    ];
    for (alg, kid, sign, expected) in cases {
        let header = with(json!({"alg": alg}), "kid", json!(kid));
        let token = token(&header, &claims(), sign);
        let found = tokens.verify(&token, NOW_S * 1_000).map(|_| ());
        assert_eq!(found, expected, "{header}");
    }
}

#[test]
fn nothing_about_a_signed_token_may_change() {
    let tokens = tokens(vec![hs256("k", SECRET)]);
    let header = json!({"alg": "HS256", "kid": "k"});
    let good = token(&header, &claims(), hmac(SECRET.as_bytes()));
    let [head, body, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three") };
    let bob = URL_SAFE_NO_PAD.encode(with(claims(), "sub", json!("bob")).to_string());
    for bad in [
        format!("{head}.{bob}.{signature}"),
        format!("{head}.{body}."),
        format!("{head}.{body}"),
        format!("{head}.{body}.{signature}A"),
        format!("{head}.{body}.{signature}="),
        format!("{head}.{body}.{signature}.{signature}"),
        format!("{head}.{body}.{}", &signature[..signature.len() - 4]),
        format!("{head} .{body}.{signature}"),
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "x".repeat(TOKEN_BYTES_MAX + 1),
    ] {
        assert!(tokens.verify(&bad, NOW_S * 1_000).is_err(), "{bad:.80}");
    }
    let critical = json!({"alg": "HS256", "kid": "k", "crit": ["b64"], "b64": false});
    let critical = token(&critical, &claims(), hmac(SECRET.as_bytes()));
    assert_eq!(tokens.verify(&critical, NOW_S * 1_000).unwrap_err(), Denied::Malformed);
}

#[test]
fn keys_that_are_no_good_are_refused_at_the_start() {
    let refused = |keys: Vec<KeyConfig>| {
        Tokens::new(&AccessConfig { keys, ..AccessConfig::default() }).unwrap_err()
    };
    assert!(matches!(refused(Vec::new()), AccessError::NoKeys));
    assert!(matches!(refused(vec![hs256("k", &SECRET[1..])]), AccessError::ShortSecret(_)));
    let twice = vec![hs256("k", SECRET), eddsa("k", &public_key_text())];
    assert!(matches!(refused(twice), AccessError::Twice(_)));
    let identity_point = URL_SAFE_NO_PAD.encode([&[1][..], &[0; 31]].concat());
    for bad in
        ["", "abc", "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----", &identity_point]
    {
        assert!(matches!(refused(vec![eddsa("k", bad)]), AccessError::BadKey(_)), "{bad}");
    }
    let pem = signing_key().verifying_key().to_public_key_pem(Default::default()).unwrap();
    drop(tokens(vec![eddsa("k", &pem)]));
    let both = KeyConfig { secret_env: Some("X".to_owned()), ..hs256("k", SECRET) };
    assert!(matches!(refused(vec![both]), AccessError::OneSource(_)));
    let mixed = KeyConfig { public_key: Some(public_key_text()), ..hs256("k", SECRET) };
    assert!(matches!(refused(vec![mixed]), AccessError::OneSource(_)));
}
