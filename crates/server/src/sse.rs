//! `GET /events`: what is said in channels, as server-sent events.
//!
//! The response stays with actix, whose buffers cost more than a WebSocket of ours; it is for clients
//! that have nothing better.

use crate::connection::ConnectionCommand;
use crate::connections::ConnectionPermit;
use crate::http::error::ApiError;
use crate::http::guarded_stream::RequestPacing;
use crate::http::origin;
use crate::http::query::{self, Query};
use crate::session::subscriptions::{SubscriptionEvent, Subscriptions};
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

/// Where a browser that comes back says what it has.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Keeps nginx from holding events back.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Bytes of events handed over at a time.
const CHUNK: usize = 32 << 10;
/// What keeps proxies from taking the connection for dead.
const HEARTBEAT: &[u8] = b":\n\n";

/// Begins a stream of events, or says why not.
pub async fn events(request: HttpRequest, query: Query) -> Result<HttpResponse, ApiError> {
    let worker = Worker::of(&request);
    let result = begin(&request, query, &worker);
    if let Err(error) = &result {
        worker.state.reporter.emit(Event::HandshakeRefused { cause: error.handshake_refusal() });
    }
    result
}

fn begin(
    request: &HttpRequest,
    query: Query,
    worker: &Rc<Worker>,
) -> Result<HttpResponse, ApiError> {
    let state = &worker.state;
    let allowed = origin::check(&state.config.allowed_origins, request.headers())?;
    let mut wish = query::wish(query, |_, _| Ok(()))?.or_lobby();
    if let Some(id) = last_event_id(request.headers()) {
        wish.after = Some(id);
    }
    if *state.phase.borrow() >= Phase::Draining {
        return Err(ApiError::ShuttingDown);
    }
    let permit = state.connections.acquire_stream().ok_or(ApiError::TooManyConnections)?;
    permit.opened();
    let mut listener = Subscriptions::new(worker, false);
    listener.wish((), wish);
    let events = Events {
        worker: worker.clone(),
        listener,
        line: RequestPacing::of(request),
        greeted: false,
        ended: false,
        close: None,
        _permit: permit,
    };
    let mut response = HttpResponse::Ok();
    origin::allow(&mut response, allowed);
    Ok(response
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((BUFFERING, HeaderValue::from_static("no")))
        .streaming(events))
}

fn last_event_id(headers: &HeaderMap) -> Option<String> {
    let id = std::str::from_utf8(headers.get(LAST_EVENT_ID)?.as_bytes()).ok()?;
    (!id.is_empty()).then(|| id.to_owned())
}

/// The body: events, as they come.
struct Events {
    worker: Rc<Worker>,
    listener: Subscriptions<()>,
    line: Option<Rc<RequestPacing>>,
    /// It was told what it begins with; nothing is said before that.
    greeted: bool,
    ended: bool,
    /// Why, if it was this side that ended it.
    close: Option<CloseReason>,
    _permit: ConnectionPermit,
}

impl Events {
    fn end(&mut self, close: CloseReason) {
        self.ended = true;
        self.close = Some(close);
    }

    /// That messages may be missing, if so.
    fn write_gap(&self, out: &mut Vec<u8>) {
        if self.listener.client.missed.take() {
            out.extend_from_slice(b"event: gap\n");
            write_data(out, self.worker.gap_text().as_bytes());
            out.push(b'\n');
        }
    }

    /// What the listener has to say, then what waits in the hub.
    fn write(&mut self, context: &mut Context<'_>, out: &mut Vec<u8>) {
        let mut deliveries = 0;
        while out.len() < CHUNK {
            let Poll::Ready(said) = self.listener.poll(context) else { break };
            match said {
                SubscriptionEvent::SubscribeResult((), met) => {
                    out.extend_from_slice(b"event: ready\n");
                    if let Some(cursor) = &met.cursor {
                        out.extend_from_slice(format!("id: {cursor}\n").as_bytes());
                    }
                    write_data(out, self.worker.ready(&met).as_bytes());
                    out.push(b'\n');
                    self.greeted = true;
                    self.write_gap(out);
                }
                SubscriptionEvent::Message(message) => {
                    out.extend_from_slice(message.event());
                    deliveries += 1;
                }
                SubscriptionEvent::Failed(close) => return self.end(close),
            }
        }
        let reader = self.listener.client.reader;
        let mut hub = self.worker.hub.borrow_mut();
        let mut taken = 0;
        let full = out.len() >= CHUNK;
        if full {
            self.listener.rest();
        }
        let shown = hub.peek(reader, |message| {
            if !full {
                out.extend_from_slice(message.event());
                taken += 1;
            }
            out.len() < CHUNK && !full
        });
        hub.advance(reader, taken);
        drop(hub);
        if shown.is_err() {
            // It comes back with the id that it saw last.
            self.end(CloseReason::TooSlow);
        }
        if deliveries + taken > 0 {
            self.worker.thread.written(1, deliveries + taken, out.len());
        }
    }
}

impl Stream for Events {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Nobody who still listens stops talking.
        self.ended |= self.line.as_ref().is_some_and(|line| line.has_ended());
        if self.ended {
            return Poll::Ready(None);
        }
        let client = self.listener.client.clone();
        self.worker.hub.borrow_mut().set_waker(client.reader, context.waker());
        let mut out = Vec::new();
        if self.greeted {
            self.write_gap(&mut out);
        }
        self.write(context, &mut out);
        match client.take_order() {
            Some(ConnectionCommand::Ping) => out.extend_from_slice(HEARTBEAT),
            Some(ConnectionCommand::Close(close, hint)) => {
                if let Some(hint) = hint {
                    out.extend_from_slice(format!("retry: {hint}\n\n").as_bytes());
                }
                self.end(close);
            }
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

impl Drop for Events {
    fn drop(&mut self) {
        self.worker.state.reporter.connection_closed(Transport::Sse, self.close);
    }
}
