//! Positions in the log at which reading starts: back from the end, and back from a given entry.

use crate::rabbitmq::connection::SET_UP_TIMEOUT;
use crate::rabbitmq::consume::entry::ANCHOR_REACH;
use crate::rabbitmq::consume::stream::{PREFETCH, StreamConsumer, StreamOffset};
use crate::rabbitmq::properties;
use crate::rabbitmq::session_error::SessionError;
use crate::slewed_clock::SlewedClock;
use lapin::Connection;
use std::time::Duration;
use tokio::time::timeout;

/// Entries at the end of the log from which the size of messages is estimated.
const SAMPLE: u64 = 500;
/// Approximate memory of a message beyond its body.
const MESSAGE_OVERHEAD: u64 = 500;
/// Limit of entries that are read to fill the history of a new replica: two seconds' worth.
const MAX_TAIL: u64 = 50_000;
/// Entries among which one with a timestamp is searched.
const TIMESTAMP_SEARCH: u16 = 100;
/// Time limit for each of them to arrive.
const ENTRY_TIMEOUT: Duration = Duration::from_secs(1);

/// Number of entries before `end` that fill `memory` bytes.
pub(crate) async fn tail_len(
    connection: &Connection,
    stream: &str,
    end: u64,
    memory: u64,
) -> Result<u64, SessionError> {
    let from = StreamOffset::Offset(end.saturating_sub(SAMPLE));
    let mut consumer = StreamConsumer::attach(connection, stream, from, PREFETCH).await?;
    let (mut entries, mut bytes) = (0, 0);
    loop {
        let (offset, delivery) = timeout(SET_UP_TIMEOUT, consumer.next()).await??;
        entries += 1;
        bytes += MESSAGE_OVERHEAD + delivery.data.len() as u64;
        if offset >= end {
            break;
        }
    }
    consumer.close().await?;
    Ok((memory / (bytes / entries)).clamp(SAMPLE, MAX_TAIL))
}

/// Starts a consumer so far before `start` that entries from there on get their right ids and duplicates
/// are recognized. `window` is the time in seconds that lies between a message and its duplicate at most.
pub(crate) async fn attach_before(
    connection: &Connection,
    stream: &str,
    start: u64,
    window: u64,
    clock: &SlewedClock,
) -> Result<StreamConsumer, SessionError> {
    let by_anchor = StreamOffset::Offset(start.saturating_sub(ANCHOR_REACH));
    let from = match first_timestamp(connection, stream, start, clock).await? {
        Some(time) => StreamOffset::Time(time.saturating_sub(window)),
        None => by_anchor,
    };
    let mut consumer = StreamConsumer::attach(connection, stream, from, PREFETCH).await?;
    if let Ok(first) = timeout(ENTRY_TIMEOUT, consumer.next()).await {
        let first = first?;
        if first.0 <= start {
            consumer.put_back(first);
            return Ok(consumer);
        }
    }
    // RabbitMQ's clock differs from the timestamps, and the consumer started after `start`.
    consumer.close().await?;
    StreamConsumer::attach(connection, stream, by_anchor, PREFETCH).await
}

/// First timestamp among the entries from `start` on, if one of them has a plausible one.
async fn first_timestamp(
    connection: &Connection,
    stream: &str,
    start: u64,
    clock: &SlewedClock,
) -> Result<Option<u64>, SessionError> {
    let from = StreamOffset::Offset(start);
    let mut consumer = StreamConsumer::attach(connection, stream, from, TIMESTAMP_SEARCH).await?;
    let mut timestamp = None;
    for _ in 0..TIMESTAMP_SEARCH {
        // A timeout means that the log ends here.
        let Ok(next) = timeout(ENTRY_TIMEOUT, consumer.next()).await else { break };
        timestamp = properties::published_at(&next?.1, clock);
        if timestamp.is_some() {
            break;
        }
    }
    consumer.close().await?;
    Ok(timestamp)
}
