//! Declaration of the topology: a fanout exchange, and one stream for all replicas (`log`) or one
//! exclusive queue for each consumer (`live`).

use crate::rabbitmq::session_error::SessionError;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind};
use std::sync::Arc;
use warren_config::{Config, DeliveryMode};
use warren_observe::events::{Event, SanitizedText};
use warren_observe::reporter::Reporter;

/// Limit of bytes in a queue, after which the oldest messages are dropped. Refusing new ones instead
/// would make publishers send again what other replicas have delivered.
const QUEUE_BYTES: i64 = 64 << 20;
/// Smallest and largest segment of the stream, in bytes. RabbitMQ deletes whole segments.
const SEGMENT: [i64; 2] = [64 << 10, 256 << 20];
/// Number of segments that make up the stream's size limit.
const SEGMENTS: i64 = 8;

/// Exchange and stream to declare.
#[derive(Clone, Debug)]
pub(crate) struct Topology {
    exchange: String,
    stream: Option<StreamSettings>,
    reporter: Arc<Reporter>,
}

#[derive(Clone, Debug)]
struct StreamSettings {
    name: String,
    /// In seconds.
    max_age: u64,
    /// Size limit; 0 is no limit.
    max_bytes: i64,
}

impl Topology {
    pub(crate) fn new(config: &Config, reporter: &Arc<Reporter>) -> Self {
        let exchange = config.exchange.0.clone();
        let stream = || StreamSettings {
            name: format!("{exchange}.log"),
            max_age: config.log_max_age.0.as_secs().max(1),
            max_bytes: i64::try_from(config.log_max_bytes.0).unwrap_or(i64::MAX),
        };
        let stream = (config.delivery == DeliveryMode::Log).then(stream);
        Self { exchange, stream, reporter: reporter.clone() }
    }

    /// Name of the stream, empty if there is none.
    pub(crate) fn stream(&self) -> &str {
        self.stream.as_ref().map_or("", |stream| &stream.name)
    }

    /// Declares what all replicas share. Returns the channel that was opened for it.
    pub(crate) async fn declare(&self, connection: &Connection) -> Result<Channel, SessionError> {
        let mut channel = connection.create_channel().await?;
        self.declare_exchange(&channel).await?;
        if let Some(stream) = &self.stream {
            if let Err(error) = declare_stream(&channel, stream).await {
                // The first replica has set the retention. Another retention is better than no service.
                if !is_retention_mismatch(&error) {
                    return Err(error);
                }
                self.reporter.emit(Event::RetentionMismatch { problem: SanitizedText::of(error) });
                channel = connection.create_channel().await?;
            }
            bind(&channel, &stream.name, &self.exchange).await?;
        }
        Ok(channel)
    }

    async fn declare_exchange(&self, channel: &Channel) -> Result<(), SessionError> {
        let durable = self.stream.is_some();
        let options = ExchangeDeclareOptions { durable, ..ExchangeDeclareOptions::default() };
        let declared = channel.exchange_declare(
            self.exchange.as_str().into(),
            ExchangeKind::Fanout,
            options,
            FieldTable::default(),
        );
        declared.await.map_err(|source| {
            let exchange = &self.exchange;
            let other_mode = if durable { "live" } else { "log" };
            SessionError::Topology {
                attempt: format!(
                    "cannot declare exchange '{exchange}' with type 'fanout' and durable '{durable}' \
                     (if it exists with other properties, delete it, set another WARREN_EXCHANGE, or \
                     set WARREN_DELIVERY={other_mode} to use it as it is)"
                ),
                source,
            }
        })
    }

    /// Declares and binds an exclusive queue. Returns its name.
    pub(crate) async fn declare_queue(&self, channel: &Channel) -> Result<String, SessionError> {
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(QUEUE_BYTES));
        arguments.insert("x-overflow".into(), AMQPValue::LongString("drop-head".into()));
        let queue = channel.queue_declare("".into(), options, arguments).await;
        let queue = queue.map_err(|source| SessionError::Topology {
            attempt: format!("cannot declare a queue for exchange '{}'", self.exchange),
            source,
        })?;
        let name = queue.name().to_string();
        bind(channel, &name, &self.exchange).await?;
        Ok(name)
    }
}

async fn declare_stream(channel: &Channel, stream: &StreamSettings) -> Result<(), SessionError> {
    let StreamSettings { name, max_age, max_bytes } = stream;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    let mut argument = |name: &str, value| {
        arguments.insert(name.into(), value);
    };
    argument("x-queue-type", AMQPValue::LongString("stream".into()));
    argument("x-max-age", AMQPValue::LongString(format!("{max_age}s").into()));
    let [smallest, largest] = SEGMENT;
    let mut segment = largest;
    if *max_bytes > 0 {
        argument("x-max-length-bytes", AMQPValue::LongLongInt(*max_bytes));
        segment = (max_bytes / SEGMENTS).clamp(smallest, largest);
    }
    argument("x-stream-max-segment-size-bytes", AMQPValue::LongLongInt(segment));
    let declared = channel.queue_declare(name.as_str().into(), options, arguments).await;
    declared.map(drop).map_err(|source| SessionError::Topology {
        attempt: format!(
            "cannot declare stream '{name}' with WARREN_LOG_MAX_AGE and WARREN_LOG_MAX_BYTES"
        ),
        source,
    })
}

/// True if the stream exists and differs only in its retention.
fn is_retention_mismatch(error: &SessionError) -> bool {
    const PRECONDITION_FAILED: u16 = 406;
    let SessionError::Topology { source, .. } = error else { return false };
    let lapin::ErrorKind::ProtocolError(error) = source.kind() else { return false };
    let text = error.get_message().as_str();
    error.get_id() == PRECONDITION_FAILED
        && ["x-max-age", "x-max-length-bytes", "x-stream-max-segment-size-bytes"]
            .iter()
            .any(|argument| text.contains(&format!("inequivalent arg '{argument}'")))
}

async fn bind(channel: &Channel, queue: &str, exchange: &str) -> Result<(), SessionError> {
    let (options, none) = (QueueBindOptions::default(), FieldTable::default());
    let bound = channel.queue_bind(queue.into(), exchange.into(), "".into(), options, none).await;
    bound.map_err(|source| SessionError::Topology {
        attempt: format!("cannot bind '{queue}' to exchange '{exchange}'"),
        source,
    })
}
