//! The message, its channel, key and id.

use opentelemetry::trace::SpanContext;
use serde_json::value::RawValue;
use std::fmt;
use std::sync::Arc;

/// Longest channel name in bytes: the limit of an AMQP routing key.
pub const MAX_CHANNEL: usize = 255;

/// Name of a channel. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel(Arc<str>);

/// An invalid channel name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a channel name has 1 to {MAX_CHANNEL} bytes and no control characters")]
pub struct BadChannel;

impl Channel {
    /// Channel of clients that name none. Its routing key is empty.
    pub const DEFAULT: &str = "lobby";

    /// Checks a channel name.
    ///
    /// # Errors
    /// [`BadChannel`] if it is empty, too long, or contains control characters.
    pub fn new(name: &str) -> Result<Self, BadChannel> {
        if name.is_empty() || name.len() > MAX_CHANNEL || name.contains(char::is_control) {
            return Err(BadChannel);
        }
        Ok(Self(name.into()))
    }

    /// Channel of a routing key. The empty key is the default channel.
    ///
    /// # Errors
    /// As [`Channel::new`].
    pub fn from_routing_key(key: &str) -> Result<Self, BadChannel> {
        if key.is_empty() { Ok(Self::default()) } else { Self::new(key) }
    }

    /// Routing key of this channel.
    pub fn routing_key(&self) -> &str {
        if &*self.0 == Self::DEFAULT { "" } else { &self.0 }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Channel {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Longest key in bytes.
pub const MAX_KEY: usize = 128;

/// A publisher's own name for a message. A second message with the same channel and key is a duplicate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(String);

/// An invalid key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key has 1 to {MAX_KEY} bytes")]
pub struct BadKey;

impl Key {
    /// Checks a key.
    ///
    /// # Errors
    /// [`BadKey`] if it is empty or too long.
    pub fn new(key: &str) -> Result<Self, BadKey> {
        if (1..=MAX_KEY).contains(&key.len()) { Ok(Self(key.to_owned())) } else { Err(BadKey) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A message as it was read from the broker.
#[derive(Clone, Debug)]
pub struct Message {
    /// Unique name. Opaque to clients, who return it as a cursor.
    pub id: Arc<str>,
    /// Position in the order that all replicas share. `None` where there is no such order.
    pub position: Option<u64>,
    pub channel: Channel,
    /// Any JSON value.
    pub text: Box<RawValue>,
    /// Time of publishing, RFC 3339.
    pub date: String,
    /// True if the publisher gave the date; otherwise the date is the time of reading.
    pub dated: bool,
    /// Trace context of the recorded span, if the message is sampled.
    pub trace: Option<SpanContext>,
}

impl Message {
    /// Appends the JSON object that clients receive: `{"id","channel","text","date"}`.
    pub fn write_client_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"id\":");
        write_json_string(out, &self.id);
        out.extend_from_slice(b",\"channel\":");
        write_json_string(out, self.channel.as_str());
        out.extend_from_slice(b",\"text\":");
        out.extend_from_slice(self.text.get().as_bytes());
        out.extend_from_slice(b",\"date\":");
        write_json_string(out, &self.date);
        out.push(b'}');
    }
}

/// Hex digits of the fingerprint in an id.
const FINGERPRINT_LEN: usize = 16;

/// Id of the message at `position`. The fingerprint tells it from a message at the same position of
/// another epoch.
pub fn id_at(position: u64, fingerprint: &str) -> Arc<str> {
    format!("{position:x}-{fingerprint}").into()
}

/// Position that an id claims. `None` if the id is malformed. The caller must check that the message at
/// that position has this id.
pub fn position_of(id: &str) -> Option<u64> {
    let (position, rest) = id.split_once('-')?;
    let (fingerprint, distance) = rest.split_once('-').unwrap_or((rest, "0"));
    let hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let well_formed =
        hex(position) && hex(fingerprint) && fingerprint.len() == FINGERPRINT_LEN && hex(distance);
    u64::from_str_radix(position, 16).ok().filter(|_| well_formed)
}

/// True if the message of this id has no distinguishing properties, so that it cannot be found again
/// with certainty.
pub fn is_vague(id: &str) -> bool {
    id.splitn(3, '-').nth(2) == Some("0")
}

/// Appends `text` as a JSON string.
pub fn write_json_string(out: &mut Vec<u8>, text: &str) {
    // Writing a string to memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_channel_has_the_empty_routing_key() {
        let lobby = Channel::from_routing_key("").unwrap();
        assert_eq!((lobby.as_str(), lobby.routing_key()), ("lobby", ""));
        assert_eq!(Channel::new("lobby").unwrap().routing_key(), "");
        assert_eq!(Channel::new("news").unwrap().routing_key(), "news");
    }

    #[test]
    fn invalid_channel_name_is_refused() {
        for name in ["", "a\nb", "\u{7f}", &"x".repeat(256)] {
            assert_eq!(Channel::new(name), Err(BadChannel));
        }
        Channel::new(&"é".repeat(127)).unwrap();
    }

    #[test]
    fn special_characters_are_escaped_in_client_json() {
        let message = Message {
            id: "\"},{".into(),
            position: None,
            channel: Channel::new("a\"b\\c").unwrap(),
            text: RawValue::from_string("{\"deep\":[1, 2]}".into()).unwrap(),
            date: "2026-01-02T03:04:05Z".into(),
            dated: true,
            trace: None,
        };
        let mut json = Vec::new();
        message.write_client_json(&mut json);
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value["id"], "\"},{");
        assert_eq!(value["channel"], "a\"b\\c");
        assert_eq!(value["text"]["deep"][1], 2);
    }
}
