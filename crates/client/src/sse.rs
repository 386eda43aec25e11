//! Server-sent events over an HTTP response.

use bytes::Bytes;
use reqwest::Response;
use sse_core::{MessageEvent, SseDecoder, SseEvent};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An event with data.
    Message(Message),
    /// The delay that the server asks for before a client reconnects.
    Retry(Duration),
}

/// An event with data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The event type; `message` if the server named none.
    pub kind: String,
    /// The last event id of the stream at this event.
    pub id: Option<Arc<str>>,
    pub data: String,
}

/// The reason why a stream cannot be read any further.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the event stream failed: {0}")]
    Http(#[from] reqwest::Error),
    #[error("an event or a line is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the event stream ended within a line")]
    Truncated,
}

/// An SSE stream, decoded as it arrives.
pub struct EventStream {
    response: Response,
    decoder: SseDecoder,
    /// The part of the last chunk that is not decoded yet.
    received: Bytes,
    /// Largest line, and largest data of an event, in bytes.
    limit: usize,
    /// Bytes of the line that has not ended yet. The decoder does not store lines without a field name, and
    /// would skip an endless one for ever.
    line_len: usize,
    comments: usize,
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").field("response", &self.response).finish_non_exhaustive()
    }
}

impl EventStream {
    /// The events of a response, none larger than `limit` bytes.
    pub fn new(response: Response, limit: NonZeroUsize) -> Self {
        Self {
            response,
            decoder: SseDecoder::with_limit(limit),
            received: Bytes::new(),
            limit: limit.get(),
            line_len: 0,
            comments: 0,
        }
    }

    /// Waits for the next event; `None` at the end of the stream. Cancel safe.
    ///
    /// # Errors
    /// [`Error`]; the stream is then of no further use.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.next_received()? {
                return Ok(Some(event));
            }
            if !self.receive().await? {
                return Ok(None);
            }
        }
    }

    /// The next event among the bytes that have arrived.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn next_received(&mut self) -> Result<Option<Event>, Error> {
        match self.decoder.next(&mut self.received).transpose() {
            Ok(event) => Ok(event.map(Event::from)),
            Err(_) => Err(Error::TooLarge(self.limit)),
        }
    }

    /// Waits for more bytes; false at the end of the stream. For those who watch for
    /// [comments](Self::comments) as well: [`next`](Self::next) does it by itself.
    ///
    /// # Errors
    /// [`Error`] of the connection, or if a line is too large.
    pub async fn receive(&mut self) -> Result<bool, Error> {
        let Some(chunk) = self.response.chunk().await? else {
            return if self.line_len == 0 { Ok(false) } else { Err(Error::Truncated) };
        };
        self.scan_lines(&chunk)?;
        // Events that were not asked for stay in front.
        self.received = if self.received.is_empty() {
            chunk
        } else {
            [&self.received[..], &chunk].concat().into()
        };
        Ok(true)
    }

    /// Comment lines so far. Servers send them so that an idle stream stays open.
    pub fn comments(&self) -> usize {
        self.comments
    }

    fn scan_lines(&mut self, chunk: &[u8]) -> Result<(), Error> {
        for byte in chunk {
            if matches!(byte, b'\n' | b'\r') {
                self.line_len = 0;
                continue;
            }
            self.comments += usize::from(self.line_len == 0 && *byte == b':');
            self.line_len += 1;
            if self.line_len > self.limit {
                return Err(Error::TooLarge(self.limit));
            }
        }
        Ok(())
    }
}

impl From<SseEvent> for Event {
    fn from(event: SseEvent) -> Self {
        match event {
            SseEvent::Retry(milliseconds) => {
                Self::Retry(Duration::from_millis(milliseconds.into()))
            }
            SseEvent::Message(MessageEvent { event, data, last_event_id }) => {
                Self::Message(Message { kind: event.into_owned(), id: last_event_id, data })
            }
        }
    }
}
