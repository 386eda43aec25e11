//! Clients that publish numbers over each transport, and record the result of each.

use crate::ledger::{DeliveryMode, Ledger};
use crate::report::NO_ANSWER;
use fastrand::Rng;
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use warren_testkit::client::{Client, Ended};
use warren_testkit::http::{Response, try_post};

/// Pause between two numbers of one publisher, in milliseconds.
const PAUSE: std::ops::Range<u64> = 60..180;
/// Limit for a handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// Limit for an answer: longer than a message may wait for RabbitMQ.
const ANSWER_LIMIT: Duration = Duration::from_secs(14);
/// Limit for publishing a number again: shorter than replicas remember a key.
const RETRY_LIMIT: Duration = Duration::from_secs(100);

#[derive(Clone, Copy)]
pub enum PublisherKind {
    /// Sends `publish` of `warren.v1` with a key, until it is confirmed.
    Command,
    /// Sends `POST /messages` with a key, until it is confirmed.
    Http,
    /// Sends a text over a plain WebSocket, once. The text is published when it comes back.
    PlainText,
}

/// The publishers of a replica set.
pub const PUBLISHERS: [PublisherKind; 6] = [
    PublisherKind::Command,
    PublisherKind::Command,
    PublisherKind::Command,
    PublisherKind::Http,
    PublisherKind::Http,
    PublisherKind::PlainText,
];

/// The number in a message, if a publisher of this program sent it.
pub fn number(text: &Value) -> Option<usize> {
    match text {
        Value::String(text) => text.strip_prefix("number ")?.split(' ').next()?.parse().ok(),
        _ => text["number"].as_u64().map(|number| number as usize),
    }
}

/// Padding of a message: mostly small, sometimes almost as large as the limit, so that messages soon leave
/// the history of replicas.
fn padding(rng: &mut Rng) -> String {
    let length = match rng.u8(..100) {
        0..8 => rng.usize(..60 << 10),
        8..20 => rng.usize(..8 << 10),
        _ => rng.usize(..300),
    };
    "x".repeat(length)
}

/// Publishes numbers, without end.
pub async fn publish(ledger: Rc<Ledger>, kind: PublisherKind, addr: SocketAddr, mut rng: Rng) {
    let mut client = None;
    loop {
        let number = ledger.add_number();
        let padding = padding(&mut rng);
        match kind {
            PublisherKind::PlainText => {
                publish_text(&ledger, &mut client, addr, number, &padding).await;
            }
            _ => {
                publish_with_key(&ledger, kind, &mut client, addr, number, &padding, &mut rng)
                    .await;
            }
        }
        sleep(Duration::from_millis(rng.u64(PAUSE))).await;
    }
}

/// Publishes a number over HTTP, and returns it when it is confirmed.
pub async fn publish_marker(ledger: &Ledger, addr: SocketAddr) -> usize {
    let number = ledger.add_number();
    let mut rng = Rng::with_seed(0);
    publish_with_key(ledger, PublisherKind::Http, &mut None, addr, number, "", &mut rng).await;
    number
}

/// Publishes a number again and again until it is confirmed.
async fn publish_with_key(
    ledger: &Ledger,
    kind: PublisherKind,
    client: &mut Option<Client>,
    addr: SocketAddr,
    number: usize,
    padding: &str,
    rng: &mut Rng,
) {
    let began = Instant::now();
    let content = json!({
        "key": format!("number {number}"),
        "text": { "number": number, "padding": padding },
    });
    while began.elapsed() < RETRY_LIMIT {
        let result = match kind {
            PublisherKind::Http => post(addr, &content).await,
            _ => send_command(client, addr, number, content.clone()).await,
        };
        match result {
            Ok(id) => {
                ledger.record_confirmed(number, id.as_deref());
                // Some are published again although they are confirmed, and must not be delivered twice.
                if rng.u8(..10) == 0 {
                    let _ = post(addr, &content).await;
                }
                return;
            }
            Err(error) => ledger.record_error(&error),
        }
        sleep(Duration::from_millis(rng.u64(50..300))).await;
    }
    ledger.record_abandoned();
}

/// Sends `POST /messages`. Returns the id of the message, if the confirmation has one.
async fn post(addr: SocketAddr, content: &Value) -> Result<Option<String>, String> {
    let answer: Result<io::Result<Response>, _> =
        timeout(ANSWER_LIMIT, try_post(addr, "/messages", &content.to_string())).await;
    match answer {
        Ok(Ok(response)) if response.status == 202 => Ok(id(&response.json())),
        // HAProxy's own responses are not JSON.
        Ok(Ok(response)) if response.header("content-type") == "application/json" => {
            Err(response.error())
        }
        Ok(Ok(response)) => Err(response.status.to_string()),
        Ok(Err(_)) => Err("disconnected".to_owned()),
        Err(_) => Err(NO_ANSWER.to_owned()),
    }
}

/// Sends the command `publish`. Returns the id of the message, if the confirmation has one.
async fn send_command(
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
    let publishing = async {
        socket
            .try_send(json!({ "publish": content }).to_string())
            .await
            .map_err(|_| "disconnected")?;
        loop {
            let frame = socket.frame().await.map_err(describe_end)?;
            if frame["published"]["ref"] == number {
                return Ok(Ok(id(&frame["published"])));
            }
            if frame["error"]["ref"] == number {
                return Ok(Err(frame["error"]["code"].as_str().unwrap_or_default().to_owned()));
            }
        }
    };
    let answer = timeout(ANSWER_LIMIT, publishing).await.unwrap_or(Err(NO_ANSWER))?;
    *client = Some(socket);
    answer
}

/// Sends a text over a plain WebSocket, and waits until it comes back.
async fn publish_text(
    ledger: &Ledger,
    client: &mut Option<Client>,
    addr: SocketAddr,
    number: usize,
    padding: &str,
) {
    let result = async {
        let mut socket = match client.take() {
            Some(socket) => socket,
            None => connect(Client::try_connect(addr, "")).await?,
        };
        let text = format!("number {number} {padding}");
        let publishing = async {
            socket.try_send(text).await.map_err(|_| "disconnected")?;
            loop {
                let frame = socket.frame().await.map_err(describe_end)?;
                if self::number(&frame["text"]) == Some(number) {
                    return Ok(Ok(id(&frame)));
                }
                if let Some(code) = frame["error"]["code"].as_str() {
                    return Ok(Err(code.to_owned()));
                }
                // With `live`, the number may be in the gap.
                if frame["gap"].is_object() && ledger.delivery_mode == DeliveryMode::Live {
                    return Ok(Err("gap".to_owned()));
                }
            }
        };
        let answer = timeout(ANSWER_LIMIT, publishing).await.unwrap_or(Err(NO_ANSWER))?;
        *client = Some(socket);
        answer
    };
    match result.await {
        Ok(id) => ledger.record_echoed(number, id.as_deref()),
        Err(error) => {
            ledger.record_error(&error);
            ledger.record_abandoned();
        }
    }
}

fn id(message: &Value) -> Option<String> {
    message["id"].as_str().map(Into::into)
}

async fn connect<E>(connecting: impl Future<Output = Result<Client, E>>) -> Result<Client, String> {
    let connected = timeout(HANDSHAKE_LIMIT, connecting).await;
    connected.map_err(|_| "handshake timed out")?.map_err(|_| "handshake failed".to_owned())
}

fn describe_end(ended: Ended) -> &'static str {
    match ended {
        Ended::Closed(1012, _) => "closed 1012",
        Ended::Closed(1013, _) => "closed 1013",
        Ended::Closed(..) => "closed",
        Ended::Broken => "disconnected",
    }
}
