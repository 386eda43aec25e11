//! Decoding of client frames: a state machine that takes bytes as they arrive and owns no memory while
//! idle.
//!
//! A header is checked as soon as it is complete, before any payload is kept. This bounds the memory of
//! a connection by the largest message it may send.

use super::utf8::{Invalid, Utf8};
use super::{CloseReason, Inflater, MAX_CONTROL_PAYLOAD, Opcode, RSV1};
use std::borrow::Cow;
use std::cell::RefCell;
use std::mem;

/// Longest header of a client frame: two bytes, a 64-bit length, a mask.
const MAX_HEADER: usize = 14;

/// Messages that a decoder accepts.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits<'a> {
    /// Largest message in bytes: all fragments together, inflated.
    pub max_message: usize,
    /// Accept binary messages. Otherwise they are refused with [`CloseReason::BinaryData`].
    pub binary: bool,
    /// Decompressor, if compression was negotiated. Borrowed for one message at a time.
    pub inflater: Option<&'a RefCell<Inflater>>,
}

impl ReadLimits<'_> {
    /// Largest payload on the wire. Incompressible data grows when compressed: frequent flushes add 5 bytes
    /// to every hundred or two, and an eighth is ample.
    fn max_payload(&self, compressed: bool) -> usize {
        let more = if compressed { self.max_message / 8 + 64 } else { 0 };
        self.max_message.saturating_add(more)
    }
}

/// A complete message or control frame of a client.
#[derive(Debug, PartialEq, Eq)]
pub enum FrameEvent<'a> {
    Text(Cow<'a, str>),
    Binary(Cow<'a, [u8]>),
    Ping(Cow<'a, [u8]>),
    Pong,
    /// The client's close code, if any. Bytes after a close frame are ignored.
    Close(Option<u16>),
}

impl FrameEvent<'_> {
    /// Size of the message in bytes; zero for control frames.
    pub fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(data) => data.len(),
            Self::Ping(_) | Self::Pong | Self::Close(_) => 0,
        }
    }
}

/// A violation of the protocol or of the limits, as the close reason that answers it. Events before it were
/// delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.row().reason)]
pub struct ProtocolViolation(pub CloseReason);

impl From<Invalid> for ProtocolViolation {
    fn from(_: Invalid) -> Self {
        Self(CloseReason::InvalidUtf8)
    }
}

/// Decoder of the frames of one client.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    state: State,
    /// The message whose fragments are being collected.
    message: Option<Message>,
    /// Payload of that message so far. Empty and without capacity between messages.
    payload: Vec<u8>,
    utf8: Utf8,
    /// Payload so far of a control frame that arrived in pieces.
    control: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Header {
        bytes: [u8; MAX_HEADER],
        have: u8,
    },
    Payload(Frame),
    /// After a close frame.
    Closed,
    Violated(ProtocolViolation),
}

impl Default for State {
    fn default() -> Self {
        Self::Header { bytes: [0; MAX_HEADER], have: 0 }
    }
}

/// Properties of a message, from its first frame.
#[derive(Clone, Copy, Debug)]
struct Message {
    opcode: Opcode,
    compressed: bool,
}

/// A frame whose payload is being read.
#[derive(Clone, Copy, Debug)]
struct Frame {
    fin: bool,
    opcode: Opcode,
    compressed: bool,
    mask: [u8; 4],
    /// Payload bytes not yet received.
    left: usize,
}

impl FrameDecoder {
    /// Decodes `data` up to the next event, and removes the bytes read from it. `None` if `data` is used up.
    ///
    /// The payload is unmasked in place. A message that is complete in `data` is not copied.
    ///
    /// # Errors
    /// A [`ProtocolViolation`] is final: every later call returns it again.
    pub fn next<'a>(
        &mut self,
        data: &mut &'a mut [u8],
        limits: ReadLimits<'_>,
    ) -> Result<Option<FrameEvent<'a>>, ProtocolViolation> {
        self.advance(data, limits).inspect_err(|violation| {
            *self = Self { state: State::Violated(*violation), ..Self::default() };
        })
    }

    /// True after a close frame or a violation: later bytes are ignored.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Closed | State::Violated(_))
    }

    fn advance<'a>(
        &mut self,
        data: &mut &'a mut [u8],
        limits: ReadLimits<'_>,
    ) -> Result<Option<FrameEvent<'a>>, ProtocolViolation> {
        loop {
            match &mut self.state {
                State::Violated(violation) => return Err(*violation),
                State::Closed => {
                    *data = &mut [];
                    return Ok(None);
                }
                State::Header { bytes, have } => {
                    let Some(header) = take_header(bytes, have, data) else {
                        return Ok(None);
                    };
                    let frame = self.check_header(&header, limits)?;
                    self.state = State::Payload(frame);
                }
                State::Payload(frame) => {
                    if data.is_empty() && frame.left > 0 {
                        return Ok(None);
                    }
                    let size = frame.left.min(data.len());
                    let (chunk, rest) = mem::take(data).split_at_mut(size);
                    *data = rest;
                    unmask(chunk, &mut frame.mask);
                    frame.left -= size;
                    let frame = *frame;
                    if frame.left == 0 {
                        self.state = State::default();
                    }
                    if let Some(event) = self.add_payload(frame, chunk, limits)? {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    /// Checks a complete header.
    fn check_header(
        &self,
        header: &[u8],
        limits: ReadLimits<'_>,
    ) -> Result<Frame, ProtocolViolation> {
        let protocol = ProtocolViolation(CloseReason::ProtocolError);
        let (first, second) = (header[0], header[1]);
        let compressed = first & RSV1 != 0;
        let reserved = first & 0x70 & !RSV1 != 0;
        let masked = second & 0x80 != 0;
        let fin = first & 0x80 != 0;
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(protocol)?;
        if reserved || !masked {
            return Err(protocol);
        }
        let (length, mask) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes([header[2], header[3]])), &header[4..8]),
            127 => {
                let length: [u8; 8] = header[2..10].try_into().unwrap_or_default();
                (u64::from_be_bytes(length), &header[10..14])
            }
            length => (u64::from(length), &header[2..6]),
        };
        if opcode.is_control() {
            if !fin || compressed || length > MAX_CONTROL_PAYLOAD as u64 {
                return Err(protocol);
            }
        } else {
            // A message starts with its type and continues with continuation frames only.
            if (opcode == Opcode::Continuation) != self.message.is_some() {
                return Err(protocol);
            }
            // Only the first frame of a message may mark it as compressed.
            if compressed && (self.message.is_some() || limits.inflater.is_none()) {
                return Err(protocol);
            }
            if opcode == Opcode::Binary && !limits.binary {
                return Err(ProtocolViolation(CloseReason::BinaryData));
            }
            let max =
                limits.max_payload(self.message.map_or(compressed, |message| message.compressed));
            if length > max.saturating_sub(self.payload.len()) as u64 {
                return Err(ProtocolViolation(CloseReason::TooBig));
            }
        }
        let mask = [mask[0], mask[1], mask[2], mask[3]];
        Ok(Frame { fin, opcode, compressed, mask, left: length as usize })
    }

    /// Adds an unmasked piece of a frame's payload. `frame.left` bytes follow it.
    fn add_payload<'a>(
        &mut self,
        frame: Frame,
        chunk: &'a [u8],
        limits: ReadLimits<'_>,
    ) -> Result<Option<FrameEvent<'a>>, ProtocolViolation> {
        if frame.opcode.is_control() {
            self.control_payload(frame, chunk)
        } else {
            self.data_payload(frame, chunk, limits)
        }
    }

    fn data_payload<'a>(
        &mut self,
        frame: Frame,
        chunk: &'a [u8],
        limits: ReadLimits<'_>,
    ) -> Result<Option<FrameEvent<'a>>, ProtocolViolation> {
        let Frame { opcode, compressed, .. } = frame;
        let message = *self.message.get_or_insert(Message { opcode, compressed });
        let complete = frame.fin && frame.left == 0;
        if complete && self.payload.is_empty() {
            self.message = None;
            return message.complete(chunk.into(), limits).map(Some);
        }
        self.make_room(frame, chunk.len(), limits.max_payload(message.compressed));
        self.payload.extend_from_slice(chunk);
        if message.opcode == Opcode::Text && !message.compressed {
            self.utf8.check(&self.payload)?;
        }
        if !complete {
            return Ok(None);
        }
        self.message = None;
        self.utf8 = Utf8::default();
        message.complete(mem::take(&mut self.payload).into(), limits).map(Some)
    }

    /// Reserves memory for the rest of a frame. If more fragments may follow, capacity doubles, to copy
    /// seldom, but stays within `max`.
    fn make_room(&mut self, frame: Frame, size: usize, max: usize) {
        let (have, room) = (self.payload.len(), self.payload.capacity());
        let need = have + size + frame.left;
        if need > room {
            let ahead = if frame.fin { 0 } else { (2 * room).min(max) };
            self.payload.reserve_exact(need.max(ahead) - have);
        }
    }

    fn control_payload<'a>(
        &mut self,
        frame: Frame,
        chunk: &'a [u8],
    ) -> Result<Option<FrameEvent<'a>>, ProtocolViolation> {
        let payload: Cow<'a, [u8]> = if frame.left == 0 && self.control.is_empty() {
            chunk.into()
        } else {
            self.control.reserve_exact(chunk.len() + frame.left);
            self.control.extend_from_slice(chunk);
            if frame.left > 0 {
                return Ok(None);
            }
            mem::take(&mut self.control).into()
        };
        Ok(Some(match frame.opcode {
            Opcode::Ping => FrameEvent::Ping(payload),
            Opcode::Close => {
                self.state = State::Closed;
                FrameEvent::Close(close_code(&payload)?)
            }
            _ => FrameEvent::Pong,
        }))
    }
}

impl Message {
    /// Inflates the payload if needed, and checks that text is UTF-8.
    fn complete<'a>(
        self,
        payload: Cow<'a, [u8]>,
        limits: ReadLimits<'_>,
    ) -> Result<FrameEvent<'a>, ProtocolViolation> {
        let payload = match limits.inflater.filter(|_| self.compressed) {
            Some(inflater) => inflater.borrow_mut().inflate(&payload, limits.max_message)?.into(),
            None => payload,
        };
        Ok(match (self.opcode, payload) {
            (Opcode::Text, Cow::Borrowed(text)) => {
                FrameEvent::Text(std::str::from_utf8(text).map_err(|_| Invalid)?.into())
            }
            (Opcode::Text, Cow::Owned(text)) => {
                FrameEvent::Text(String::from_utf8(text).map_err(|_| Invalid)?.into())
            }
            (_, data) => FrameEvent::Binary(data),
        })
    }
}

/// Moves bytes of a header from `data` to `bytes`, and returns the header once it is complete.
fn take_header(
    bytes: &mut [u8; MAX_HEADER],
    have: &mut u8,
    data: &mut &mut [u8],
) -> Option<[u8; MAX_HEADER]> {
    loop {
        let have_now = usize::from(*have);
        let need = match have_now {
            0 | 1 => 2,
            _ => {
                let length = match bytes[1] & 0x7f {
                    126 => 2,
                    127 => 8,
                    _ => 0,
                };
                // An unmasked frame is refused without waiting for more.
                2 + length + if bytes[1] & 0x80 != 0 { 4 } else { 0 }
            }
        };
        if have_now == need {
            return Some(*bytes);
        }
        let size = (need - have_now).min(data.len());
        if size == 0 {
            return None;
        }
        let (head, rest) = mem::take(data).split_at_mut(size);
        *data = rest;
        bytes[have_now..have_now + size].copy_from_slice(head);
        *have += size as u8;
    }
}

/// Applies the mask, and rotates it to fit the bytes that follow.
fn unmask(chunk: &mut [u8], mask: &mut [u8; 4]) {
    let word = u32::from_ne_bytes(*mask);
    let wide = u64::from(word) << 32 | u64::from(word);
    let mut words = chunk.chunks_exact_mut(8);
    for bytes in &mut words {
        let masked = u64::from_ne_bytes((&*bytes).try_into().unwrap_or_default());
        bytes.copy_from_slice(&(masked ^ wide).to_ne_bytes());
    }
    let rest = words.into_remainder();
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    let turn = rest.len() % 4;
    mask.rotate_left(turn);
}

/// Checks the payload of a close frame (RFC 6455, 7.4), and returns its code.
fn close_code(payload: &[u8]) -> Result<Option<u16>, ProtocolViolation> {
    match payload {
        [] => Ok(None),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            // 1004 to 1006 and 1015 are never sent; 1016 to 2999 are not assigned.
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(ProtocolViolation(CloseReason::ProtocolError));
            }
            std::str::from_utf8(reason).map_err(|_| Invalid)?;
            Ok(Some(code))
        }
        [_] => Err(ProtocolViolation(CloseReason::ProtocolError)),
    }
}

#[cfg(test)]
mod tests;
