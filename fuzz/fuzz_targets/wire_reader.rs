//! A client may send any bytes in any pieces: the reader does not panic, says the same whatever the
//! pieces, holds no more than one message, and does not recover from a violation.
//!
//! Input: the largest message (two bytes); whether binary is accepted (the highest bit of a byte) and
//! how many sizes of pieces there are (its other bits); those sizes; then what the client sends.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::mem;
use warren_fuzz::memory::{Counting, peak_of};
use warren_fuzz::wire::{Accept, Event, Reader, Violation};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Most of a control frame, which a reader may hold beside a message.
const CONTROL: usize = 125;

fuzz_target!(|input: &[u8]| {
    let [high, low, flags, rest @ ..] = input else { return };
    let Some((sizes, sent)) = rest.split_at_checked(usize::from(flags & 0x7f)) else { return };
    let max_message = usize::from(u16::from_be_bytes([*high, *low]));
    let accept = Accept { max_message, binary: flags & 0x80 != 0 };

    assert_eq!(heard(sent, &[], accept), heard(sent, sizes, accept));

    let mut sent = sent.to_vec();
    let held = peak_of(|| {
        read(&mut sent, sizes, accept, |_| {});
    });
    assert!(held <= max_message + CONTROL, "held {held} bytes");
});

/// All that is said of what was sent.
fn heard(sent: &[u8], sizes: &[u8], accept: Accept) -> (Vec<String>, Option<Violation>) {
    let mut events = Vec::new();
    let violation = read(&mut sent.to_vec(), sizes, accept, |event| {
        match &event {
            Event::Text(text) => assert!(text.len() <= accept.max_message),
            Event::Binary(data) => assert!(accept.binary && data.len() <= accept.max_message),
            Event::Ping(payload) => assert!(payload.len() <= CONTROL),
            Event::Pong | Event::Close(_) => {}
        }
        events.push(format!("{event:?}"));
    });
    (events, violation)
}

/// Reads it in pieces of those sizes, over and over; without sizes, at once.
fn read(
    mut sent: &mut [u8],
    sizes: &[u8],
    accept: Accept,
    mut say: impl FnMut(Event<'_>),
) -> Option<Violation> {
    let mut sizes = sizes.iter().map(|size| usize::from(*size).max(1)).cycle();
    let mut reader = Reader::default();
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
