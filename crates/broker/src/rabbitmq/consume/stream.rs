//! A consumer of the stream that starts at a given offset and yields entries in order.

use crate::rabbitmq::properties;
use crate::rabbitmq::session_error::SessionError;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, Consumer};
use std::time::Duration;
use tokio::time::sleep;

/// Entries that RabbitMQ sends ahead of their acknowledgement.
pub(crate) const PREFETCH: u16 = 500;
/// Longest time before an entry is acknowledged when few arrive.
const ACK_INTERVAL: Duration = Duration::from_millis(200);

/// Start of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamOffset {
    First,
    /// The last chunk, which is a batch of entries; the next entry if the stream is empty.
    Last,
    /// The next entry to be published.
    Next,
    Offset(u64),
    /// The chunk that was written at a time, in seconds since the Unix epoch.
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

#[derive(Debug)]
pub(crate) struct StreamConsumer {
    stream: String,
    channel: Channel,
    consumer: Consumer,
    /// Number of entries that are acknowledged together; `None` if none ever is.
    ack_every: Option<u16>,
    unacknowledged: u16,
    last_tag: u64,
    /// Entry that the next call of `next` returns again.
    put_back: Option<(u64, Delivery)>,
}

impl StreamConsumer {
    /// Starts a consumer on a channel of its own.
    pub(crate) async fn attach(
        connection: &Connection,
        stream: &str,
        from: StreamOffset,
        prefetch: u16,
    ) -> Result<Self, SessionError> {
        let channel = connection.create_channel().await?;
        channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-stream-offset".into(), from.argument());
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(stream.into(), "".into(), options, arguments).await?;
        Ok(Self {
            stream: stream.to_owned(),
            channel,
            consumer,
            // Acknowledging each entry separately reduces the rate by a third.
            ack_every: Some((prefetch / 10).max(1)),
            unacknowledged: 0,
            last_tag: 0,
            put_back: None,
        })
    }

    /// Starts a consumer that receives at most `count` entries, because none is acknowledged.
    pub(crate) async fn attach_limited(
        connection: &Connection,
        stream: &str,
        from: StreamOffset,
        count: u16,
    ) -> Result<Self, SessionError> {
        let consumer = Self::attach(connection, stream, from, count).await?;
        Ok(Self { ack_every: None, ..consumer })
    }

    pub(crate) async fn close(self) -> Result<(), SessionError> {
        // RabbitMQ 3.10 keeps counting a consumer whose channel is closed without a cancel.
        let tag = self.consumer.tag();
        self.channel.basic_cancel(tag, BasicCancelOptions::default()).await?;
        Ok(self.channel.close(200, "done".into()).await?)
    }

    /// The next entry, with its offset. The call implies that the entries before it have been processed.
    pub(crate) async fn next(&mut self) -> Result<(u64, Delivery), SessionError> {
        if let Some(entry) = self.put_back.take() {
            return Ok(entry);
        }
        if self.ack_every.is_some_and(|count| self.unacknowledged >= count) {
            self.acknowledge().await?;
        }
        loop {
            let delivery = tokio::select! {
                biased;
                delivery = self.consumer.next() => delivery,
                () = sleep(ACK_INTERVAL), if self.unacknowledged > 0 && self.ack_every.is_some() => {
                    self.acknowledge().await?;
                    continue;
                }
            };
            let delivery = delivery.ok_or(SessionError::Cancelled)??;
            self.last_tag = delivery.delivery_tag;
            self.unacknowledged += 1;
            let offset = properties::stream_offset(&delivery)
                .ok_or_else(|| SessionError::NotAStream(self.stream.clone()))?;
            return Ok((offset, delivery));
        }
    }

    /// Makes [`StreamConsumer::next`] return an entry again.
    pub(crate) fn put_back(&mut self, entry: (u64, Delivery)) {
        self.put_back = Some(entry);
    }

    /// Acknowledges all entries so far, which lets RabbitMQ send as many more.
    async fn acknowledge(&mut self) -> Result<(), SessionError> {
        self.channel.basic_ack(self.last_tag, BasicAckOptions { multiple: true }).await?;
        self.unacknowledged = 0;
        Ok(())
    }
}
