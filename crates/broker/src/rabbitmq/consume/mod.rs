//! Reading from RabbitMQ: sessions of the consumer, in either delivery mode.

pub(crate) mod consumer;
pub(crate) mod delivery_handler;
pub(crate) mod live;
pub(crate) mod log;
