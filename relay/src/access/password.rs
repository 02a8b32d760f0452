//! Names and passwords (`basic` mode): Argon2id hashes from the configuration.
//!
//! A check costs some 20 MiB and 20 ms of one core by design, so it runs on blocking threads, few
//! at a time, and a password that was right is remembered, by a digest under a key of this process:
//! a thousand clients that come back at once cost one check for each user.

use super::denied::Denied;
use super::secret::Secret;
use super::setup::{self, AccessError};
use crate::config::UserConfig;
use crate::identity::{Channels, Identity};
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use backscroll_core::message::check_user;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// Passwords that are checked at a time: each takes a core and 19 MiB.
const CHECKS_MAX: usize = 2;

/// Passwords that wait to be checked: at 20 ms for each, some seconds.
const WAITING_MAX: usize = 256;

/// Passwords that are remembered as right; 32 bytes for each.
const VERIFIED_MAX: usize = 10_000;

/// Longest password, in bytes.
const PASSWORD_BYTES_MAX: usize = 1_024;

/// The only algorithm that hashes may have.
const ALGORITHM: &str = "argon2id";

type Digest = [u8; 32];

/// The users of `basic` mode.
#[derive(Debug)]
pub(super) struct Passwords {
    users: Vec<User>,
    by_name: HashMap<String, usize>,
    /// Of the digests; drawn at the start.
    key: Secret,
    verified: Mutex<Verified>,
    checks: Arc<Semaphore>,
    waiting: Semaphore,
}

#[derive(Debug)]
struct User {
    identity: Identity,
    hash: PasswordHash,
}

/// Digests of what was right, the oldest leaving first.
#[derive(Debug, Default)]
struct Verified {
    digests: HashSet<Digest>,
    order: VecDeque<Digest>,
}

impl Passwords {
    /// Reads the users' hashes.
    ///
    /// # Errors
    /// There is no user, two have one name, or a hash is missing or not Argon2id.
    pub(super) fn new(configs: &[UserConfig]) -> Result<Self, AccessError> {
        let mut users = Vec::new();
        let mut by_name = HashMap::new();
        for config in configs {
            // A colon would end the name in `Authorization: Basic`.
            if check_user(&config.name).is_err() || config.name.contains(':') {
                return Err(AccessError::BadName(config.name.clone()));
            }
            if by_name.insert(config.name.clone(), users.len()).is_some() {
                return Err(AccessError::Twice(config.name.clone()));
            }
            users.push(User::new(config)?);
        }
        if users.is_empty() {
            return Err(AccessError::NoUsers);
        }
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|_| AccessError::System)?;
        let key = Secret::new(key.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        Ok(Self {
            users,
            by_name,
            key,
            verified: Mutex::default(),
            checks: Arc::new(Semaphore::new(CHECKS_MAX)),
            waiting: Semaphore::new(WAITING_MAX),
        })
    }

    /// Who `name` is, if this very password was right before.
    pub(super) fn remembered(&self, name: &str, password: &Secret) -> Option<Identity> {
        // First, so that a name that does not exist takes as long as one that does.
        let digest = self.digest(name, password);
        let is_remembered = self.verified().digests.contains(&digest);
        let user = self.users.get(*self.by_name.get(name)?)?;
        is_remembered.then(|| user.identity.clone())
    }

    /// Checks a password.
    ///
    /// # Errors
    /// The user is unknown or the password is wrong, after the same time; too many wait.
    pub(super) async fn check(&self, name: &str, password: &Secret) -> Result<Identity, Denied> {
        if let Some(identity) = self.remembered(name, password) {
            return Ok(identity);
        }
        if password.reveal().len() > PASSWORD_BYTES_MAX {
            return Err(Denied::Malformed);
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| Denied::Busy)?;
        let permit = self.checks.clone().acquire_owned().await.map_err(|_| Denied::Busy)?;
        // Another connection with the same password may have come first.
        if let Some(identity) = self.remembered(name, password) {
            return Ok(identity);
        }
        let digest = self.digest(name, password);
        let known = self.by_name.get(name).copied();
        // For a stranger somebody's hash is computed as well, always the same one's: nothing tells
        // names that exist from others.
        let stand_in = usize::from(digest_of(self.key.reveal(), &[name.as_bytes()])[0]);
        let user = self.users.get(known.unwrap_or(stand_in % self.users.len()));
        let Some(user) = user else { return Err(Denied::Password) };
        let (hash, password) = (user.hash.clone(), password.clone());
        let check = tokio::task::spawn_blocking(move || {
            let right = Argon2::default().verify_password(password.reveal().as_bytes(), &hash);
            drop(permit);
            right.is_ok()
        });
        let is_right = check.await.unwrap_or(false);
        if !is_right || known.is_none() {
            return Err(Denied::Password);
        }
        self.verified().remember(digest);
        Ok(user.identity.clone())
    }

    fn digest(&self, name: &str, password: &Secret) -> Digest {
        let len = name.len().to_be_bytes();
        digest_of(self.key.reveal(), &[&len, name.as_bytes(), password.reveal().as_bytes()])
    }

    fn verified(&self) -> MutexGuard<'_, Verified> {
        // Nothing panics while it holds the lock, so what it guards is whole.
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest_of(key: &str, parts: &[&[u8]]) -> Digest {
    // HMAC takes keys of any length, so there is nothing to go wrong.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else { return [0; 32] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

impl Verified {
    fn remember(&mut self, digest: Digest) {
        if !self.digests.insert(digest) {
            return;
        }
        self.order.push_back(digest);
        if self.order.len() > VERIFIED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.digests.remove(&oldest);
        }
    }
}

impl User {
    fn new(config: &UserConfig) -> Result<Self, AccessError> {
        let bad_hash = || AccessError::BadHash(config.name.clone());
        let hash = PasswordHash::new(setup::hash_of(config)?.reveal()).map_err(|_| bad_hash())?;
        let is_whole = hash.salt.is_some() && hash.hash.is_some();
        if hash.algorithm.as_str() != ALGORITHM || !is_whole {
            return Err(bad_hash());
        }
        argon2::Params::try_from(&hash).map_err(|_| bad_hash())?;
        let channels = config.channels.clone();
        let identity = Identity {
            user: config.name.clone(),
            rights: config.rights.iter().copied().collect(),
            channels: channels.map_or(Channels::All, |grants| Channels::Granted(grants.into())),
            expires_ms: None,
        };
        Ok(Self { identity, hash })
    }
}

/// The hash of a password, for `password_hash` of a user: Argon2id, 19 MiB, two passes (OWASP).
///
/// # Errors
/// The password is empty or longer than 1,024 bytes, or the system has no randomness.
pub fn hash_password(password: &Secret) -> Result<String, AccessError> {
    let password = password.reveal().as_bytes();
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(AccessError::BadPassword);
    }
    let hash: PasswordHash =
        Argon2::default().hash_password(password).map_err(|_| AccessError::System)?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::{Algorithm, Params, Version};

    /// A hash that is cheap to check, with the cost in its parameters as any other.
    fn hash(password: &str) -> Secret {
        let params = Params::new(64, 1, 1, None).unwrap();
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash: PasswordHash = argon.hash_password(password.as_bytes()).unwrap();
        Secret::new(hash.to_string())
    }

    fn user(name: &str, password: &str) -> UserConfig {
        UserConfig {
            name: name.to_owned(),
            password_hash: Some(hash(password)),
            password_hash_file: None,
            channels: None,
            rights: Vec::new(),
        }
    }

    async fn check(passwords: &Passwords, name: &str, password: &str) -> Result<String, Denied> {
        passwords.check(name, &Secret::new(password)).await.map(|identity| identity.user)
    }

    #[tokio::test]
    async fn only_the_users_own_password_is_right() {
        let passwords = Passwords::new(&[user("ada", "one"), user("bob", "two")]).unwrap();
        assert_eq!(check(&passwords, "ada", "one").await.as_deref(), Ok("ada"));
        for (name, password) in [
            ("ada", "two"),
            ("bob", "one"),
            ("eve", "one"),
            ("eve", "two"),
            ("ada", ""),
            ("", "one"),
        ] {
            assert_eq!(check(&passwords, name, password).await, Err(Denied::Password), "{name}");
        }
        let long = "x".repeat(PASSWORD_BYTES_MAX + 1);
        assert_eq!(check(&passwords, "ada", &long).await, Err(Denied::Malformed));
    }

    #[tokio::test]
    async fn what_was_right_is_remembered_and_what_was_wrong_is_not() {
        let passwords = Passwords::new(&[user("ada", "one"), user("bob", "two")]).unwrap();
        assert!(passwords.remembered("ada", &Secret::new("one")).is_none());
        let _ = check(&passwords, "ada", "one").await;
        let _ = check(&passwords, "ada", "three").await;
        let _ = check(&passwords, "eve", "two").await;
        assert!(passwords.remembered("ada", &Secret::new("one")).is_some());
        for (name, password) in [("ada", "three"), ("bob", "one"), ("adao", "ne"), ("eve", "two")] {
            assert!(passwords.remembered(name, &Secret::new(password)).is_none(), "{name}");
        }
        assert_eq!(passwords.verified().digests.len(), 1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut verified = Verified::default();
        for n in 0..VERIFIED_MAX + 10 {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            verified.remember(digest);
        }
        assert_eq!((verified.digests.len(), verified.order.len()), (VERIFIED_MAX, VERIFIED_MAX));
    }

    #[test]
    fn hashes_that_are_no_good_are_refused_at_the_start() {
        let argon2i =
            Argon2::new(Algorithm::Argon2i, Version::V0x13, Params::new(64, 1, 1, None).unwrap());
        let argon2i: PasswordHash = argon2i.hash_password(b"x").unwrap();
        for bad in [
            "",
            "(hidden)",
            "plain",
            "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ",
            &argon2i.to_string(),
        ] {
            let config = UserConfig { password_hash: Some(Secret::new(bad)), ..user("ada", "x") };
            assert!(matches!(Passwords::new(&[config]), Err(AccessError::BadHash(_))), "{bad}");
        }
        let none = UserConfig { password_hash: None, ..user("ada", "x") };
        assert!(matches!(Passwords::new(&[none]), Err(AccessError::OneSource(_))));
        for bad in ["", "a:b", &"x".repeat(256)] {
            let config = UserConfig { name: bad.to_owned(), ..user("ada", "x") };
            assert!(matches!(Passwords::new(&[config]), Err(AccessError::BadName(_))));
        }
        assert!(matches!(Passwords::new(&[]), Err(AccessError::NoUsers)));
        let twice = [user("ada", "x"), user("ada", "y")];
        assert!(matches!(Passwords::new(&twice), Err(AccessError::Twice(_))));
    }

    #[test]
    fn a_password_is_hashed_as_the_configuration_wants_it() {
        let hash = hash_password(&Secret::new("tuna")).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, hash_password(&Secret::new("tuna")).unwrap(), "each has its salt");
        assert!(hash_password(&Secret::new("")).is_err());
    }
}
