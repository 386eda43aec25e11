//! Faults that clients cause.

use super::{FaultOutcome, hold_for, random_index};
use crate::environment::Environment;
use crate::replica_set::ReplicaSet;
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

/// `WARREN_MAX_MESSAGE` of the replicas.
const MAX_MESSAGE: usize = 64 << 10;
/// Clients that do not read, or read slowly, for each replica.
const SLOW_CLIENTS: usize = 30;
/// Incomplete handshakes, for each replica.
const HANDSHAKES: usize = 2_500;
/// Clients that reconnect at once, for each replica set.
const RECONNECTING_CLIENTS: usize = 500;
/// Limit until all of them are connected.
const RECONNECT_LIMIT: Duration = Duration::from_secs(30);

/// The address of one replica of each set.
fn random_targets(environment: &Environment, rng: &mut Rng) -> [SocketAddr; 2] {
    environment.replicas_at(random_index(rng)).map(|replica| replica.addr)
}

/// Connects a WebSocket with small socket buffers to the channel of `send_large_messages`.
async fn connect_narrow(addr: SocketAddr) -> Raw {
    let handshake = HANDSHAKE.replace("/ws", "/ws?channel=large");
    let mut raw = Raw::send_first_narrow(addr, handshake.as_bytes()).await;
    raw.switched().await;
    raw
}

/// Publishes 60 large messages.
async fn send_large_messages(set: &ReplicaSet) {
    let text = "x".repeat(60 << 10);
    let body = json!({ "channel": "large", "text": text }).to_string();
    for _ in 0..60 {
        let _ = timeout(Duration::from_secs(15), post(set.addr(), "/messages", &body)).await;
    }
}

pub async fn never_read(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    for addr in random_targets(environment, rng) {
        let _unread = join_all((0..SLOW_CLIENTS).map(|_| connect_narrow(addr))).await;
        join_all(environment.sets.iter().map(send_large_messages)).await;
    }
    FaultOutcome::default()
}

pub async fn read_slowly(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    let addrs = random_targets(environment, rng);
    let reading = join_all(addrs.iter().flat_map(|addr| (0..SLOW_CLIENTS).map(|_| *addr)).map(
        async |addr| {
            let mut raw = connect_narrow(addr).await;
            loop {
                sleep(Duration::from_secs(1)).await;
                if raw.stream.read_u8().await.is_err() {
                    return;
                }
            }
        },
    ));
    tokio::select! {
        _ = reading => {}
        () = async {
            join_all(environment.sets.iter().map(send_large_messages)).await;
            hold_for(5).await;
        } => {}
    }
    FaultOutcome::default()
}

pub async fn garbage(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    for addr in random_targets(environment, rng) {
        let mut held = Vec::new();
        for n in 0..200 {
            let mut bytes: Vec<u8> = (0..rng.usize(1..2000)).map(|_| rng.u8(..)).collect();
            let complete = frame(0x81, &bytes);
            let first = match n % 4 {
                // Not an HTTP request.
                0 => None,
                // Half of a frame, a frame of 4 GiB, and random bytes.
                1 => Some(complete[..complete.len() / 2].to_vec()),
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
        hold_for(1).await;
    }
    FaultOutcome::default()
}

/// Opens connections and sends the first part of a handshake.
pub async fn incomplete_handshakes(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    let mut held = Vec::new();
    for addr in random_targets(environment, rng) {
        for n in 0..HANDSHAKES {
            let Ok(mut stream) = TcpStream::connect(addr).await else { continue };
            let part = &HANDSHAKE.as_bytes()[..n % HANDSHAKE.len()];
            let _ = stream.write_all(part).await;
            held.push(stream);
        }
    }
    hold_for(3).await;
    FaultOutcome::default()
}

/// Sends messages at the limit, one byte above it, and far above it.
pub async fn beyond_limits(environment: &Environment, _: &mut Rng) -> FaultOutcome {
    let mut violation = None;
    for set in &environment.sets {
        for (length, expected) in [(MAX_MESSAGE, 202), (MAX_MESSAGE + 1, 413), (64 << 20, 413)] {
            let body = json!({ "channel": "large", "text": "x".repeat(length) }).to_string();
            let request = format!(
                "POST /messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let response = timeout(Duration::from_secs(20), try_send(set.addr(), &request)).await;
            match response {
                Ok(Ok(response)) if response.status == expected => {}
                // The response comes before the end of the request, and a client that is still writing may
                // lose it.
                Ok(Err(_)) if length > MAX_MESSAGE + 1 => {}
                other => {
                    violation.get_or_insert(format!("{length} bytes: {other:?}"));
                }
            }
        }
        for length in [MAX_MESSAGE, MAX_MESSAGE + 1, 16 << 20] {
            let handshake = HANDSHAKE.replace("/ws", "/ws?channel=large");
            let mut raw = Raw::send_first(set.addr(), handshake.as_bytes()).await;
            raw.switched().await;
            let _ = raw.stream.write_all(&frame(0x81, &vec![b'x'; length])).await;
            let opcode = timeout(Duration::from_secs(20), raw.frame()).await;
            let expected = if length > MAX_MESSAGE { 8 } else { 1 };
            match opcode {
                Ok(Some((opcode, _))) if opcode == expected => {}
                Ok(None) if length > MAX_MESSAGE => {}
                other => {
                    let other = other.map(|frame| frame.map(|(opcode, _)| opcode));
                    violation.get_or_insert(format!("a frame of {length} bytes: {other:?}"));
                }
            }
        }
    }
    FaultOutcome { violation, ..FaultOutcome::default() }
}

/// Connects many clients at once, three times in a row.
pub async fn reconnect_at_once(environment: &Environment, _: &mut Rng) -> FaultOutcome {
    let began = Instant::now();
    let results = join_all(environment.sets.iter().map(async |set| {
        let addr = set.addr();
        join_all((0..RECONNECTING_CLIENTS).map(async |_| {
            for _ in 0..3 {
                connect_until_accepted(addr).await?;
            }
            Ok(())
        }))
        .await
    }))
    .await;
    let violation = results.into_iter().flatten().find_map(Result::err);
    let is_late = began.elapsed() > 3 * RECONNECT_LIMIT;
    FaultOutcome {
        violation: violation.or(is_late.then(|| "reconnecting took too long".to_owned())),
        ..FaultOutcome::default()
    }
}

/// Connects until the handshake is accepted. Only responses with status 503 may come before that.
async fn connect_until_accepted(addr: SocketAddr) -> Result<(), String> {
    loop {
        let mut stream = TcpStream::connect(addr).await.map_err(|error| error.to_string())?;
        stream.write_all(HANDSHAKE.as_bytes()).await.map_err(|error| error.to_string())?;
        let mut head = vec![0; 512];
        let reading = timeout(RECONNECT_LIMIT, stream.read(&mut head)).await;
        let read = reading
            .map_err(|_| "no response to a handshake")?
            .map_err(|error| error.to_string())?;
        let head = String::from_utf8_lossy(&head[..read]);
        if head.starts_with("HTTP/1.1 101 ") {
            return Ok(());
        }
        if !head.starts_with("HTTP/1.1 503 ") {
            return Err(format!("unexpected response to a handshake: {head}"));
        }
        sleep(Duration::from_secs(1)).await;
    }
}
