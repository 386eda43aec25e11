//! A client of server-sent events that expects what a replica sends.

use super::LIMIT;
use super::http::{Response, client};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use tokio::time::timeout;
use warren_client::sse::{self, EventStream};

/// Largest event, in bytes.
const MAX_EVENT: NonZeroUsize = NonZeroUsize::new(16 << 20).expect("not zero");

/// An event, or the delay before a reconnect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// `message` for the default type; empty for a delay.
    pub kind: String,
    pub id: Option<String>,
    pub data: String,
    /// Milliseconds.
    pub retry: Option<u64>,
}

impl Event {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

impl From<sse::Event> for Event {
    fn from(event: sse::Event) -> Self {
        match event {
            sse::Event::Message(sse::Message { kind, id, data }) => {
                Self { kind, id: id.map(|id| id.to_string()), data, retry: None }
            }
            sse::Event::Retry(delay) => {
                Self { retry: Some(delay.as_millis() as u64), ..Self::default() }
            }
        }
    }
}

pub struct Events {
    stream: EventStream,
    /// The response's head.
    pub head: Response,
    /// The data of the ready event, and its id.
    pub ready: Value,
    pub cursor: Option<String>,
}

impl Events {
    /// Connects and awaits the ready event. `query` is the part of the address after `/events`.
    pub async fn connect(addr: SocketAddr, query: &str) -> Self {
        Self::connect_with(addr, query, "").await
    }

    /// Connects with more header lines, each with its line end.
    pub async fn connect_with(addr: SocketAddr, query: &str, headers: &str) -> Self {
        let opening = timeout(LIMIT, Self::open(addr, query, headers)).await;
        let mut events = opening.expect("an answer in time").expect("it stays connected");
        assert_eq!(events.head.status, 200, "{:?}", events.head);
        assert!(events.head.header("content-type").starts_with("text/event-stream"));
        let ready = events.next().await.expect("an event");
        assert_eq!(ready.kind, "ready", "{ready:?}");
        events.ready = ready.json();
        events.cursor = ready.id;
        events
    }

    /// Sends the request and reads the response's head, whatever its status.
    ///
    /// # Errors
    /// Nobody listens, or the connection is lost.
    pub async fn open(addr: SocketAddr, query: &str, headers: &str) -> Result<Self, sse::Error> {
        let lines = headers.lines().filter_map(|line| line.split_once(": "));
        let headers: HeaderMap = lines
            .map(|(name, value)| {
                let name: HeaderName = name.parse().expect("a header name");
                (name, HeaderValue::from_str(value).expect("a header value"))
            })
            .collect();
        let request = client().get(format!("http://{addr}/events{query}"));
        let request = request.header("accept", "text/event-stream").headers(headers);
        let response = request.send().await?;
        let head = Response::head_of(&response);
        let stream = EventStream::new(response, MAX_EVENT);
        Ok(Self { stream, head, ready: Value::Null, cursor: None })
    }

    /// The next event; `None` when the server has ended the stream properly.
    pub async fn next(&mut self) -> Option<Event> {
        let event = timeout(LIMIT, self.event()).await.expect("an event in time");
        event.expect("it stays connected")
    }

    /// The next event, which must be a message.
    pub async fn message(&mut self) -> Value {
        let event = self.next().await.expect("a message");
        assert_eq!((event.kind.as_str(), event.retry), ("message", None), "{event:?}");
        let message = event.json();
        assert_eq!(message["id"], event.id.expect("an id"));
        message
    }

    /// The next message's text.
    pub async fn text(&mut self) -> Value {
        self.message().await["text"].clone()
    }

    /// Waits for this number of comments since the stream began; an event fails.
    pub async fn heartbeats(&mut self, count: usize) {
        let beating = async {
            while self.stream.comments() < count {
                assert_eq!(self.stream.next_received().expect("valid events"), None);
                assert!(self.stream.receive().await.expect("it stays connected"), "no end");
            }
        };
        timeout(LIMIT, beating).await.expect("comments in time");
    }

    /// The next event, however long it takes; `None` at the end.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn event(&mut self) -> Result<Option<Event>, sse::Error> {
        Ok(self.stream.next().await?.map(Event::from))
    }
}
