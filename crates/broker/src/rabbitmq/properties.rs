//! Typed access to the properties and headers of a delivery.

use crate::rabbitmq::control::{KEY, MESSAGE, REPEATED};
use crate::rabbitmq::message_ids::parse_message_id;
use crate::slewed_clock::SlewedClock;
use lapin::message::Delivery;
use lapin::types::AMQPValue;
use opentelemetry::trace::SpanContext;
use warren_protocol::message::MAX_KEY;
use warren_protocol::trace_context;

/// Seconds by which a publisher's clock may be ahead. A later timestamp is ignored.
const MAX_CLOCK_AHEAD: u64 = 3600;

pub(crate) fn message_id(delivery: &Delivery) -> Option<&str> {
    let id = delivery.properties.message_id().as_ref().map(|id| id.as_str());
    id.filter(|id| !id.is_empty())
}

/// Publishing process and number of a replica's message.
pub(crate) fn origin(delivery: &Delivery) -> Option<(&str, u64)> {
    let kind = delivery.properties.kind().as_ref().map(|kind| kind.as_str());
    if kind == Some(MESSAGE) { parse_message_id(message_id(delivery)?) } else { None }
}

/// The publisher's key. An invalid key is ignored.
pub(crate) fn key(delivery: &Delivery) -> Option<&str> {
    text_header(delivery, KEY).filter(|key| (1..=MAX_KEY).contains(&key.len()))
}

/// True if an earlier connection may have published the message.
pub(crate) fn is_repeated(delivery: &Delivery) -> bool {
    header(delivery, REPEATED).is_some()
}

/// True if the message may be a duplicate.
pub(crate) fn may_be_duplicate(delivery: &Delivery) -> bool {
    header(delivery, KEY).is_some() || is_repeated(delivery)
}

/// Time of publishing in seconds since the Unix epoch, if the timestamp is plausible.
pub(crate) fn published_at(delivery: &Delivery, clock: &SlewedClock) -> Option<u64> {
    delivery.properties.timestamp().filter(|time| *time <= clock.now() + MAX_CLOCK_AHEAD)
}

/// Trace context of the publisher.
pub(crate) fn trace(delivery: &Delivery) -> Option<SpanContext> {
    trace_context::parse(
        text_header(delivery, trace_context::TRACEPARENT)?,
        text_header(delivery, trace_context::TRACESTATE),
    )
}

/// Offset of an entry in its stream.
pub(crate) fn stream_offset(delivery: &Delivery) -> Option<u64> {
    match header(delivery, "x-stream-offset")? {
        AMQPValue::LongLongInt(offset) => u64::try_from(*offset).ok(),
        AMQPValue::LongUInt(offset) => Some((*offset).into()),
        AMQPValue::LongInt(offset) => u64::try_from(*offset).ok(),
        _ => None,
    }
}

fn text_header<'a>(delivery: &'a Delivery, name: &str) -> Option<&'a str> {
    match header(delivery, name)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        AMQPValue::ShortString(text) => Some(text.as_str()),
        _ => None,
    }
}

fn header<'a>(delivery: &'a Delivery, name: &str) -> Option<&'a AMQPValue> {
    delivery.properties.headers().as_ref()?.inner().get(name)
}
