//! `GET /messages`: the history of channels, page by page, with the ids of messages as cursors.

use crate::http::error::ApiError;
use crate::http::origin;
use crate::http::query::{self, Query};
use crate::session::{Replay, ReplayError, ReplayItem, ResumeFailure, Resumed, resume};
use crate::worker::Worker;
use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use std::convert::Infallible;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec::IntoIter;
use warren_broker::LogError;
use warren_hub::{ReadFrom, Sequence};
use warren_protocol::encoded::EncodedMessage;
use warren_protocol::message::Channel;

/// Messages of a page, unless the client asks for another number.
const DEFAULT_LIMIT: usize = 100;
/// Most messages that a client may ask for.
const MAX_LIMIT: usize = 1000;
/// Bytes at which a page ends, whatever its limit.
const MAX_BYTES: usize = 1 << 20;

/// Answers with the messages after the client's cursor, or from the oldest on.
pub async fn page(request: HttpRequest, query: Query) -> Result<HttpResponse, ApiError> {
    let worker = Worker::of(&request);
    let origin = origin::check(&worker.state.config.allowed_origins, request.headers())?;
    let mut limit = DEFAULT_LIMIT;
    let subscribe = query::subscribe_request(query, |name, value| {
        if name == "limit" {
            limit = query::number(name, value)?;
        }
        Ok(())
    })?;
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::BadRequest(format!("limit: 1 to {MAX_LIMIT} messages")));
    }
    let subscribe = subscribe.or_default_channel();
    let mut page = HistoryPage { limit, messages: Vec::new(), bytes: 0, more: false };
    let failure = match &subscribe.after {
        Some(id) => {
            let resumed = resume(worker.clone(), id).await?;
            page.fill_after(&worker, &subscribe.channels, resumed).await?
        }
        None => page.fill_from_oldest(&worker, &subscribe.channels).await?,
    };
    let mut response = HttpResponse::Ok();
    origin::allow(&mut response, origin);
    Ok(response
        .content_type("application/json")
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(page.into_body(failure)))
}

/// A page of messages while it is gathered.
struct HistoryPage {
    limit: usize,
    messages: Vec<Arc<EncodedMessage>>,
    bytes: usize,
    /// There is at least one more message.
    more: bool,
}

impl HistoryPage {
    /// Adds a message. False if the page is full.
    fn push(&mut self, message: &Arc<EncodedMessage>) -> bool {
        if self.messages.len() >= self.limit || self.bytes >= MAX_BYTES {
            self.more = true;
            return false;
        }
        self.bytes += message.frame.len();
        self.messages.push(message.clone());
        true
    }

    /// Adds messages from the oldest that is kept. Returns why some are missing, if they are.
    async fn fill_from_oldest(
        &mut self,
        worker: &Rc<Worker>,
        channels: &[Channel],
    ) -> Result<Option<ResumeFailure>, ApiError> {
        let (epoch_start, complete_from) = {
            let hub = worker.hub.borrow();
            (hub.epoch_start(), hub.complete_from())
        };
        let Some(replays) = &worker.state.replays else {
            self.fill_from_memory(worker, channels, epoch_start);
            return Ok(complete_from.is_none().then_some(ResumeFailure::Live));
        };
        let Some(head) = *replays.log().head().borrow() else {
            let reason = "this replica has not begun to read the log yet";
            return Err(LogError(reason.to_owned()).into());
        };
        let first = replays.log().first_position().await?.unwrap_or(head.position);
        let resumed = Resumed::Log(Replay::new(worker, replays, first, head.epoch));
        self.fill_after(worker, channels, resumed).await
    }

    /// Adds messages after a client's cursor. Returns why some are missing, if they are.
    async fn fill_after(
        &mut self,
        worker: &Rc<Worker>,
        channels: &[Channel],
        resumed: Resumed,
    ) -> Result<Option<ResumeFailure>, ApiError> {
        let sequence = match resumed {
            Resumed::Failed(failure) => return Ok(Some(failure)),
            Resumed::Memory(sequence) => Some(sequence),
            Resumed::Log(replay) => match self.fill_from_log(worker, channels, replay).await {
                Ok(sequence) => sequence,
                Err(ReplayError::Expired) => {
                    self.messages.clear();
                    return Ok(Some(ResumeFailure::Expired));
                }
                Err(ReplayError::Unreadable(error)) => return Err(error.into()),
            },
        };
        if let Some(sequence) = sequence {
            self.fill_from_memory(worker, channels, sequence);
        }
        Ok(None)
    }

    /// Adds messages from the log. Returns where the memory continues, if the replay got there.
    async fn fill_from_log(
        &mut self,
        worker: &Rc<Worker>,
        channels: &[Channel],
        mut replay: Replay,
    ) -> Result<Option<Sequence>, ReplayError> {
        loop {
            match poll_fn(|context| replay.poll(worker, channels, context)).await? {
                ReplayItem::Joined(sequence) => return Ok(Some(sequence)),
                ReplayItem::Message(message) if self.push(&message) => {}
                ReplayItem::Message(_) => return Ok(None),
            }
        }
    }

    /// Adds messages from memory.
    fn fill_from_memory(&mut self, worker: &Worker, channels: &[Channel], from: Sequence) {
        let mut hub = worker.hub.borrow_mut();
        let subscriber = hub.open();
        for channel in channels {
            hub.subscribe(subscriber, channel, ReadFrom::At(from));
        }
        // A subscriber that has just been opened cannot lag too far behind.
        let _ = hub.peek(subscriber, |message| self.push(message));
        hub.close(subscriber);
    }

    fn into_body(self, failure: Option<ResumeFailure>) -> PageBody {
        let reason = failure.map(|failure| format!(",\"reason\":\"{}\"", failure.code()));
        let (recovered, more, reason) = (failure.is_none(), self.more, reason.unwrap_or_default());
        let end = format!("],\"recovered\":{recovered},\"more\":{more}{reason}}}");
        let commas = self.messages.len().saturating_sub(1);
        let messages: usize = self.messages.iter().map(|message| message.json().len()).sum();
        let size = (START.len() + messages + commas + end.len()) as u64;
        PageBody { size, started: false, messages: self.messages.into_iter(), end }
    }
}

const START: &[u8] = b"{\"messages\":[";

/// The body of a page, written message by message: a client that does not read it holds no copy of it.
struct PageBody {
    size: u64,
    started: bool,
    messages: IntoIter<Arc<EncodedMessage>>,
    end: String,
}

impl MessageBody for PageBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.size)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let started = mem::replace(&mut self.started, true);
        let before: &[u8] = if started { b"," } else { START };
        let piece = match self.messages.next() {
            Some(message) => [before, message.json()].concat(),
            None if self.end.is_empty() => return Poll::Ready(None),
            None => {
                [if started { b"" } else { START }, mem::take(&mut self.end).as_bytes()].concat()
            }
        };
        Poll::Ready(Some(Ok(piece.into())))
    }
}
