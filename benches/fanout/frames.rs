//! Counter of messages in a stream of frames.

use crate::{Outcome, TEXT};

pub const TEXT_FRAME: u8 = 0x81;
const MASKED: u8 = 0x80;

/// State of a frame that is not complete.
#[derive(Default)]
pub struct Frames {
    header: [u8; 4],
    have: usize,
    /// Payload bytes still to skip.
    left: usize,
    /// Frames of one byte: pings of Engine.IO.
    pub pings: usize,
}

impl Frames {
    /// Counts the messages that end in `bytes`.
    pub fn count(&mut self, mut bytes: &[u8]) -> Outcome<usize> {
        let mut ended = 0;
        while let Some(first) = bytes.first() {
            if self.have < self.header.len() {
                self.header[self.have] = *first;
                self.have += 1;
                bytes = &bytes[1..];
                match (self.have, self.header) {
                    // A ping with its payload is as long as a header.
                    (3, [TEXT_FRAME, 1, ..]) => {
                        self.have = 0;
                        self.pings += 1;
                    }
                    (4, [TEXT_FRAME, 126, high, low]) => {
                        self.left = usize::from(u16::from_be_bytes([high, low]));
                        if self.left < TEXT {
                            return Err("unexpected frame: not a message".into());
                        }
                    }
                    (4, _) => return Err("unexpected frame: not a message".into()),
                    _ => {}
                }
                continue;
            }
            let size = self.left.min(bytes.len());
            bytes = &bytes[size..];
            self.left -= size;
            if self.left == 0 {
                self.have = 0;
                ended += 1;
            }
        }
        Ok(ended)
    }
}

/// Encodes a client frame with a mask of zeros.
pub fn masked(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![TEXT_FRAME];
    match payload.len() {
        length @ 0..126 => frame.push(MASKED | length as u8),
        length => {
            frame.push(MASKED | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}
