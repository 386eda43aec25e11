//! Faults of clients.

use super::{FaultOutcome, any_slot, wait_seconds};
use crate::system::{Deployment, System};
use fastrand::Rng;
use futures_util::future::join_all;
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use warren_testkit::http::{post, try_send};
use warren_testkit::raw::{HANDSHAKE, Raw, frame};

const MAX_MESSAGE: usize = 64 << 10;
/// Clients of each kind, in each deployment.
const SLOW: usize = 30;
const HANDSHAKES: usize = 2_500;
const RECONNECTING: usize = 500;
/// Time limit until all clients are connected again.
const BACK: Duration = Duration::from_secs(30);

/// Addresses of one replica of each deployment.
fn targets(system: &System, rng: &mut Rng) -> [SocketAddr; 2] {
    system.pair(any_slot(rng)).map(|slot| slot.addr)
}

/// A WebSocket on a busy channel, with a small receive buffer.
async fn narrow(addr: SocketAddr) -> Raw {
    let handshake = HANDSHAKE.replace("/ws", "/ws?channel=much");
    let mut raw = Raw::send_first_narrow(addr, handshake.as_bytes()).await;
    raw.switched().await;
    raw
}

/// Publishes many large messages.
async fn flood(deployment: &Deployment) {
    let text = "x".repeat(60 << 10);
    let body = json!({ "channel": "much", "text": text }).to_string();
    for _ in 0..60 {
        let _ = timeout(Duration::from_secs(15), post(deployment.addr(), "/messages", &body)).await;
    }
}

pub async fn never_read(system: &System, rng: &mut Rng) -> FaultOutcome {
    for addr in targets(system, rng) {
        let _unread = join_all((0..SLOW).map(|_| narrow(addr))).await;
        join_all(system.deployments.iter().map(flood)).await;
    }
    FaultOutcome::default()
}

pub async fn read_slowly(system: &System, rng: &mut Rng) -> FaultOutcome {
    let addrs = targets(system, rng);
    let reading =
        join_all(addrs.iter().flat_map(|addr| (0..SLOW).map(|_| *addr)).map(async |addr| {
            let mut raw = narrow(addr).await;
            loop {
                sleep(Duration::from_secs(1)).await;
                if raw.stream.read_u8().await.is_err() {
                    return;
                }
            }
        }));
    tokio::select! {
        _ = reading => {}
        () = async {
            join_all(system.deployments.iter().map(flood)).await;
            wait_seconds(5).await;
        } => {}
    }
    FaultOutcome::default()
}

pub async fn garbage(system: &System, rng: &mut Rng) -> FaultOutcome {
    for addr in targets(system, rng) {
        let mut held = Vec::new();
        for n in 0..200 {
            let mut bytes: Vec<u8> = (0..rng.usize(1..2000)).map(|_| rng.u8(..)).collect();
            let whole = frame(0x81, &bytes);
            let first = match n % 4 {
                // Random bytes in place of a request.
                0 => None,
                // Half a frame, a frame of 4 GiB, and random bytes.
                1 => Some(whole[..whole.len() / 2].to_vec()),
                2 => Some(vec![0x81, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4]),
                _ => Some(std::mem::take(&mut bytes)),
            };
            let stream = match first {
                None => Raw::send_first(addr, &bytes).await.stream,
                Some(first) => {
                    let mut raw = Raw::connect(addr).await;
                    let _ = raw.stream.write_all(&first).await;
                    raw.stream
                }
            };
            held.push(stream);
        }
        wait_seconds(1).await;
    }
    FaultOutcome::default()
}

/// Connections that send only a part of their handshake.
pub async fn handshakes(system: &System, rng: &mut Rng) -> FaultOutcome {
    let mut held = Vec::new();
    for addr in targets(system, rng) {
        for n in 0..HANDSHAKES {
            let Ok(mut stream) = TcpStream::connect(addr).await else { continue };
            let half = &HANDSHAKE.as_bytes()[..n % HANDSHAKE.len()];
            let _ = stream.write_all(half).await;
            held.push(stream);
        }
    }
    wait_seconds(3).await;
    FaultOutcome::default()
}

/// Messages at the limit, one byte above, and far above it.
pub async fn too_large(system: &System, _: &mut Rng) -> FaultOutcome {
    let mut wrong = None;
    for deployment in &system.deployments {
        for (length, expected) in [(MAX_MESSAGE, 202), (MAX_MESSAGE + 1, 413), (64 << 20, 413)] {
            let body = json!({ "channel": "much", "text": "x".repeat(length) }).to_string();
            let request = format!(
                "POST /messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let answer =
                timeout(Duration::from_secs(20), try_send(deployment.addr(), &request)).await;
            match answer {
                Ok(Ok(response)) if response.status == expected => {}
                // The answer comes before the request ends, and a client that continues to write may lose it.
                Ok(Err(_)) if length > MAX_MESSAGE + 1 => {}
                other => {
                    wrong.get_or_insert(format!("{length} bytes: {other:?}"));
                }
            }
        }
        for length in [MAX_MESSAGE, MAX_MESSAGE + 1, 16 << 20] {
            let handshake = HANDSHAKE.replace("/ws", "/ws?channel=much");
            let mut raw = Raw::send_first(deployment.addr(), handshake.as_bytes()).await;
            raw.switched().await;
            let _ = raw.stream.write_all(&frame(0x81, &vec![b'x'; length])).await;
            let opcode = timeout(Duration::from_secs(20), raw.frame()).await;
            let expected = if length > MAX_MESSAGE { 8 } else { 1 };
            match opcode {
                Ok(Some((opcode, _))) if opcode == expected => {}
                Ok(None) if length > MAX_MESSAGE => {}
                other => {
                    let other = other.map(|frame| frame.map(|(opcode, _)| opcode));
                    wrong.get_or_insert(format!("a frame of {length} bytes: {other:?}"));
                }
            }
        }
    }
    FaultOutcome { wrong, ..FaultOutcome::default() }
}

/// Many clients connect at once, three times in a row.
pub async fn reconnect(system: &System, _: &mut Rng) -> FaultOutcome {
    let began = Instant::now();
    let results = join_all(system.deployments.iter().map(async |deployment| {
        let addr = deployment.addr();
        join_all((0..RECONNECTING).map(async |_| {
            for _ in 0..3 {
                connect_until_accepted(addr).await?;
            }
            Ok(())
        }))
        .await
    }))
    .await;
    let wrong = results.into_iter().flatten().find_map(Result::err);
    let late = began.elapsed() > 3 * BACK;
    FaultOutcome {
        wrong: wrong.or(late.then(|| "reconnecting takes too long".to_owned())),
        ..FaultOutcome::default()
    }
}

/// Connects until it is accepted. Only a 503 may connect_until_accepted before that.
async fn connect_until_accepted(addr: SocketAddr) -> Result<(), String> {
    loop {
        let mut stream = TcpStream::connect(addr).await.map_err(|error| error.to_string())?;
        stream.write_all(HANDSHAKE.as_bytes()).await.map_err(|error| error.to_string())?;
        let mut head = vec![0; 512];
        let reading = timeout(BACK, stream.read(&mut head)).await;
        let read = reading.map_err(|_| "no answer")?.map_err(|error| error.to_string())?;
        let head = String::from_utf8_lossy(&head[..read]);
        if head.starts_with("HTTP/1.1 101 ") {
            return Ok(());
        }
        if !head.starts_with("HTTP/1.1 503 ") {
            return Err(format!("reconnecting client got: {head}"));
        }
        sleep(Duration::from_secs(1)).await;
    }
}
