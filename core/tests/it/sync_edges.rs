//! The edges of a client's bounds: anchors, own messages, refusals.

use crate::sync_world::{CHANNEL, T0, World, message_of};
use backscroll_core::change::ChangeHash;
use backscroll_core::client::{Client, Event, Now, Options};
use backscroll_core::directory::Directory;
use backscroll_core::message::{Content, MessageId, TIME_MS_MAX};
use backscroll_core::viewport::{At, Query};
use backscroll_core::wire::{
    ClientFrame, Code, Cursor, Epoch, PROTOCOL_VERSION, RelayFrame, WireLimits, decode_client,
    encode_relay,
};

#[test]
fn a_view_at_the_end_of_a_hole_is_not_exact_before_the_hole_is_loaded() {
    let mut world = World::new(&["writer"]);
    world.settle();
    world.fill(0, 6_000);
    let reader = world.join("reader", 64 << 20);
    world.settle();
    let first = *world.relay.directory(CHANNEL).iter().next().expect("a window").1;
    let stored = world.stored();
    let at = stored.iter().position(|(id, _)| id.time_ms() == first.last_ms).expect("it is there");
    // What follows the first window is loaded, the window itself is not.
    let next = stored[at + 1].0.time_ms();
    world.look(reader, Query { at: At::Time(next), before: 0, after: 5 });
    let small = world.join("other", 64 << 20);
    world.settle();
    for (peer, anchor) in [(reader, At::Time(first.last_ms)), (small, At::Id(stored[at].0))] {
        let rows = world.look(peer, Query { at: anchor, before: 0, after: 5 });
        assert_eq!(rows.start, at as u64, "{anchor:?}");
        assert_eq!(rows.items.iter().map(message_of).collect::<Vec<_>>(), stored[at..at + 5]);
    }
}

#[test]
fn a_view_of_a_time_stays_at_its_message() {
    let mut world = World::new(&["writer"]);
    world.settle();
    world.fill(0, 100);
    let reader = world.join("reader", 64 << 20);
    world.settle();
    let time_ms = T0 - 50_500;
    let before = world.look(reader, Query { at: At::Time(time_ms), before: 5, after: 5 });
    assert_eq!(before.start, 45);
    world.send_at(0, "between", Some(time_ms + 200));
    world.settle();
    let view = world.peers[reader].view;
    let after = world.peers[reader].client.view(view).expect("a view");
    assert_eq!(after.start, 46);
    assert_eq!(message_of(&after.items[5]), message_of(&before.items[5]));
}

fn unread(world: &World, peer: usize) -> u64 {
    world.peers[peer].client.channel(CHANNEL).expect("it is open").unread()
}

#[test]
fn what_was_written_before_the_channel_was_first_opened_is_not_unread() {
    let mut world = World::new(&["ada", "bob"]);
    world.set_online(0, false);
    world.settle();
    world.advance(1_000);
    world.send(1, "bob's");
    world.settle();
    world.advance(1_000);
    world.send(0, "written offline");
    world.set_online(0, true);
    world.settle();
    assert_eq!(unread(&world, 0), 0);
    world.send(1, "news");
    world.settle();
    world.advance(1);
    assert_eq!(unread(&world, 0), 1);
}

#[test]
fn an_own_message_in_a_window_not_loaded_shows_its_seq() {
    let mut world = World::new(&["writer"]);
    world.settle();
    world.fill(0, 5_000);
    let reader = world.join("reader", 64 << 20);
    world.settle();
    let id = world.send_at(reader, "old", Some(T0 - 4_900_000));
    world.settle();
    let channel = world.peers[reader].client.channel(CHANNEL).expect("it is open");
    assert_eq!(channel.loaded_len(), 1, "its window is not loaded");
    assert_eq!(channel.get(id).and_then(|row| row.seq), Some(5_001));
}

#[test]
fn a_sent_time_that_no_id_can_carry_is_refused() {
    let mut world = World::new(&["ada"]);
    world.settle();
    let now = world.now(0);
    let mut send = |time_ms| {
        let content = Content::text("ada", "x");
        world.peers[0].client.send(CHANNEL, content, Some(time_ms), now).map(MessageId::time_ms)
    };
    assert!(matches!(send(TIME_MS_MAX), Ok(TIME_MS_MAX)));
    let error = send(TIME_MS_MAX + 1).expect_err("it cannot be carried");
    assert!(error.to_string().contains("time"), "{error}");
}

/// A client that is spoken to frame by frame.
struct Talk {
    client: Client,
    now: Now,
}

impl Talk {
    fn new(newest: u32) -> Self {
        let options = Options { newest, ..Options::new("ada") };
        let now = Now { wall_ms: T0, steady_ms: 0 };
        let mut talk = Self { client: Client::new(options, [7; 32]).expect("a name"), now };
        talk.client.open_channel(CHANNEL, now).expect("a name");
        talk
    }

    fn hear(&mut self, frame: &RelayFrame) {
        self.client.handle_bytes(&encode_relay(frame), self.now);
    }

    /// Connects when it is due; returns what is asked of the relay.
    fn connect(&mut self) -> Vec<ClientFrame> {
        self.now.steady_ms = self.client.poll_timeout(self.now).expect("it tries again");
        self.client.handle_timeout(self.now);
        self.client.handle_connected(None, self.now);
        let limits = WireLimits {
            frame_bytes: 1 << 20,
            chunk_bytes: 1 << 18,
            push_chunks: 7,
            fetch_windows: 3,
        };
        self.hear(&RelayFrame::Welcome {
            version: PROTOCOL_VERSION,
            epoch: Epoch([1; 16]),
            server_time_ms: T0,
            limits,
        });
        let frames = std::iter::from_fn(|| self.client.poll_frame());
        frames.map(|bytes| decode_client(&bytes).expect("a frame").expect("known")).collect()
    }

    fn opened(&mut self) {
        self.hear(&RelayFrame::Opened {
            channel: CHANNEL.to_owned(),
            head: Cursor { epoch: Epoch([1; 16]), seq: 0, hash: ChangeHash([0; 32]) },
            resumed: false,
            directory: Directory::new().encode(),
            total: 0,
            late: Vec::new(),
            late_complete: true,
        });
    }

    fn refuse(&mut self, code: Code) {
        let (text, channel) = (String::new(), Some(CHANNEL.to_owned()));
        self.hear(&RelayFrame::Error { code, text, reference: None, channel });
    }

    fn delay_ms(&self) -> u64 {
        self.client.poll_timeout(self.now).expect("it tries again") - self.now.steady_ms
    }
}

#[test]
fn a_relay_that_refuses_after_each_opening_is_asked_less_and_less() {
    let mut talk = Talk::new(50);
    let mut delays = Vec::new();
    for _ in 0..16 {
        talk.connect();
        talk.opened();
        talk.refuse(Code::RateLimited);
        delays.push(talk.delay_ms());
    }
    assert!(delays.iter().any(|delay_ms| *delay_ms > 4_000), "{delays:?}");
    talk.connect();
    talk.opened();
    talk.now.steady_ms += 10_000;
    talk.client.handle_closed(None, talk.now);
    assert!(talk.delay_ms() <= 1_000, "a connection that held begins anew");
}

#[test]
fn no_more_newest_messages_are_asked_for_than_a_relay_gives() {
    let asked = Talk::new(u32::MAX).connect();
    let open = asked.iter().find_map(|frame| match frame {
        ClientFrame::Open { newest, .. } => Some(*newest),
        _ => None,
    });
    assert_eq!(open, Some(5_000));
}

#[test]
fn a_refused_channel_is_told_apart_from_one_that_is_up_to_date() {
    let mut talk = Talk::new(50);
    talk.connect();
    assert_eq!(talk.client.refusal(CHANNEL), None);
    while talk.client.poll_event().is_some() {}
    talk.refuse(Code::Forbidden);
    assert_eq!(talk.client.refusal(CHANNEL), Some("forbidden"));
    let events: Vec<_> = std::iter::from_fn(|| talk.client.poll_event()).collect();
    assert!(events.contains(&Event::Connection), "{events:?}");
    talk.client.handle_closed(None, talk.now);
    talk.connect();
    talk.opened();
    assert_eq!(talk.client.refusal(CHANNEL), None, "it is asked again on the next connection");
}

fn unseen(world: &World, peer: usize) -> u64 {
    world.peers[peer].client.channel(CHANNEL).expect("it is open").unseen().total()
}

#[test]
fn an_own_message_whose_ack_was_lost_is_no_news() {
    let mut world = World::new(&["ada", "bob"]);
    world.settle();
    world.send(1, "now");
    world.settle();
    world.set_online(0, false);
    world.send_at(0, "an hour ago", Some(T0 - 3_600_000));
    world.send_at(0, "two hours ago", Some(T0 - 7_200_000));
    world.set_online(0, true);
    while world.stored().len() < 3 {
        assert!(world.step_up(0) | world.step_down(0), "both are pushed");
    }
    world.drop_connection(0);
    world.settle();
    assert_eq!((unseen(&world, 0), unseen(&world, 1)), (0, 2));
    world.assert_converged();
}
