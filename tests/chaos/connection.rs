//! A subscriber's connection over any transport. Every failure is reported as its end.

use serde_json::Value;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Error;
use warren_testkit::client::{Client, Ended};
use warren_testkit::events::Events;
use warren_testkit::http::{Response, try_send};

/// Time limit of a handshake, including a replay from the log.
const HANDSHAKE: Duration = Duration::from_secs(8);
/// Time without a message after which a client gives up its connection.
const PATIENCE: Duration = Duration::from_secs(6);
/// Pause between two pages.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Plain,
    V1,
    Events,
    /// `GET /messages`, repeatedly.
    Pages,
}

/// Result of a read.
pub enum Received {
    Message(Value),
    Gap,
    Ended,
}

/// Reason for which a connection failed.
pub struct ConnectError {
    /// A status, or a few words.
    pub with: String,
    /// Delay that the server asked for.
    pub retry_after: Option<Duration>,
}

pub struct SubscriberConnection {
    /// True if all missed messages follow.
    pub recovered: bool,
    /// Cursor to resume after if no message comes.
    pub cursor: Option<String>,
    connection: Connection,
}

enum Connection {
    Socket(Box<Client>),
    Events(Events),
    Pages(Pages),
}

struct Pages {
    addr: SocketAddr,
    after: Option<String>,
    waiting: VecDeque<Value>,
}

impl SubscriberConnection {
    pub async fn open(
        transport: Transport,
        addr: SocketAddr,
        after: Option<&str>,
    ) -> Result<Self, ConnectError> {
        let opening = Self::try_open(transport, addr, after);
        timeout(HANDSHAKE, opening).await.unwrap_or_else(|_| Err(refused("no greeting")))
    }

    async fn try_open(
        transport: Transport,
        addr: SocketAddr,
        after: Option<&str>,
    ) -> Result<Self, ConnectError> {
        let query = format!("?channel=lobby&after={}", after.unwrap_or_default());
        let (ready, connection) = match transport {
            Transport::Plain | Transport::V1 => {
                let client = match transport {
                    Transport::V1 => Client::try_connect_v1(addr, &query).await,
                    _ => Client::try_connect(addr, &query).await,
                };
                let client = client.map_err(|error| no_socket(&error))?;
                (client.ready.clone(), Connection::Socket(Box::new(client)))
            }
            Transport::Events => {
                let lost = |_| refused("disconnected");
                let mut events = Events::open(addr, &query, "").await.map_err(lost)?;
                if events.head.status != 200 {
                    return Err(no_response(&events.head));
                }
                let ready =
                    events.event().await.map_err(lost)?.ok_or_else(|| refused("stream ended"))?;
                (ready.json(), Connection::Events(events))
            }
            Transport::Pages => {
                let mut pages =
                    Pages { addr, after: after.map(Into::into), waiting: VecDeque::new() };
                let page = pages.page().await?;
                (page, Connection::Pages(pages))
            }
        };
        let cursor = ready["cursor"].as_str().map(Into::into);
        Ok(Self { recovered: ready["recovered"] == true, cursor, connection })
    }

    pub async fn next(&mut self) -> Received {
        let next = async {
            match &mut self.connection {
                Connection::Socket(client) => frame(client.frame().await),
                Connection::Events(events) => match events.event().await {
                    Ok(Some(event)) if event.kind == "gap" => Received::Gap,
                    Ok(Some(event)) if event.id.is_some() => Received::Message(event.json()),
                    _ => Received::Ended,
                },
                Connection::Pages(pages) => pages.next().await,
            }
        };
        timeout(PATIENCE, next).await.unwrap_or(Received::Ended)
    }
}

fn frame(frame: Result<Value, Ended>) -> Received {
    match frame {
        Ok(frame) if frame["id"].is_string() => Received::Message(frame),
        Ok(frame) if frame["gap"].is_object() => Received::Gap,
        _ => Received::Ended,
    }
}

impl Pages {
    /// The next message, from the next page if necessary.
    async fn next(&mut self) -> Received {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Received::Message(message);
            }
            sleep(PAUSE).await;
            match self.page().await {
                Err(_) => return Received::Ended,
                Ok(page) if page["recovered"] == false => {
                    // Starts from the beginning, as the cursor is of no use.
                    self.after = None;
                    return Received::Gap;
                }
                Ok(_) => {}
            }
        }
    }

    /// Requests the page after the last message.
    async fn page(&mut self) -> Result<Value, ConnectError> {
        let after = self.after.as_deref().unwrap_or_default();
        let request = format!(
            "GET /messages?channel=lobby&limit=1000&after={after} HTTP/1.1\r\nHost: {}\r\n\
             Connection: close\r\n\r\n",
            self.addr
        );
        let response = try_send(self.addr, &request).await.map_err(|_| refused("disconnected"))?;
        if response.status != 200 {
            return Err(no_response(&response));
        }
        let page: Value =
            serde_json::from_str(&response.body).map_err(|_| refused("half a page"))?;
        let messages = page["messages"].as_array().expect("messages");
        if let Some(last) = messages.last() {
            self.after = last["id"].as_str().map(Into::into);
        }
        self.waiting.extend(messages.iter().cloned());
        Ok(page)
    }
}

fn refused(with: &str) -> ConnectError {
    ConnectError { with: with.to_owned(), retry_after: None }
}

fn no_socket(error: &Error) -> ConnectError {
    let Error::Http(response) = error else {
        return refused("handshake failed");
    };
    let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    ConnectError {
        with: response.status().as_u16().to_string(),
        retry_after: header.and_then(|value| value.parse().ok()).map(Duration::from_secs),
    }
}

fn no_response(response: &Response) -> ConnectError {
    let retry_after = response.header("retry-after").parse().ok().map(Duration::from_secs);
    ConnectError { with: response.status.to_string(), retry_after }
}
