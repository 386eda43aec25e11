//! AMQP message ids of replicas: the origin, which names the publishing process, and a number that rises.

use std::sync::Arc;

/// Message id of this process's message with this number.
pub(crate) fn message_id(origin: &str, number: u64) -> String {
    format!("{origin}-{number:x}")
}

/// Origin and number in a replica's message id.
pub(crate) fn origin_of(message_id: &str) -> Option<(&str, u64)> {
    let (origin, number) = message_id.rsplit_once('-')?;
    Some((origin, u64::from_str_radix(number, 16).ok()?))
}

/// Origin of this process. Another run of the same replica has another.
pub(crate) fn new_origin(replica: &str) -> Arc<str> {
    format!("{replica}.{:012x}", fastrand::u64(..1 << 48)).into()
}
