//! A client of live views on `/ws`: its rows are what `view` and `view-delta` make of them.

use crate::json::Json;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A view and the rows it has, as an application keeps them.
#[derive(Debug)]
pub struct Watcher {
    client: Json,
    channel: String,
    user: String,
    asked: u64,
    /// The number of its first row.
    pub start: u64,
    /// Rows of the channel.
    pub total: u64,
    /// The rows, oldest first.
    pub rows: Vec<Value>,
    /// What it was last told of late messages.
    pub late: Value,
    /// Every message that was ever among the rows.
    pub seen: BTreeSet<String>,
    /// Deltas that came.
    pub deltas: u64,
}

fn number(event: &Value, field: &str) -> u64 {
    event[field].as_u64().unwrap_or_else(|| panic!("no {field}: {event}"))
}

fn list<'a>(event: &'a Value, field: &str) -> &'a [Value] {
    event[field].as_array().unwrap_or_else(|| panic!("no {field}: {event}"))
}

impl Watcher {
    /// A watcher of a channel, as `user`; it sees nothing before its first [`Watcher::place`].
    #[must_use]
    pub fn new(client: Json, channel: &str, user: &str) -> Self {
        Self {
            client,
            channel: channel.to_owned(),
            user: user.to_owned(),
            asked: 0,
            start: 0,
            total: 0,
            rows: Vec::new(),
            late: Value::Null,
            seen: BTreeSet::new(),
            deltas: 0,
        }
    }

    /// Moves the view, and takes in all that comes until it is there.
    ///
    /// # Panics
    /// The relay refuses.
    pub async fn place(&mut self, at: &Value, before: u64, after: u64) {
        self.asked += 1;
        let reference = format!("view-{}", self.asked);
        let command = json!({"command": "view", "channel": self.channel, "from": self.user, "at": at,
                             "before": before, "after": after, "ref": reference});
        self.client.command(&command).await;
        while self.next().await["ref"] != json!(reference) {}
    }

    /// Takes in the next event, and returns it.
    ///
    /// # Panics
    /// The socket ends, or the event contradicts what is known.
    pub async fn next(&mut self) -> Value {
        let event = self.client.event().await.expect("the socket is open");
        match event["event"].as_str() {
            Some("view") => {
                self.rows = list(&event, "messages").to_vec();
                (self.start, self.total) = (number(&event, "start"), number(&event, "total"));
                let end = self.start + self.rows.len() as u64;
                assert_eq!(event["found_oldest"], self.start == 0);
                assert_eq!(event["found_newest"], end == self.total);
            }
            Some("view-delta") => self.apply(&event),
            _ => panic!("{event}"),
        }
        self.late = event["late"].clone();
        let ids = self.rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned());
        self.seen.extend(ids);
        event
    }

    fn apply(&mut self, delta: &Value) {
        self.deltas += 1;
        let (above, below) = (number(delta, "above"), number(delta, "below"));
        assert_eq!(number(delta, "start"), self.start + above, "start grows by above");
        assert_eq!(list(delta, "removed"), [] as [Value; 0]);
        self.start += above;
        let inserted = list(delta, "inserted");
        self.total += above + below + inserted.len() as u64;
        assert_eq!(number(delta, "total"), self.total, "what came in is told, all of it, once");
        for row in inserted {
            let at = self.at(row);
            self.rows.insert(at, row["message"].clone());
        }
        for row in list(delta, "updated") {
            let at = self.at(row);
            assert_eq!(self.rows[at]["id"], row["message"]["id"]);
            self.rows[at] = row["message"].clone();
        }
    }

    fn at(&self, row: &Value) -> usize {
        usize::try_from(number(row, "index") - self.start).expect("a row of the view")
    }

    /// Takes in events until the channel has `total` messages.
    pub async fn until_total(&mut self, total: u64) {
        while self.total < total {
            self.next().await;
        }
    }
}
