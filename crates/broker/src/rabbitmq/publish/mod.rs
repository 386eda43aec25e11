//! Publishing to RabbitMQ: the queue of accepted messages, and the sessions that publish them.

pub(crate) mod amqp_message;
pub(crate) mod inputs;
pub(crate) mod publisher;
pub(crate) mod queue;
