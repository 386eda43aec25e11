//! What is declared on the broker: a fanout exchange, and a queue that lives as long as its reader.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

/// Bytes that wait for a replica before the oldest are dropped. Dropping at the head, never refusing:
/// one full replica must not make publishers send again what the others have delivered.
const QUEUE_BYTES: i64 = 64 << 20;

/// The broker refused what was declared; the text names both what is there and what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{asked}: {source}")]
pub(super) struct TopologyError {
    asked: String,
    source: lapin::Error,
}

/// Declares the exchange, as the 40-line Node server does.
pub(super) async fn declare_exchange(channel: &Channel, name: &str) -> Result<(), TopologyError> {
    let options = ExchangeDeclareOptions { durable: false, ..ExchangeDeclareOptions::default() };
    channel
        .exchange_declare(name.into(), ExchangeKind::Fanout, options, FieldTable::default())
        .await
        .map_err(|source| TopologyError {
            asked: format!(
                "cannot declare exchange '{name}' with type 'fanout' and durable 'false' \
                 (another program declared it otherwise? delete it, or set WARREN_EXCHANGE)"
            ),
            source,
        })
}

/// Declares and binds a queue for this connection alone; its name.
pub(super) async fn declare_queue(
    channel: &Channel,
    exchange: &str,
) -> Result<String, TopologyError> {
    let failed = |source| TopologyError {
        asked: format!("cannot declare a queue bound to exchange '{exchange}'"),
        source,
    };
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(QUEUE_BYTES));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("drop-head".into()));
    let queue = channel.queue_declare("".into(), options, arguments).await.map_err(failed)?;
    let name = queue.name().clone();
    channel
        .queue_bind(
            name.clone(),
            exchange.into(),
            "".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .map_err(failed)?;
    Ok(name.to_string())
}
