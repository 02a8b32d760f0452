//! What a client takes in memory stays near its budget, whatever windows others make.
//!
//! Measured with an allocator that counts: a binary of its own, with one test.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a test fails by panicking")]

use backscroll_core::change::{ActorId16, ChangeHash, DocKind, MessageAuthor};
use backscroll_core::client::{Client, Now, Options};
use backscroll_core::message::{Content, MessageId};
use backscroll_core::viewport::{At, Query};
use backscroll_core::window::Window;
use backscroll_core::wire::{
    Cursor, Epoch, PROTOCOL_VERSION, RelayFrame, WireLimits, encode_relay,
};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const T0: u64 = 1_700_000_000_000;
const CHANNEL: &str = "#room";
const BUDGET: u64 = 8 << 20;
const WINDOWS: u64 = 2_000;

fn now(i: u64) -> Now {
    Now { wall_ms: T0 + i, steady_ms: i }
}

fn drain(client: &mut Client) {
    while client.poll_event().is_some() {}
    while client.poll_frame().is_some() {}
}

/// A client with one channel open and in view, in which nothing was written.
fn client() -> Client {
    let options = Options { segment_bytes_max: BUDGET, ..Options::new("ada") };
    let mut client = Client::new(options, [7; 32]).unwrap();
    client.handle_timeout(now(0));
    client.handle_connected(None, now(0));
    let limits =
        WireLimits { frame_bytes: 1 << 20, chunk_bytes: 1 << 18, push_chunks: 8, fetch_windows: 8 };
    let (version, epoch, server_time_ms) = (PROTOCOL_VERSION, Epoch([1; 16]), T0);
    let welcome = RelayFrame::Welcome { version, epoch, server_time_ms, limits };
    client.handle_bytes(&encode_relay(&welcome), now(0));
    let query = Query { at: At::Latest, before: 20, after: 0 };
    client.open_view(CHANNEL, query, now(0)).unwrap();
    let opened = RelayFrame::Opened {
        channel: CHANNEL.to_owned(),
        head: Cursor { epoch, seq: 0, hash: ChangeHash([0; 32]) },
        resumed: false,
        directory: Vec::new(),
        total: 0,
        late: Vec::new(),
        late_complete: true,
    };
    client.handle_bytes(&encode_relay(&opened), now(0));
    drain(&mut client);
    client
}

/// One message in a window of its own.
fn change(seq: u64, time_ms: u64) -> Vec<u8> {
    let window = Window::covering(8, time_ms);
    let mut author = MessageAuthor::new(window, ActorId16(u128::from(seq).to_be_bytes()));
    let body = Content::text("eve", "x").to_body().unwrap();
    let chunk = author.write(&[(MessageId::from_parts(time_ms, 7), body)]).unwrap().chunk;
    let (channel, generation, doc) = (CHANNEL.to_owned(), 0, DocKind::Messages);
    encode_relay(&RelayFrame::Changes {
        channel,
        seq,
        window,
        generation,
        doc,
        chunk,
        late: Vec::new(),
    })
}

#[test]
fn windows_of_one_message_each_take_no_more_memory_than_the_budget() {
    let before = ALLOCATOR.current_usage();
    let mut client = client();
    for i in 0..WINDOWS {
        client.handle_bytes(&change(i + 1, T0 - 1_000_000_000 + i * 200_000), now(i));
        client.handle_timeout(now(i));
        drain(&mut client);
    }
    let channel = client.channel(CHANNEL).unwrap();
    assert_eq!(channel.total(), WINDOWS);
    assert!(channel.loaded_len() > 20, "what is in view stays");
    let (taken, estimate) = (ALLOCATOR.current_usage() - before, channel.memory_bytes());
    println!(
        "{} of {WINDOWS} windows loaded, {taken} bytes, estimated {estimate}",
        channel.loaded_len()
    );
    // A directory entry, a hole and a row are there for each window, loaded or not.
    let most = usize::try_from(BUDGET).unwrap() + 1_000 * usize::try_from(WINDOWS).unwrap();
    assert!(estimate <= BUDGET && taken <= most);
}
