//! A connection that listens, over any transport, through faults: whatever goes wrong is an end.

use serde_json::Value;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Error;
use warren_testkit::client::{Client, Ended};
use warren_testkit::events::Events;
use warren_testkit::http::{Response, try_send};

/// How long a handshake may take, a replay from the log included.
const HANDSHAKE: Duration = Duration::from_secs(8);
/// How long a client hears nothing before it takes its connection for dead.
const PATIENCE: Duration = Duration::from_secs(6);
/// Between two pages.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Plain,
    V1,
    Events,
    /// `GET /messages`, over and over.
    Pages,
}

/// What came.
pub enum Heard {
    Message(Value),
    Gap,
    Ended,
}

/// Why there is no connection.
pub struct Refused {
    /// A status and a code, or in a few words.
    pub with: String,
    /// How long to wait, if it was said.
    pub retry_after: Option<Duration>,
}

pub struct Reader {
    /// Whether all that was missed follows.
    pub recovered: bool,
    /// What to come back with if nothing is heard.
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

impl Reader {
    pub async fn open(
        transport: Transport,
        addr: SocketAddr,
        after: Option<&str>,
    ) -> Result<Self, Refused> {
        let opening = Self::try_open(transport, addr, after);
        timeout(HANDSHAKE, opening).await.unwrap_or_else(|_| Err(refused("no greeting")))
    }

    async fn try_open(
        transport: Transport,
        addr: SocketAddr,
        after: Option<&str>,
    ) -> Result<Self, Refused> {
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

    pub async fn next(&mut self) -> Heard {
        let next = async {
            match &mut self.connection {
                Connection::Socket(client) => frame(client.frame().await),
                Connection::Events(events) => match events.event().await {
                    Ok(Some(event)) if event.kind == "gap" => Heard::Gap,
                    Ok(Some(event)) if event.id.is_some() => Heard::Message(event.json()),
                    _ => Heard::Ended,
                },
                Connection::Pages(pages) => pages.next().await,
            }
        };
        timeout(PATIENCE, next).await.unwrap_or(Heard::Ended)
    }
}

fn frame(frame: Result<Value, Ended>) -> Heard {
    match frame {
        Ok(frame) if frame["id"].is_string() => Heard::Message(frame),
        Ok(frame) if frame["gap"].is_object() => Heard::Gap,
        _ => Heard::Ended,
    }
}

impl Pages {
    /// The next message, of the next page if need be.
    async fn next(&mut self) -> Heard {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Heard::Message(message);
            }
            sleep(PAUSE).await;
            match self.page().await {
                Err(_) => return Heard::Ended,
                Ok(page) if page["recovered"] == false => {
                    // From the beginning, as there is no way on.
                    self.after = None;
                    return Heard::Gap;
                }
                Ok(_) => {}
            }
        }
    }

    /// Asks for what is behind the last one.
    async fn page(&mut self) -> Result<Value, Refused> {
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

fn refused(with: &str) -> Refused {
    Refused { with: with.to_owned(), retry_after: None }
}

fn no_socket(error: &Error) -> Refused {
    let Error::Http(response) = error else {
        return refused("handshake failed");
    };
    let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    Refused {
        with: response.status().as_u16().to_string(),
        retry_after: header.and_then(|value| value.parse().ok()).map(Duration::from_secs),
    }
}

fn no_response(response: &Response) -> Refused {
    let retry_after = response.header("retry-after").parse().ok().map(Duration::from_secs);
    Refused { with: response.status.to_string(), retry_after }
}
