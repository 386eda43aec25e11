//! `GET /events`: the messages of channels as server-sent events.
//!
//! The response stays with actix, whose buffers cost more memory than a WebSocket does. It is for
//! clients that cannot use WebSockets.

use crate::connection::{ConnectionCommand, HubSource, KeepAlive};
use crate::connections::ConnectionPermit;
use crate::http::error::ApiError;
use crate::http::guarded_stream::RequestPacing;
use crate::http::origin;
use crate::http::query::{self, Query};
use crate::session::{SubscriptionEvent, Subscriptions};
use crate::worker::Worker;
use actix_web::http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::Stream;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use warren_observe::events::Event;
use warren_observe::labels::Transport;
use warren_observe::phase::Phase;
use warren_protocol::encoded::write_data;
use warren_protocol::websocket::CloseReason;

/// The cursor of a browser that reconnects.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Keeps nginx from buffering events.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Bytes of events handed to actix at a time.
const CHUNK: usize = 32 << 10;
/// Comment that keeps proxies from closing an idle connection.
const HEARTBEAT: &[u8] = b":\n\n";

/// Starts an event stream.
pub async fn events(request: HttpRequest, query: Query) -> Result<HttpResponse, ApiError> {
    let worker = Worker::of(&request);
    let result = start(&request, query, &worker);
    if let Err(error) = &result {
        worker.state.reporter.emit(Event::HandshakeRefused { cause: error.handshake_refusal() });
    }
    result
}

fn start(
    request: &HttpRequest,
    query: Query,
    worker: &Rc<Worker>,
) -> Result<HttpResponse, ApiError> {
    let state = &worker.state;
    let origin = origin::check(&state.config.allowed_origins, request.headers())?;
    let mut subscribe = query::subscribe_request(query, |_, _| Ok(()))?.or_default_channel();
    if let Some(id) = last_event_id(request.headers()) {
        subscribe.after = Some(id);
    }
    if *state.phase.borrow() >= Phase::Draining {
        return Err(ApiError::ShuttingDown);
    }
    let permit = state.connections.acquire_stream().ok_or(ApiError::TooManyConnections)?;
    permit.opened();
    let mut subscriptions = Subscriptions::new(worker, KeepAlive::Heartbeats);
    subscriptions.subscribe((), subscribe);
    let stream = EventStream {
        subscriptions,
        pacing: RequestPacing::of(request),
        ready_sent: false,
        ended: false,
        close_reason: None,
        _permit: permit,
    };
    let mut response = HttpResponse::Ok();
    origin::allow(&mut response, origin);
    Ok(response
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((BUFFERING, HeaderValue::from_static("no")))
        .streaming(stream))
}

fn last_event_id(headers: &HeaderMap) -> Option<String> {
    let id = std::str::from_utf8(headers.get(LAST_EVENT_ID)?.as_bytes()).ok()?;
    (!id.is_empty()).then(|| id.to_owned())
}

/// The body of the response: events as they come.
struct EventStream {
    subscriptions: Subscriptions<()>,
    pacing: Option<Rc<RequestPacing>>,
    /// The ready event was sent. Nothing is sent before it.
    ready_sent: bool,
    ended: bool,
    /// Why this side ended the stream, if it did.
    close_reason: Option<CloseReason>,
    _permit: ConnectionPermit,
}

impl EventStream {
    fn end(&mut self, reason: CloseReason) {
        self.ended = true;
        self.close_reason = Some(reason);
    }

    /// Tells the client of a gap, if there is one.
    fn write_gap(&self, out: &mut Vec<u8>) {
        if self.subscriptions.handle().take_gap() {
            out.extend_from_slice(b"event: gap\n");
            write_data(out, Worker::gap_json().as_bytes());
            out.push(b'\n');
        }
    }

    /// Writes what the subscriptions have to send, then the messages in the hub.
    fn write(&mut self, context: &mut Context<'_>, out: &mut Vec<u8>) {
        let mut replayed = 0;
        while out.len() < CHUNK {
            let Poll::Ready(event) = self.subscriptions.poll(context) else { break };
            match event {
                SubscriptionEvent::Subscribed((), result) => {
                    out.extend_from_slice(b"event: ready\n");
                    if let Some(cursor) = &result.cursor {
                        out.extend_from_slice(format!("id: {cursor}\n").as_bytes());
                    }
                    let replica = &self.subscriptions.worker().state.config.replica.0;
                    write_data(out, result.ready_json(replica).as_bytes());
                    out.push(b'\n');
                    self.ready_sent = true;
                    self.write_gap(out);
                }
                SubscriptionEvent::Message(message) => {
                    out.extend_from_slice(message.event());
                    replayed += 1;
                }
                SubscriptionEvent::Failed(reason) => return self.end(reason),
            }
        }
        let full = out.len() >= CHUNK;
        if full {
            self.subscriptions.release_buffers();
        }
        let HubSource { hub, subscriber } = self.subscriptions.source();
        let mut hub = hub.borrow_mut();
        let mut live = 0;
        let peeked = hub.peek(subscriber, |message| {
            if !full {
                out.extend_from_slice(message.event());
                live += 1;
            }
            out.len() < CHUNK && !full
        });
        hub.advance(subscriber, live);
        drop(hub);
        if peeked.is_err() {
            // The client reconnects with the id that it saw last.
            self.end(CloseReason::TooSlow);
        }
        let deliveries = replayed + live;
        if deliveries > 0 {
            self.subscriptions.worker().counters.written(1, deliveries, out.len());
        }
    }
}

impl Stream for EventStream {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // A client that shuts down its side of the socket is taken to be gone.
        self.ended |= self.pacing.as_ref().is_some_and(|pacing| pacing.input_ended());
        if self.ended {
            return Poll::Ready(None);
        }
        let HubSource { hub, subscriber } = self.subscriptions.source();
        hub.borrow_mut().set_waker(subscriber, context.waker());
        let mut out = Vec::new();
        if self.ready_sent {
            self.write_gap(&mut out);
        }
        self.write(context, &mut out);
        match self.subscriptions.handle().take_command() {
            Some(ConnectionCommand::Ping) => out.extend_from_slice(HEARTBEAT),
            Some(ConnectionCommand::Drain { retry_hint_ms }) => {
                out.extend_from_slice(format!("retry: {retry_hint_ms}\n\n").as_bytes());
                self.end(CloseReason::Restart);
            }
            Some(ConnectionCommand::Close(reason)) => self.end(reason),
            Some(ConnectionCommand::Abort) => self.ended = true,
            None => {}
        }
        match (out.is_empty(), self.ended) {
            (false, _) => Poll::Ready(Some(Ok(out.into()))),
            (true, true) => Poll::Ready(None),
            (true, false) => Poll::Pending,
        }
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        let reporter = &self.subscriptions.worker().state.reporter;
        reporter.connection_closed(Transport::Sse, self.close_reason);
    }
}
