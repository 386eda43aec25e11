//! `GET /messages`: what was said, page by page, with the ids of messages as cursors.

use crate::http::error::ApiError;
use crate::http::origin;
use crate::http::query::{self, Query};
use crate::session::resume::{Replay, ReplayError, ReplayItem, ResumeFailure, Resumed, resume};
use crate::session::subscriptions::SubscribeRequest;
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

/// Messages of a page.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;
/// Bytes of a page, beyond which it ends with the message that it has come to.
const MAX_BYTES: usize = 1 << 20;

/// The messages behind the one that the client has, or all from the oldest on.
pub async fn page(request: HttpRequest, query: Query) -> Result<HttpResponse, ApiError> {
    let worker = Worker::of(&request);
    let origin = origin::check(&worker.state.config.allowed_origins, request.headers())?;
    let mut limit = DEFAULT_LIMIT;
    let wish = query::wish(query, |name, value| {
        if name == "limit" {
            limit = query::number(name, value)?;
        }
        Ok(())
    })?;
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::BadRequest(format!("limit: 1 to {MAX_LIMIT} messages")));
    }
    let wish = wish.or_lobby();
    let mut page = HistoryPage { limit, messages: Vec::new(), bytes: 0, more: false };
    let lost = match &wish.after {
        Some(id) => page.follow(&worker, &wish, resume(worker.clone(), id).await?).await?,
        None => page.begin(&worker, &wish).await?,
    };
    let mut response = HttpResponse::Ok();
    origin::allow(&mut response, origin);
    Ok(response
        .content_type("application/json")
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(page.into_body(lost)))
}

struct HistoryPage {
    limit: usize,
    messages: Vec<Arc<EncodedMessage>>,
    bytes: usize,
    /// There is at least one more.
    more: bool,
}

impl HistoryPage {
    /// Takes a message, if there is room; whether there was.
    fn take(&mut self, message: &Arc<EncodedMessage>) -> bool {
        if self.messages.len() >= self.limit || self.bytes >= MAX_BYTES {
            self.more = true;
            return false;
        }
        self.bytes += message.frame.len();
        self.messages.push(message.clone());
        true
    }

    /// From the oldest that is kept.
    async fn begin(
        &mut self,
        worker: &Rc<Worker>,
        wish: &SubscribeRequest,
    ) -> Result<Option<ResumeFailure>, ApiError> {
        let (beginning, kept_from) = {
            let hub = worker.hub.borrow();
            (hub.epoch_start(), hub.complete_from())
        };
        let Some(replays) = &worker.state.replays else {
            self.remember(worker, wish, ReadFrom::At(beginning));
            return Ok(kept_from.is_none().then_some(ResumeFailure::Live));
        };
        let Some(head) = *replays.log().head().borrow() else {
            return Err(LogError("this replica has not begun to read it".to_owned()).into());
        };
        let first = replays.log().first().await?.unwrap_or(head.position);
        let resumed = Resumed::Log(Replay::new(worker, replays, first, head.epoch));
        self.follow(worker, wish, resumed).await
    }

    /// From where a client has got to.
    async fn follow(
        &mut self,
        worker: &Rc<Worker>,
        wish: &SubscribeRequest,
        resumed: Resumed,
    ) -> Result<Option<ResumeFailure>, ApiError> {
        let place = match resumed {
            Resumed::Failed(lost) => return Ok(Some(lost)),
            Resumed::Memory(place) => Some(place),
            Resumed::Log(replay) => match self.replay(worker, wish, replay).await {
                Ok(place) => place,
                Err(ReplayError::Overtaken) => {
                    self.messages.clear();
                    return Ok(Some(ResumeFailure::Expired));
                }
                Err(ReplayError::Unreadable(error)) => return Err(error.into()),
            },
        };
        if let Some(place) = place {
            self.remember(worker, wish, ReadFrom::At(place));
        }
        Ok(None)
    }

    /// From the log; where the memory goes on, if that is reached.
    async fn replay(
        &mut self,
        worker: &Rc<Worker>,
        wish: &SubscribeRequest,
        mut replay: Replay,
    ) -> Result<Option<Sequence>, ReplayError> {
        loop {
            match poll_fn(|context| replay.poll(worker, &wish.channels, context)).await? {
                ReplayItem::Joined(place) => return Ok(Some(place)),
                ReplayItem::Message(message) if self.take(&message) => {}
                ReplayItem::Message(_) => return Ok(None),
            }
        }
    }

    /// From memory.
    fn remember(&mut self, worker: &Worker, wish: &SubscribeRequest, start: ReadFrom) {
        let mut hub = worker.hub.borrow_mut();
        let reader = hub.open();
        for channel in &wish.channels {
            hub.subscribe(reader, channel, start);
        }
        // It has only just begun to read.
        let _ = hub.peek(reader, |message| self.take(message));
        hub.close(reader);
    }

    fn into_body(self, lost: Option<ResumeFailure>) -> Body {
        let reason = lost.map(|lost| format!(",\"reason\":\"{}\"", lost.code()));
        let (recovered, more, reason) = (lost.is_none(), self.more, reason.unwrap_or_default());
        let end = format!("],\"recovered\":{recovered},\"more\":{more}{reason}}}");
        let commas = self.messages.len().saturating_sub(1);
        let messages: usize = self.messages.iter().map(|message| message.json().len()).sum();
        let size = (BEGINNING.len() + messages + commas + end.len()) as u64;
        Body { size, begun: false, messages: self.messages.into_iter(), end }
    }
}

const BEGINNING: &[u8] = b"{\"messages\":[";

/// A page on its way out, message by message: whoever does not read it costs no copy of it.
struct Body {
    size: u64,
    begun: bool,
    messages: IntoIter<Arc<EncodedMessage>>,
    end: String,
}

impl MessageBody for Body {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.size)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let begun = mem::replace(&mut self.begun, true);
        let before: &[u8] = if begun { b"," } else { BEGINNING };
        let piece = match self.messages.next() {
            Some(message) => [before, message.json()].concat(),
            None if self.end.is_empty() => return Poll::Ready(None),
            None => {
                [if begun { b"" } else { BEGINNING }, mem::take(&mut self.end).as_bytes()].concat()
            }
        };
        Poll::Ready(Some(Ok(piece.into())))
    }
}
