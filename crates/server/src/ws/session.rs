//! What is said over a WebSocket: every message of its channels arrives. A plain one publishes each text
//! that it sends; one of `warren.v1` sends commands, and each is answered.

use super::commands::{self, Command, Reference};
use super::handshake::AcceptedUpgrade;
use super::limiter::Limiter;
use crate::connection::{
    Connection, ConnectionCommand, MessageHandler, Source, WriteQueue, Written,
};
use crate::connections::ConnectionPermit;
use crate::http::error::ApiError;
use crate::session::subscriptions::{
    MAX_CHANNELS, SubscribeRequest, SubscribeResult, SubscriptionEvent, Subscriptions,
};
use crate::worker::Worker;
use actix_rt::net::TcpStream;
use bytes::{Bytes, BytesMut};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use warren_broker::{PublishAck, PublishRequest};
use warren_hub::SubscriberId;
use warren_observe::events::{Event, TraceField};
use warren_observe::labels::{MessageRejection, PublishTransport, Transport};
use warren_observe::traces::Span;
use warren_protocol::body::{self, largest_body, size_of_text};
use warren_protocol::error::PublishError;
use warren_protocol::message::{Channel, Key};
use warren_protocol::websocket::{CloseReason, ReadLimits, Window, text_frame};

/// Messages of one client that may be on their way to RabbitMQ.
const MAX_PUBLISHING: usize = 256;
/// Frames of a replay that may wait to be written, and bytes of them at which there are enough: each client
/// may wait for others than the rest.
const REPLAYED: usize = 32;
const REPLAYED_BYTES: usize = 64 << 10;

/// Lets an admitted client's socket live on this worker, on its own. `early` is what was read behind
/// its handshake, and `answer` is still to be written.
pub fn spawn(
    worker: &Rc<Worker>,
    io: TcpStream,
    early: BytesMut,
    answer: Bytes,
    admitted: AcceptedUpgrade,
) {
    admitted.permit.opened();
    let mut listener = Subscriptions::new(worker, true);
    let reader = listener.client.reader;
    let channel = admitted.wish.channels.first().cloned().unwrap_or_default();
    listener.wish(Answering::Ready, admitted.wish);
    let mut output = WriteQueue::new(admitted.window);
    output.push(answer);
    let chat = WsSession {
        reader,
        listener,
        v1: admitted.v1,
        compressed: admitted.window != Window::NONE,
        channel,
        publishing: VecDeque::new(),
        limiter: Limiter::new(worker.state.config.client_rate),
        worker: worker.clone(),
        more: false,
        greeted: false,
        failed: None,
        _permit: admitted.permit,
    };
    let connection = Connection::new(io, worker.scratch.clone(), early, output, chat);
    let connection = Rc::new(RefCell::new(connection));
    let line = Rc::downgrade(&connection);
    worker.set_line(reader, line);
    actix_rt::spawn(poll_fn(move |context| Pin::new(&mut *connection.borrow_mut()).poll(context)));
}

/// Whom the listener answers.
#[derive(Clone, Debug)]
enum Answering {
    Ready,
    Subscribe(Reference, Channel),
}

/// What a delivery needs comes first, as in [`Connection`].
#[derive(Debug)]
#[repr(C)]
struct WsSession {
    worker: Rc<Worker>,
    /// The listener's, at hand.
    reader: SubscriberId,
    /// The listener has more to say when there is room for it.
    more: bool,
    /// Whether it speaks `warren.v1`.
    v1: bool,
    /// The ready frame was said. Nothing is said before it, so nothing is read.
    greeted: bool,
    /// Its messages may be compressed.
    compressed: bool,
    listener: Subscriptions<Answering>,
    /// Where its messages go, unless they say otherwise.
    channel: Channel,
    /// What becomes of them, oldest first.
    publishing: VecDeque<Publishing>,
    limiter: Limiter,
    /// It cannot go on.
    failed: Option<CloseReason>,
    _permit: ConnectionPermit,
}

/// A message that is on its way to RabbitMQ.
#[derive(Debug)]
struct Publishing {
    reference: Option<Reference>,
    outcome: PublishAck,
    /// If it is recorded.
    span: Option<Span>,
}

/// Name and text of what is wrong with what a client sent.
type Mistake = (MessageRejection, String);

impl WsSession {
    /// Refuses what a client sent.
    fn reject(&self, reference: Option<&Reference>, mistake: &Mistake, output: &mut WriteQueue) {
        let (cause, message) = mistake;
        let trace_id = TraceField::of(None);
        self.worker.state.reporter.emit(Event::MessageRejected { cause: *cause, trace_id });
        complain(reference, cause.value(), message, output);
    }

    fn allow(&mut self) -> Result<(), Mistake> {
        if self.limiter.allow(self.worker.state.config.client_rate) {
            return Ok(());
        }
        Err((
            MessageRejection::RateLimited,
            "more messages than WARREN_CLIENT_RATE allows".to_owned(),
        ))
    }

    /// Has a message published. If it cannot be, the publisher tells the operator.
    fn publish(
        &mut self,
        reference: Option<Reference>,
        draft: PublishRequest,
        output: &mut WriteQueue,
    ) {
        let state = &self.worker.state;
        let (mut span, trace) = state.tracer.frame();
        match state.publisher.submit(PublishRequest { trace, ..draft }) {
            Ok(outcome) => {
                state.reporter.received(PublishTransport::WebSocket);
                self.publishing.push_back(Publishing { reference, outcome, span });
            }
            Err(error) => {
                if let Some(span) = &mut span {
                    span.fail(error.code());
                }
                complain(reference.as_ref(), error.code(), &error.to_string(), output);
            }
        }
    }

    /// A text of a plain client.
    fn say(&mut self, text: &str, output: &mut WriteQueue) -> Result<(), Mistake> {
        self.allow()?;
        let (channel, text) = (self.channel.clone(), body::string(text));
        self.publish(None, PublishRequest { channel, text, key: None, trace: None }, output);
        Ok(())
    }

    /// A command.
    fn obey(&mut self, command: Command, output: &mut WriteQueue) -> Result<(), Mistake> {
        match command {
            Command::Publish(publish) => {
                self.allow()?;
                if size_of_text(&publish.text) > self.worker.state.config.max_message.0 {
                    let error = ApiError::TooLarge;
                    return Err((MessageRejection::TooLarge, error.to_string()));
                }
                let channel = match publish.channel {
                    Some(name) => channel(&name)?,
                    None => self.channel.clone(),
                };
                let key = publish.key.map(|key| Key::new(&key)).transpose().map_err(bad)?;
                let draft = PublishRequest { channel, text: publish.text, key, trace: None };
                self.publish(Some(publish.r#ref), draft, output);
            }
            Command::Subscribe(subscribe) => {
                if subscribe.after.is_some() {
                    // It may have the log read.
                    self.allow()?;
                }
                let channel = channel(&subscribe.channel)?;
                if self.listener.channels().contains(&channel) {
                    return Err(bad("this channel is subscribed already"));
                }
                if self.listener.channels().len() >= MAX_CHANNELS {
                    return Err(bad(format!("channel: at most {MAX_CHANNELS} of them")));
                }
                let (after, history) = (subscribe.after, subscribe.history);
                let wish = SubscribeRequest { channels: vec![channel.clone()], after, history };
                self.listener.wish(Answering::Subscribe(subscribe.r#ref, channel), wish);
            }
            Command::Unsubscribe(unsubscribe) => {
                let channel = channel(&unsubscribe.channel)?;
                if let Some(Answering::Subscribe(reference, channel)) =
                    self.listener.leave(&channel)
                {
                    output.push(commands::subscribed(
                        &reference,
                        channel.as_str(),
                        &SubscribeResult::default(),
                    ));
                }
                output.push(commands::unsubscribed(&unsubscribe.r#ref, channel.as_str()));
            }
        }
        Ok(())
    }

    /// Writes what the listener has to say, as far as there is room.
    fn listen(&mut self, context: &mut Context<'_>, output: &mut WriteQueue) {
        self.more = false;
        while self.failed.is_none() && !output.is_finished() {
            if output.len() >= REPLAYED || output.bytes() >= REPLAYED_BYTES {
                self.more = true;
                return;
            }
            match self.listener.poll(context) {
                Poll::Pending => return,
                Poll::Ready(SubscriptionEvent::Message(message)) => output.push_shared(&message),
                Poll::Ready(SubscriptionEvent::SubscribeResult(Answering::Ready, met)) => {
                    let ready = self.worker.ready(&met);
                    output.push(text_frame(&format!(r#"{{"ready":{ready}}}"#)));
                    self.greeted = true;
                    self.tell_gap(output);
                }
                Poll::Ready(SubscriptionEvent::SubscribeResult(
                    Answering::Subscribe(reference, channel),
                    met,
                )) => {
                    output.push(commands::subscribed(&reference, channel.as_str(), &met));
                }
                Poll::Ready(SubscriptionEvent::Failed(close)) => self.failed = Some(close),
            }
        }
    }

    /// Tells the client that messages may be missing, if so.
    fn tell_gap(&self, output: &mut WriteQueue) {
        if self.listener.client.missed.take() {
            output.push(self.worker.gap.clone());
        }
    }

    /// Tells the client what became of its messages.
    fn settle(&mut self, context: &mut Context<'_>, output: &mut WriteQueue) {
        while let Some(Publishing { reference, outcome, span }) = self.publishing.front_mut() {
            let Poll::Ready(outcome) = Pin::new(outcome).poll(context) else { break };
            if let Some(span) = span {
                span.settle(&outcome);
            }
            match (outcome, reference) {
                (Ok(id), Some(reference)) => {
                    output.push(commands::published(reference, id.as_deref()));
                }
                (Ok(_), None) => {}
                (Err(error), reference) => {
                    complain(reference.as_ref(), error.code(), &error.to_string(), output);
                }
            }
            self.publishing.pop_front();
            if self.publishing.is_empty() {
                // Most of the time a connection has none.
                self.publishing = VecDeque::new();
            }
        }
    }
}

/// Tells the client.
fn complain(reference: Option<&Reference>, code: &str, message: &str, output: &mut WriteQueue) {
    output.push(commands::error(reference, code, message));
}

fn bad(error: impl ToString) -> Mistake {
    (MessageRejection::BadRequest, error.to_string())
}

fn channel(name: &str) -> Result<Channel, Mistake> {
    Channel::new(name).map_err(bad)
}

impl MessageHandler for WsSession {
    fn accept(&self) -> ReadLimits<'_> {
        let limit = self.worker.state.config.max_message.0;
        // A command has a text in it, written as JSON.
        let max_message = if self.v1 { largest_body(limit) } else { limit };
        let inflater = self.worker.inflater.as_ref().filter(|_| self.compressed);
        ReadLimits { max_message, binary: false, inflater }
    }

    fn poll(&mut self, context: &mut Context<'_>, output: &mut WriteQueue) {
        self.worker.hub.borrow_mut().set_waker(self.reader, context.waker());
        if self.greeted {
            self.tell_gap(output);
        }
        self.settle(context, output);
        self.listen(context, output);
        if self.busy() {
            // It is not read, so it cannot be heard; that is not its fault.
            self.heard();
        }
    }

    fn has_more(&self) -> bool {
        self.more || self.failed.is_some()
    }

    fn rest(&mut self) {
        if self.more {
            self.listener.rest();
        }
    }

    fn text(&mut self, text: Cow<'_, str>, output: &mut WriteQueue) {
        if !self.v1 {
            if let Err(mistake) = self.say(&text, output) {
                self.reject(None, &mistake, output);
            }
            return;
        }
        let (reference, done) = match commands::parse(&text) {
            Ok(command) => (Some(command.reference().clone()), self.obey(command, output)),
            Err((reference, error)) => (reference, self.allow().and(Err(bad(error)))),
        };
        if let Err(mistake) = done {
            self.reject(reference.as_ref(), &mistake, output);
        }
    }

    fn too_late(&mut self, text: Cow<'_, str>, output: &mut WriteQueue) {
        let reference = if self.v1 {
            match commands::parse(&text) {
                Ok(command) => Some(command.reference().clone()),
                Err((reference, _)) => reference,
            }
        } else {
            None
        };
        let error = PublishError::Closing;
        self.reject(
            reference.as_ref(),
            &(MessageRejection::ShuttingDown, error.to_string()),
            output,
        );
    }

    fn heard(&mut self) {
        self.listener.client.heard.set(Instant::now());
        self.listener.client.pinged.set(false);
    }

    fn busy(&self) -> bool {
        !self.greeted || self.publishing.len() >= MAX_PUBLISHING
    }

    fn settled(&self) -> bool {
        self.publishing.is_empty()
    }

    fn source(&self) -> Option<Source<'_>> {
        Some((&self.worker.hub, self.reader))
    }

    fn take_order(&mut self) -> Option<ConnectionCommand> {
        let failed = self.failed.take().map(|close| ConnectionCommand::Close(close, None));
        failed.or_else(|| self.listener.client.take_order())
    }

    fn set_deadline(&mut self, deadline: Instant) {
        self.listener.client.deadline.set(Some(deadline));
    }

    fn wrote(&mut self, written: Written) {
        self.worker.thread.written(written.writes, written.deliveries, written.bytes);
    }

    fn ended(&mut self, close: Option<CloseReason>) {
        self.worker.state.reporter.connection_closed(Transport::WebSocket, close);
    }

    fn patience(&self) -> Duration {
        self.worker.state.config.publish_timeout.0
    }
}
