//! Clients that hear everything: they come back with the id that they have last, to any replica.

use crate::ledger::{Delivery, Ledger};
use crate::reader::{Heard, Reader, Transport};
use crate::say;
use fastrand::Rng;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// Those of one house.
pub const OF: [Transport; 11] = [
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
/// How long one stays at most, and how long it is away at most, in milliseconds. Every fourth time it is
/// away for so long that what it missed is no longer in memory.
const STAY: u64 = 30_000;
const AWAY: u64 = 2_500;
const FAR_AWAY: std::ops::Range<u64> = 8_000..15_000;

/// Follows for ever. `here` counts those that have come for the first time.
pub async fn follow(
    ledger: Rc<Ledger>,
    transport: Transport,
    addr: SocketAddr,
    mut rng: Rng,
    here: Rc<watch::Sender<usize>>,
) {
    let me = ledger.follower();
    let mut after: Option<String> = None;
    let mut is_new = true;
    loop {
        let mut reader = match Reader::open(transport, addr, after.as_deref()).await {
            Ok(reader) => reader,
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
        } else if !reader.recovered {
            ledger.told(me);
        }
        if reader.cursor.is_some() {
            after = reader.cursor.take();
        }
        let leaves = Instant::now() + Duration::from_millis(rng.u64(STAY / 6..STAY));
        loop {
            match reader.next().await {
                Heard::Message(message) => {
                    let id = message["id"].as_str().expect("an id");
                    after = Some(id.to_owned());
                    if let Some(number) = say::number(&message["text"]) {
                        ledger.heard(me, number, id);
                    }
                }
                Heard::Gap => ledger.told(me),
                Heard::Ended => break,
            }
            if Instant::now() > leaves && !ledger.is_calm() {
                drop(reader);
                let away = if rng.u8(..4) == 0 { rng.u64(FAR_AWAY) } else { rng.u64(..AWAY) };
                let _ = timeout(Duration::from_millis(away), ledger.calms_down()).await;
                break;
            }
        }
    }
}

/// Whether there is a use for it: with `live` there are no pages to be read on from.
pub fn reads(delivery: Delivery, transport: Transport) -> bool {
    delivery == Delivery::Log || transport != Transport::Pages
}
