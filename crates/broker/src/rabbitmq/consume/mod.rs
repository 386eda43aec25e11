//! Consuming from RabbitMQ: sessions of the consumer in either delivery mode, and how entries are read.

pub(crate) mod consumer;
pub(crate) mod content_ids;
pub(crate) mod delivery_handler;
pub(crate) mod entry;
pub(crate) mod live;
pub(crate) mod log;
pub(crate) mod log_identity;
pub(crate) mod progress;
pub(crate) mod start_position;
pub(crate) mod stream;
