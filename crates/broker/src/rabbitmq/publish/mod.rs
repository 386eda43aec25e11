//! Publishing to RabbitMQ: sessions of the publisher, and the queue of accepted messages.

pub(crate) mod publisher;
pub(crate) mod queue;
