//! The frames of docs/protocol.md that a load sends and counts; plain data.

use serde::Deserialize;

/// The smallest text, in bytes: one with the run's id and the numbers of the message.
pub(crate) const MIN_SIZE: usize = 64;
/// Hexadecimal digits of a publisher's number and of a sequence number.
const NUMBERS: usize = 4 + 8;

/// The prefix of all texts of one run, which tells them from those of others.
#[derive(Debug)]
pub(crate) struct RunId(String);

/// A frame from a server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ServerFrame {
    /// A message of this run.
    Message { publisher: usize, sequence: u32 },
    /// The confirmation of a message of this client.
    Published(u32),
    /// The error code that answers a message of this client.
    Refused(u32, String),
    /// The ready frame, with the name of the replica.
    Ready(String),
    /// Messages may be missing.
    Gap,
    /// A frame that does not concern the load.
    Other,
}

impl RunId {
    pub(crate) fn new() -> Self {
        Self(format!("warren-load {:016x} ", fastrand::u64(..)))
    }

    /// A command that publishes a text of `size` bytes, at least [`MIN_SIZE`].
    pub(crate) fn publish_command(&self, publisher: usize, sequence: u32, size: usize) -> String {
        let rest = size.saturating_sub(self.0.len() + NUMBERS);
        format!(
            r#"{{"publish":{{"ref":{sequence},"text":"{}{publisher:04x}{sequence:08x}{:.<rest$}"}}}}"#,
            self.0, ""
        )
    }

    /// Parses a frame.
    pub(crate) fn parse(&self, frame: &[u8]) -> ServerFrame {
        // Most frames are messages, and only messages begin like this.
        if !frame.starts_with(br#"{"id""#) {
            return serde_json::from_slice(frame)
                .map_or(ServerFrame::Other, Frame::into_server_frame);
        }
        let id = self.0.as_bytes();
        let ours = frame.windows(id.len()).position(|part| part == id).and_then(|at| {
            let numbers = frame.get(at + id.len()..)?.first_chunk::<NUMBERS>()?;
            let (publisher, sequence) = std::str::from_utf8(numbers).ok()?.split_at_checked(4)?;
            let publisher = usize::from_str_radix(publisher, 16).ok()?;
            let sequence = u32::from_str_radix(sequence, 16).ok()?;
            Some(ServerFrame::Message { publisher, sequence })
        });
        ours.unwrap_or(ServerFrame::Other)
    }
}

/// The frames that are not messages.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Frame {
    Published { r#ref: u32 },
    Error { r#ref: Option<u32>, code: String },
    Ready { replica: String },
    Gap {},
}

impl Frame {
    fn into_server_frame(self) -> ServerFrame {
        match self {
            Self::Published { r#ref } => ServerFrame::Published(r#ref),
            Self::Error { r#ref: Some(sequence), code } => ServerFrame::Refused(sequence, code),
            Self::Error { r#ref: None, .. } => ServerFrame::Other,
            Self::Ready { replica } => ServerFrame::Ready(replica),
            Self::Gap {} => ServerFrame::Gap,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn messages_of_this_run_are_recognized() {
        let run_id = RunId::new();
        for size in [MIN_SIZE, 256, 4096] {
            let command: Value =
                serde_json::from_str(&run_id.publish_command(3, 70_000, size)).unwrap();
            let text = command["publish"]["text"].as_str().unwrap();
            assert_eq!((text.len(), command["publish"]["ref"].as_u64()), (size, Some(70_000)));
            let message = format!(r#"{{"id":"1-2","channel":"x","text":"{text}","date":"x"}}"#);
            let ours = ServerFrame::Message { publisher: 3, sequence: 70_000 };
            assert_eq!(run_id.parse(message.as_bytes()), ours);
            assert_eq!(
                RunId::new().parse(message.as_bytes()),
                ServerFrame::Other,
                "the message is of another run"
            );
        }
    }

    #[test]
    fn other_frames_are_parsed() {
        for (frame, expected) in [
            (json!({"published": {"ref": 7, "id": "1-2"}}), ServerFrame::Published(7)),
            (json!({"published": {"ref": 7, "id": null}}), ServerFrame::Published(7)),
            (
                json!({"error": {"ref": 7, "code": "rate_limited", "message": ""}}),
                ServerFrame::Refused(7, "rate_limited".into()),
            ),
            (json!({"error": {"code": "bad_request", "message": ""}}), ServerFrame::Other),
            (json!({"ready": {"replica": "a", "recovered": true}}), ServerFrame::Ready("a".into())),
            (json!({"gap": {"message": "may be"}}), ServerFrame::Gap),
            (json!({"news": {}}), ServerFrame::Other),
            (json!({"id": "1-2", "text": "hello"}), ServerFrame::Other),
        ] {
            assert_eq!(RunId::new().parse(frame.to_string().as_bytes()), expected, "{frame}");
        }
        assert_eq!(RunId::new().parse(b"{\"id\""), ServerFrame::Other);
    }
}
