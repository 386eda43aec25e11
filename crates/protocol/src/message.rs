//! The one type that crosses the house, and the names it carries.

use opentelemetry::trace::SpanContext;
use serde_json::value::RawValue;
use std::fmt;
use std::sync::Arc;

/// Longest channel name in bytes: what an AMQP routing key can hold.
pub const MAX_CHANNEL: usize = 255;

/// Name of a channel. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel(Arc<str>);

/// A name that no channel can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a channel name has 1 to {MAX_CHANNEL} bytes and no control characters")]
pub struct BadChannel;

impl Channel {
    /// The channel of those who name none; an empty routing key on the exchange.
    pub const DEFAULT: &str = "lobby";

    /// A name given by a client.
    ///
    /// # Errors
    /// [`BadChannel`] for one that is empty, too long, or holds control characters.
    pub fn new(name: &str) -> Result<Self, BadChannel> {
        if name.is_empty() || name.len() > MAX_CHANNEL || name.contains(char::is_control) {
            return Err(BadChannel);
        }
        Ok(Self(name.into()))
    }

    /// The channel that a routing key means.
    ///
    /// # Errors
    /// As [`Channel::new`], but an empty key is the default channel.
    pub fn from_routing_key(key: &str) -> Result<Self, BadChannel> {
        if key.is_empty() { Ok(Self::default()) } else { Self::new(key) }
    }

    /// The routing key that means this channel.
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

/// A sender's own name for a message: the same key again is the same message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(String);

/// A key that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key has 1 to {MAX_KEY} bytes")]
pub struct BadKey;

impl Key {
    /// A key given by a client.
    ///
    /// # Errors
    /// [`BadKey`] for one that is empty or too long.
    pub fn new(key: &str) -> Result<Self, BadKey> {
        if (1..=MAX_KEY).contains(&key.len()) { Ok(Self(key.to_owned())) } else { Err(BadKey) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One message, on its way in or out.
#[derive(Clone, Debug)]
pub struct Message {
    /// Names this message among all; opaque to clients, who may return it as a cursor.
    pub id: Arc<str>,
    /// Its place in the one order that all replicas share, where there is such an order.
    pub position: Option<u64>,
    pub channel: Channel,
    /// Any JSON.
    pub text: Box<RawValue>,
    /// RFC 3339.
    pub date: String,
    /// It is its sender who says so; otherwise it is when the message was read.
    pub dated: bool,
    /// What is recorded of it here, if anything is.
    pub trace: Option<SpanContext>,
}

impl Message {
    /// The JSON object that clients get: `{"id","channel","text","date"}`.
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

/// Digits of the part of an id that tells messages from others at the same position.
const CHECK: usize = 16;

/// The id of the message at `position`; `check` tells it from others that may stand there in another
/// order.
pub fn id_at(position: u64, check: &str) -> Arc<str> {
    format!("{position:x}-{check}").into()
}

/// The position that an id claims. Whether that message stands there is for the reader to check.
pub fn position_of(id: &str) -> Option<u64> {
    let (position, check) = id.split_once('-')?;
    let (check, distance) = check.split_once('-').unwrap_or((check, "0"));
    let hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let well_formed = hex(position) && hex(check) && check.len() == CHECK && hex(distance);
    u64::from_str_radix(position, 16).ok().filter(|_| well_formed)
}

/// Whether an id is of a message that nothing tells from others that say the same: it cannot be found
/// again with certainty.
pub fn is_vague(id: &str) -> bool {
    id.splitn(3, '-').nth(2) == Some("0")
}

/// Appends `text` as a JSON string.
pub fn write_json_string(out: &mut Vec<u8>, text: &str) {
    // Writing a string to memory has no way to fail.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_channel_is_the_empty_routing_key() {
        let lobby = Channel::from_routing_key("").unwrap();
        assert_eq!((lobby.as_str(), lobby.routing_key()), ("lobby", ""));
        assert_eq!(Channel::new("lobby").unwrap().routing_key(), "");
        assert_eq!(Channel::new("news").unwrap().routing_key(), "news");
    }

    #[test]
    fn names_that_no_channel_can_have() {
        for name in ["", "a\nb", "\u{7f}", &"x".repeat(256)] {
            assert_eq!(Channel::new(name), Err(BadChannel));
        }
        Channel::new(&"é".repeat(127)).unwrap();
    }

    #[test]
    fn names_and_ids_from_outside_cannot_break_the_frame() {
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
