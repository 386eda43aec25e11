//! A message in the forms that clients receive: each encoded once, and shared by all workers and clients.

use crate::message::{Channel, Message};
use crate::websocket::{Deflater, FrameBuilder, Window, deflated};
use bytes::Bytes;
use std::sync::{Arc, OnceLock};

/// A message with its WebSocket frame, its compressed frame and its server-sent event.
#[derive(Debug)]
pub struct EncodedMessage {
    pub id: Arc<str>,
    /// Position in the order that all replicas share, where there is one. Never decreases.
    pub position: Option<u64>,
    pub channel: Channel,
    /// WebSocket frame, with its header.
    pub frame: Bytes,
    /// Compressed frame, if it is shorter.
    compressed: Option<Bytes>,
    /// Size of the frame header: the JSON object follows.
    header: usize,
    /// Server-sent event, encoded when the first client needs it.
    event: OnceLock<Bytes>,
}

impl EncodedMessage {
    pub fn new(message: &Message) -> Self {
        let text = message.text.get().len();
        let names = message.id.len() + message.channel.as_str().len() + message.date.len();
        let mut builder = FrameBuilder::with_capacity(text + names + 48);
        message.write_client_json(builder.payload());
        let frame = builder.finish();
        Self {
            id: message.id.clone(),
            position: message.position,
            channel: message.channel.clone(),
            header: FrameBuilder::header_of(&frame),
            frame,
            compressed: None,
            event: OnceLock::new(),
        }
    }

    /// Adds the compressed frame, if it is shorter.
    pub fn compressed(self, deflater: &mut Deflater) -> Self {
        Self { compressed: deflated(&self.frame, deflater), ..self }
    }

    #[cfg(any(test, feature = "test-util"))]
    pub const CHECK: &str = "0123456789abcdef";

    /// A message with this frame and the fingerprint [`Self::CHECK`], for tests.
    #[cfg(any(test, feature = "test-util"))]
    pub fn of_frame(position: u64, channel: Channel, frame: &str) -> Arc<Self> {
        let (id, frame) =
            (crate::message::id_at(position, Self::CHECK), Bytes::from(frame.to_owned()));
        let position = Some(position);
        let (compressed, event) = (None, OnceLock::new());
        Arc::new(Self { id, position, channel, frame, compressed, header: 0, event })
    }

    /// Adds a compressed frame, for tests.
    #[cfg(any(test, feature = "test-util"))]
    #[allow(clippy::unwrap_used, reason = "tests hold the only reference")]
    pub fn or_compressed(self: Arc<Self>, frame: &str) -> Arc<Self> {
        let mut broadcast = Arc::into_inner(self).unwrap();
        broadcast.compressed = Some(Bytes::from(frame.to_owned()));
        Arc::new(broadcast)
    }

    /// WebSocket frame for clients with this window.
    pub fn frame_for(&self, window: Window) -> &Bytes {
        match &self.compressed {
            Some(compressed) if window.holds(self.frame.len()) => compressed,
            _ => &self.frame,
        }
    }

    /// True if there is a compressed frame.
    pub fn is_compressed(&self) -> bool {
        self.compressed.is_some()
    }

    /// Size of all frames, in bytes.
    pub fn size(&self) -> usize {
        self.frame.len() + self.compressed.as_ref().map_or(0, Bytes::len)
    }

    /// JSON object that clients receive.
    pub fn json(&self) -> &[u8] {
        &self.frame[self.header..]
    }

    /// Server-sent event: `id:` and `data:` lines.
    pub fn event(&self) -> &Bytes {
        self.event.get_or_init(|| {
            let mut event = Vec::with_capacity(self.frame.len() + self.id.len() + 24);
            // A line end in the id would start another field.
            if !self.id.contains(['\r', '\n', '\0']) {
                event.extend_from_slice(b"id: ");
                event.extend_from_slice(self.id.as_bytes());
                event.push(b'\n');
            }
            write_data(&mut event, self.json());
            event.push(b'\n');
            event.into()
        })
    }
}

/// Appends the `data:` lines of a server-sent event. JSON may span lines; the client joins them.
pub fn write_data(event: &mut Vec<u8>, data: &[u8]) {
    for line in data.split(|byte| matches!(byte, b'\r' | b'\n')) {
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(line);
        event.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::RawValue;

    fn broadcast(id: &str, text: &str) -> EncodedMessage {
        EncodedMessage::new(&Message {
            id: id.into(),
            position: None,
            channel: Channel::default(),
            text: RawValue::from_string(text.to_owned()).unwrap(),
            date: "d".into(),
            dated: true,
            trace: None,
        })
    }

    #[test]
    fn event_and_frame_carry_the_same_json() {
        for text in ["1", "[1,\n2,\r\n3]", &format!("\"{}\"", "x".repeat(70_000))] {
            let broadcast = broadcast("7-ab", text);
            let event = String::from_utf8(broadcast.event().to_vec()).unwrap();
            let (id, data) = event.split_once('\n').unwrap();
            assert_eq!(id, "id: 7-ab");
            let lines = data.strip_suffix("\n\n").unwrap().lines();
            let data: Vec<_> = lines.map(|line| line.strip_prefix("data: ").unwrap()).collect();
            let event: serde_json::Value = serde_json::from_str(&data.join("\n")).unwrap();
            let frame: serde_json::Value = serde_json::from_slice(broadcast.json()).unwrap();
            assert_eq!(event, frame);
        }
        assert!(broadcast("7\ndata: x", "1").event().starts_with(b"data: {"));
    }
}
