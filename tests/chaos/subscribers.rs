//! Subscribers that resume with the id of their last message, on any replica.

use crate::connection::{Received, SubscriberConnection, Transport};
use crate::ledger::{DeliveryMode, Ledger};
use crate::publishers;
use fastrand::Rng;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// Transports of the subscribers of one deployment.
pub const TRANSPORTS: [Transport; 11] = [
    Transport::Plain,
    Transport::Plain,
    Transport::Plain,
    Transport::Plain,
    Transport::V1,
    Transport::V1,
    Transport::Events,
    Transport::Events,
    Transport::Events,
    Transport::Pages,
    Transport::Pages,
];
/// Longest time connected and longest time away, in milliseconds. Every fourth time a subscriber is away for so long
/// that the history no longer has the messages that it missed.
const STAY: u64 = 30_000;
const AWAY: u64 = 2_500;
const FAR_AWAY: std::ops::Range<u64> = 8_000..15_000;

/// Receives messages until the test ends. `here` counts subscribers that have connected for the first time.
pub async fn follow(
    ledger: Rc<Ledger>,
    transport: Transport,
    addr: SocketAddr,
    mut rng: Rng,
    here: Rc<watch::Sender<usize>>,
) {
    let me = ledger.subscriber();
    let mut after: Option<String> = None;
    let mut is_new = true;
    loop {
        let mut connection =
            match SubscriberConnection::open(transport, addr, after.as_deref()).await {
                Ok(connection) => connection,
                Err(refused) => {
                    ledger.refused(&refused.with);
                    let pause = Duration::from_millis(rng.u64(100..600));
                    sleep(refused.retry_after.unwrap_or(pause)).await;
                    continue;
                }
            };
        ledger.arrived(me);
        if std::mem::take(&mut is_new) {
            here.send_modify(|here| *here += 1);
        } else if !connection.recovered {
            ledger.gap(me);
        }
        if connection.cursor.is_some() {
            after = connection.cursor.take();
        }
        let leaves = Instant::now() + Duration::from_millis(rng.u64(STAY / 6..STAY));
        loop {
            match connection.next().await {
                Received::Message(message) => {
                    let id = message["id"].as_str().expect("an id");
                    after = Some(id.to_owned());
                    if let Some(number) = publishers::number(&message["text"]) {
                        ledger.received(me, number, id);
                    }
                }
                Received::Gap => ledger.gap(me),
                Received::Ended => break,
            }
            if Instant::now() > leaves && !ledger.is_calm() {
                drop(connection);
                let away = if rng.u8(..4) == 0 { rng.u64(FAR_AWAY) } else { rng.u64(..AWAY) };
                let _ = timeout(Duration::from_millis(away), ledger.becomes_calm()).await;
                break;
            }
        }
    }
}

/// True if a delivery mode has the transport: with `live` no page continues after another.
pub fn reads(delivery_mode: DeliveryMode, transport: Transport) -> bool {
    delivery_mode == DeliveryMode::Log || transport != Transport::Pages
}
