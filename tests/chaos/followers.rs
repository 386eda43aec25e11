//! Clients that must receive every number. They disconnect, and resume on any replica with the last id that
//! they have.

use crate::ledger::{DeliveryMode, Ledger};
use crate::publishers;
use crate::subscriber::{Received, Subscriber, Transport};
use fastrand::Rng;
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// The followers of a replica set.
pub const FOLLOWERS: [Transport; 11] = [
    Transport::PlainWebSocket,
    Transport::PlainWebSocket,
    Transport::PlainWebSocket,
    Transport::PlainWebSocket,
    Transport::V1,
    Transport::V1,
    Transport::Sse,
    Transport::Sse,
    Transport::Sse,
    Transport::Polling,
    Transport::Polling,
];
/// Longest time that a follower remains connected, in milliseconds.
const MAX_CONNECTED: u64 = 30_000;
/// Longest time that a follower is usually disconnected, in milliseconds.
const MAX_DISCONNECTED: u64 = 2_500;
/// Every fourth time, a follower is disconnected for so long that the history no longer has all that it
/// missed. In milliseconds.
const LONG_DISCONNECTED: Range<u64> = 8_000..15_000;

/// Receives numbers, without end. `connected` counts followers that have connected for the first time.
pub async fn follow(
    ledger: Rc<Ledger>,
    transport: Transport,
    addr: SocketAddr,
    mut rng: Rng,
    connected: Rc<watch::Sender<usize>>,
) {
    let follower = ledger.add_follower();
    let mut cursor: Option<String> = None;
    let mut is_new = true;
    loop {
        let mut subscriber = match Subscriber::connect(transport, addr, cursor.as_deref()).await {
            Ok(subscriber) => subscriber,
            Err(error) => {
                ledger.record_error(&error.reason);
                let pause = Duration::from_millis(rng.u64(100..600));
                sleep(error.retry_after.unwrap_or(pause)).await;
                continue;
            }
        };
        ledger.record_connected(follower);
        if std::mem::take(&mut is_new) {
            connected.send_modify(|connected| *connected += 1);
        } else if !subscriber.recovered {
            ledger.record_gap(follower);
        }
        if subscriber.cursor.is_some() {
            cursor = subscriber.cursor.take();
        }
        let connected_for = rng.u64(MAX_CONNECTED / 6..MAX_CONNECTED);
        let disconnect_at = Instant::now() + Duration::from_millis(connected_for);
        loop {
            match subscriber.next().await {
                Received::Message(message) => {
                    let id = message["id"].as_str().expect("an id");
                    cursor = Some(id.to_owned());
                    if let Some(number) = publishers::number(&message["text"]) {
                        ledger.record_received(follower, number, id);
                    }
                }
                Received::Gap => ledger.record_gap(follower),
                Received::Ended => break,
            }
            if Instant::now() > disconnect_at && !ledger.must_stay_connected() {
                drop(subscriber);
                let pause = match rng.u8(..4) {
                    0 => rng.u64(LONG_DISCONNECTED),
                    _ => rng.u64(..MAX_DISCONNECTED),
                };
                let _ = timeout(Duration::from_millis(pause), ledger.reconnect_requested()).await;
                break;
            }
        }
    }
}

/// True if a transport can be used with a delivery mode: `live` has no messages to request.
pub fn is_supported(delivery_mode: DeliveryMode, transport: Transport) -> bool {
    delivery_mode == DeliveryMode::Log || transport != Transport::Polling
}
