//! A client may send any bytes in any pieces: the reader does not panic, says the same whatever the
//! pieces, holds no more than one message, and does not recover from a violation. And whatever the server
//! compresses, it reads.
//!
//! Input: the largest message (two bytes); whether binary is accepted (the highest bit of a byte),
//! whether compression was agreed on (the next one) and how many sizes of pieces there are (the others);
//! those sizes; then what the client sends.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use std::mem;
use warren_fuzz::memory::{Counting, peak_of};
use warren_protocol::websocket::{ReadLimits, Deflater, FrameEvent, Inflater, FrameDecoder, ProtocolViolation};
use warren_protocol::websocket::{binary_frame, deflated};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Most of a control frame, which a reader may hold beside a message.
const CONTROL: usize = 125;

fuzz_target!(|input: &[u8]| {
    let [high, low, flags, rest @ ..] = input else { return };
    let Some((sizes, sent)) = rest.split_at_checked(usize::from(flags & 0x3f)) else { return };
    let max_message = usize::from(u16::from_be_bytes([*high, *low]));
    let inflater = RefCell::new(Inflater::default());
    let agreed = flags & 0x40 != 0;
    let accept = ReadLimits {
        max_message,
        binary: flags & 0x80 != 0,
        inflater: Some(&inflater).filter(|_| agreed),
    };

    assert_eq!(heard(sent, &[], accept), heard(sent, sizes, accept));

    let mut again = sent.to_vec();
    let held = peak_of(|| {
        read(&mut again, sizes, accept, |_| {});
    });
    // As it came, and inflated up to the byte that is one too many.
    let compressed = if agreed { max_message + max_message / 8 + 64 + 1 } else { 0 };
    assert!(held <= max_message + compressed + CONTROL, "held {held} bytes");
    if agreed {
        comes_back(sent, accept);
    }
});

/// What is compressed for clients is the same when it is inflated.
fn comes_back(message: &[u8], accept: ReadLimits<'_>) {
    let accept = ReadLimits { max_message: message.len(), binary: true, ..accept };
    if let Some(frame) = deflated(&binary_frame(message), &mut Deflater::default()) {
        assert!(frame.len() < message.len() + 10);
        // A client's frame has a mask, here one that changes nothing.
        let header = match frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        let mut masked = [&frame[..header], &[0; 4], &frame[header..]].concat();
        masked[1] |= 0x80;
        let mut got = Vec::new();
        let violation = read(&mut masked, &[], accept, |event| {
            got.push(matches!(event, FrameEvent::Binary(data) if data == message));
        });
        assert_eq!((got, violation), (vec![true], None));
    }
}

/// All that is said of what was sent.
fn heard(sent: &[u8], sizes: &[u8], accept: ReadLimits<'_>) -> (Vec<String>, Option<ProtocolViolation>) {
    let mut events = Vec::new();
    let violation = read(&mut sent.to_vec(), sizes, accept, |event| {
        match &event {
            FrameEvent::Text(text) => assert!(text.len() <= accept.max_message),
            FrameEvent::Binary(data) => assert!(accept.binary && data.len() <= accept.max_message),
            FrameEvent::Ping(payload) => assert!(payload.len() <= CONTROL),
            FrameEvent::Pong | FrameEvent::Close(_) => {}
        }
        events.push(format!("{event:?}"));
    });
    (events, violation)
}

/// Reads it in pieces of those sizes, over and over; without sizes, at once.
fn read(
    mut sent: &mut [u8],
    sizes: &[u8],
    accept: ReadLimits<'_>,
    mut say: impl FnMut(FrameEvent<'_>),
) -> Option<ProtocolViolation> {
    let mut sizes = sizes.iter().map(|size| usize::from(*size).max(1)).cycle();
    let mut reader = FrameDecoder::default();
    let mut violation = None;
    while !sent.is_empty() {
        let size = sizes.next().unwrap_or(sent.len()).min(sent.len());
        let (mut piece, rest) = mem::take(&mut sent).split_at_mut(size);
        sent = rest;
        loop {
            match reader.next(&mut piece, accept) {
                Err(again) => {
                    assert_eq!(*violation.get_or_insert(again), again);
                    break;
                }
                Ok(_) if violation.is_some() => panic!("what is violated stays violated"),
                Ok(Some(event)) => say(event),
                Ok(None) => {
                    assert!(piece.is_empty());
                    break;
                }
            }
        }
    }
    violation
}
