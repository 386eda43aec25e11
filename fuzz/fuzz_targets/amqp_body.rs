//! Decoding of arbitrary AMQP messages from the exchange. It must not panic, and must refuse every message that
//! clients cannot read.
//!
//! Input: three lines with the routing key, the message id and the timestamp, and then the body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::str::from_utf8;
use warren_protocol::body::{Properties, decode, size_of_text};

const MAX_MESSAGE: usize = 64;

/// The message that a client receives: each key once, and no other keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Frame<'a> {
    id: String,
    channel: String,
    #[serde(borrow)]
    text: &'a RawValue,
    date: String,
}

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(4, |byte| *byte == b'\n');
    let (Some(key), Some(id), Some(seconds), Some(body)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    // Short strings of AMQP that are not UTF-8 are refused before.
    let (Ok(routing_key), Ok(id), Ok(seconds)) =
        (from_utf8(key), from_utf8(id), from_utf8(seconds))
    else {
        return;
    };
    let properties = Properties { routing_key, timestamp: seconds.parse().ok() };
    let now = || "2026-01-02T03:04:05Z".to_owned();
    let Ok(decoded) = decode(body, properties, MAX_MESSAGE) else { return };
    let message = decoded.message(id.into(), None, now);

    let mut json = Vec::new();
    message.write_client_json(&mut json);
    let frame: Frame<'_> = serde_json::from_slice(&json).expect("client JSON");
    assert_eq!(frame.id, id);
    assert_eq!(frame.channel, if routing_key.is_empty() { "lobby" } else { routing_key });
    assert_eq!(frame.text.get(), message.text.get());
    assert!(size_of_text(frame.text) <= MAX_MESSAGE);
    assert!(is_rfc_3339(frame.date.as_bytes()), "{}", frame.date);
});

/// True if `Date` parses the date in every browser.
fn is_rfc_3339(date: &[u8]) -> bool {
    let form = |bytes: &[u8], form: &[u8]| {
        bytes.len() == form.len()
            && bytes.iter().zip(form).all(|(byte, sign)| match sign {
                b'0' => byte.is_ascii_digit(),
                _ => byte == sign,
            })
    };
    let Some((seconds, mut rest)) = date.split_at_checked(19) else { return false };
    if let [b'.', fraction @ ..] = rest {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        rest = &fraction[digits..];
        if digits == 0 {
            return false;
        }
    }
    form(seconds, b"0000-00-00T00:00:00")
        && !seconds.ends_with(b"60")
        && [&b"Z"[..], b"+00:00", b"-00:00"].iter().any(|zone| form(rest, zone))
}
