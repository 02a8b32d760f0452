//! Senders and subscribers that work through whatever is done to the relay: they reconnect, send
//! again under the same ids, catch up, and record all of it in a [`History`].

use crate::DEADLINE;
use crate::history::{History, Stored};
use crate::json::Json;
use crate::relay::Relay;
use backscroll_core::message::MessageId;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Between two attempts to connect.
const RECONNECT_EVERY: Duration = Duration::from_millis(10);

/// Rows of one page of history.
const PAGE: usize = 5_000;

/// Who works, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Senders; each writes to all channels in turn.
    pub senders: u64,
    /// Subscribers of each channel.
    pub subscribers: u64,
    /// Channels.
    pub channels: Vec<String>,
    /// Messages a sender has on their way at a time.
    pub in_flight: usize,
    /// How often each message is sent, as by a client that never trusts an acknowledgement.
    pub copies: u64,
    /// Bytes of a text, at least.
    pub bytes: usize,
    /// Every so many messages one is dated an hour back.
    pub late_every: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            senders: 8,
            subscribers: 4,
            channels: vec!["c0".to_owned(), "c1".to_owned()],
            in_flight: 8,
            copies: 1,
            bytes: 16,
            late_every: 20,
        }
    }
}

/// What the tasks are told.
#[derive(Clone, Debug, Default)]
struct Orders {
    /// Where the relay is; `None` while it is down.
    address: Option<String>,
    /// Senders write nothing new.
    stop_sending: bool,
    /// Subscribers end when they have seen this seq of their channel.
    ends: Option<Arc<BTreeMap<String, u64>>>,
}

/// A crew at work.
#[derive(Debug)]
pub struct Crew {
    /// What it records.
    pub history: History,
    orders: watch::Sender<Orders>,
    senders: JoinSet<()>,
    subscribers: JoinSet<()>,
}

impl Crew {
    /// Starts everybody.
    #[must_use]
    pub fn start(relay: &Relay, plan: &Plan) -> Self {
        let orders = Orders { address: Some(relay.address.clone()), ..Orders::default() };
        let (orders, watch) = watch::channel(orders);
        let history = History::default();
        let (mut senders, mut subscribers) = (JoinSet::new(), JoinSet::new());
        for channel in &plan.channels {
            for number in 0..plan.subscribers {
                history.watch(channel, number, 0);
                let subscriber = Subscriber { channel: channel.clone(), number };
                subscribers.spawn(subscriber.run(history.clone(), watch.clone()));
            }
        }
        for number in 0..plan.senders {
            let sender = Sender { number, plan: plan.clone(), made: 0, out: VecDeque::new() };
            senders.spawn(sender.run(history.clone(), watch.clone()));
        }
        Self { history, orders, senders, subscribers }
    }

    /// Waits until `more` messages more than now are acknowledged.
    ///
    /// # Panics
    /// Nothing happens any more, or a task failed.
    pub async fn acknowledged(&mut self, more: usize) {
        let enough = self.history.acked_count() + more;
        let mut tick = tokio::time::interval(RECONNECT_EVERY);
        let history = self.history.clone();
        moving(&history, "acknowledgements", async {
            while self.history.acked_count() < enough {
                tick.tick().await;
                while let Some(ended) = self.senders.try_join_next() {
                    ended.expect("a sender goes on");
                }
            }
        })
        .await;
    }

    /// The relay is down: nobody tries to connect.
    pub fn relay_is_gone(&self) {
        self.orders.send_modify(|orders| orders.address = None);
    }

    /// The relay is at an address again.
    pub fn relay_is_at(&self, address: &str) {
        self.orders.send_modify(|orders| orders.address = Some(address.to_owned()));
    }

    /// Ends at once, with whatever is open of unknown outcome.
    pub async fn abandon(mut self) -> History {
        self.senders.shutdown().await;
        self.subscribers.shutdown().await;
        self.history
    }

    /// Lets senders finish what they began and subscribers see all of it; what the relay has then.
    ///
    /// # Panics
    /// They come to no end, and nothing happens any more.
    pub async fn finish(mut self, relay: &Relay) -> (History, BTreeMap<String, Vec<Stored>>) {
        self.orders.send_modify(|orders| orders.stop_sending = true);
        moving(&self.history, "the senders' end", async {
            while let Some(ended) = self.senders.join_next().await {
                ended.expect("a sender ends well");
            }
        })
        .await;
        let channels = self.history.channels();
        let stored = stored(relay, &channels).await;
        let ends = stored.iter().map(|(channel, rows)| (channel.clone(), rows.len() as u64));
        let ends = Arc::new(ends.collect());
        self.orders.send_modify(|orders| orders.ends = Some(ends));
        moving(&self.history, "the subscribers' end", async {
            while let Some(ended) = self.subscribers.join_next().await {
                ended.expect("a subscriber ends well");
            }
        })
        .await;
        (self.history, stored)
    }
}

/// Waits for `future` as long as something happens: on a slow machine a large run takes its time.
async fn moving<T>(history: &History, what: &str, future: impl Future<Output = T>) -> T {
    let stuck = async {
        let mut steps = None;
        while steps != Some(history.steps()) {
            steps = Some(history.steps());
            tokio::time::sleep(DEADLINE).await;
        }
    };
    tokio::select! {
        biased;
        value = future => value,
        () = stuck => panic!("nothing happens for {DEADLINE:?}: {what}"),
    }
}

/// Everything that the relay has in these channels, in the order in which it gives it.
///
/// # Panics
/// It does not answer.
pub async fn stored(relay: &Relay, channels: &[String]) -> BTreeMap<String, Vec<Stored>> {
    let mut client = Json::connect(relay).await;
    let mut stored = BTreeMap::new();
    for channel in channels {
        let mut rows: Vec<Stored> = Vec::new();
        loop {
            let at = json!({"index": rows.len()});
            let page = client.history(channel, at, 0, PAGE as u64).await;
            let messages = page["messages"].as_array().expect("messages");
            rows.extend(messages.iter().map(row_of));
            if page["found_newest"] == true {
                break;
            }
        }
        stored.insert(channel.clone(), rows);
    }
    stored
}

fn row_of(message: &Value) -> Stored {
    let text = |field: &str| message[field].as_str().expect("text").to_owned();
    Stored { id: text("id"), seq: message["seq"].as_u64().expect("a seq"), text: text("text") }
}

/// Connects as soon as there is a relay; `None` when `done` says that it is no longer needed.
async fn connect(
    orders: &mut watch::Receiver<Orders>,
    done: impl Fn(&Orders) -> bool,
) -> Option<Json> {
    loop {
        let address = {
            let orders = orders.wait_for(|o| o.address.is_some() || done(o)).await.ok()?;
            if done(&orders) {
                return None;
            }
            orders.address.clone()
        };
        if let Ok(client) = Json::try_connect_to(&address?).await {
            return Some(client);
        }
        tokio::time::sleep(RECONNECT_EVERY).await;
    }
}

struct Sender {
    number: u64,
    plan: Plan,
    made: u64,
    out: VecDeque<Out>,
}

/// A message on its way.
struct Out {
    channel: String,
    id: String,
    text: String,
    /// Answers that are still due on this connection.
    due: u64,
}

impl Sender {
    async fn run(mut self, history: History, mut orders: watch::Receiver<Orders>) {
        loop {
            let idle = self.out.is_empty();
            let done = |orders: &Orders| orders.stop_sending && idle;
            let Some(mut client) = connect(&mut orders, done).await else { return };
            if self.work(&mut client, &history, &orders).await {
                return;
            }
        }
    }

    /// Sends until told to stop (true) or the connection is gone.
    async fn work(
        &mut self,
        client: &mut Json,
        history: &History,
        orders: &watch::Receiver<Orders>,
    ) -> bool {
        let copies = self.plan.copies;
        for out in &mut self.out {
            out.due = copies;
            for _ in 0..copies {
                if Self::send(client, history, self.number, out).await.is_err() {
                    return false;
                }
            }
        }
        loop {
            while !orders.borrow().stop_sending && self.out.len() < self.plan.in_flight {
                let out = self.make();
                self.out.push_back(out);
                let Some(out) = self.out.back() else { continue };
                for _ in 0..copies {
                    if Self::send(client, history, self.number, out).await.is_err() {
                        return false;
                    }
                }
            }
            if self.out.is_empty() {
                return true;
            }
            match client.event().await {
                Ok(event) if self.answered(&event, history) => {}
                _ => return false,
            }
        }
    }

    async fn send(
        client: &mut Json,
        history: &History,
        number: u64,
        out: &Out,
    ) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        history.invoke(&out.channel, &out.id, &out.text);
        let send = json!({"command": "send", "channel": out.channel, "from": format!("s{number}"),
                          "id": out.id, "text": out.text, "ref": out.id});
        client.try_text(&send.to_string()).await
    }

    /// Takes an answer; false if it is better to connect again.
    fn answered(&mut self, event: &Value, history: &History) -> bool {
        let reference = event["ref"].as_str().expect("answers bear their ref");
        let place = self.out.iter().position(|out| out.id == reference);
        let Some(out) = place.and_then(|place| self.out.get_mut(place)) else { return true };
        match (event["event"].as_str(), event["code"].as_str()) {
            (Some("ack"), _) => {
                let seq = event["seq"].as_u64().expect("a seq");
                history.acked(&out.channel, &out.id, seq);
            }
            // Not stored, or nobody knows: it is asked again.
            (_, Some("retry")) => return false,
            (_, code) => history.refused(&out.channel, &out.id, code.unwrap_or("no code")),
        }
        out.due -= 1;
        if out.due == 0 {
            self.out.retain(|out| out.id != reference);
        }
        true
    }

    fn make(&mut self) -> Out {
        self.made += 1;
        let Plan { channels, late_every, bytes, copies, .. } = &self.plan;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let late = if self.made.is_multiple_of(*late_every) { 3_600_000 } else { 0 };
        let ms = u64::try_from(now.as_millis()).expect("a time") - late;
        let id = MessageId::from_parts(ms, u128::from(self.number) << 40 | u128::from(self.made));
        let text = format!("{}:{} ", self.number, self.made);
        let turn = usize::try_from(self.made).unwrap_or(0) % channels.len();
        Out {
            channel: channels[turn].clone(),
            id: id.to_string(),
            text: format!("{text:.<bytes$}"),
            due: *copies,
        }
    }
}

/// What a subscriber reads of an event: not the text, of which a thousand get gigabytes.
#[derive(Debug, Deserialize)]
struct Live {
    event: String,
    message: Option<LiveRow>,
}

#[derive(Debug, Deserialize)]
struct LiveRow {
    id: String,
    seq: u64,
}

struct Subscriber {
    channel: String,
    number: u64,
}

impl Subscriber {
    async fn run(self, history: History, mut orders: watch::Receiver<Orders>) {
        loop {
            let done = |orders: &Orders| self.has_all(&history, orders);
            let Some(mut client) = connect(&mut orders, done).await else { return };
            if self.work(&mut client, &history, &mut orders).await {
                return;
            }
        }
    }

    fn has_all(&self, history: &History, orders: &Orders) -> bool {
        let end = orders.ends.as_ref().and_then(|ends| ends.get(&self.channel).copied());
        end.is_some() && history.last_seen(&self.channel, self.number) >= end
    }

    /// Listens until it has seen everything (true) or the connection is gone.
    async fn work(
        &self,
        client: &mut Json,
        history: &History,
        orders: &mut watch::Receiver<Orders>,
    ) -> bool {
        let subscribe = json!({"command": "subscribe", "channel": self.channel, "last": PAGE});
        if client.try_text(&subscribe.to_string()).await.is_err() {
            return false;
        }
        let Ok(answer) = client.event().await else { return false };
        assert_eq!(answer["event"], "history", "{answer}");
        if !self.catch_up(client, history, &answer).await {
            return false;
        }
        loop {
            if self.has_all(history, &orders.borrow_and_update()) {
                return true;
            }
            let event = tokio::select! {
                event = client.event_or_forever::<Live>() => event,
                changed = orders.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return true,
                },
            };
            let Ok(event) = event else { return false };
            if event.event == "message"
                && let Some(message) = event.message
            {
                history.seen(&self.channel, self.number, message.seq, &message.id);
            }
        }
    }

    /// Takes what it missed from the history: all of it, or it says so by a gap in what it saw.
    async fn catch_up(&self, client: &mut Json, history: &History, answer: &Value) -> bool {
        let after = history.last_seen(&self.channel, self.number).unwrap_or(0);
        let cut = answer["seq"].as_u64().expect("a seq");
        let missed = |rows: Vec<Stored>| -> BTreeMap<u64, String> {
            let missed = rows.into_iter().filter(|row| row.seq > after && row.seq <= cut);
            missed.map(|row| (row.seq, row.id)).collect()
        };
        let newest = answer["messages"].as_array().expect("messages");
        let mut rows = missed(newest.iter().map(row_of).collect());
        if (rows.len() as u64) < cut.saturating_sub(after) {
            // Some are older than the newest page: late ones.
            let mut all: HashMap<String, Stored> = HashMap::new();
            let mut start = 0;
            loop {
                let ask = json!({"command": "history", "channel": self.channel, "ref": "page",
                                 "at": {"index": start}, "before": 0, "after": PAGE});
                if client.try_text(&ask.to_string()).await.is_err() {
                    return false;
                }
                let Ok(page) = client.page().await else { return false };
                let messages = page["messages"].as_array().expect("messages");
                all.extend(messages.iter().map(row_of).map(|row| (row.id.clone(), row)));
                start += messages.len();
                if page["found_newest"] == true {
                    break;
                }
            }
            rows = missed(all.into_values().collect());
        }
        for (seq, id) in rows {
            history.seen(&self.channel, self.number, seq, &id);
        }
        true
    }
}
