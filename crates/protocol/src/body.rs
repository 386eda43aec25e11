//! Message bodies on the exchange: `{"text","date"}` as Warren and the 40-line Node server write it, and
//! any other body.

use crate::message::{Channel, Message, write_json_string};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::Arc;

/// A message on the exchange that cannot be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("not UTF-8")]
    NotUtf8,
    #[error("larger than WARREN_MAX_MESSAGE")]
    TooLarge,
    #[error("a routing key that is no channel name")]
    BadChannel,
    #[error("an unknown or unreadable control message")]
    Control,
    #[error("AMQP properties that are not UTF-8")]
    Unreadable,
}

impl Malformed {
    /// Value of the metric label `reason`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotUtf8 => "not_utf8",
            Self::TooLarge => "too_large",
            Self::BadChannel => "bad_channel",
            Self::Control => "control",
            Self::Unreadable => "unreadable",
        }
    }
}

/// AMQP properties that decoding uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Properties<'a> {
    pub routing_key: &'a str,
    /// Seconds since the Unix epoch.
    pub timestamp: Option<u64>,
}

/// The object `{"text","date"}`.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    text: &'a RawValue,
    #[serde(borrow, default)]
    date: Option<&'a RawValue>,
}

/// Largest body of a message with a text of `max_message` bytes: JSON escapes a byte to six at most; the
/// rest is for names, date and white space.
pub fn largest_body(max_message: usize) -> usize {
    max_message.saturating_mul(6).saturating_add(4096)
}

/// The parts of a message that its body and properties hold.
#[derive(Debug)]
pub struct Decoded {
    pub channel: Channel,
    /// Any JSON value.
    pub text: Box<RawValue>,
    /// Date in the body or the properties, RFC 3339.
    pub date: Option<String>,
}

impl Decoded {
    /// Builds the message. Without a date it gets `now`.
    pub fn message(
        self,
        id: Arc<str>,
        position: Option<u64>,
        now: impl FnOnce() -> String,
    ) -> Message {
        let Self { channel, text, date } = self;
        let dated = date.is_some();
        Message { id, position, channel, text, date: date.unwrap_or_else(now), dated, trace: None }
    }
}

/// Decodes a body. If it is an object with `text`, that is the text; any other JSON, or plain text, is the
/// text as a whole. A missing or invalid date is replaced by the timestamp property.
///
/// # Errors
/// [`Malformed`] if the message cannot be delivered. `max_message` limits the bytes of a text as a client
/// would send it, without JSON escapes.
pub fn decode(
    body: &[u8],
    properties: Properties<'_>,
    max_message: usize,
) -> Result<Decoded, Malformed> {
    if body.len() > largest_body(max_message) {
        return Err(Malformed::TooLarge);
    }
    let channel =
        Channel::from_routing_key(properties.routing_key).map_err(|_| Malformed::BadChannel)?;
    let body = std::str::from_utf8(body).map_err(|_| Malformed::NotUtf8)?;
    let (text, date) = match object(body) {
        Some(Body { text, date }) => (text.to_owned(), date.and_then(date_of)),
        None => (whole(body), None),
    };
    if size_of_text(&text) > max_message {
        return Err(Malformed::TooLarge);
    }
    Ok(Decoded { channel, text, date: date.or_else(|| timestamp(properties.timestamp)) })
}

/// Encodes a body as the Node server does.
pub fn encode(text: &RawValue, date: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(text.get().len() + date.len() + 24);
    body.extend_from_slice(b"{\"text\":");
    body.extend_from_slice(text.get().as_bytes());
    body.extend_from_slice(b",\"date\":");
    write_json_string(&mut body, date);
    body.push(b'}');
    body
}

/// Parses a body that is an object with `text`. The check for `{` excludes arrays, which serde accepts.
fn object(body: &str) -> Option<Body<'_>> {
    body.trim_start().starts_with('{').then(|| serde_json::from_str(body).ok()).flatten()
}

/// Any JSON as it is, and other text as a JSON string.
fn whole(body: &str) -> Box<RawValue> {
    serde_json::from_str::<&RawValue>(body).map_or_else(|_| string(body), ToOwned::to_owned)
}

/// Encodes text as a JSON string.
pub fn string(text: &str) -> Box<RawValue> {
    serde_json::value::to_raw_value(text).unwrap_or_default()
}

/// Parses a date, and returns it in RFC 3339.
fn date_of(raw: &RawValue) -> Option<String> {
    let date: String = serde_json::from_str(raw.get()).ok()?;
    let timestamp = date.parse::<jiff::Timestamp>().ok()?;
    // jiff also accepts other forms of ISO 8601, time zone names, and negative years.
    [date, timestamp.to_string()].into_iter().find(|date| is_rfc_3339(date))
}

/// True if every browser's `Date` parses the date; none accepts leap seconds.
fn is_rfc_3339(date: &str) -> bool {
    let form = date.replace(|sign: char| sign.is_ascii_digit(), "0");
    let Some(rest) = form.strip_prefix("0000-00-00T00:00:00") else { return false };
    let zone = rest.strip_prefix(".0").map_or(rest, |digits| digits.trim_start_matches('0'));
    matches!(zone, "Z" | "+00:00" | "-00:00") && &date[17..19] != "60"
}

fn timestamp(seconds: Option<u64>) -> Option<String> {
    let seconds = i64::try_from(seconds?).ok()?;
    jiff::Timestamp::from_second(seconds).ok().map(|timestamp| timestamp.to_string())
}

/// Size of a text in bytes as its publisher counts it: a string by its contents, other values as JSON.
pub fn size_of_text(text: &RawValue) -> usize {
    let json = text.get();
    if !json.starts_with('"') || !json.contains('\\') {
        return json.trim_matches('"').len();
    }
    serde_json::from_str::<String>(json).map_or(json.len(), |text| text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8], properties: Properties<'_>) -> Result<Message, Malformed> {
        let decoded = decode(body, properties, 16)?;
        Ok(decoded.message("id".into(), None, || "now".into()))
    }

    fn text_and_date(body: &str) -> (String, String) {
        let message = read(body.as_bytes(), Properties::default()).unwrap();
        (message.text.get().to_owned(), message.date)
    }

    #[test]
    fn encoded_body_decodes_to_the_same_message() {
        let text = string("a \"b\" \u{1} é");
        let body = encode(&text, "2026-01-02T03:04:05.678Z");
        let message = read(&body, Properties::default()).unwrap();
        assert_eq!(message.text.get(), text.get());
        assert_eq!(message.date, "2026-01-02T03:04:05.678Z");
        assert_eq!(message.channel.as_str(), "lobby");
    }

    #[test]
    fn body_without_text_is_the_text_as_a_whole() {
        for (body, text) in [
            (r#"{"text":{"a":[1]},"more":0}"#, r#"{"a":[1]}"#),
            (r#"{"text":null}"#, "null"),
            (r#"{"other":1}"#, r#"{"other":1}"#),
            ("[1, 2]", "[1, 2]"),
            ("42", "42"),
            ("plain", "\"plain\""),
            ("{\"text\":", "\"{\\\"text\\\":\""),
            ("", "\"\""),
        ] {
            assert_eq!(text_and_date(body), (text.into(), "now".into()), "{body}");
        }
    }

    #[test]
    fn invalid_date_is_replaced() {
        let date = |date: &str| text_and_date(&format!(r#"{{"text":1,"date":{date}}}"#)).1;
        assert_eq!(date(r#""2026-01-02T03:04:05+01:00""#), "2026-01-02T03:04:05+01:00");
        for other in ["20260102T030405+0100", "2026-01-02 03:04:05+01", "2026-01-02t02:04:05z"] {
            assert_eq!(date(&format!("\"{other}\"")), "2026-01-02T02:04:05Z", "{other}");
        }
        assert_eq!(date(r#""2026-01-02T03:04:05.9+00:00[UTC]""#), "2026-01-02T03:04:05.9Z");
        assert_eq!(date(r#""2016-12-31T23:59:60Z""#), "2016-12-31T23:59:59Z");
        for bad in [r#""yesterday""#, r#""-000044-03-15T12:00:00Z""#, "17", "null", "{}"] {
            assert_eq!(date(bad), "now", "{bad}");
        }
        let properties = Properties { timestamp: Some(0), ..Properties::default() };
        assert_eq!(read(b"1", properties).unwrap().date, "1970-01-01T00:00:00Z");
        let properties = Properties { timestamp: Some(u64::MAX), ..Properties::default() };
        assert_eq!(read(b"1", properties).unwrap().date, "now");
    }

    #[test]
    fn size_limit_ignores_json_escapes() {
        let body = |text: &str| encode(&string(text), "");
        read(&body(&"\u{1}".repeat(16)), Properties::default()).unwrap();
        for text in ["\u{1}".repeat(17), "x".repeat(17)] {
            let result = read(&body(&text), Properties::default());
            assert_eq!(result.unwrap_err(), Malformed::TooLarge);
        }
        let huge = vec![b' '; largest_body(16) + 1];
        assert_eq!(read(&huge, Properties::default()).unwrap_err(), Malformed::TooLarge);
    }

    #[test]
    fn undeliverable_body_is_refused() {
        assert_eq!(read(b"caf\xe9", Properties::default()).unwrap_err(), Malformed::NotUtf8);
        let properties = Properties { routing_key: "a\nb", ..Properties::default() };
        assert_eq!(read(b"1", properties).unwrap_err(), Malformed::BadChannel);
    }
}
