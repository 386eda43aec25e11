//! W3C trace context, carried from a publisher through RabbitMQ as plain strings.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use std::str::FromStr;

/// Names of the HTTP headers, and of the AMQP ones.
pub const TRACEPARENT: &str = "traceparent";
pub const TRACESTATE: &str = "tracestate";

/// Bytes of a `tracestate` that are carried, as the recommendation asks at least.
const MAX_STATE: usize = 512;

/// Reads a `traceparent` of version 00 and what belongs to it. Anything else is ignored, as the
/// recommendation wants: a bad header is no reason to refuse a message.
pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<SpanContext> {
    let mut fields = traceparent.split('-');
    let (version, trace, span, flags) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let hex = |field: &str, size| {
        field.len() == size && field.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let well_formed = version == "00" && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    if !well_formed || fields.next().is_some() {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        tracestate
            .filter(|state| state.len() <= MAX_STATE)
            .and_then(|state| TraceState::from_str(state).ok())
            .unwrap_or_default(),
    );
    context.is_valid().then_some(context)
}

/// The `traceparent` of a context.
pub fn traceparent(context: &SpanContext) -> String {
    let mut text = String::with_capacity(55);
    text.push_str("00-");
    push_hex(&mut text, &context.trace_id().to_bytes());
    text.push('-');
    push_hex(&mut text, &context.span_id().to_bytes());
    text.push_str(if context.is_sampled() { "-01" } else { "-00" });
    text
}

/// Formatting takes three times as long, and every message has a context.
fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// Its `tracestate`, if it has one.
pub fn tracestate(context: &SpanContext) -> Option<String> {
    Some(context.trace_state().header()).filter(|state| !state.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_context_passes_unchanged() {
        let context = parse(PARENT, Some("a=1,b=2")).unwrap();
        assert_eq!(traceparent(&context), PARENT);
        assert_eq!(tracestate(&context).unwrap(), "a=1,b=2");
        assert_eq!(tracestate(&parse(PARENT, None).unwrap()), None);
    }

    #[test]
    fn what_is_no_context_is_ignored() {
        for bad in [
            "",
            "00",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-+1",
            "00-éaf7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            assert_eq!(parse(bad, None), None, "{bad}");
        }
        assert_eq!(tracestate(&parse(PARENT, Some("no state")).unwrap()), None);
    }
}
