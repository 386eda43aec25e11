//! Publishers of numbers, over each transport, that record the outcome of each.

use crate::ledger::{DeliveryMode, Ledger};
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

/// Milliseconds between two numbers of one publisher.
const PACE: std::ops::Range<u64> = 60..180;
/// Time limit of a connection attempt.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Time limit of an answer: longer than a message may wait for RabbitMQ.
const ANSWER: Duration = Duration::from_secs(14);
/// Time in which a key is certain to be remembered.
const KEYS: Duration = Duration::from_secs(100);

#[derive(Clone, Copy)]
pub enum PublisherKind {
    /// The command `publish` with a key, repeated until it is confirmed.
    Command,
    /// `POST /messages` with a key, repeated until it is confirmed.
    Post,
    /// A text over a plain WebSocket, sent once. Its echo shows that it was published.
    Text,
}

pub const KINDS: [PublisherKind; 6] = [
    PublisherKind::Command,
    PublisherKind::Command,
    PublisherKind::Command,
    PublisherKind::Post,
    PublisherKind::Post,
    PublisherKind::Text,
];

/// The number in a message, if a publisher of this test sent it.
pub fn number(text: &Value) -> Option<usize> {
    match text {
        Value::String(text) => text.strip_prefix("number ")?.split(' ').next()?.parse().ok(),
        _ => text["number"].as_u64().map(|number| number as usize),
    }
}

/// Mostly small, at times of maximum size, so that the history of replicas soon has only the last messages.
fn padding(rng: &mut Rng) -> String {
    let length = match rng.u8(..100) {
        0..8 => rng.usize(..60 << 10),
        8..20 => rng.usize(..8 << 10),
        _ => rng.usize(..300),
    };
    "x".repeat(length)
}

/// Publishes numbers until the test ends.
pub async fn publish(ledger: Rc<Ledger>, kind: PublisherKind, addr: SocketAddr, mut rng: Rng) {
    let mut client = None;
    loop {
        let number = ledger.next_number();
        let padding = padding(&mut rng);
        match kind {
            PublisherKind::Text => text(&ledger, &mut client, addr, number, &padding).await,
            _ => keyed(&ledger, kind, &mut client, addr, number, &padding, &mut rng).await,
        }
        sleep(Duration::from_millis(rng.u64(PACE))).await;
    }
}

/// Publishes one number over HTTP until it is confirmed.
pub async fn publish_marker(ledger: &Ledger, addr: SocketAddr) -> usize {
    let number = ledger.next_number();
    keyed(ledger, PublisherKind::Post, &mut None, addr, number, "", &mut Rng::with_seed(0)).await;
    number
}

async fn keyed(
    ledger: &Ledger,
    kind: PublisherKind,
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
        let outcome = match kind {
            PublisherKind::Post => post(addr, &content).await,
            _ => command(client, addr, number, content.clone()).await,
        };
        match outcome {
            Ok(id) => {
                ledger.confirmed(number, id.as_deref());
                // Some publishers repeat a confirmed message.
                if rng.u8(..10) == 0 {
                    let _ = post(addr, &content).await;
                }
                return;
            }
            Err(with) => ledger.refused(&with),
        }
        sleep(Duration::from_millis(rng.u64(50..300))).await;
    }
    ledger.abandoned();
}

/// Posts a message. Returns its id, if the answer has one.
async fn post(addr: SocketAddr, content: &Value) -> Result<Option<String>, String> {
    let answer: Result<io::Result<Response>, _> =
        timeout(ANSWER, try_post(addr, "/messages", &content.to_string())).await;
    match answer {
        Ok(Ok(response)) if response.status == 202 => Ok(id(&response.json())),
        // HAProxy's own answers are not JSON.
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
    let outcome = async {
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
                // With `live` the message may be among those that the gap stands for.
                if frame["gap"].is_object() && ledger.delivery_mode == DeliveryMode::Live {
                    return Ok(Err("gap".to_owned()));
                }
            }
        };
        let answer = timeout(ANSWER, asked).await.unwrap_or(Err(UNANSWERED))?;
        *client = Some(socket);
        answer
    };
    match outcome.await {
        Ok(id) => ledger.echoed(number, id.as_deref()),
        Err(with) => {
            ledger.refused(&with);
            ledger.abandoned();
        }
    }
}

fn id(outcome: &Value) -> Option<String> {
    outcome["id"].as_str().map(Into::into)
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
