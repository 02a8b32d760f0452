//! What simulated people say: English from phrases, in lengths as a chat has them.

use super::dice::Dice;

/// The senders, the busiest first.
const SENDERS: [&str; 40] = [
    "maya", "tobias", "ines", "kofi", "lena", "oscar", "priya", "jonas", "salma", "dmitri", "aiko",
    "ruben", "clara", "yusuf", "nadia", "felix", "greta", "mateo", "zoe", "anders", "leila",
    "pavel", "bianca", "hugo", "farah", "ivan", "elif", "marco", "june", "theo", "asha", "niko",
    "carmen", "sven", "mei", "rafael", "tilda", "omar", "vera", "kai",
];

/// Cumulated shares: the i-th sender writes 1 / (i + 1) as much as the first.
#[expect(clippy::indexing_slicing, reason = "in a constant the compiler checks the index")]
const SHARES: [u32; SENDERS.len()] = {
    let mut shares = [0; SENDERS.len()];
    let (mut i, mut sum) = (0, 0);
    let mut part = 1;
    while i < SENDERS.len() {
        sum += 100_000 / part;
        shares[i] = sum;
        i += 1;
        part += 1;
    }
    shares
};

/// Lengths in bytes at -4 to +4 standard deviations of a log-normal distribution with sigma 0.8, in
/// steps of a quarter: the number of bits set in a random word is their index less 16.
const LENGTHS: [usize; 33] = [
    2, 2, 2, 2, 3, 3, 4, 5, 6, 7, 9, 11, 13, 16, 20, 25, 30, 37, 45, 55, 67, 82, 100, 122, 149,
    181, 222, 271, 331, 404, 493, 603, 736,
];

/// About the length of a clause; shorter sentences have a pronoun and nothing around it.
const CLAUSE_BYTES: usize = 36;

const SHORT: [&str; 24] = [
    "ok",
    "yes",
    "no",
    "sure",
    "thanks!",
    "lol",
    "same here",
    "+1",
    "agreed",
    "good point",
    "not yet",
    "why?",
    "nice",
    "on it",
    "done",
    "hm, maybe",
    "brb",
    "sounds good",
    "hello all",
    "morning!",
    "wow",
    "exactly",
    "me too",
    "got it",
];

const OPENERS: [&str; 16] = [
    "",
    "",
    "",
    "",
    "",
    "ah, ",
    "well, ",
    "by the way, ",
    "honestly, ",
    "yeah, ",
    "hm, ",
    "so ",
    "I think ",
    "sorry, ",
    "just so you know, ",
    "as far as I can tell, ",
];

const SUBJECTS: [&str; 24] = [
    "I",
    "we",
    "they",
    "you",
    "my neighbours",
    "the new people",
    "both of us",
    "the kids",
    "some of the others",
    "you all",
    "the folks upstairs",
    "my parents",
    "two of my friends",
    "the early birds",
    "most of us",
    "the people at the library",
    "those two",
    "our teachers",
    "the night crew",
    "your cousins",
    "the band",
    "half the team",
    "the other drivers",
    "the twins",
];

/// Subjects of short sentences.
const PRONOUNS: [&str; 4] = ["I", "we", "they", "you"];

const VERBS: [&str; 30] = [
    "found",
    "forgot about",
    "fixed",
    "tried",
    "talked about",
    "looked at",
    "finally finished",
    "wrote down",
    "missed",
    "dropped",
    "brought",
    "are waiting for",
    "moved",
    "borrowed",
    "really liked",
    "could not find",
    "just ordered",
    "checked",
    "restarted",
    "cleaned up",
    "have to return",
    "never understood",
    "took pictures of",
    "painted",
    "kept asking about",
    "sold",
    "already packed",
    "heard",
    "want to see",
    "counted",
];

const OBJECTS: [&str; 34] = [
    "the old bridge",
    "that recipe",
    "the tickets",
    "a better map",
    "the blue bicycle",
    "the meeting notes",
    "the last train",
    "some fresh bread",
    "the spare keys",
    "the draft",
    "your message from last week",
    "a very strange noise",
    "the photos",
    "the garden chairs",
    "the other printer",
    "my umbrella",
    "the second chapter",
    "the boat",
    "the results",
    "the coffee machine",
    "the long way round",
    "a table by the window",
    "the whole story",
    "the northern trail",
    "the small screws",
    "the schedule for next month",
    "the backup",
    "the red folder",
    "a place to stay",
    "the weather report",
    "the cat",
    "the film",
    "the parcel",
    "the new song",
];

const ADJUNCTS: [&str; 22] = [
    "",
    "",
    "",
    "",
    " again",
    " this morning",
    " after lunch",
    " before the rain started",
    " on the way home",
    " last night",
    " near the station",
    " without any help",
    " at the market",
    " twice",
    " in the end",
    " over the weekend",
    " with Sam",
    " for the third time",
    " as usual",
    " in the rain",
    " behind the house",
    " by accident",
];

const JOINS: [&str; 12] = [
    " and ",
    " but ",
    " because ",
    ", so ",
    ". ",
    ". ",
    " while ",
    ". Then ",
    ", which is why ",
    " after ",
    ". Anyway, ",
    " although ",
];

const ENDS: [&str; 12] = [".", ".", ".", "", "", "", "!", "?", "...", ", right?", " :)", "."];

/// Who writes a message.
pub(super) fn sender(dice: &mut Dice) -> &'static str {
    let total = SHARES.last().copied().unwrap_or(1);
    let at = (u64::from(dice.u32()) * u64::from(total)) >> 32;
    let index = SHARES.partition_point(|share| u64::from(*share) <= at);
    SENDERS.get(index).copied().unwrap_or("kai")
}

/// What one message says.
pub(super) fn text(dice: &mut Dice) -> String {
    let bits = usize::try_from(dice.u64().count_ones()).unwrap_or(0);
    let length = LENGTHS.get(bits.saturating_sub(16)).or(LENGTHS.last()).copied().unwrap_or(2);
    if length < 16 {
        return dice.one_of(&SHORT).to_owned();
    }
    let mut text = String::with_capacity(length + 64);
    if length < CLAUSE_BYTES {
        clause(dice, &mut text, &PRONOUNS);
    } else {
        text.push_str(dice.one_of(&OPENERS));
        clause(dice, &mut text, &SUBJECTS);
        // Another clause only if it comes nearer to the length.
        while text.len() + CLAUSE_BYTES / 2 < length {
            text.push_str(dice.one_of(&ADJUNCTS));
            text.push_str(dice.one_of(&JOINS));
            clause(dice, &mut text, &SUBJECTS);
        }
    }
    text.push_str(dice.one_of(&ENDS));
    capitalise(&mut text, 0);
    text
}

fn clause(dice: &mut Dice, text: &mut String, subjects: &[&'static str]) {
    let from = text.len();
    text.push_str(dice.one_of(subjects));
    if text.get(..from).is_some_and(|before| before.ends_with(". ")) {
        capitalise(text, from);
    }
    text.push(' ');
    text.push_str(dice.one_of(&VERBS));
    text.push(' ');
    text.push_str(dice.one_of(&OBJECTS));
}

fn capitalise(text: &mut str, at: usize) {
    if let Some(letter) = text.get_mut(at..=at) {
        letter.make_ascii_uppercase();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn lengths_are_those_of_a_chat() {
        let mut dice = Dice::new(3);
        let mut lengths: Vec<_> = (0..50_000).map(|_| text(&mut dice).len()).collect();
        lengths.sort_unstable();
        let mean = lengths.iter().sum::<usize>() / lengths.len();
        assert!((44..=56).contains(&mean), "mean {mean}");
        assert!((30..=45).contains(&lengths[25_000]), "median {}", lengths[25_000]);
        assert!(lengths[49_500] > 150, "one in a hundred {}", lengths[49_500]);
        assert!(lengths[5_000] < 16, "one in ten {}", lengths[5_000]);
    }

    #[test]
    fn few_senders_write_most() {
        let mut dice = Dice::new(3);
        let mut shares = BTreeMap::<_, u32>::new();
        for _ in 0..40_000 {
            *shares.entry(sender(&mut dice)).or_default() += 1;
        }
        assert_eq!(shares.len(), SENDERS.len());
        assert!(shares["maya"] > 8_000 && shares["kai"] > 100 && shares["kai"] < 500);
    }
}
