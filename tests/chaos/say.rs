//! Clients that publish numbers, over each transport, and know what became of them.

use crate::ledger::{Delivery, Ledger};
use crate::report::UNANSWERED;
use fastrand::Rng;
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use warren_testkit::client::{Client, Ended};
use warren_testkit::http::{Response, try_post};

/// Between two numbers of one publisher, in milliseconds.
const PACE: std::ops::Range<u64> = 60..180;
/// How long a connection may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Longer than a message may wait for RabbitMQ.
const ANSWER: Duration = Duration::from_secs(14);
/// For so long a key keeps a message from being said twice.
const KEYS: Duration = Duration::from_secs(100);

#[derive(Clone, Copy)]
pub enum Voice {
    /// `publish` of `warren.v1`, with a key, again until it is confirmed.
    Command,
    /// `POST /messages`, in the same way.
    Post,
    /// A text of a plain WebSocket, once: when it comes back, it is out.
    Text,
}

pub const OF: [Voice; 6] =
    [Voice::Command, Voice::Command, Voice::Command, Voice::Post, Voice::Post, Voice::Text];

/// The number that a message is, if it is one of ours.
pub fn number(text: &Value) -> Option<usize> {
    match text {
        Value::String(text) => text.strip_prefix("number ")?.split(' ').next()?.parse().ok(),
        _ => text["number"].as_u64().map(|number| number as usize),
    }
}

/// Mostly small, at times as large as may be: so much that the memory of replicas is soon left behind.
fn padding(rng: &mut Rng) -> String {
    let length = match rng.u8(..100) {
        0..8 => rng.usize(..60 << 10),
        8..20 => rng.usize(..8 << 10),
        _ => rng.usize(..300),
    };
    "x".repeat(length)
}

/// Says numbers for ever.
pub async fn publish(ledger: Rc<Ledger>, voice: Voice, addr: SocketAddr, mut rng: Rng) {
    let mut client = None;
    loop {
        let number = ledger.take();
        let padding = padding(&mut rng);
        match voice {
            Voice::Text => text(&ledger, &mut client, addr, number, &padding).await,
            _ => keyed(&ledger, voice, &mut client, addr, number, &padding, &mut rng).await,
        }
        sleep(Duration::from_millis(rng.u64(PACE))).await;
    }
}

/// Says one over HTTP until it is confirmed.
pub async fn fence(ledger: &Ledger, addr: SocketAddr) -> usize {
    let number = ledger.take();
    keyed(ledger, Voice::Post, &mut None, addr, number, "", &mut Rng::with_seed(0)).await;
    number
}

async fn keyed(
    ledger: &Ledger,
    voice: Voice,
    client: &mut Option<Client>,
    addr: SocketAddr,
    number: usize,
    padding: &str,
    rng: &mut Rng,
) {
    let since = Instant::now();
    let content =
        json!({ "key": format!("number {number}"), "text": { "number": number, "is": padding } });
    while since.elapsed() < KEYS {
        let said = match voice {
            Voice::Post => post(addr, &content).await,
            _ => command(client, addr, number, content.clone()).await,
        };
        match said {
            Ok(id) => {
                ledger.confirmed(number, id.as_deref());
                // Some do not trust that.
                if rng.u8(..10) == 0 {
                    let _ = post(addr, &content).await;
                }
                return;
            }
            Err(with) => ledger.refused(&with),
        }
        sleep(Duration::from_millis(rng.u64(50..300))).await;
    }
    ledger.unknown();
}

/// The id, if it was said.
async fn post(addr: SocketAddr, content: &Value) -> Result<Option<String>, String> {
    let answer: Result<io::Result<Response>, _> =
        timeout(ANSWER, try_post(addr, "/messages", &content.to_string())).await;
    match answer {
        Ok(Ok(response)) if response.status == 202 => Ok(id(&response.json())),
        // HAProxy's own answers are no JSON.
        Ok(Ok(response)) if response.header("content-type") == "application/json" => {
            Err(response.error())
        }
        Ok(Ok(response)) => Err(response.status.to_string()),
        Ok(Err(_)) => Err("disconnected".to_owned()),
        Err(_) => Err(UNANSWERED.to_owned()),
    }
}

async fn command(
    client: &mut Option<Client>,
    addr: SocketAddr,
    number: usize,
    mut content: Value,
) -> Result<Option<String>, String> {
    let mut socket = match client.take() {
        Some(socket) => socket,
        None => connect(Client::try_connect_v1(addr, "")).await?,
    };
    content["ref"] = number.into();
    let asked = async {
        socket
            .try_send(json!({ "publish": content }).to_string())
            .await
            .map_err(|_| "disconnected")?;
        loop {
            let frame = socket.frame().await.map_err(ended)?;
            if frame["published"]["ref"] == number {
                return Ok(Ok(id(&frame["published"])));
            }
            if frame["error"]["ref"] == number {
                return Ok(Err(frame["error"]["code"].as_str().unwrap_or_default().to_owned()));
            }
        }
    };
    let answer = timeout(ANSWER, asked).await.unwrap_or(Err(UNANSWERED))?;
    *client = Some(socket);
    answer
}

async fn text(
    ledger: &Ledger,
    client: &mut Option<Client>,
    addr: SocketAddr,
    number: usize,
    padding: &str,
) {
    let said = async {
        let mut socket = match client.take() {
            Some(socket) => socket,
            None => connect(Client::try_connect(addr, "")).await?,
        };
        let text = format!("number {number} {padding}");
        let asked = async {
            socket.try_send(text).await.map_err(|_| "disconnected")?;
            loop {
                let frame = socket.frame().await.map_err(ended)?;
                if self::number(&frame["text"]) == Some(number) {
                    return Ok(Ok(id(&frame)));
                }
                if let Some(code) = frame["error"]["code"].as_str() {
                    return Ok(Err(code.to_owned()));
                }
                // With `live` it may be among what is missing.
                if frame["gap"].is_object() && ledger.delivery == Delivery::Live {
                    return Ok(Err("gap".to_owned()));
                }
            }
        };
        let answer = timeout(ANSWER, asked).await.unwrap_or(Err(UNANSWERED))?;
        *client = Some(socket);
        answer
    };
    match said.await {
        Ok(id) => ledger.echoed(number, id.as_deref()),
        Err(with) => {
            ledger.refused(&with);
            ledger.unknown();
        }
    }
}

fn id(said: &Value) -> Option<String> {
    said["id"].as_str().map(Into::into)
}

async fn connect<E>(connecting: impl Future<Output = Result<Client, E>>) -> Result<Client, String> {
    let connected = timeout(HANDSHAKE, connecting).await.map_err(|_| "no greeting")?;
    connected.map_err(|_| "handshake failed".to_owned())
}

fn ended(ended: Ended) -> &'static str {
    match ended {
        Ended::Closed(1012, _) => "closed 1012",
        Ended::Closed(1013, _) => "closed 1013",
        Ended::Closed(..) => "closed",
        Ended::Broken => "disconnected",
    }
}
