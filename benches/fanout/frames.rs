//! Finds the ends of messages in a stream of frames; plain data.

use crate::{Outcome, TEXT};

pub const TEXT_FRAME: u8 = 0x81;

/// What has come of a frame that is not complete.
#[derive(Default)]
pub struct Frames {
    header: [u8; 4],
    have: usize,
    /// Payload bytes to pass over.
    left: usize,
}

impl Frames {
    /// How many messages end in `bytes`.
    pub fn count(&mut self, mut bytes: &[u8]) -> Outcome<usize> {
        let mut ended = 0;
        while let Some(first) = bytes.first() {
            if self.have < self.header.len() {
                self.header[self.have] = *first;
                self.have += 1;
                bytes = &bytes[1..];
                if self.have == self.header.len() {
                    let [kind, 126, high, low] = self.header else {
                        return Err("a frame that is no message".into());
                    };
                    self.left = usize::from(u16::from_be_bytes([high, low]));
                    if kind != TEXT_FRAME || self.left < TEXT {
                        return Err("a frame that is no message".into());
                    }
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
