//! The session of a WebSocket. Clients receive the messages of their channels. A plain client publishes
//! every text that it sends; one of `warren.v1` sends commands, and each is answered.

use super::handshake::{AcceptedUpgrade, Subprotocol};
use super::limiter::Limiter;
use crate::connection::{
    Connection, ConnectionHandle, HubSource, KeepAlive, MessageHandler, WriteQueue, WriteStats,
};
use crate::connections::ConnectionPermit;
use crate::http::error::{ApiError, truncated};
use crate::session::{
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
use std::time::Duration;
use warren_broker::{PublishAck, PublishRequest};
use warren_observe::events::{Event, TraceField};
use warren_observe::labels::{MessageRejection, PublishTransport, Transport};
use warren_observe::traces::Span;
use warren_protocol::body::{self, largest_body, size_of_text};
use warren_protocol::commands::{
    Command, CommandAnswer, InvalidCommand, PublishCommand, Reference, SubscribeCommand,
    UnsubscribeCommand,
};
use warren_protocol::error::PublishError;
use warren_protocol::message::{Channel, Key};
use warren_protocol::websocket::{CloseReason, ReadLimits, text_frame};

/// Messages of one client that may wait for their confirm.
const MAX_UNCONFIRMED: usize = 256;
/// Replayed frames that may wait to be written, and bytes of them at which no more are added. Each
/// client may hold frames that no other client shares.
const MAX_REPLAYED_FRAMES: usize = 32;
const MAX_REPLAYED_BYTES: usize = 64 << 10;

/// Starts the session of an accepted handshake, in a task of its own on this worker. `read_ahead` is
/// input that followed the handshake; `answer` is the handshake's, and still to be written.
pub fn spawn(
    worker: &Rc<Worker>,
    io: TcpStream,
    read_ahead: BytesMut,
    answer: Bytes,
    accepted: AcceptedUpgrade,
) {
    let AcceptedUpgrade { request, subprotocol, window, permit } = accepted;
    permit.opened();
    let mut subscriptions = Subscriptions::new(worker, KeepAlive::Pings);
    let subscriber = subscriptions.subscriber();
    let default_channel = request.channels.first().cloned().unwrap_or_default();
    subscriptions.subscribe(RequestTag::Handshake, request);
    let mut queue = WriteQueue::new(window);
    queue.push(answer);
    let session = WsSession {
        has_more: false,
        ready_sent: false,
        subprotocol,
        subscriptions,
        default_channel,
        unconfirmed: VecDeque::new(),
        limiter: Limiter::new(worker.state.config.client_rate),
        _permit: permit,
    };
    let connection = Connection::new(io, worker.read_buffer.clone(), read_ahead, queue, session);
    let connection = Rc::new(RefCell::new(connection));
    let writer = Rc::downgrade(&connection);
    worker.slots.set_writer(subscriber, writer);
    actix_rt::spawn(poll_fn(move |context| Pin::new(&mut *connection.borrow_mut()).poll(context)));
}

/// Identifies a request for channels.
#[derive(Clone, Debug)]
enum RequestTag {
    /// The channels of the handshake.
    Handshake,
    Command(Reference, Channel),
}

/// The session of a WebSocket.
///
/// The fields of a direct write come first, as in [`Connection`].
#[derive(Debug)]
#[repr(C)]
struct WsSession {
    /// The subscriptions have more to send than the write queue has room for.
    has_more: bool,
    /// The ready frame was sent. Nothing is sent before it, so nothing is read before it.
    ready_sent: bool,
    subprotocol: Subprotocol,
    subscriptions: Subscriptions<RequestTag>,
    /// Channel of messages that name none.
    default_channel: Channel,
    /// Messages that wait for their confirm, oldest first.
    unconfirmed: VecDeque<UnconfirmedPublish>,
    limiter: Limiter,
    _permit: ConnectionPermit,
}

/// A message that waits for its confirm.
#[derive(Debug)]
struct UnconfirmedPublish {
    reference: Option<Reference>,
    ack: PublishAck,
    /// Span of the message, if it is recorded.
    span: Option<Span>,
}

/// An error of a client: its cause, whose value is the error code, and a message.
type ClientError = (MessageRejection, String);

impl WsSession {
    fn worker(&self) -> &Worker {
        self.subscriptions.worker()
    }

    /// Handles a text of a plain client.
    fn publish_text(&mut self, text: &str, queue: &mut WriteQueue) -> Result<(), ClientError> {
        self.check_rate()?;
        let (channel, text) = (self.default_channel.clone(), body::string(text));
        self.publish(None, PublishRequest { channel, text, key: None, trace: None }, queue);
        Ok(())
    }

    fn handle_command(
        &mut self,
        command: Command,
        queue: &mut WriteQueue,
    ) -> Result<(), ClientError> {
        match command {
            Command::Publish(command) => self.handle_publish(command, queue),
            Command::Subscribe(command) => self.handle_subscribe(command),
            Command::Unsubscribe(command) => self.handle_unsubscribe(command, queue),
        }
    }

    fn handle_publish(
        &mut self,
        command: PublishCommand,
        queue: &mut WriteQueue,
    ) -> Result<(), ClientError> {
        self.check_rate()?;
        if size_of_text(&command.text) > self.worker().state.config.max_message.0 {
            let error = ApiError::TooLarge;
            return Err((error.message_rejection(), error.to_string()));
        }
        let channel = match command.channel {
            Some(name) => parse_channel(&name)?,
            None => self.default_channel.clone(),
        };
        let key = command.key.map(|key| Key::new(&key)).transpose().map_err(bad_request)?;
        let request = PublishRequest { channel, text: command.text, key, trace: None };
        self.publish(Some(command.r#ref), request, queue);
        Ok(())
    }

    fn handle_subscribe(&mut self, command: SubscribeCommand) -> Result<(), ClientError> {
        if command.after.is_some() {
            // It may cause the log to be read.
            self.check_rate()?;
        }
        let channel = parse_channel(&command.channel)?;
        if self.subscriptions.channels().contains(&channel) {
            return Err(bad_request("this channel is subscribed already"));
        }
        if self.subscriptions.channels().len() >= MAX_CHANNELS {
            return Err(bad_request(format!("channel: at most {MAX_CHANNELS} of them")));
        }
        let channels = vec![channel.clone()];
        let request = SubscribeRequest { channels, after: command.after, history: command.history };
        self.subscriptions.subscribe(RequestTag::Command(command.r#ref, channel), request);
        Ok(())
    }

    fn handle_unsubscribe(
        &mut self,
        command: UnsubscribeCommand,
        queue: &mut WriteQueue,
    ) -> Result<(), ClientError> {
        let channel = parse_channel(&command.channel)?;
        // A subscribe command that is still waiting is answered first.
        if let Some(RequestTag::Command(reference, channel)) =
            self.subscriptions.unsubscribe(&channel)
        {
            queue.push(subscribed_frame(&reference, &channel, &SubscribeResult::default()));
        }
        let answer =
            CommandAnswer::Unsubscribed { r#ref: &command.r#ref, channel: channel.as_str() };
        queue.push(answer.frame());
        Ok(())
    }

    fn check_rate(&mut self) -> Result<(), ClientError> {
        let rate = self.worker().state.config.client_rate;
        if self.limiter.allow(rate) {
            return Ok(());
        }
        Err((
            MessageRejection::RateLimited,
            "more messages than WARREN_CLIENT_RATE allows".to_owned(),
        ))
    }

    /// Publishes a message. If it cannot be, the publisher reports that to the operator.
    fn publish(
        &mut self,
        reference: Option<Reference>,
        request: PublishRequest,
        queue: &mut WriteQueue,
    ) {
        let state = &self.subscriptions.worker().state;
        let (mut span, trace) = state.tracer.frame();
        match state.publisher.submit(PublishRequest { trace, ..request }) {
            Ok(ack) => {
                state.reporter.received(PublishTransport::WebSocket);
                self.unconfirmed.push_back(UnconfirmedPublish { reference, ack, span });
            }
            Err(error) => {
                if let Some(span) = &mut span {
                    span.fail(error.code());
                }
                send_error(reference.as_ref(), error.code(), &error.to_string(), queue);
            }
        }
    }

    /// Refuses what a client sent.
    fn reject(&self, reference: Option<&Reference>, error: &ClientError, queue: &mut WriteQueue) {
        let (cause, message) = error;
        let trace_id = TraceField::of(None);
        self.worker().state.reporter.emit(Event::MessageRejected { cause: *cause, trace_id });
        send_error(reference, cause.value(), message, queue);
    }

    /// Queues what the subscriptions have to send, as far as there is room.
    fn poll_subscriptions(
        &mut self,
        context: &mut Context<'_>,
        queue: &mut WriteQueue,
    ) -> Result<(), CloseReason> {
        self.has_more = false;
        while !queue.is_finished() {
            if queue.len() >= MAX_REPLAYED_FRAMES || queue.bytes() >= MAX_REPLAYED_BYTES {
                self.has_more = true;
                break;
            }
            let Poll::Ready(event) = self.subscriptions.poll(context) else { break };
            match event {
                SubscriptionEvent::Message(message) => queue.push_message(&message),
                SubscriptionEvent::Subscribed(RequestTag::Handshake, result) => {
                    let ready = result.ready_json(&self.worker().state.config.replica.0);
                    queue.push(text_frame(&format!(r#"{{"ready":{ready}}}"#)));
                    self.ready_sent = true;
                    self.send_gap(queue);
                }
                SubscriptionEvent::Subscribed(RequestTag::Command(reference, channel), result) => {
                    queue.push(subscribed_frame(&reference, &channel, &result));
                }
                SubscriptionEvent::Failed(reason) => return Err(reason),
            }
        }
        Ok(())
    }

    /// Tells the client of a gap, if there is one.
    fn send_gap(&self, queue: &mut WriteQueue) {
        if self.subscriptions.handle().take_gap() {
            queue.push(self.worker().gap_frame.clone());
        }
    }

    /// Answers messages whose confirms have come.
    fn poll_confirms(&mut self, context: &mut Context<'_>, queue: &mut WriteQueue) {
        while let Some(UnconfirmedPublish { reference, ack, span }) = self.unconfirmed.front_mut() {
            let Poll::Ready(result) = Pin::new(ack).poll(context) else { break };
            if let Some(span) = span {
                span.settle(&result);
            }
            match (result, reference) {
                (Ok(id), Some(reference)) => {
                    let answer = CommandAnswer::Published { r#ref: reference, id: id.as_deref() };
                    queue.push(answer.frame());
                }
                (Ok(_), None) => {}
                (Err(error), reference) => {
                    send_error(reference.as_ref(), error.code(), &error.to_string(), queue);
                }
            }
            self.unconfirmed.pop_front();
            if self.unconfirmed.is_empty() {
                // Most connections publish nothing most of the time.
                self.unconfirmed = VecDeque::new();
            }
        }
    }
}

fn send_error(reference: Option<&Reference>, code: &str, message: &str, queue: &mut WriteQueue) {
    let message = truncated(message);
    queue.push(CommandAnswer::Error { r#ref: reference, code, message }.frame());
}

fn subscribed_frame(reference: &Reference, channel: &Channel, result: &SubscribeResult) -> Bytes {
    let answer = CommandAnswer::Subscribed {
        r#ref: reference,
        channel: channel.as_str(),
        recovered: result.recovered,
        reason: result.reason_code(),
        cursor: result.cursor.as_deref(),
    };
    answer.frame()
}

fn bad_request(error: impl ToString) -> ClientError {
    (MessageRejection::BadRequest, error.to_string())
}

fn parse_channel(name: &str) -> Result<Channel, ClientError> {
    Channel::new(name).map_err(bad_request)
}

impl MessageHandler for WsSession {
    fn handle(&self) -> &ConnectionHandle {
        self.subscriptions.handle()
    }

    fn read_limits(&self) -> ReadLimits<'_> {
        let limit = self.worker().state.config.max_message.0;
        let max_message = match self.subprotocol {
            Subprotocol::Plain => limit,
            // The text of a message, as JSON, is in a command.
            Subprotocol::V1 => largest_body(limit),
        };
        ReadLimits { max_message, binary: false, inflater: self.worker().inflater.as_ref() }
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
        queue: &mut WriteQueue,
    ) -> Result<(), CloseReason> {
        let HubSource { hub, subscriber } = self.subscriptions.source();
        hub.borrow_mut().set_waker(subscriber, context.waker());
        if self.ready_sent {
            self.send_gap(queue);
        }
        self.poll_confirms(context, queue);
        self.poll_subscriptions(context, queue)
    }

    fn text(&mut self, text: Cow<'_, str>, queue: &mut WriteQueue) {
        let (reference, result) = match self.subprotocol {
            Subprotocol::Plain => (None, self.publish_text(&text, queue)),
            Subprotocol::V1 => match Command::parse(&text) {
                Ok(command) => {
                    (Some(command.reference().clone()), self.handle_command(command, queue))
                }
                Err(InvalidCommand { reference, message }) => {
                    (reference, self.check_rate().and(Err(bad_request(message))))
                }
            },
        };
        if let Err(error) = result {
            self.reject(reference.as_ref(), &error, queue);
        }
    }

    fn refuse_text(&mut self, text: Cow<'_, str>, queue: &mut WriteQueue) {
        let reference = match self.subprotocol {
            Subprotocol::Plain => None,
            Subprotocol::V1 => match Command::parse(&text) {
                Ok(command) => Some(command.reference().clone()),
                Err(invalid) => invalid.reference,
            },
        };
        let error = (MessageRejection::ShuttingDown, PublishError::Closing.to_string());
        self.reject(reference.as_ref(), &error, queue);
    }

    fn is_busy(&self) -> bool {
        !self.ready_sent || self.unconfirmed.len() >= MAX_UNCONFIRMED
    }

    fn has_more(&self) -> bool {
        self.has_more
    }

    fn release_buffers(&mut self) {
        if self.has_more {
            self.subscriptions.release_buffers();
        }
    }

    fn is_settled(&self) -> bool {
        self.unconfirmed.is_empty()
    }

    fn settle_timeout(&self) -> Duration {
        self.worker().state.config.publish_timeout.0
    }

    fn source(&self) -> Option<HubSource<'_>> {
        Some(self.subscriptions.source())
    }

    fn written(&mut self, stats: WriteStats) {
        self.worker().counters.written(stats.writes, stats.deliveries, stats.bytes);
    }

    fn closed(&mut self, reason: Option<CloseReason>) {
        self.worker().state.reporter.connection_closed(Transport::WebSocket, reason);
    }
}
