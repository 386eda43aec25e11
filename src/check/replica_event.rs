//! The events of docs/protocol.md that concern a check.

use serde::Deserialize;
use warren_client::sse::Message;

/// An event from a replica.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReplicaEvent {
    /// The ready event, with the name of the replica.
    Ready(String),
    /// A message with a text that is a string.
    Text(String),
    /// Any other event.
    Other,
}

#[derive(Deserialize)]
struct Ready {
    replica: String,
}

#[derive(Deserialize)]
struct Publication {
    text: String,
}

impl ReplicaEvent {
    pub(super) fn parse(Message { kind, data, .. }: &Message) -> Self {
        let event = match kind.as_str() {
            "ready" => serde_json::from_str(data).map(|Ready { replica }| Self::Ready(replica)),
            "message" => serde_json::from_str(data).map(|Publication { text }| Self::Text(text)),
            _ => return Self::Other,
        };
        event.unwrap_or(Self::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_and_texts_are_recognized() {
        for (kind, data, expected) in [
            ("ready", r#"{"replica":"a"}"#, ReplicaEvent::Ready("a".into())),
            ("message", r#"{"id":"8","text":"hello"}"#, ReplicaEvent::Text("hello".into())),
            ("message", r#"{"text":1}"#, ReplicaEvent::Other),
            ("ready", r#"{"replica":[]}"#, ReplicaEvent::Other),
            ("gap", r#"{"text":"hello"}"#, ReplicaEvent::Other),
            ("message", "hello", ReplicaEvent::Other),
        ] {
            let message = Message { kind: kind.into(), id: None, data: data.into() };
            assert_eq!(ReplicaEvent::parse(&message), expected, "{kind} {data}");
        }
    }
}
