//! A consumer of the stream, from a place of choice: entries in order, each with its offset.

use crate::rabbitmq::entry;
use crate::rabbitmq::session_error::SessionError;
use crate::slewed_clock::SlewedClock;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, Consumer};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Entries in flight from the broker.
pub(crate) const PREFETCH: u16 = 500;
/// Entries among which one that says when it was published is looked for.
const LOOK: u16 = 100;
/// How long the next of them may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest that a delivery waits for its acknowledgement when few come.
const ACK_AFTER: Duration = Duration::from_millis(200);

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamOffset {
    First,
    /// With the last entries that were written together; with what comes, if there are none.
    Last,
    /// With what comes.
    Next,
    Offset(u64),
    /// With what was written at that time, in seconds since 1970, or a little before.
    Time(u64),
}

impl StreamOffset {
    fn argument(self) -> AMQPValue {
        match self {
            Self::First => AMQPValue::LongString("first".into()),
            Self::Last => AMQPValue::LongString("last".into()),
            Self::Next => AMQPValue::LongString("next".into()),
            Self::Offset(offset) => {
                AMQPValue::LongLongInt(i64::try_from(offset).unwrap_or(i64::MAX))
            }
            Self::Time(seconds) => AMQPValue::Timestamp(seconds),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Stream {
    name: String,
    channel: Channel,
    consumer: Consumer,
    prefetch: u16,
    unacknowledged: u16,
    last_tag: u64,
    /// It was taken and is to be taken again.
    put_back: Option<(u64, Delivery)>,
}

impl Stream {
    /// Begins to read the stream `name`, on a channel of its own.
    pub(crate) async fn attach(
        connection: &Connection,
        name: &str,
        from: StreamOffset,
        prefetch: u16,
    ) -> Result<Self, SessionError> {
        let channel = connection.create_channel().await?;
        channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-stream-offset".into(), from.argument());
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(name.into(), "".into(), options, arguments).await?;
        let name = name.to_owned();
        Ok(Self {
            name,
            channel,
            consumer,
            prefetch,
            unacknowledged: 0,
            last_tag: 0,
            put_back: None,
        })
    }

    /// Begins to read so many entries, and no more.
    pub(crate) async fn attach_for(
        connection: &Connection,
        name: &str,
        from: StreamOffset,
        count: u16,
    ) -> Result<Self, SessionError> {
        let stream = Self::attach(connection, name, from, count).await?;
        // What is never acknowledged makes room for nothing.
        Ok(Self { prefetch: u16::MAX, ..stream })
    }

    /// Reads no more.
    pub(crate) async fn close(self) -> Result<(), SessionError> {
        // RabbitMQ 3.10 goes on counting a consumer whose channel is closed.
        let tag = self.consumer.tag();
        self.channel.basic_cancel(tag, BasicCancelOptions::default()).await?;
        Ok(self.channel.close(200, "done".into()).await?)
    }

    /// The next entry. That it is asked for means that those before it are dealt with.
    pub(crate) async fn next(&mut self) -> Result<(u64, Delivery), SessionError> {
        if let Some(entry) = self.put_back.take() {
            return Ok(entry);
        }
        // Acknowledging each on its own costs a third of the rate.
        if self.unacknowledged >= (self.prefetch / 10).max(1) {
            self.acknowledge().await?;
        }
        loop {
            let delivery = tokio::select! {
                biased;
                delivery = self.consumer.next() => delivery,
                () = sleep(ACK_AFTER), if self.unacknowledged > 0 && self.prefetch < u16::MAX => {
                    self.acknowledge().await?;
                    continue;
                }
            };
            let delivery = delivery.ok_or(SessionError::Cancelled)??;
            self.last_tag = delivery.delivery_tag;
            self.unacknowledged += 1;
            let offset =
                offset(&delivery).ok_or_else(|| SessionError::NoStream(self.name.clone()))?;
            return Ok((offset, delivery));
        }
    }

    /// Has an entry taken again.
    pub(crate) fn put_back(&mut self, entry: (u64, Delivery)) {
        self.put_back = Some(entry);
    }

    /// Acknowledges everything so far, which lets as many more come.
    async fn acknowledge(&mut self) -> Result<(), SessionError> {
        self.channel.basic_ack(self.last_tag, BasicAckOptions { multiple: true }).await?;
        self.unacknowledged = 0;
        Ok(())
    }
}

/// Begins so far before `start` that what is read from there on is known for a second copy if it is
/// one, and has its right id. `window` is in seconds.
pub(crate) async fn look_back(
    connection: &Connection,
    name: &str,
    start: u64,
    window: u64,
    clock: &SlewedClock,
) -> Result<Stream, SessionError> {
    let mut stream = Stream::attach(connection, name, StreamOffset::Offset(start), LOOK).await?;
    let mut stamp = None;
    for _ in 0..LOOK {
        // There may be no more.
        let Ok(next) = timeout(LOOK_TIMEOUT, stream.next()).await else { break };
        stamp = entry::stamp(&next?.1, clock);
        if stamp.is_some() {
            break;
        }
    }
    stream.close().await?;
    let from = match stamp {
        Some(stamp) => StreamOffset::Time(stamp.saturating_sub(window)),
        None => StreamOffset::Offset(start.saturating_sub(entry::ANCHOR_REACH)),
    };
    let mut stream = Stream::attach(connection, name, from, PREFETCH).await?;
    if let Ok(first) = timeout(LOOK_TIMEOUT, stream.next()).await {
        let first = first?;
        if first.0 <= start {
            stream.put_back(first);
            return Ok(stream);
        }
    }
    // The broker's clock says otherwise.
    stream.close().await?;
    let from = StreamOffset::Offset(start.saturating_sub(entry::ANCHOR_REACH));
    Stream::attach(connection, name, from, PREFETCH).await
}

/// Where in the stream a delivery stands.
fn offset(delivery: &Delivery) -> Option<u64> {
    let headers = delivery.properties.headers().as_ref()?;
    match headers.inner().get("x-stream-offset")? {
        AMQPValue::LongLongInt(offset) => u64::try_from(*offset).ok(),
        AMQPValue::LongUInt(offset) => Some((*offset).into()),
        AMQPValue::LongInt(offset) => u64::try_from(*offset).ok(),
        _ => None,
    }
}
