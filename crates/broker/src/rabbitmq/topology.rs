//! What is declared on the broker: a fanout exchange, and what it is read from. For `log` that is one
//! stream for all replicas, for `live` a queue that lives as long as its reader.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind};
use std::sync::Arc;
use warren_config::{Config, DeliveryMode};
use warren_observe::events::{Event, SanitizedText};
use warren_observe::reporter::Reporter;

/// Bytes that wait for a replica before the oldest are dropped. Dropping at the head, never refusing:
/// one full replica must not make publishers send again what the others have delivered.
const QUEUE_BYTES: i64 = 64 << 20;
/// Parts that the stream is kept in, in bytes: it is shortened by whole ones.
const SEGMENT: [i64; 2] = [64 << 10, 256 << 20];
/// Parts that the stream's limit is made of, at least.
const SEGMENTS: i64 = 8;

/// The broker refused what was declared; the text names both what is there and what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{asked}: {source}")]
pub(crate) struct TopologyError {
    asked: String,
    source: lapin::Error,
}

/// What is to be there.
#[derive(Clone, Debug)]
pub(crate) struct Topology {
    exchange: String,
    log: Option<Log>,
    reporter: Arc<Reporter>,
}

#[derive(Clone, Debug)]
struct Log {
    stream: String,
    /// In seconds.
    max_age: u64,
    /// 0: no limit.
    max_bytes: i64,
}

impl Topology {
    pub(crate) fn new(config: &Config, reporter: &Arc<Reporter>) -> Self {
        let exchange = config.exchange.0.clone();
        let log = || Log {
            stream: format!("{exchange}.log"),
            max_age: config.log_max_age.0.as_secs().max(1),
            max_bytes: i64::try_from(config.log_max_bytes.0).unwrap_or(i64::MAX),
        };
        let log = (config.delivery == DeliveryMode::Log).then(log);
        Self { exchange, log, reporter: reporter.clone() }
    }

    /// The name of the stream, empty if there is none.
    pub(crate) fn stream(&self) -> &str {
        self.log.as_ref().map_or("", |log| &log.stream)
    }

    /// Declares what all replicas share, on a new channel.
    pub(crate) async fn declare(&self, connection: &Connection) -> Result<Channel, DeclareError> {
        let mut channel = connection.create_channel().await?;
        self.declare_exchange(&channel).await?;
        if let Some(log) = &self.log {
            if let Err(error) = declare_stream(&channel, log).await {
                // Whoever came first has settled how much is kept; that it is kept matters more.
                if !has_other_retention(&error.source) {
                    return Err(error.into());
                }
                self.reporter.emit(Event::RetentionMismatch { problem: SanitizedText::of(error) });
                channel = connection.create_channel().await?;
            }
            bind(&channel, &log.stream, &self.exchange).await?;
        }
        Ok(channel)
    }

    async fn declare_exchange(&self, channel: &Channel) -> Result<(), TopologyError> {
        let durable = self.log.is_some();
        let options = ExchangeDeclareOptions { durable, ..ExchangeDeclareOptions::default() };
        let declared = channel.exchange_declare(
            self.exchange.as_str().into(),
            ExchangeKind::Fanout,
            options,
            FieldTable::default(),
        );
        declared.await.map_err(|source| {
            let exchange = &self.exchange;
            let other = if durable { "live" } else { "log" };
            TopologyError {
                asked: format!(
                    "cannot declare exchange '{exchange}' with type 'fanout' and durable '{durable}' \
                     (another program declared it otherwise? delete it, set WARREN_EXCHANGE, or set \
                     WARREN_DELIVERY={other} to share it as it is)"
                ),
                source,
            }
        })
    }

    /// Declares and binds a queue for this connection alone; its name.
    pub(crate) async fn declare_queue(&self, channel: &Channel) -> Result<String, TopologyError> {
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(QUEUE_BYTES));
        arguments.insert("x-overflow".into(), AMQPValue::LongString("drop-head".into()));
        let queue = channel.queue_declare("".into(), options, arguments).await;
        let queue = queue.map_err(|source| TopologyError {
            asked: format!("cannot declare a queue for exchange '{}'", self.exchange),
            source,
        })?;
        let name = queue.name().to_string();
        bind(channel, &name, &self.exchange).await?;
        Ok(name)
    }
}

/// Why nothing could be declared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeclareError {
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error(transparent)]
    Amqp(#[from] lapin::Error),
}

async fn declare_stream(channel: &Channel, log: &Log) -> Result<(), TopologyError> {
    let Log { stream, max_age, max_bytes } = log;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    let mut argument = |name: &str, value| {
        arguments.insert(name.into(), value);
    };
    argument("x-queue-type", AMQPValue::LongString("stream".into()));
    argument("x-max-age", AMQPValue::LongString(format!("{max_age}s").into()));
    let [least, most] = SEGMENT;
    let mut segment = most;
    if *max_bytes > 0 {
        argument("x-max-length-bytes", AMQPValue::LongLongInt(*max_bytes));
        segment = (max_bytes / SEGMENTS).clamp(least, most);
    }
    argument("x-stream-max-segment-size-bytes", AMQPValue::LongLongInt(segment));
    let declared = channel.queue_declare(stream.as_str().into(), options, arguments).await;
    declared.map(drop).map_err(|source| TopologyError {
        asked: format!("cannot declare stream '{stream}' as WARREN_LOG_MAX_AGE and _BYTES say"),
        source,
    })
}

/// Whether a stream is there that differs only in how much it keeps.
fn has_other_retention(error: &lapin::Error) -> bool {
    const PRECONDITION_FAILED: u16 = 406;
    let lapin::ErrorKind::ProtocolError(error) = error.kind() else { return false };
    let text = error.get_message().as_str();
    error.get_id() == PRECONDITION_FAILED
        && ["x-max-age", "x-max-length-bytes", "x-stream-max-segment-size-bytes"]
            .iter()
            .any(|argument| text.contains(&format!("inequivalent arg '{argument}'")))
}

async fn bind(channel: &Channel, queue: &str, exchange: &str) -> Result<(), TopologyError> {
    let (options, none) = (QueueBindOptions::default(), FieldTable::default());
    let bound = channel.queue_bind(queue.into(), exchange.into(), "".into(), options, none).await;
    bound.map_err(|source| TopologyError {
        asked: format!("cannot bind '{queue}' to exchange '{exchange}'"),
        source,
    })
}
