//! AMQP message ids of replicas: an origin, which names the publishing process, and an ascending number.

use std::sync::Arc;

/// A message of this process that the consumer has read.
#[derive(Debug)]
pub(crate) struct ReadBack {
    pub(crate) number: u64,
    /// Id for clients; `None` for a duplicate of a message whose id is not known.
    pub(crate) id: Option<Arc<str>>,
}

/// Origin for this process. Each run of a replica has a different one.
pub(crate) fn new_origin(replica: &str) -> Arc<str> {
    format!("{replica}.{:012x}", fastrand::u64(..1 << 48)).into()
}

/// Message id for the number `number` of an origin.
pub(crate) fn message_id(origin: &str, number: u64) -> String {
    format!("{origin}-{number:x}")
}

/// Splits a replica's message id into origin and number.
pub(crate) fn parse_message_id(message_id: &str) -> Option<(&str, u64)> {
    let (origin, number) = message_id.rsplit_once('-')?;
    Some((origin, u64::from_str_radix(number, 16).ok()?))
}
