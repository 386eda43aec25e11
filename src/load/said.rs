//! What is published, and what servers say, as far as it concerns a load; plain data.

use serde::Deserialize;

/// Bytes of the smallest text that can be told from others.
pub(super) const LEAST: usize = 64;
const NUMBERS: usize = 4 + 8;

/// What the texts of one run begin with. Nobody else's do.
#[derive(Debug)]
pub(super) struct Mark(String);

/// What a server said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// One of our messages.
    Message {
        publisher: usize,
        sequence: u32,
    },
    /// What was published with this number is confirmed.
    Published(u32),
    /// What was published with this number is not, and why.
    Refused(u32, String),
    /// What comes from now on is heard at the replica with this name.
    Ready(String),
    /// Something may be missing.
    Gap,
    Other,
}

impl Mark {
    pub(super) fn new() -> Self {
        Self(format!("warren load {:016x} ", fastrand::u64(..)))
    }

    /// A command that publishes a text of `size` bytes, at least [`LEAST`].
    pub(super) fn publish(&self, publisher: usize, sequence: u32, size: usize) -> String {
        let rest = size.saturating_sub(self.0.len() + NUMBERS);
        format!(
            r#"{{"publish":{{"ref":{sequence},"text":"{}{publisher:04x}{sequence:08x}{:.<rest$}"}}}}"#,
            self.0, ""
        )
    }

    /// What a frame says.
    pub(super) fn read(&self, frame: &[u8]) -> Said {
        // Messages are most of what comes, and they alone begin like this.
        if !frame.starts_with(br#"{"id""#) {
            return serde_json::from_slice(frame).map_or(Said::Other, Frame::said);
        }
        let mark = self.0.as_bytes();
        let ours = frame.windows(mark.len()).position(|part| part == mark).and_then(|at| {
            let numbers = frame.get(at + mark.len()..)?.first_chunk::<NUMBERS>()?;
            let (publisher, sequence) = std::str::from_utf8(numbers).ok()?.split_at_checked(4)?;
            let publisher = usize::from_str_radix(publisher, 16).ok()?;
            let sequence = u32::from_str_radix(sequence, 16).ok()?;
            Some(Said::Message { publisher, sequence })
        });
        ours.unwrap_or(Said::Other)
    }
}

/// Frames that are no messages. What has another form is not for us.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Frame {
    Published { r#ref: u32 },
    Error { r#ref: Option<u32>, code: String },
    Ready { replica: String },
    Gap {},
}

impl Frame {
    fn said(self) -> Said {
        match self {
            Self::Published { r#ref } => Said::Published(r#ref),
            Self::Error { r#ref: Some(sequence), code } => Said::Refused(sequence, code),
            Self::Error { r#ref: None, .. } => Said::Other,
            Self::Ready { replica } => Said::Ready(replica),
            Self::Gap {} => Said::Gap,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn our_messages_are_known_again() {
        let mark = Mark::new();
        for size in [LEAST, 256, 4096] {
            let command: Value = serde_json::from_str(&mark.publish(3, 70_000, size)).unwrap();
            let text = command["publish"]["text"].as_str().unwrap();
            assert_eq!((text.len(), command["publish"]["ref"].as_u64()), (size, Some(70_000)));
            let message = format!(r#"{{"id":"1-2","channel":"x","text":"{text}","date":"x"}}"#);
            let ours = Said::Message { publisher: 3, sequence: 70_000 };
            assert_eq!(mark.read(message.as_bytes()), ours);
            assert_eq!(Mark::new().read(message.as_bytes()), Said::Other, "of another run");
        }
    }

    #[test]
    fn other_frames() {
        for (frame, said) in [
            (json!({"published": {"ref": 7, "id": "1-2"}}), Said::Published(7)),
            (json!({"published": {"ref": 7, "id": null}}), Said::Published(7)),
            (
                json!({"error": {"ref": 7, "code": "rate_limited", "message": ""}}),
                Said::Refused(7, "rate_limited".into()),
            ),
            (json!({"error": {"code": "bad_request", "message": ""}}), Said::Other),
            (json!({"ready": {"replica": "a", "recovered": true}}), Said::Ready("a".into())),
            (json!({"gap": {"message": "may be"}}), Said::Gap),
            (json!({"news": {}}), Said::Other),
            (json!({"id": "1-2", "text": "hello"}), Said::Other),
        ] {
            assert_eq!(Mark::new().read(frame.to_string().as_bytes()), said, "{frame}");
        }
        assert_eq!(Mark::new().read(b"{\"id\""), Said::Other);
    }
}
