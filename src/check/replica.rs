//! One replica, as its clients see it.

use super::replica_event::ReplicaEvent;
use futures_util::stream::{Stream, unfold};
use reqwest::header::HOST;
use reqwest::{Response, StatusCode};
use serde_json::json;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use warren_client::sse::{Error, Event, EventStream};
use warren_client::{http, one_line};

/// Characters of a server's text that are reported.
const MAX_QUOTE: usize = 200;
/// The largest event that is read, in bytes. Those of a check are far smaller.
const MAX_EVENT: NonZeroUsize = NonZeroUsize::new(64 << 10).expect("not zero");

/// A problem with a replica.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("no address: {0}")]
    NoAddress(String),
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    #[error("no answer in time")]
    Timeout,
    #[error("answered {status}: {1}", status = .0.as_u16())]
    Refused(StatusCode, String),
    #[error("does not answer as a replica of Warren does")]
    NotWarren,
    #[error("ended the event stream")]
    Ended,
}

impl Problem {
    pub(super) fn no_address(error: std::io::Error) -> Self {
        Self::NoAddress(brief(&error.to_string()))
    }

    /// Returns whether another attempt may succeed.
    pub(super) fn is_temporary(&self) -> bool {
        matches!(self, Self::Refused(StatusCode::SERVICE_UNAVAILABLE, _))
    }
}

impl From<reqwest::Error> for Problem {
    fn from(error: reqwest::Error) -> Self {
        // reqwest's own text is the address. The cause is at the end of the chain.
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Self::Unreachable(brief(&cause.to_string()))
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Http(error) => error.into(),
            Error::TooLarge(_) => Self::NotWarren,
            Error::Truncated => Self::Ended,
        }
    }
}

/// The beginning of a replica's text, on one line.
fn brief(text: &str) -> String {
    one_line(text, MAX_QUOTE)
}

#[derive(Clone, Debug)]
pub(super) struct Client(reqwest::Client);

impl Client {
    pub(super) fn new() -> Result<Self, Problem> {
        Ok(Self(http::client().build()?))
    }

    /// Subscribes to a channel at one address of `target`. The subscriber receives all messages that are
    /// published after this returns.
    pub(super) async fn subscribe(
        &self,
        target: &str,
        address: SocketAddr,
        channel: &str,
    ) -> Result<Subscriber, Problem> {
        let url = format!("http://{address}/events?channel={channel}");
        let response = self.0.get(url).header(HOST, target).send().await?;
        let response = expect(StatusCode::OK, response).await?;
        let mut events = EventStream::new(response, MAX_EVENT);
        loop {
            if let ReplicaEvent::Ready(name) = next(&mut events).await? {
                let client = self.clone();
                let (name, target) = (brief(&name), target.to_owned());
                return Ok(Subscriber {
                    replica: Replica { name, address, target, client },
                    events,
                });
            }
        }
    }
}

/// One replica, and the way to publish through it.
#[derive(Clone, Debug)]
pub(super) struct Replica {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    target: String,
    client: Client,
}

impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.address)
    }
}

impl Replica {
    /// Publishes a text; returns when the broker has it.
    pub(super) async fn publish(
        &self,
        channel: &str,
        text: &str,
        key: &str,
    ) -> Result<(), Problem> {
        let body = json!({ "channel": channel, "text": text, "key": key }).to_string();
        let url = format!("http://{}/messages", self.address);
        let request = self.client.0.post(url).header(HOST, &self.target).body(body);
        expect(StatusCode::ACCEPTED, request.send().await?).await?;
        Ok(())
    }
}

/// An open event stream of a replica.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) replica: Replica,
    events: EventStream,
}

impl Subscriber {
    /// The texts of the messages received, and last the problem that ended them.
    pub(super) fn texts(self) -> impl Stream<Item = Result<String, Problem>> {
        unfold(Some(self.events), async |events| {
            let mut events = events?;
            loop {
                match next(&mut events).await {
                    Ok(ReplicaEvent::Text(text)) => return Some((Ok(text), Some(events))),
                    Ok(_) => {}
                    Err(problem) => return Some((Err(problem), None)),
                }
            }
        })
    }
}

async fn next(events: &mut EventStream) -> Result<ReplicaEvent, Problem> {
    match events.next().await?.ok_or(Problem::Ended)? {
        Event::Message(message) => Ok(ReplicaEvent::parse(&message)),
        Event::Retry(_) => Ok(ReplicaEvent::Other),
    }
}

/// The response if it has this status, else a problem with the beginning of its body.
async fn expect(status: StatusCode, mut response: Response) -> Result<Response, Problem> {
    if response.status() == status {
        return Ok(response);
    }
    let status = response.status();
    let body = response.chunk().await.ok().flatten().unwrap_or_default();
    let body = &body[..body.len().min(MAX_QUOTE * 4)];
    Err(Problem::Refused(status, brief(&String::from_utf8_lossy(body))))
}
