//! W3C Trace Context: parses and writes `traceparent` and `tracestate`.
//!
//! The SDK's propagator is not used. It clears the random flag, which passes here, and accepts a
//! `traceparent` with a field of the wrong length or form.

use fnv::FnvHasher;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use std::hash::Hasher;
use std::str::FromStr;

/// Names of the headers, in HTTP and in AMQP.
pub const TRACEPARENT: &str = "traceparent";
pub const TRACESTATE: &str = "tracestate";

/// Maximum size of a `tracestate` that is passed on: the minimum that the recommendation requires.
const MAX_STATE: usize = 512;

/// The flags that are passed on: sampled, and random.
const FLAGS: u8 = 0b11;
/// Size of a `traceparent` of version 00. Later versions begin with the same fields.
const LENGTH: usize = 55;

/// Parses a `traceparent` with its `tracestate`. An invalid one is ignored, as the recommendation requires: it
/// is no reason to refuse a message.
pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<SpanContext> {
    let (known, more) = traceparent.split_at_checked(LENGTH)?;
    let mut fields = known.split('-');
    let (version, trace, span, flags) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let hex = |field: &str, size| {
        field.len() == size && field.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let well_formed = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    let later = version != "00" && version != "ff" && more.starts_with('-');
    if !well_formed || version == "ff" || !(more.is_empty() || later) {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()? & FLAGS),
        true,
        tracestate
            .filter(|state| state.len() <= MAX_STATE && state.bytes().all(printable))
            .and_then(|state| TraceState::from_str(state).ok())
            .unwrap_or_default(),
    );
    context.is_valid().then_some(context)
}

/// Checks for a character of a `tracestate`. Tabs may separate its members.
fn printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t')
}

/// Id of the trace of a message that has no context, from the id of the message. It is the same on all
/// replicas, so that they take the same sampling decision and their spans are in one trace.
pub fn of_message(id: &str) -> TraceId {
    let half = |basis| {
        let mut hasher = FnvHasher::with_key(basis);
        hasher.write(id.as_bytes());
        mix(hasher.finish())
    };
    let (high, low) = (half(1), half(2));
    TraceId::from(u128::from(high) << 64 | u128::from(low))
}

/// Mixes all bits. Consecutive message ids differ in their last bits, and samplers use others.
fn mix(mut bits: u64) -> u64 {
    for factor in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb] {
        bits = (bits ^ bits >> 31).wrapping_mul(factor);
    }
    bits ^ bits >> 31
}

/// The `traceparent` of a context.
pub fn traceparent(context: &SpanContext) -> String {
    let mut text = String::with_capacity(LENGTH);
    text.push_str("00-");
    push_hex(&mut text, &context.trace_id().to_bytes());
    text.push('-');
    push_hex(&mut text, &context.span_id().to_bytes());
    text.push('-');
    push_hex(&mut text, &[context.trace_flags().to_u8() & FLAGS]);
    text
}

/// Appends hexadecimal digits. `format!` takes three times as long, and every message has a context.
fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// The `tracestate` of a context, if it has one.
pub fn tracestate(context: &SpanContext) -> Option<String> {
    Some(context.trace_state().header()).filter(|state| !state.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn context_passes_unchanged() {
        let context = parse(PARENT, Some("a=1,b=2")).unwrap();
        assert_eq!(traceparent(&context), PARENT);
        assert_eq!(tracestate(&context).unwrap(), "a=1,b=2");
        assert_eq!(tracestate(&parse(PARENT, None).unwrap()), None);
    }

    #[test]
    fn invalid_context_is_ignored() {
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.more",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-+1",
            "00-éaf7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            assert_eq!(parse(bad, None), None, "{bad}");
        }
        for bad in ["no state", "a=1\r\nb", "a=1\0", "a=é", &format!("a={}", "1".repeat(600))] {
            assert_eq!(tracestate(&parse(PARENT, Some(bad)).unwrap()), None, "{bad:?}");
        }
    }

    #[test]
    fn later_version_is_parsed_and_written_as_version_00() {
        let passed = |header: &str| traceparent(&parse(header, None).unwrap());
        let rest = &PARENT[2..];
        assert_eq!(passed(&format!("01{rest}")), PARENT);
        assert_eq!(passed(&format!("fe{rest}-what-else")), PARENT);
        // Only the flags sampled and random are passed on.
        for (flags, known) in [("ff", "03"), ("02", "02"), ("fc", "00")] {
            let with = |flags| PARENT.replace("-01", &format!("-{flags}"));
            assert_eq!(passed(&with(flags)), with(known));
        }
    }

    #[test]
    fn consecutive_ids_have_spread_trace_ids() {
        assert_eq!(of_message("a"), of_message("a"));
        let ids = (0..10_000).map(|n| of_message(&format!("app-{n}")));
        // The part of the id that ratio samplers use.
        let low = |id: TraceId| u128::from_be_bytes(id.to_bytes()) as u64 >> 1;
        let sampled = ids.filter(|id| low(*id) < (1 << 63) / 100).count();
        assert!((50..200).contains(&sampled), "{sampled}");
    }
}
