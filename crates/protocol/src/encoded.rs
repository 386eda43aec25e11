//! A message in the forms that go to clients: each made once, and shared by all workers and clients.

use crate::message::{Channel, Message};
use crate::websocket::{Deflater, FrameBuilder, Window, deflated};
use bytes::Bytes;
use std::sync::{Arc, OnceLock};

/// See the module.
#[derive(Debug)]
pub struct EncodedMessage {
    pub id: Arc<str>,
    /// Its place in the order shared by all replicas, where there is one; never falls.
    pub position: Option<u64>,
    pub channel: Channel,
    /// The WebSocket frame, header included.
    pub frame: Bytes,
    /// The same, compressed, if that was worth it.
    compressed: Option<Bytes>,
    /// Where the JSON object begins in the frame.
    header: usize,
    /// The server-sent event, made when the first client needs it.
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

    /// Compressed as well, if that makes it shorter.
    pub fn compressed(self, deflater: &mut Deflater) -> Self {
        Self { compressed: deflated(&self.frame, deflater), ..self }
    }

    #[cfg(any(test, feature = "test-util"))]
    pub const CHECK: &str = "0123456789abcdef";

    /// One whose frame is these bytes, for tests of what handles frames.
    #[cfg(any(test, feature = "test-util"))]
    pub fn of_frame(position: u64, channel: Channel, frame: &str) -> Arc<Self> {
        let (id, frame) =
            (crate::message::id_at(position, Self::CHECK), Bytes::from(frame.to_owned()));
        let position = Some(position);
        let (compressed, event) = (None, OnceLock::new());
        Arc::new(Self { id, position, channel, frame, compressed, header: 0, event })
    }

    /// The same, with these bytes for clients that take compressed messages.
    #[cfg(any(test, feature = "test-util"))]
    #[allow(clippy::unwrap_used, reason = "tests hold the only reference")]
    pub fn or_compressed(self: Arc<Self>, frame: &str) -> Arc<Self> {
        let mut broadcast = Arc::into_inner(self).unwrap();
        broadcast.compressed = Some(Bytes::from(frame.to_owned()));
        Arc::new(broadcast)
    }

    /// The WebSocket frame for clients with this window.
    pub fn frame_for(&self, window: Window) -> &Bytes {
        match &self.compressed {
            Some(compressed) if window.holds(self.frame.len()) => compressed,
            _ => &self.frame,
        }
    }

    /// Whether it was worth compressing.
    pub fn is_compressed(&self) -> bool {
        self.compressed.is_some()
    }

    /// What its frames take together, in bytes.
    pub fn size(&self) -> usize {
        self.frame.len() + self.compressed.as_ref().map_or(0, Bytes::len)
    }

    /// The JSON object that clients get.
    pub fn json(&self) -> &[u8] {
        &self.frame[self.header..]
    }

    /// As an event of an event stream: `id:` and `data:`.
    pub fn event(&self) -> &Bytes {
        self.event.get_or_init(|| {
            let mut event = Vec::with_capacity(self.frame.len() + self.id.len() + 24);
            // An id with a line end would be another field.
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

/// Writes the `data:` lines of an event: JSON may be spread over lines, which its reader joins again.
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
    fn an_event_has_the_same_json_as_the_frame_whatever_its_lines() {
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
