//! A connection that receives messages over any transport. Every failure ends it; none panics.

use serde_json::Value;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use warren_client::websocket::{self, Refusal};
use warren_testkit::client::{Client, Ended};
use warren_testkit::events::Events;
use warren_testkit::http::{Response, try_send};

/// Limit for a handshake, including a replay.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(8);
/// Time without a message after which a connection is considered dead.
const SILENCE_LIMIT: Duration = Duration::from_secs(6);
/// Pause between two requests for messages.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    PlainWebSocket,
    V1,
    Sse,
    /// `GET /messages`, repeated.
    Polling,
}

pub enum Received {
    Message(Value),
    Gap,
    Ended,
}

/// The failure of a handshake or of a request.
pub struct ConnectError {
    /// The status, or a short description.
    pub reason: String,
    /// The time to wait, if the response has one.
    pub retry_after: Option<Duration>,
}

pub struct Subscriber {
    /// True if all missed messages follow.
    pub recovered: bool,
    /// The cursor to resume with if no message arrives.
    pub cursor: Option<String>,
    source: MessageSource,
}

enum MessageSource {
    WebSocket(Box<Client>),
    Sse(Box<Events>),
    Polling(PollingClient),
}

struct PollingClient {
    addr: SocketAddr,
    cursor: Option<String>,
    /// Received, and not yet returned.
    messages: VecDeque<Value>,
}

impl Subscriber {
    /// Connects, and resumes after a cursor.
    pub async fn connect(
        transport: Transport,
        addr: SocketAddr,
        cursor: Option<&str>,
    ) -> Result<Self, ConnectError> {
        let connecting = Self::connect_without_limit(transport, addr, cursor);
        let connected = timeout(HANDSHAKE_LIMIT, connecting).await;
        connected.unwrap_or_else(|_| Err(connect_error("handshake timed out")))
    }

    async fn connect_without_limit(
        transport: Transport,
        addr: SocketAddr,
        cursor: Option<&str>,
    ) -> Result<Self, ConnectError> {
        let query = format!("?channel=lobby&after={}", cursor.unwrap_or_default());
        let (ready, source) = match transport {
            Transport::PlainWebSocket | Transport::V1 => {
                let client = match transport {
                    Transport::V1 => Client::try_connect_v1(addr, &query).await,
                    _ => Client::try_connect(addr, &query).await,
                };
                let client = client.map_err(|error| handshake_error(&error))?;
                (client.ready.clone(), MessageSource::WebSocket(Box::new(client)))
            }
            Transport::Sse => {
                let disconnected = |_| connect_error("disconnected");
                let mut events = Events::open(addr, &query, "").await.map_err(disconnected)?;
                if events.head.status != 200 {
                    return Err(response_error(&events.head));
                }
                let ready = events.event().await.map_err(disconnected)?;
                let ready = ready.ok_or_else(|| connect_error("stream ended"))?;
                (ready.json(), MessageSource::Sse(Box::new(events)))
            }
            Transport::Polling => {
                let mut client = PollingClient {
                    addr,
                    cursor: cursor.map(Into::into),
                    messages: VecDeque::new(),
                };
                let page = client.request().await?;
                (page, MessageSource::Polling(client))
            }
        };
        let cursor = ready["cursor"].as_str().map(Into::into);
        Ok(Self { recovered: ready["recovered"] == true, cursor, source })
    }

    /// Waits for the next message, gap or end.
    pub async fn next(&mut self) -> Received {
        let next = async {
            match &mut self.source {
                MessageSource::WebSocket(client) => received(client.frame().await),
                MessageSource::Sse(events) => match events.event().await {
                    Ok(Some(event)) if event.kind == "gap" => Received::Gap,
                    Ok(Some(event)) if event.id.is_some() => Received::Message(event.json()),
                    _ => Received::Ended,
                },
                MessageSource::Polling(client) => client.next().await,
            }
        };
        timeout(SILENCE_LIMIT, next).await.unwrap_or(Received::Ended)
    }
}

fn received(frame: Result<Value, Ended>) -> Received {
    match frame {
        Ok(frame) if frame["id"].is_string() => Received::Message(frame),
        Ok(frame) if frame["gap"].is_object() => Received::Gap,
        _ => Received::Ended,
    }
}

impl PollingClient {
    /// The next message. Sends requests until there is one.
    async fn next(&mut self) -> Received {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Received::Message(message);
            }
            sleep(POLL_INTERVAL).await;
            match self.request().await {
                Err(_) => return Received::Ended,
                Ok(page) if page["recovered"] == false => {
                    // The cursor is of no use any more: the next request starts at the beginning.
                    self.cursor = None;
                    return Received::Gap;
                }
                Ok(_) => {}
            }
        }
    }

    /// Requests the messages after the last one.
    async fn request(&mut self) -> Result<Value, ConnectError> {
        let cursor = self.cursor.as_deref().unwrap_or_default();
        let request = format!(
            "GET /messages?channel=lobby&limit=1000&after={cursor} HTTP/1.1\r\nHost: {}\r\n\
             Connection: close\r\n\r\n",
            self.addr
        );
        let response = try_send(self.addr, &request).await;
        let response = response.map_err(|_| connect_error("disconnected"))?;
        if response.status != 200 {
            return Err(response_error(&response));
        }
        let page: Value = serde_json::from_str(&response.body)
            .map_err(|_| connect_error("incomplete response"))?;
        let messages = page["messages"].as_array().expect("messages");
        if let Some(last) = messages.last() {
            self.cursor = last["id"].as_str().map(Into::into);
        }
        self.messages.extend(messages.iter().cloned());
        Ok(page)
    }
}

fn connect_error(reason: &str) -> ConnectError {
    ConnectError { reason: reason.to_owned(), retry_after: None }
}

fn handshake_error(error: &websocket::ConnectError) -> ConnectError {
    let websocket::ConnectError::Refused(refusal) = error else {
        return connect_error("handshake failed");
    };
    let Refusal { status, headers, .. } = &**refusal;
    let header = headers.get("retry-after").and_then(|value| value.to_str().ok());
    ConnectError {
        reason: status.to_string(),
        retry_after: header.and_then(|value| value.parse().ok()).map(Duration::from_secs),
    }
}

fn response_error(response: &Response) -> ConnectError {
    let retry_after = response.header("retry-after").parse().ok().map(Duration::from_secs);
    ConnectError { reason: response.status.to_string(), retry_after }
}
