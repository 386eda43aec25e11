//! Server-sent events, as far as Warren sends them; plain data.

use bytes::BytesMut;
use serde::Deserialize;

/// Larger than any event that concerns a check.
const MAX_EVENT: usize = 64 << 10;

/// What a replica tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Its name.
    Ready(String),
    /// What was said.
    Text(String),
    /// Something else: a heartbeat, a gap, or what nobody knows.
    Other,
}

/// Bytes that came and are not used up.
#[derive(Debug, Default)]
pub(super) struct Events(BytesMut);

impl Events {
    /// Takes bytes in; `None` if what waits is no event of Warren.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Option<()> {
        (self.0.len() <= MAX_EVENT).then(|| self.0.extend_from_slice(bytes))
    }

    /// The next event that is complete.
    pub(super) fn pop(&mut self) -> Option<Event> {
        let length = self.0.windows(2).position(|ends| ends == b"\n\n")? + 2;
        Some(read(&self.0.split_to(length)))
    }
}

#[derive(Deserialize)]
struct Ready {
    replica: String,
}

#[derive(Deserialize)]
struct Message {
    text: String,
}

fn read(event: &[u8]) -> Event {
    let (mut ready, mut data) = (false, &b""[..]);
    for line in event.split(|byte| *byte == b'\n') {
        if line == b"event: ready" {
            ready = true;
        } else if let Some(value) = line.strip_prefix(b"data: ") {
            data = value;
        }
    }
    let event = if ready {
        serde_json::from_slice(data).map(|Ready { replica }| Event::Ready(replica))
    } else {
        serde_json::from_slice(data).map(|Message { text }| Event::Text(text))
    };
    event.unwrap_or(Event::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_pieces_and_in_heaps() {
        let mut events = Events::default();
        let bytes = b"event: ready\nid: 7\ndata: {\"replica\":\"a\"}\n\n:\n\nid: 8\n\
            data: {\"id\":\"8\",\"text\":\"hello\"}\n\nevent: gap\ndata: {}\n\ndata: {\"text\":1}\n\n";
        for byte in bytes {
            events.push(&[*byte]).unwrap();
        }
        let expected = [Event::Ready("a".into()), Event::Other, Event::Text("hello".into())];
        for event in expected.into_iter().chain([Event::Other, Event::Other]) {
            assert_eq!(events.pop(), Some(event));
        }
        assert_eq!(events.pop(), None);
    }

    #[test]
    fn what_never_ends_is_not_kept() {
        let mut events = Events::default();
        let taken = (0..1000).take_while(|_| events.push(&[b'x'; 1000]).is_some()).count();
        assert_eq!((taken, events.pop()), (MAX_EVENT / 1000 + 1, None));
    }
}
