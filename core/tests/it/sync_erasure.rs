//! Erasure: messages that a relay has taken out of a window for good.

use crate::sync_marks::{HOUR_MS, late, pass, see, unread};
use crate::sync_world::{CHANNEL, T0, World};
use backscroll_core::change::DocKind;
use backscroll_core::directory::{Directory, DocMark};
use backscroll_core::message::MessageId;
use backscroll_core::viewport::{At, Query};
use backscroll_core::wire::RelayFrame;

/// Erases the message that its author wrote last, and tells everyone.
fn erase(world: &mut World, id: MessageId) {
    let chan = world.relay.channels.get_mut(CHANNEL).expect("it is there");
    let (seq, ..) = chan.messages.remove(&id).expect("it is there");
    let window = chan.homes.remove(&id).expect("it is there");
    chan.log.retain(|stored| stored.seq != seq);
    let mut entry = *chan.directory.get(window).expect("an entry");
    (entry.generation, entry.messages) = (entry.generation + 1, entry.messages - 1);
    entry.message_doc = DocMark::default();
    let of = chan.log.iter().filter(|s| s.window == window && s.doc == DocKind::Messages);
    of.for_each(|stored| entry.message_doc.record(stored.last_seq, &stored.hash));
    chan.directory.set(window, entry);
    let directory = Directory::of_one(window, entry).encode();
    let entries = RelayFrame::Entries { channel: CHANNEL.to_owned(), directory };
    (0..world.peers.len()).for_each(|peer| world.relay_says(peer, &entries));
}

#[test]
fn a_late_message_that_was_erased_is_no_news_any_more() {
    let mut world = World::new(&["writer", "ada", "bob"]);
    world.settle();
    let now = world.send(0, "now");
    pass(&mut world);
    see(&mut world, 1, now, now);
    let late_of = |i: u64| Some(T0 - HOUR_MS + i * 100);
    let ids: Vec<_> = (0..3).map(|i| world.send_at(0, "late", late_of(i))).collect();
    pass(&mut world);
    world.send(2, "the newest");
    pass(&mut world);
    assert_eq!((late(&world, 1), unread(&world, 1)), (vec![3], 4));
    erase(&mut world, ids[2]);
    pass(&mut world);
    world.look(1, Query { at: At::Oldest, before: 0, after: 20 });
    pass(&mut world);
    assert_eq!((late(&world, 1), unread(&world, 1)), (vec![2], 3));
    world.assert_converged();
}
