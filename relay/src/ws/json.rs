//! `/ws`: JSON text frames (design 8.2).
//!
//! ```text
//!   subscribe ----------> register, then read a snapshot
//!   <------------- history (head seq S)
//!   <------------- message (seq > S), and so on
//!   send, send, send ---> all at the writer at once
//!   <------------- ack, ack, ack, in the order of the sends
//! ```

mod command;
mod event;

pub(crate) use command::{ROWS_DEFAULT, checked_channel, checked_query, message, object};
pub(crate) use event::{frames_of, history};

use super::metered::Session;
use crate::app::App;
use crate::commit::{Identity, NewMessage, SendRequest};
use crate::connection::{Answers, Close, Incoming, Outbox, Protocol, Reply};
use crate::hub::{Form, Subscribed};
use crate::metrics::PublishMetrics;
use crate::refused::{Code, Refused};
use backscroll_core::viewport::{At, Query};
use command::{Command, Request};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tokio_tungstenite::tungstenite::Message;

/// One JSON client.
#[derive(Debug)]
pub(crate) struct JsonProtocol {
    app: Arc<App>,
    user: Identity,
    outbox: Arc<Outbox>,
    answers: Answers,
    subscribed: HashMap<String, Subscribed>,
    publishes: PublishMetrics,
}

impl Protocol for JsonProtocol {
    async fn handle(&mut self, frame: Incoming) -> Option<Close> {
        let request = match &frame {
            Incoming::Text(text) => Request::read(text, &self.app.access, &self.user),
            Incoming::Binary(_) => {
                let refused = Refused::new(Code::BadJson, "text frames of JSON are expected");
                Request { reference: None, command: Err(refused) }
            }
        };
        let reference = request.reference;
        let handled = match request.command {
            Ok(Command::Subscribe { channel, last }) => {
                self.subscribe(&channel, last, reference.as_deref()).await
            }
            Ok(Command::Unsubscribe { channel }) => {
                self.subscribed.remove(&channel);
                Ok(())
            }
            Ok(Command::Send { channel, message }) => {
                self.send(channel, message, reference.clone()).await
            }
            Ok(Command::History { channel, query }) => {
                self.history(channel, query, reference.clone()).await
            }
            Err(refused) => Err(refused),
        };
        if let Err(refused) = handled {
            self.refuse(&refused, reference.as_deref()).await;
        }
        None
    }
}

impl Session for JsonProtocol {
    fn identity(&self) -> Option<&Identity> {
        Some(&self.user)
    }

    async fn too_many(&mut self, frame: &Incoming) {
        let reference = match frame {
            Incoming::Text(text) => Request::read(text, &self.app.access, &self.user).reference,
            Incoming::Binary(_) => None,
        };
        let refused = Refused::new(Code::RateLimited, "too many frames: wait a while");
        self.refuse(&refused, reference.as_deref()).await;
    }
}

impl JsonProtocol {
    /// A client that is `user`; its answers go to `outbox`, in order through `answers`.
    pub(crate) fn new(
        app: Arc<App>,
        user: Identity,
        outbox: Arc<Outbox>,
        answers: Answers,
    ) -> Self {
        let subscribed = HashMap::new();
        Self { app, user, outbox, answers, subscribed, publishes: PublishMetrics::new("ws") }
    }

    async fn subscribe(
        &mut self,
        channel: &str,
        last: u64,
        reference: Option<&str>,
    ) -> Result<(), Refused> {
        self.app.access.check_read(&self.user, channel)?;
        match self.subscribed.get(channel) {
            Some(subscribed) => subscribed.subscription().hold(),
            None if self.subscribed.len() >= self.app.throttle.channels_per_socket() => {
                let max = self.app.throttle.channels_per_socket();
                let text = format!("a socket may subscribe to {max} channels");
                return Err(Refused::new(Code::RateLimited, text));
            }
            None => {
                let subscribed = self.app.hub.subscribe(channel, Form::Json, &self.outbox);
                self.subscribed.insert(channel.to_owned(), subscribed);
            }
        }
        let query = Query { at: At::Latest, before: last, after: 0 };
        let answer = read_history(&self.app, channel.to_owned(), query, reference).await;
        let Some(subscribed) = self.subscribed.get(channel) else { return Ok(()) };
        match answer {
            Ok((seq, answer)) => {
                subscribed.subscription().open(seq, vec![answer]);
                Ok(())
            }
            Err(refused) => {
                if !subscribed.subscription().go_on() {
                    self.subscribed.remove(channel);
                }
                Err(refused)
            }
        }
    }

    async fn history(
        &self,
        channel: String,
        query: Query,
        reference: Option<String>,
    ) -> Result<(), Refused> {
        self.app.access.check_read(&self.user, &channel)?;
        let (_, answer) = read_history(&self.app, channel, query, reference.as_deref()).await?;
        self.outbox.push_answer(answer);
        Ok(())
    }

    /// Hands a message to the writer and goes on reading; the ack comes when it is on disk.
    async fn send(
        &self,
        channel: String,
        message: NewMessage,
        reference: Option<String>,
    ) -> Result<(), Refused> {
        self.app.access.check_write(&self.user, &channel)?;
        let (app, publishes) = (self.app.clone(), self.publishes.clone());
        let since = Instant::now();
        let request = SendRequest { channel, message, idempotency: None };
        self.answers
            .push(async move {
                let sent = app.engine.send(request).await;
                publishes.answered(since);
                let answer = match sent {
                    Ok(sent) => {
                        publishes.duplicate_if(sent.duplicate);
                        event::ack(&sent, reference.as_deref())
                    }
                    Err(refusal) => event::error(&refusal.into(), reference.as_deref()),
                };
                Reply::Frames(vec![answer])
            })
            .await;
        Ok(())
    }

    /// Answers with an error, after the answers to what was sent before.
    async fn refuse(&self, refused: &Refused, reference: Option<&str>) {
        let answer = event::error(refused, reference);
        self.answers.push(async { Reply::Frames(vec![answer]) }).await;
    }
}

/// Reads a history and encodes its event, away from the async threads; tells the head seq as well.
async fn read_history(
    app: &App,
    channel: String,
    query: Query,
    reference: Option<&str>,
) -> Result<(u64, Message), Refused> {
    let reference = reference.map(str::to_owned);
    app.reads
        .run(move |view| {
            let history = view.history(&channel, &query)?;
            let text = event::history(&channel, &history, reference.as_deref());
            Ok((history.seq, Message::text(text)))
        })
        .await
}
