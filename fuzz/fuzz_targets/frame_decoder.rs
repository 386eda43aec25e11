//! Frame decoding of arbitrary bytes from a client, in arbitrary pieces. The decoder must not panic, must return
//! the same events for all divisions into pieces, must not hold more than one message, and must not recover from
//! a violation. It must decode frames that the server compressed.
//!
//! Input: the limit of a message (two bytes); one byte with a bit for binary messages (the highest), a bit for
//! compression (the next) and the number of piece sizes (the others); the piece sizes (one byte each); the bytes
//! from the client.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use std::mem;
use warren_fuzz::memory::{Counting, peak_of};
use warren_protocol::websocket::{
    Deflater, FrameDecoder, FrameEvent, Inflater, ProtocolViolation, ReadLimits,
};
use warren_protocol::websocket::{binary_frame, deflated};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Limit of a control frame, which the decoder may hold in addition to a message.
const MAX_CONTROL: usize = 125;

fuzz_target!(|input: &[u8]| {
    let [high, low, flags, rest @ ..] = input else { return };
    let Some((sizes, sent)) = rest.split_at_checked(usize::from(flags & 0x3f)) else { return };
    let max_message = usize::from(u16::from_be_bytes([*high, *low]));
    let inflater = RefCell::new(Inflater::default());
    let is_compressed = flags & 0x40 != 0;
    let limits = ReadLimits {
        max_message,
        binary: flags & 0x80 != 0,
        inflater: Some(&inflater).filter(|_| is_compressed),
    };

    assert_eq!(decode(sent, &[], limits), decode(sent, sizes, limits));

    let mut bytes = sent.to_vec();
    let held = peak_of(|| {
        read(&mut bytes, sizes, limits, |_| {});
    });
    // A compressed message is also held inflated, up to the first byte above the limit.
    let inflated = if is_compressed { max_message + max_message / 8 + 64 + 1 } else { 0 };
    assert!(held <= max_message + inflated + MAX_CONTROL, "held {held} bytes");
    if is_compressed {
        round_trips(sent, limits);
    }
});

/// Asserts that a message that is compressed for clients is the same when it is inflated.
fn round_trips(message: &[u8], limits: ReadLimits<'_>) {
    let limits = ReadLimits { max_message: message.len(), binary: true, ..limits };
    if let Some(frame) = deflated(&binary_frame(message), &mut Deflater::default()) {
        assert!(frame.len() < message.len() + 10);
        // A client's frame has a mask. This one changes nothing.
        let header = match frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        let mut masked = [&frame[..header], &[0; 4], &frame[header..]].concat();
        masked[1] |= 0x80;
        let mut is_same = Vec::new();
        let violation = read(&mut masked, &[], limits, |event| {
            is_same.push(matches!(event, FrameEvent::Binary(data) if data == message));
        });
        assert_eq!((is_same, violation), (vec![true], None));
    }
}

/// The events that the decoder returns, and the violation that ends them.
fn decode(
    sent: &[u8],
    sizes: &[u8],
    limits: ReadLimits<'_>,
) -> (Vec<String>, Option<ProtocolViolation>) {
    let mut events = Vec::new();
    let violation = read(&mut sent.to_vec(), sizes, limits, |event| {
        match &event {
            FrameEvent::Text(text) => assert!(text.len() <= limits.max_message),
            FrameEvent::Binary(data) => assert!(limits.binary && data.len() <= limits.max_message),
            FrameEvent::Ping(payload) => assert!(payload.len() <= MAX_CONTROL),
            FrameEvent::Pong | FrameEvent::Close(_) => {}
        }
        events.push(format!("{event:?}"));
    });
    (events, violation)
}

/// Decodes bytes in pieces of these sizes, which are repeated; without sizes, in one piece.
fn read(
    mut sent: &mut [u8],
    sizes: &[u8],
    limits: ReadLimits<'_>,
    mut on_event: impl FnMut(FrameEvent<'_>),
) -> Option<ProtocolViolation> {
    let mut sizes = sizes.iter().map(|size| usize::from(*size).max(1)).cycle();
    let mut decoder = FrameDecoder::default();
    let mut violation = None;
    while !sent.is_empty() {
        let size = sizes.next().unwrap_or(sent.len()).min(sent.len());
        let (mut piece, rest) = mem::take(&mut sent).split_at_mut(size);
        sent = rest;
        loop {
            match decoder.next(&mut piece, limits) {
                Err(again) => {
                    assert_eq!(*violation.get_or_insert(again), again);
                    break;
                }
                Ok(_) if violation.is_some() => panic!("the decoder recovered from a violation"),
                Ok(Some(event)) => on_event(event),
                Ok(None) => {
                    assert!(piece.is_empty());
                    break;
                }
            }
        }
    }
    violation
}
