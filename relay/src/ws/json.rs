//! `/ws`: JSON text frames (design 8.2).
//!
//! ```text
//!   subscribe ----------> register, then read a snapshot
//!   <------------- history (head seq S)
//!   <------------- message (seq > S), and so on
//!   send, send, send ---> all at the writer at once
//!   <------------- ack, ack, ack, in the order of the sends
//! ```
//! Edits, deletions, reactions and marks are answered as sends are. Live views: see [`view`].

mod command;
mod event;
mod view;

pub(crate) use command::{checked_channel, message, object, query_of};
pub(crate) use event::{frames_of, history};

use super::metered::Session;
use crate::app::App;
use crate::budget::Held;
use crate::commit::{
    AnnotateRequest, Identity, Mark, NewMessage, Note, Permit, Refusal, SendRequest, Sent,
};
use crate::connection::{Answers, Close, Incoming, Outbox, Protocol, Reply};
use crate::hub::{Form, Subscribed};
use crate::limits::{UNSEEN_RUNS_MAX, VIEWS_MAX};
use crate::metrics::PublishMetrics;
use crate::reader::{View, runs_of};
use crate::refused::{Code, Refused};
use backscroll_core::message::MessageId;
use backscroll_core::viewport::{At, Query};
use command::{Command, Request};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use view::OpenView;

/// One JSON client.
#[derive(Debug)]
pub(crate) struct JsonProtocol {
    app: Arc<App>,
    user: Identity,
    outbox: Arc<Outbox>,
    answers: Answers,
    subscribed: HashMap<String, Subscribed>,
    views: HashMap<String, OpenView>,
    publishes: PublishMetrics,
}

impl Protocol for JsonProtocol {
    async fn handle(&mut self, frame: Incoming) -> Option<Close> {
        self.answers.begin(&frame);
        let request = match &frame {
            Incoming::Text(text) => Request::read(text, &self.app.access, &self.user),
            Incoming::Binary(_) => {
                let refused = Refused::new(Code::BadJson, "text frames of JSON are expected");
                Request { reference: None, command: Err(refused) }
            }
        };
        let reference = request.reference;
        let handled = match request.command {
            Ok(command) => self.carry_out(command, reference.clone()).await,
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
        let (subscribed, views) = (HashMap::new(), HashMap::new());
        let publishes = PublishMetrics::new("ws");
        Self { app, user, outbox, answers, subscribed, views, publishes }
    }

    async fn carry_out(
        &mut self,
        command: Command,
        reference: Option<String>,
    ) -> Result<(), Refused> {
        match command {
            Command::Subscribe { channel, last } => {
                self.subscribe(&channel, last, reference.as_deref()).await
            }
            Command::Unsubscribe { channel } => {
                self.subscribed.remove(&channel);
                Ok(())
            }
            Command::Send { channel, message } => self.send(channel, message, reference).await,
            Command::History { channel, query } => self.history(channel, query, reference).await,
            Command::View { channel, query, user } => {
                self.view(&channel, query, user, reference.as_deref()).await
            }
            Command::Unview { channel } => {
                self.views.remove(&channel);
                Ok(())
            }
            Command::Annotate { channel, id, note } => {
                self.annotate(channel, id, note, reference).await
            }
            Command::Mark { channel, read, user } => {
                self.mark(channel, read, user, reference).await
            }
        }
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
        let Some(subscribed) = self.subscribed.get(channel) else { return Ok(()) };
        let subscription = subscribed.subscription();
        let waits = |waits| subscription.set_unpaced(waits);
        let answer = read_history(&self.app, channel.to_owned(), query, reference, waits).await;
        match answer {
            Ok(((seq, answer), _held)) => {
                subscription.caught_up(seq).await;
                subscription.open(seq, vec![answer]);
                Ok(())
            }
            Err(refused) => {
                if !subscription.go_on() {
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
        let ((_, answer), held) =
            read_history(&self.app, channel, query, reference.as_deref(), |_| {}).await?;
        self.outbox.push_answer(answer);
        // The outbox counts it from here.
        drop(held);
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
        let app = self.app.clone();
        let request = SendRequest { channel, message, idempotency: None };
        self.answer(reference, async move { app.engine.send(request).await }).await;
        Ok(())
    }

    /// Opens a live view, or moves the one there is.
    async fn view(
        &mut self,
        channel: &str,
        query: Query,
        user: String,
        reference: Option<&str>,
    ) -> Result<(), Refused> {
        self.app.access.check_read(&self.user, channel)?;
        if let Some(view) = self.views.get_mut(channel) {
            return view.place(query, user, reference).await;
        }
        if self.views.len() >= VIEWS_MAX {
            let text = format!("a socket may have {VIEWS_MAX} live views");
            return Err(Refused::new(Code::RateLimited, text));
        }
        let mut view = OpenView::new(&self.app, &self.outbox, channel);
        view.place(query, user, reference).await?;
        self.views.insert(channel.to_owned(), view);
        Ok(())
    }

    /// Hands what is said of a message to the writer and goes on reading.
    async fn annotate(
        &self,
        channel: String,
        id: MessageId,
        note: Note,
        reference: Option<String>,
    ) -> Result<(), Refused> {
        self.app.access.check_write(&self.user, &channel)?;
        let permit = self.permit(&channel, &note);
        let app = self.app.clone();
        self.answer(reference, async move {
            app.engine.annotate(AnnotateRequest { channel, id, note, permit }).await
        })
        .await;
        Ok(())
    }

    /// Who reacts was settled when the command was read; who wrote the message only the writer knows.
    fn permit(&self, channel: &str, note: &Note) -> Permit {
        let deletes = match note {
            Note::React { .. } => return Permit::new(|_| Ok(())),
            Note::Edit { .. } => false,
            Note::Delete => true,
        };
        let (access, user) = (self.app.access.clone(), self.user.clone());
        let channel = channel.to_owned();
        Permit::new(move |author| {
            let checked = access.check_annotate(&user, &channel, author, deletes);
            checked.map_err(|refused| Refusal::new(refused.code, refused.text))
        })
    }

    /// Merges a user's read state, taken at what this client was told, or at the channel's head.
    async fn mark(
        &self,
        channel: String,
        read: MessageId,
        user: String,
        reference: Option<String>,
    ) -> Result<(), Refused> {
        self.app.access.check_read(&self.user, &channel)?;
        let told = match self.views.get(&channel) {
            Some(view) => view.unseen(&user).await,
            None => None,
        };
        let (of, by) = (channel.clone(), user.clone());
        let marked = self.app.reads.run(move |view| {
            if !view.has_message(&of, read)? {
                let text = format!("there is no message {read}");
                return Err(Refused::new(Code::NotFound, text).into());
            }
            match told {
                Some(told) => Ok(told),
                None => {
                    let unseen = view.unseen_of(&of, &by)?;
                    Ok((view.head(&of)?.seq, runs_of(&unseen, UNSEEN_RUNS_MAX)))
                }
            }
        });
        let (seq, unseen_late) = marked.await?;
        let (app, epoch) = (self.app.clone(), self.app.engine.epoch());
        let read_to = Some(read);
        let mark = Mark { user, channel, epoch, seq, read: read_to, delivered: None, unseen_late };
        self.answer(reference, async move {
            app.engine.mark(mark).await?;
            Ok(Sent { id: read, seq, duplicate: false })
        })
        .await;
        Ok(())
    }

    /// Answers with an ack once `stored` is, in the order of what was asked.
    async fn answer(
        &self,
        reference: Option<String>,
        stored: impl Future<Output = Result<Sent, Refusal>> + Send + 'static,
    ) {
        let (publishes, since) = (self.publishes.clone(), Instant::now());
        self.answers
            .push(async move {
                let stored = stored.await;
                publishes.answered(since);
                let answer = match stored {
                    Ok(sent) => {
                        publishes.duplicate_if(sent.duplicate);
                        event::ack(&sent, reference.as_deref())
                    }
                    Err(refusal) => event::error(&refusal.into(), reference.as_deref()),
                };
                Reply::Frames(vec![answer])
            })
            .await;
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
    waits: impl Fn(bool) + Send,
) -> Result<((u64, Message), Held), Refused> {
    let reference = reference.map(str::to_owned);
    let read = move |view: &View<'_>| {
        let history = view.history(&channel, &query)?;
        let text = event::history(&channel, &history, reference.as_deref());
        Ok((history.seq, Message::text(text)))
    };
    app.reads.answer_telling(read, |(_, answer)| answer.len(), waits).await
}
