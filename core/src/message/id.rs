//! Message ids: UUIDv7 (RFC 9562), their maker, and their form as a document key.

use crate::limits::{FUTURE_MS_MAX, MAKER_AHEAD_MS_MAX};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// The last time an id can carry, in ms since the Unix epoch: 48 bits.
pub const TIME_MS_MAX: u64 = (1 << 48) - 1;

const TAIL_BITS: u32 = 74;
const TAIL_MAX: u128 = (1 << TAIL_BITS) - 1;
const RAND_B_BITS: u32 = 62;
const RAND_B_MAX: u128 = (1 << RAND_B_BITS) - 1;
const TIME_SHIFT: u32 = 80;
const TIME_MASK: u128 = ((1 << 48) - 1) << TIME_SHIFT;

/// The id of a message: a UUIDv7, 48 bits of Unix milliseconds and 74 random ones.
///
/// Ids order by time, then by their random bits; this is the one total order of a channel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u128);

/// Why a text or a number is no message id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Not a UUID, with or without hyphens.
    #[error("not a UUID")]
    NotUuid,
    /// A UUID of another version or variant.
    #[error("not a UUID of version 7")]
    NotVersion7,
    /// Not 32 lower-case hex digits of a key.
    #[error("not a message key of 32 lower-case hex digits")]
    NotKey,
}

impl MessageId {
    /// The id of `time_ms` (its low 48 bits) with the low 74 bits of `tail`.
    #[must_use]
    pub const fn from_parts(time_ms: u64, tail: u128) -> Self {
        let tail = tail & TAIL_MAX;
        let time = (time_ms as u128 & TIME_MS_MAX as u128) << TIME_SHIFT;
        let version = 7 << 76;
        let variant = 2 << RAND_B_BITS;
        Self(time | version | (tail >> RAND_B_BITS) << 64 | variant | (tail & RAND_B_MAX))
    }

    /// The least id of `time_ms`: where that instant begins in the order.
    #[must_use]
    pub const fn first_of(time_ms: u64) -> Self {
        Self::from_parts(time_ms, 0)
    }

    /// The id as a big-endian integer.
    ///
    /// # Errors
    /// The number is not a UUID of version 7.
    pub const fn from_u128(number: u128) -> Result<Self, IdError> {
        if (number >> 76) & 0xf == 7 && (number >> RAND_B_BITS) & 0b11 == 0b10 {
            Ok(Self(number))
        } else {
            Err(IdError::NotVersion7)
        }
    }

    /// The id from its 16 bytes, big-endian.
    ///
    /// # Errors
    /// The bytes are not a UUID of version 7.
    pub const fn from_bytes(bytes: [u8; 16]) -> Result<Self, IdError> {
        Self::from_u128(u128::from_be_bytes(bytes))
    }

    /// The id as a big-endian integer: its order is the ids' order.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// The 16 bytes, big-endian.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// When the message was sent, in ms since the Unix epoch.
    #[must_use]
    pub const fn time_ms(self) -> u64 {
        (self.0 >> TIME_SHIFT) as u64
    }

    /// The 74 bits behind the time.
    #[must_use]
    pub const fn tail(self) -> u128 {
        ((self.0 >> 64) & 0xfff) << RAND_B_BITS | (self.0 & RAND_B_MAX)
    }

    /// The key in a segment document: 32 hex digits of the id with its time complemented, so that
    /// the newest message sorts first (design 4.2).
    #[must_use]
    pub fn to_key(self) -> String {
        format!("{:032x}", self.0 ^ TIME_MASK)
    }

    /// The id behind a key.
    ///
    /// # Errors
    /// The text is not 32 lower-case hex digits, or not the key of a UUID of version 7.
    pub fn from_key(key: &str) -> Result<Self, IdError> {
        let well_formed =
            key.len() == 32 && key.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !well_formed {
            return Err(IdError::NotKey);
        }
        let number = u128::from_str_radix(key, 16).map_err(|_| IdError::NotKey)?;
        Self::from_u128(number ^ TIME_MASK)
    }

    /// The least id above this one.
    pub(crate) const fn next(self) -> Self {
        if self.tail() < TAIL_MAX { self.after(1) } else { Self::first_of(self.time_ms() + 1) }
    }

    /// The next id of the same time, `step` further; of the next ms where the tail is used up.
    const fn after(self, step: u128) -> Self {
        match self.tail().checked_add(step) {
            Some(tail) if tail <= TAIL_MAX => Self::from_parts(self.time_ms(), tail),
            _ => Self::from_parts(self.time_ms() + 1, step),
        }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_u128(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MessageId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        // The uuid crate reads braced and URN forms as well; the interface has two forms only.
        if !matches!(text.len(), 32 | 36) {
            return Err(IdError::NotUuid);
        }
        let uuid = Uuid::try_parse(text).map_err(|_| IdError::NotUuid)?;
        Self::from_u128(uuid.as_u128())
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Makes the ids of one maker (a client, the relay for JSON clients, an importer), in strictly
/// increasing order, by the clock rules of design 4.1.
#[derive(Clone, Debug, Default)]
pub struct IdMaker {
    made: Option<MessageId>,
    /// The greatest id seen of each second, of the last [`SEEN_SECONDS`] that had any: those out of
    /// reach must not hide nearer ones.
    seen: BTreeMap<u64, MessageId>,
    made_at: Option<MessageId>,
}

/// More than twice the seconds in which a relay takes ids of the future.
const SEEN_SECONDS: usize = 256;
const _: () = assert!(SEEN_SECONDS as u64 > 2 * FUTURE_MS_MAX / 1_000);

impl IdMaker {
    /// A maker that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { made: None, seen: BTreeMap::new(), made_at: None }
    }

    /// Takes note of an id of another maker: what is made next follows it, if its time is within
    /// a minute of this maker's clock.
    ///
    /// # Complexity
    /// O(log of the seconds remembered), a bounded number.
    pub fn observe(&mut self, id: MessageId) {
        let second = id.time_ms() / 1_000;
        let greatest = self.seen.entry(second).or_insert(id);
        *greatest = id.max(*greatest);
        if self.seen.len() > SEEN_SECONDS {
            self.seen.pop_first();
        }
    }

    /// The next id. `now_ms` is the maker's clock, corrected by the relay's; `entropy` is random.
    ///
    /// It is greater than every id made before and than the newest one seen, unless that lies more
    /// than a minute beyond `now_ms`: a maker never follows another into the future.
    pub fn make(&mut self, now_ms: u64, entropy: u128) -> MessageId {
        let reach_ms = now_ms.saturating_add(MAKER_AHEAD_MS_MAX);
        let near = |id: &MessageId| id.time_ms() <= reach_ms;
        let seen = self.seen.range(..=reach_ms / 1_000).rev().map(|(_, id)| *id).find(near);
        let floor = self.made.filter(near).max(seen);
        let id = Self::following(floor, now_ms, entropy);
        self.made = Some(id);
        id
    }

    /// An id for a time that the application sets; greater than the last one made if that has the
    /// same time, so that equal times keep their order.
    pub fn make_at(&mut self, time_ms: u64, entropy: u128) -> MessageId {
        let same = self.made_at.filter(|id| id.time_ms() == time_ms);
        let id = Self::following(same, time_ms, entropy);
        self.made_at = Some(id);
        id
    }

    fn following(floor: Option<MessageId>, time_ms: u64, entropy: u128) -> MessageId {
        match floor {
            // A random step keeps ids of makers who follow the same id apart.
            Some(floor) if floor.time_ms() >= time_ms => floor.after(1 + (entropy & 0xffff_ffff)),
            // Half the tail's range stays free above, so that counting up stays in the ms.
            _ => MessageId::from_parts(time_ms, entropy & (TAIL_MAX >> 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    #[test]
    fn layout_is_rfc_9562_version_7() {
        let id = MessageId::from_parts(0x0188_bac7_4afa, 0x2bb_u128 << 62 | 0x3bb5_5cab_85c0_0000);
        assert_eq!(id.to_string(), "0188bac7-4afa-72bb-bbb5-5cab85c00000");
        assert_eq!(Uuid::from_u128(id.as_u128()).get_version_num(), 7);
        assert_eq!(id.time_ms(), 0x0188_bac7_4afa);
        assert_eq!(MessageId::from_parts(id.time_ms(), id.tail()), id);
    }

    #[test]
    fn text_is_read_with_and_without_hyphens_and_in_no_other_form() {
        let id = MessageId::from_parts(NOW, 77);
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.replace('-', "").parse(), Ok(id));
        assert_eq!(text.to_uppercase().parse(), Ok(id));
        for bad in ["", "x", &format!("{{{text}}}"), &format!("urn:uuid:{text}"), &text[1..]] {
            assert_eq!(bad.parse::<MessageId>(), Err(IdError::NotUuid), "{bad}");
        }
        let v4 = "9b2c1a52-3a44-4f6e-8a55-0d3c6f7a1b2c";
        assert_eq!(v4.parse::<MessageId>(), Err(IdError::NotVersion7));
    }

    #[test]
    fn keys_sort_newest_first_and_come_back() {
        let older = MessageId::from_parts(NOW, 5);
        let newer = MessageId::from_parts(NOW + 1, 1);
        assert!(newer.to_key() < older.to_key());
        for id in [older, newer, MessageId::from_parts(TIME_MS_MAX, 0)] {
            assert_eq!(MessageId::from_key(&id.to_key()), Ok(id));
        }
        for bad in ["", "zz", &older.to_key().to_uppercase(), &older.to_string()] {
            assert!(MessageId::from_key(bad).is_err(), "{bad}");
        }
        assert_eq!(MessageId::from_key(&"0".repeat(32)), Err(IdError::NotVersion7));
    }

    #[test]
    fn ids_of_one_maker_strictly_increase_even_when_its_clock_steps_back() {
        let mut maker = IdMaker::new();
        let mut last = None;
        for (i, now) in
            [NOW, NOW, NOW + 3, NOW - 500, NOW - 59_000, NOW + 4].into_iter().enumerate()
        {
            let id = maker.make(now, u128::MAX - i as u128);
            assert!(Some(id) > last);
            last = Some(id);
        }
    }

    #[test]
    fn a_maker_follows_what_it_saw_but_not_into_the_future() {
        let mut maker = IdMaker::new();
        maker.observe(MessageId::from_parts(NOW + 30_000, 9));
        let follows = maker.make(NOW, 1);
        assert_eq!(follows.time_ms(), NOW + 30_000);
        assert!(follows > MessageId::from_parts(NOW + 30_000, 9));
        maker.observe(MessageId::from_parts(NOW + 600_000, 9));
        assert_eq!(maker.make(NOW, 1).time_ms(), NOW + 30_000);
        assert_eq!(maker.make(NOW + 40_000, 1).time_ms(), NOW + 40_000);
    }

    #[test]
    fn ids_out_of_reach_hide_no_nearer_ones() {
        let mut maker = IdMaker::new();
        maker.observe(MessageId::from_parts(NOW + 30_000, 9));
        (0..1_000).for_each(|i| maker.observe(MessageId::from_parts(NOW + 61_000 + i * 59, 9)));
        assert!(maker.make(NOW, 1) > MessageId::from_parts(NOW + 30_000, 9));
        maker.observe(MessageId::from_parts(NOW + 40_000, 9));
        assert_eq!(maker.make(NOW, 1).time_ms(), NOW + 40_000);
        // What was out of reach is followed when it no longer is.
        assert!(maker.make(NOW + 70_000, 1).time_ms() > NOW + 119_900);
    }

    #[test]
    fn a_used_up_tail_goes_to_the_next_ms() {
        let full = MessageId::from_parts(NOW, TAIL_MAX);
        assert_eq!(full.after(1), MessageId::from_parts(NOW + 1, 1));
    }

    #[test]
    fn equal_times_set_by_the_application_keep_their_order() {
        let mut maker = IdMaker::new();
        let first = maker.make_at(5, u128::MAX);
        let second = maker.make_at(5, 0);
        assert!(second > first && second.time_ms() == 5);
    }
}
