//! One replica, as its clients see it.

use super::events::{Event, Events};
use futures_util::stream::{Stream, unfold};
use reqwest::header::HOST;
use reqwest::{Response, StatusCode};
use serde_json::json;
use std::fmt;
use std::net::SocketAddr;
use warren_client::http::{self, quote};

/// Of what a server says, so much is repeated.
const MAX_QUOTE: usize = 200;

/// Why a replica cannot be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("no address: {0}")]
    Unknown(String),
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    #[error("no answer in time")]
    Late,
    #[error("answered {status}: {1}", status = .0.as_u16())]
    Refused(StatusCode, String),
    #[error("does not answer as a replica of Warren does")]
    Foreign,
    #[error("ended the event stream")]
    Ended,
}

impl Problem {
    pub(super) fn unknown(error: std::io::Error) -> Self {
        Self::Unknown(brief(&error.to_string()))
    }

    /// Whether the same may work later.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Refused(StatusCode::SERVICE_UNAVAILABLE, _))
    }
}

impl From<reqwest::Error> for Problem {
    fn from(error: reqwest::Error) -> Self {
        // What it says itself is the address; the cause is at the bottom.
        let mut cause: &dyn std::error::Error = &error;
        while let Some(below) = cause.source() {
            cause = below;
        }
        Self::Unreachable(brief(&cause.to_string()))
    }
}

/// The beginning of a text from a replica, on one line.
fn brief(text: &str) -> String {
    quote(text, MAX_QUOTE)
}

#[derive(Clone, Debug)]
pub(super) struct Client(reqwest::Client);

impl Client {
    pub(super) fn new() -> Result<Self, Problem> {
        Ok(Self(http::client().build()?))
    }

    /// Listens to a channel at one of the addresses of `target`. When it returns, the replica sends
    /// what is said from now on.
    pub(super) async fn listen(
        &self,
        target: &str,
        address: SocketAddr,
        channel: &str,
    ) -> Result<Listener, Problem> {
        let url = format!("http://{address}/events?channel={channel}");
        let response = self.0.get(url).header(HOST, target).send().await?;
        let mut stream = Events::default();
        let mut response = expect(StatusCode::OK, response).await?;
        loop {
            if let Event::Ready(name) = next(&mut response, &mut stream).await? {
                let client = self.clone();
                let (name, target) = (brief(&name), target.to_owned());
                let replica = Replica { name, address, target, client };
                return Ok(Listener { replica, response, stream });
            }
        }
    }
}

/// Where to publish.
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

/// An open event stream.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) replica: Replica,
    response: Response,
    stream: Events,
}

impl Listener {
    /// The texts of the messages that come. It ends with a problem.
    pub(super) fn texts(self) -> impl Stream<Item = Result<String, Problem>> {
        unfold(Some((self.response, self.stream)), async |open| {
            let (mut response, mut stream) = open?;
            loop {
                match next(&mut response, &mut stream).await {
                    Ok(Event::Text(text)) => return Some((Ok(text), Some((response, stream)))),
                    Ok(_) => {}
                    Err(problem) => return Some((Err(problem), None)),
                }
            }
        })
    }
}

async fn next(response: &mut Response, stream: &mut Events) -> Result<Event, Problem> {
    loop {
        if let Some(event) = stream.pop() {
            return Ok(event);
        }
        let bytes = response.chunk().await?.ok_or(Problem::Ended)?;
        stream.push(&bytes).ok_or(Problem::Foreign)?;
    }
}

/// The response, if it has the status; else a problem with the beginning of what it says.
async fn expect(status: StatusCode, mut response: Response) -> Result<Response, Problem> {
    if response.status() == status {
        return Ok(response);
    }
    let status = response.status();
    let said = response.chunk().await.ok().flatten().unwrap_or_default();
    let said = &said[..said.len().min(MAX_QUOTE * 4)];
    Err(Problem::Refused(status, brief(&String::from_utf8_lossy(said))))
}
