//! The client engine on a real socket: what a host does for it, and one view that it holds.

use crate::{DEADLINE, relay::Relay, within};
use backscroll_core::channel::{Item, View};
use backscroll_core::client::{Client, Event, Now, Options, ViewDelta, ViewId, ViewUpdate};
use backscroll_core::message::MessageId;
use backscroll_core::viewport::Query;
use futures_util::{SinkExt, StreamExt};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// How long it listens before it looks at its own timers, in ms.
const LISTEN_MS: u64 = 20;

/// A client and its connection.
#[derive(Debug)]
pub struct Engine {
    /// The client itself.
    pub client: Client,
    /// Its view.
    pub view: ViewId,
    /// The view's rows as its updates tell: start, and the message in each row.
    pub copy: (u64, Vec<Option<MessageId>>),
    /// Updates that told all rows, and those that told what changed.
    pub updates: (u64, u64),
    channel: String,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    began: Instant,
}

fn id_of(item: &Item) -> Option<MessageId> {
    match item {
        Item::Message(row) => Some(row.id),
        Item::Placeholder { .. } => None,
    }
}

impl Engine {
    /// A client with a view of a channel.
    ///
    /// # Panics
    /// The relay refuses.
    pub async fn open(relay: &Relay, user: &str, channel: &str, query: Query) -> Self {
        let connected = within("connect", connect_async(relay.ws("/sync"))).await;
        let (socket, _) = connected.expect("the relay accepts");
        let mut client = Client::new(Options::new(user), [7; 32]).expect("a name");
        let now = now_of(Instant::now());
        let view = client.open_view(channel, query, now).expect("a query");
        let (copy, updates, channel) = ((0, Vec::new()), (0, 0), channel.to_owned());
        let mut engine =
            Self { client, view, copy, updates, channel, socket, began: Instant::now() };
        engine.client.handle_timeout(now);
        engine.events();
        engine.client.handle_connected(None, engine.now());
        engine.pump().await;
        engine
    }

    /// The time as the client is told it.
    #[must_use]
    pub fn now(&self) -> Now {
        now_of(self.began)
    }

    fn events(&mut self) {
        while let Some(event) = self.client.poll_event() {
            let is_bad = matches!(
                event,
                Event::Disconnect { .. } | Event::Problem { .. } | Event::Error { .. }
            );
            assert!(!is_bad, "{event:?}");
        }
    }

    /// Sends what is to be sent, takes in what comes within a moment, and follows the view.
    ///
    /// # Panics
    /// The socket ends, or the client is told something that it cannot use.
    pub async fn pump(&mut self) {
        self.events();
        while let Some(frame) = self.client.poll_frame() {
            self.socket.send(Message::Binary(Bytes::from(frame))).await.expect("an open socket");
        }
        let moment = Duration::from_millis(LISTEN_MS);
        if let Ok(message) = tokio::time::timeout(moment, self.socket.next()).await
            && let Message::Binary(bytes) = message.expect("an open socket").expect("a frame")
        {
            let now = self.now();
            self.client.handle_bytes(&bytes, now);
        }
        let now = self.now();
        if self.client.poll_timeout(now).is_some_and(|at_ms| at_ms <= now.steady_ms) {
            self.client.handle_timeout(now);
        }
        self.events();
        self.follow();
    }

    /// Applies what the view tells to the copy of its rows.
    fn follow(&mut self) {
        match self.client.poll_view(self.view).expect("a view") {
            None => {}
            Some(ViewUpdate::Reset { view, .. }) => {
                self.updates.0 += 1;
                self.copy = (view.start, view.items.iter().map(id_of).collect());
            }
            Some(ViewUpdate::Delta(delta)) => {
                self.updates.1 += 1;
                apply(&mut self.copy, &delta);
            }
        }
    }

    /// Pumps until the view shows exactly its rows, and gives them.
    ///
    /// # Panics
    /// They do not come within the deadline.
    pub async fn rows(&mut self) -> View {
        let until = Instant::now() + DEADLINE;
        loop {
            let rows = self.client.view(self.view).expect("a view");
            if rows.exact {
                self.follow();
                return rows;
            }
            assert!(Instant::now() < until, "the rows of {} do not come", self.channel);
            self.pump().await;
        }
    }

    /// Moves the view.
    ///
    /// # Panics
    /// The query is out of bounds.
    pub fn go(&mut self, query: Query) {
        let now = self.now();
        self.client.move_view(self.view, query, now).expect("a query");
    }
}

fn now_of(began: Instant) -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let ms = |time: Duration| u64::try_from(time.as_millis()).expect("a time");
    Now { wall_ms: ms(wall), steady_ms: ms(began.elapsed()) }
}

/// Applies a delta as every consumer does.
fn apply((start, rows): &mut (u64, Vec<Option<MessageId>>), delta: &ViewDelta) {
    *start = delta.start;
    let at = |index: u64| usize::try_from(index - delta.start).expect("a row of the view");
    for (_, id) in &delta.removed {
        rows.retain(|row| *row != Some(*id));
    }
    for (index, item) in &delta.inserted {
        rows.insert(at(*index), id_of(item));
    }
    for (index, item) in &delta.updated {
        rows[at(*index)] = id_of(item);
    }
}
