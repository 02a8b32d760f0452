//! The rules of each mode.

use super::*;
use crate::config::{KeyAlgorithm, KeyConfig, UserConfig};
use crate::identity::{ChannelGrant, Channels, Rights};

fn identity(rights: Rights, grants: &[(&str, ChannelAccess)]) -> Identity {
    let grant = |(name, access): &(&str, ChannelAccess)| ChannelGrant {
        name: (*name).to_owned(),
        access: *access,
    };
    let channels = Channels::Granted(grants.iter().map(grant).collect());
    Identity { rights, channels, ..Identity::user("ada") }
}

fn key() -> KeyConfig {
    KeyConfig {
        kid: "k".to_owned(),
        algorithm: KeyAlgorithm::HS256,
        secret: Some(Secret::new("0123456789abcdef0123456789abcdef")),
        secret_file: None,
        secret_env: None,
        public_key: None,
        public_key_file: None,
    }
}

fn with_tokens() -> Access {
    let config =
        AccessConfig { mode: AccessMode::Token, keys: vec![key()], ..AccessConfig::default() };
    Access::from_config(&config).unwrap()
}

#[test]
fn open_mode_stays_on_loopback_unless_asked_for_by_name() {
    let address = |text: &str| text.parse().unwrap();
    let closed = Access::from_config(&AccessConfig::default()).unwrap();
    for loopback in ["127.0.0.1:1", "127.8.9.1:1", "[::1]:1"] {
        assert_eq!(closed.check_listen(address(loopback)), Ok(()));
    }
    for reachable in ["0.0.0.0:1", "[::]:1", "192.168.1.5:1"] {
        let refused = closed.check_listen(address(reachable)).unwrap_err();
        assert!(refused.to_string().contains("--open-to-anyone"), "{reachable}");
        assert_eq!(with_tokens().check_listen(address(reachable)), Ok(()));
    }
    let open = AccessConfig { open_to_anyone: true, ..AccessConfig::default() };
    let open = Access::from_config(&open).unwrap();
    assert_eq!(open.check_listen(address("0.0.0.0:1")), Ok(()));
}

#[test]
fn keys_and_users_that_nobody_is_asked_for_are_an_error() {
    let user = UserConfig {
        name: "ada".to_owned(),
        password_hash: None,
        password_hash_file: None,
        channels: None,
        rights: Vec::new(),
    };
    for mode in [AccessMode::Open, AccessMode::Basic] {
        let config = AccessConfig { mode, keys: vec![key()], ..AccessConfig::default() };
        let refused = Access::from_config(&config).unwrap_err();
        assert!(matches!(refused, AccessError::Unused { unused: "keys", .. }), "{refused}");
    }
    for mode in [AccessMode::Open, AccessMode::Token] {
        let config = AccessConfig { mode, users: vec![user.clone()], ..AccessConfig::default() };
        let refused = Access::from_config(&config).unwrap_err();
        assert!(matches!(refused, AccessError::Unused { unused: "users", .. }), "{refused}");
    }
}

#[test]
fn in_open_mode_names_are_taken_as_given_within_their_bounds() {
    let access = Access::open();
    let nobody = Identity::user(ANONYMOUS);
    assert_eq!(access.sender(&nobody, None).unwrap(), ANONYMOUS);
    assert_eq!(access.sender(&nobody, Some("ada")).unwrap(), "ada");
    for bad in ["", &"x".repeat(256)] {
        assert_eq!(access.sender(&nobody, Some(bad)).unwrap_err().code, Code::BadRequest);
    }
    assert!(access.check_annotate(&nobody, "c", "ada", false).is_ok());
}

#[test]
fn with_credentials_only_a_bridge_writes_as_others() {
    let access = with_tokens();
    let ada = identity(Rights::default(), &[("c", ChannelAccess::Write)]);
    let bridge =
        identity(Rights { bridge: true, ..Rights::default() }, &[("c", ChannelAccess::Write)]);
    assert_eq!(access.sender(&ada, None).unwrap(), "ada");
    assert_eq!(access.sender(&ada, Some("ada")).unwrap(), "ada");
    assert_eq!(access.sender(&ada, Some("bob")).unwrap_err().code, Code::Forbidden);
    assert_eq!(access.sender(&bridge, Some("bob")).unwrap(), "bob");
}

#[test]
fn others_messages_are_changed_by_a_bridge_and_deleted_by_a_moderator_too() {
    let access = with_tokens();
    let write = [("c", ChannelAccess::Write)];
    let may = |rights, grants: &[_], author, deletes| {
        access.check_annotate(&identity(rights, grants), "c", author, deletes).is_ok()
    };
    let none = Rights::default();
    let bridge = Rights { bridge: true, ..none };
    let moderate = Rights { moderate: true, ..none };
    let replicate = Rights { replicate: true, ..none };
    for deletes in [false, true] {
        assert!(may(none, &write, "ada", deletes));
        assert!(!may(none, &write, "bob", deletes));
        assert!(!may(replicate, &write, "bob", deletes));
        assert!(may(bridge, &write, "bob", deletes));
        assert_eq!(may(moderate, &write, "bob", deletes), deletes);
        for rights in [none, bridge, moderate] {
            assert!(!may(rights, &[("c", ChannelAccess::Read)], "ada", deletes));
            assert!(!may(rights, &[], "ada", deletes));
        }
    }
}
