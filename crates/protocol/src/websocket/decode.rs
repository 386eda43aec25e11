//! Frames from a client: a state machine that is fed bytes as they come and owns none while idle.
//!
//! A header is judged as soon as it is complete, before any of its payload is kept: that bounds the
//! memory of a connection by the largest message it may send.

use super::utf8::{Invalid, Utf8};
use super::{CloseReason, Inflater, MAX_CONTROL_PAYLOAD, Opcode, RSV1};
use std::borrow::Cow;
use std::cell::RefCell;
use std::mem;

/// Longest header of a client frame: two bytes, a 64-bit length, a mask.
const MAX_HEADER: usize = 14;

/// What a reader lets through.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits<'a> {
    /// Largest message in bytes, over all its fragments, and not compressed.
    pub max_message: usize,
    /// Whether binary messages are let through; otherwise they are [`CloseReason::BinaryData`].
    pub binary: bool,
    /// What inflates compressed messages, if those were agreed on; it is borrowed for a message at a time.
    pub inflater: Option<&'a RefCell<Inflater>>,
}

impl ReadLimits<'_> {
    /// Most bytes that the largest message may come in. Those that cannot be compressed get longer:
    /// whoever flushes often adds 5 bytes to a hundred or two, and nobody needs to add an eighth.
    fn most(&self, compressed: bool) -> usize {
        let more = if compressed { self.max_message / 8 + 64 } else { 0 };
        self.max_message.saturating_add(more)
    }
}

/// What a client said.
#[derive(Debug, PartialEq, Eq)]
pub enum FrameEvent<'a> {
    Text(Cow<'a, str>),
    Binary(Cow<'a, [u8]>),
    Ping(Cow<'a, [u8]>),
    Pong,
    /// The client's close code, if it gave one. What follows on the wire is not read.
    Close(Option<u16>),
}

impl FrameEvent<'_> {
    /// Bytes of the message that it brings.
    pub fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(data) => data.len(),
            Self::Ping(_) | Self::Pong | Self::Close(_) => 0,
        }
    }
}

/// What a client must not do, as the close that answers it. Events before it were delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.row().reason)]
pub struct ProtocolViolation(pub CloseReason);

impl From<Invalid> for ProtocolViolation {
    fn from(_: Invalid) -> Self {
        Self(CloseReason::InvalidUtf8)
    }
}

/// One direction of one connection.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    state: State,
    /// The message whose fragments are being gathered.
    message: Option<Message>,
    /// Its payload so far. Empty, and without memory of its own, between messages.
    gathered: Vec<u8>,
    utf8: Utf8,
    /// Payload so far of a control frame that came in pieces.
    control: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Header {
        bytes: [u8; MAX_HEADER],
        have: u8,
    },
    Payload(Frame),
    /// A close frame was read.
    Closed,
    Violated(ProtocolViolation),
}

impl Default for State {
    fn default() -> Self {
        Self::Header { bytes: [0; MAX_HEADER], have: 0 }
    }
}

/// What the first frame says of its message.
#[derive(Clone, Copy, Debug)]
struct Message {
    opcode: Opcode,
    compressed: bool,
}

/// A frame whose payload is awaited.
#[derive(Clone, Copy, Debug)]
struct Frame {
    fin: bool,
    opcode: Opcode,
    compressed: bool,
    mask: [u8; 4],
    /// Payload bytes still to come.
    left: usize,
}

impl FrameDecoder {
    /// Reads on in `data` up to the next event; `None` when `data` is used up.
    ///
    /// The payload is unmasked in place, and a message that lies in `data` as a whole is not copied.
    ///
    /// # Errors
    /// A [`ProtocolViolation`] is final: whatever follows, it is the answer.
    pub fn next<'a>(
        &mut self,
        data: &mut &'a mut [u8],
        accept: ReadLimits<'_>,
    ) -> Result<Option<FrameEvent<'a>>, ProtocolViolation> {
        self.advance(data, accept).inspect_err(|violation| {
            *self = Self { state: State::Violated(*violation), ..Self::default() };
        })
    }

    /// Nothing that follows on the wire is read.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Closed | State::Violated(_))
    }

    fn advance<'a>(
        &mut self,
        data: &mut &'a mut [u8],
        accept: ReadLimits<'_>,
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
                    let frame = self.admit(&header, accept)?;
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
                    if let Some(event) = self.payload(frame, chunk, accept)? {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    /// Judges a complete header.
    fn admit(&self, header: &[u8], accept: ReadLimits<'_>) -> Result<Frame, ProtocolViolation> {
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
            // A message is begun by its type and continued by continuations, nothing else.
            if (opcode == Opcode::Continuation) != self.message.is_some() {
                return Err(protocol);
            }
            // Its first frame says of the whole message that it is compressed.
            if compressed && (self.message.is_some() || accept.inflater.is_none()) {
                return Err(protocol);
            }
            if opcode == Opcode::Binary && !accept.binary {
                return Err(ProtocolViolation(CloseReason::BinaryData));
            }
            let most = accept.most(self.message.map_or(compressed, |message| message.compressed));
            if length > most.saturating_sub(self.gathered.len()) as u64 {
                return Err(ProtocolViolation(CloseReason::TooBig));
            }
        }
        let mask = [mask[0], mask[1], mask[2], mask[3]];
        Ok(Frame { fin, opcode, compressed, mask, left: length as usize })
    }

    /// Takes a piece of a frame's payload, unmasked. `frame.left` is what follows it.
    fn payload<'a>(
        &mut self,
        frame: Frame,
        chunk: &'a [u8],
        accept: ReadLimits<'_>,
    ) -> Result<Option<FrameEvent<'a>>, ProtocolViolation> {
        if frame.opcode.is_control() {
            self.control_payload(frame, chunk)
        } else {
            self.data_payload(frame, chunk, accept)
        }
    }

    fn data_payload<'a>(
        &mut self,
        frame: Frame,
        chunk: &'a [u8],
        accept: ReadLimits<'_>,
    ) -> Result<Option<FrameEvent<'a>>, ProtocolViolation> {
        let Frame { opcode, compressed, .. } = frame;
        let message = *self.message.get_or_insert(Message { opcode, compressed });
        let complete = frame.fin && frame.left == 0;
        if complete && self.gathered.is_empty() {
            self.message = None;
            return message.of(chunk.into(), accept).map(Some);
        }
        self.make_room(frame, chunk.len(), accept.most(message.compressed));
        self.gathered.extend_from_slice(chunk);
        if message.opcode == Opcode::Text && !message.compressed {
            self.utf8.check(&self.gathered)?;
        }
        if !complete {
            return Ok(None);
        }
        self.message = None;
        self.utf8 = Utf8::default();
        message.of(mem::take(&mut self.gathered).into(), accept).map(Some)
    }

    /// Sees to it that the rest of a frame fits. What more fragments may need is doubled, to be copied
    /// seldom, but never beyond `most`.
    fn make_room(&mut self, frame: Frame, size: usize, most: usize) {
        let (have, room) = (self.gathered.len(), self.gathered.capacity());
        let need = have + size + frame.left;
        if need > room {
            let ahead = if frame.fin { 0 } else { (2 * room).min(most) };
            self.gathered.reserve_exact(need.max(ahead) - have);
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
    /// The message with this payload.
    fn of<'a>(
        self,
        payload: Cow<'a, [u8]>,
        accept: ReadLimits<'_>,
    ) -> Result<FrameEvent<'a>, ProtocolViolation> {
        let payload = match accept.inflater.filter(|_| self.compressed) {
            Some(inflater) => inflater.borrow_mut().inflate(&payload, accept.max_message)?.into(),
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

/// Moves bytes of a header from `data` to `bytes`; the header once it is complete.
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
                // A frame without a mask is refused, not waited for.
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

/// Applies the mask, and turns it so that it fits what follows.
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

/// The code in a close frame's payload, checked with its reason (RFC 6455, 7.4).
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
