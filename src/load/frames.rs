//! WebSocket frames on the client's side: cut from what a server sends, and masked for it; plain data.

use std::ops::ControlFlow;

pub(super) const TEXT: u8 = 0x1;
pub(super) const CLOSE: u8 = 0x8;
pub(super) const PING: u8 = 0x9;
pub(super) const PONG: u8 = 0xA;

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Larger than any frame that a server sends.
const MAX_FRAME: u64 = 16 << 20;

/// What came is no frame, or none that is whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What has come of a frame that is not complete; nothing is kept between frames.
#[derive(Debug, Default)]
pub(super) struct Frames(Vec<u8>);

impl Frames {
    /// Hands every frame that is complete by now to `each`, as its type and its payload, until that
    /// breaks off. What follows then is kept.
    pub(super) fn take<T>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(u8, &[u8]) -> ControlFlow<T>,
    ) -> Result<Option<T>, Malformed> {
        let mut begun = std::mem::take(&mut self.0);
        let mut rest = if begun.is_empty() {
            bytes
        } else {
            begun.extend_from_slice(bytes);
            &begun
        };
        let mut end = None;
        while end.is_none()
            && let Some((kind, payload, left)) = split(rest)?
        {
            rest = left;
            end = each(kind, payload).break_value();
        }
        // A frame that has only grown stays where it is: a large one comes in many pieces, and to copy it
        // with each would take the longer the larger it is. After a frame, at most this piece is copied.
        self.0 = if rest.len() == begun.len() { begun } else { rest.to_vec() };
        Ok(end)
    }
}

/// The type of a frame, its payload, and what follows.
type Split<'a> = (u8, &'a [u8], &'a [u8]);

/// The first frame, if it is complete.
fn split(bytes: &[u8]) -> Result<Option<Split<'_>>, Malformed> {
    let [first, second, after @ ..] = bytes else { return Ok(None) };
    if first & 0xF0 != FINAL || second & MASKED != 0 {
        return Err(Malformed);
    }
    let (length, payload) = match second {
        126 => match after.split_first_chunk() {
            Some((length, payload)) => (u64::from(u16::from_be_bytes(*length)), payload),
            None => return Ok(None),
        },
        127 => match after.split_first_chunk() {
            Some((length, payload)) => (u64::from_be_bytes(*length), payload),
            None => return Ok(None),
        },
        length => (u64::from(*length), after),
    };
    if length > MAX_FRAME {
        return Err(Malformed);
    }
    let split = payload.split_at_checked(length as usize);
    Ok(split.map(|(payload, left)| (first & 0x0F, payload, left)))
}

/// A frame as clients have to send it.
pub(super) fn masked(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + payload.len());
    frame.push(FINAL | kind);
    match payload.len() {
        length @ 0..=125 => frame.push(MASKED | length as u8),
        length @ 126..=0xFFFF => {
            frame.push(MASKED | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(MASKED | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let mask = fastrand::u32(..).to_ne_bytes();
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_protocol::websocket::{FrameDecoder, FrameEvent, ReadLimits};

    #[test]
    fn frames_come_in_pieces_and_in_heaps() {
        let long = vec![b'x'; 70_000];
        let mut bytes = b"\x81\x02hi\x89\x00\x81\x7e\x00\x80".to_vec();
        bytes.extend_from_slice(&long[..128]);
        bytes.extend_from_slice(b"\x81\x7f\0\0\0\0\0\x01\x11\x70");
        bytes.extend_from_slice(&long);
        for size in [1, 3, 1000, bytes.len()] {
            let (mut frames, mut lengths) = (Frames::default(), Vec::new());
            for piece in bytes.chunks(size) {
                let taken = frames.take(piece, |kind, payload| {
                    lengths.push((kind, payload.len()));
                    ControlFlow::<()>::Continue(())
                });
                assert_eq!(taken, Ok(None));
            }
            assert_eq!(lengths, [(TEXT, 2), (PING, 0), (TEXT, 128), (TEXT, 70_000)]);
            assert_eq!(frames.0.capacity(), 0, "nothing is kept");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let each = |_, _: &[u8]| ControlFlow::<()>::Continue(());
        for bytes in [&b"HTTP/1.1 200"[..], b"\x81\x82aaaabb", b"\x81\x7f\0\0\0\0\x7f\0\0\0"] {
            assert_eq!(Frames::default().take(bytes, each), Err(Malformed));
        }
    }

    #[test]
    fn the_server_reads_what_is_masked() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = "x".repeat(length);
            let mut bytes = masked(TEXT, payload.as_bytes());
            let accept = ReadLimits { max_message: 1 << 20, binary: false, inflater: None };
            let mut rest = &mut bytes[..];
            let event = FrameDecoder::default().next(&mut rest, accept);
            assert_eq!(event, Ok(Some(FrameEvent::Text(payload.into()))));
        }
    }
}
