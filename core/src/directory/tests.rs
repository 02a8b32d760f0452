//! What a directory must keep when it is changed, written, cut and merged.

use super::*;
use proptest::prelude::*;

const T0: u64 = 1_700_000_000_000;

fn hash(first: u8) -> ChangeHash {
    ChangeHash([first; 32])
}

/// Any sound entry in any window.
fn any_entry() -> impl Strategy<Value = (Window, Entry)> {
    let window = (0..=LEVEL_LAST, prop_oneof![0..=TIME_MS_MAX, T0..T0 + 1_000_000]);
    let counts = (prop_oneof![Just(0), 0..3_u32, any::<u32>()], 1..9_000_u64, 0..500_000_u64);
    let mark = || (0..=SEQ_MAX, prop_oneof![Just(0), any::<u64>()]);
    (window, counts, any::<(u32, u32)>(), mark(), prop_oneof![Just((0, 0)), mark()]).prop_map(
        |((level, time_ms), (generation, messages, bytes), span, message, annotation)| {
            let window = Window::covering(level, time_ms);
            let width = window.end_ms() - window.start_ms();
            let one = u64::from(span.0) * 8 % width + window.start_ms();
            let two = u64::from(span.1) * 8 % width + window.start_ms();
            let mark = |(last_seq, digest)| DocMark { last_seq, digest };
            let entry = Entry {
                generation,
                messages,
                bytes,
                first_ms: one.min(two),
                last_ms: one.max(two),
                message_doc: mark(message),
                annotation_doc: mark(annotation),
            };
            (window, entry)
        },
    )
}

fn any_directory() -> impl Strategy<Value = Directory> {
    proptest::collection::vec(any_entry(), 0..40).prop_map(|entries| entries.into_iter().collect())
}

/// A channel of a message a second, as its relay's directory describes it.
fn steady(windows: u64) -> Directory {
    (0..windows)
        .map(|i| {
            let window = Window::covering(5, T0 + i * (1 << 20));
            let mut entry = Entry::one(0, window.start_ms() + 700, 60);
            entry.add_message(window.end_ms() - 900, 94_000);
            entry.messages = 1_047;
            entry.message_doc.record((i + 1) * 1_047, &hash(i.to_le_bytes()[0] | 1));
            (window, entry)
        })
        .collect()
}

#[test]
fn one_entry_has_these_bytes() {
    let window = Window::covering(11, 4 * 5);
    let mut entry = Entry::one(0, 21, 300);
    entry.add_message(22, 0);
    entry.message_doc.last_seq = 4;
    // level 11, one entry; number 5 and no flags, 2 messages, 300 bytes, from +1 to +1, seq +4
    assert_eq!(Directory::of_one(window, entry).encode(), [11, 1, 5 << 3, 2, 0xac, 2, 1, 1, 8]);

    entry.generation = 3;
    entry.message_doc.digest = 0x0102_0304_0506_0708;
    entry.annotation_doc = DocMark { last_seq: 9, digest: 10 };
    let bytes = Directory::of_one(window, entry).encode();
    let head = [11, 1, 5 << 3 | 7, 2, 0xac, 2, 1, 1, 8, 3];
    assert_eq!(bytes, [&head[..], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0, 0, 0, 0, 0, 10]].concat());
}

#[test]
fn an_entry_takes_about_16_bytes_and_8_for_its_digest() {
    let bytes = steady(1_000).encode().len();
    assert!((20_000..25_000).contains(&bytes), "{bytes} bytes for 1,000 windows");
}

#[test]
fn contradictions_are_refused() {
    let refused = |bytes: &[u8]| Directory::decode(bytes).expect_err("must be refused");
    let good = [11, 1, 5 << 3, 2, 0xac, 2, 1, 1, 8];
    assert!(Directory::decode(&good).is_ok());
    let with = |at: usize, byte: u8| {
        let mut bytes = good;
        bytes[at] = byte;
        refused(&bytes)
    };
    let window = Window::covering(11, 20);
    assert_eq!(with(0, 12), DirectoryError::Window(WindowError::Level(12)));
    assert_eq!(with(1, 0), DirectoryError::TooMany(0));
    assert_eq!(with(1, 2), DirectoryError::TooMany(2));
    assert_eq!(with(3, 0), DirectoryError::Entry(window), "no messages");
    assert_eq!(with(6, 4), DirectoryError::Entry(window), "first after the window");
    assert_eq!(with(7, 3), DirectoryError::Entry(window), "last after the window");
    assert_eq!(with(8, 7), DirectoryError::Malformed, "a seq below zero");
    assert_eq!(with(2, 5 << 3 | 1), DirectoryError::Malformed, "cut off");
    let levels_out_of_order = [&good[..], &good[..]].concat();
    assert_eq!(refused(&levels_out_of_order), DirectoryError::Order);
    let beyond_all_times = [0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f, 1, 1, 0, 0, 2];
    assert!(matches!(refused(&beyond_all_times), DirectoryError::Window(_)));
}

#[test]
fn regression_claimed_counts_reserve_nothing() {
    let mut bytes = vec![0];
    varint::put(&mut bytes, u64::MAX);
    assert_eq!(Directory::decode(&bytes), Err(DirectoryError::TooMany(u64::MAX)));
}

#[test]
fn covering_windows_come_widest_first() {
    let entry = |window: Window| Entry::one(0, window.start_ms(), 1);
    let windows = [0, 3, 7].map(|level| Window::covering(level, T0));
    let mut directory: Directory = windows.map(|w| (w, entry(w))).into_iter().collect();
    let beside = Window::covering(3, windows[1].end_ms());
    directory.set(beside, entry(beside));
    assert_eq!(directory.covering(T0).map(|(w, _)| w).collect::<Vec<_>>(), windows);
    assert_eq!(directory.deepest_level(), 7);
    assert_eq!(directory.total(), 4);
}

#[test]
fn digests_do_not_depend_on_the_order_of_changes() {
    let (mut one, mut two) = (DocMark::default(), DocMark::default());
    for i in 0..100 {
        one.record(u64::from(i) + 1, &hash(i));
        two.record(u64::from(99 - i) + 1, &hash(99 - i));
    }
    assert_eq!(one, two);
    two.record(101, &hash(1));
    assert_ne!(one.digest, two.digest);
}

proptest! {
    #[test]
    fn every_directory_comes_back(directory in any_directory()) {
        let bytes = directory.encode();
        prop_assert_eq!(Directory::decode(&bytes).unwrap(), directory);
    }

    #[test]
    fn any_bytes_are_refused_or_have_this_one_spelling(
        directory in any_directory(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        cuts: bool,
    ) {
        let mut bytes = directory.encode();
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        if cuts && !bytes.is_empty() {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(directory) = Directory::decode(&bytes) {
            prop_assert_eq!(directory.encode(), bytes);
        }
    }

    #[test]
    fn total_is_the_sum_of_the_entries(entries in proptest::collection::vec(any_entry(), 0..40)) {
        let mut directory = Directory::new();
        for (window, entry) in &entries {
            directory.set(*window, *entry);
            directory.set(*window, *entry);
        }
        let sum: u64 = directory.iter().map(|(_, entry)| entry.messages).sum();
        prop_assert_eq!(directory.total(), sum);
    }

    /// Whoever has the directory as of a seq and merges the difference has the directory.
    #[test]
    fn a_difference_leads_from_any_seq_to_the_directory(
        writes in proptest::collection::vec((any_entry(), any::<bool>()), 1..60),
        cut in any::<prop::sample::Index>(),
    ) {
        let cut = cut.index(writes.len());
        let (mut relay, mut reader) = (Directory::new(), Directory::new());
        for (i, ((window, entry), to_annotations)) in writes.iter().enumerate() {
            if i == cut {
                reader = relay.clone();
            }
            let seq = i as u64 + 1;
            let mut next = relay.get(*window).copied().unwrap_or(*entry);
            next.message_doc.last_seq = next.message_doc.last_seq.min(i as u64);
            next.annotation_doc.last_seq = next.annotation_doc.last_seq.min(i as u64);
            if *to_annotations {
                next.annotation_doc.record(seq, &hash(7));
            } else {
                next.message_doc.record(seq, &hash(7));
            }
            relay.set(*window, next);
        }
        let difference = relay.difference(cut as u64);
        prop_assert!(difference.len() <= writes.len() - cut);
        reader.merge(&difference);
        prop_assert_eq!(&reader, &relay);
        reader.merge(&relay.difference(0));
        prop_assert_eq!(reader, relay);
    }
}
