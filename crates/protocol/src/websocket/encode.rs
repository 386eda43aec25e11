//! Encoding of server frames: unmasked and unfragmented, so that one encoded frame serves all clients.

use super::{CloseReason, Deflater, MAX_CONTROL_PAYLOAD, Opcode, RSV1};
use bytes::Bytes;

/// Longest header of a server frame: two bytes and a 64-bit length.
const MAX_HEADER: usize = 10;
const FIN: u8 = 0x80;

/// Builder of a text frame whose payload is written in place: one allocation, no copy.
///
/// ```
/// let mut frame = warren_protocol::websocket::FrameBuilder::with_capacity(5);
/// frame.payload().extend_from_slice(b"hello");
/// assert_eq!(&frame.finish()[..], b"\x81\x05hello");
/// ```
#[derive(Debug)]
pub struct FrameBuilder {
    /// Room for the longest header, then the payload.
    buffer: Vec<u8>,
}

impl FrameBuilder {
    /// Reserves space for `payload` bytes. More may be written.
    pub fn with_capacity(payload: usize) -> Self {
        let mut buffer = Vec::with_capacity(MAX_HEADER + payload);
        buffer.resize(MAX_HEADER, 0);
        Self { buffer }
    }

    /// Buffer to append the payload to.
    pub fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Size in bytes of the header of an encoded frame.
    pub fn header_of(frame: &[u8]) -> usize {
        match frame.get(1) {
            Some(126) => 4,
            Some(127) => MAX_HEADER,
            _ => 2,
        }
    }

    /// Completes the frame with its header.
    pub fn finish(self) -> Bytes {
        self.finish_as(FIN | Opcode::Text as u8)
    }

    fn finish_as(mut self, first: u8) -> Bytes {
        let length = self.buffer.len() - MAX_HEADER;
        let (header, size) = header(first, length);
        let start = MAX_HEADER - size;
        self.buffer[start..MAX_HEADER].copy_from_slice(&header[..size]);
        Bytes::from(self.buffer).slice(start..)
    }
}

/// Compresses the payload of a text or binary frame. `None` if the result would not be shorter.
pub fn deflated(frame: &[u8], deflater: &mut Deflater) -> Option<Bytes> {
    let (first, payload) = (frame.first()?, frame.get(FrameBuilder::header_of(frame)..)?);
    let mut compressed = FrameBuilder::with_capacity(0);
    if !deflater.deflate(payload, compressed.payload()) {
        return None;
    }
    compressed.buffer.shrink_to_fit();
    Some(compressed.finish_as(first | RSV1))
}

/// Header of an unmasked frame, and its size in bytes.
fn header(first: u8, length: usize) -> ([u8; MAX_HEADER], usize) {
    let mut header = [0; MAX_HEADER];
    header[0] = first;
    match length {
        0..=125 => {
            header[1] = length as u8;
            (header, 2)
        }
        126..=0xffff => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            (header, 4)
        }
        _ => {
            header[1] = 127;
            header[2..].copy_from_slice(&(length as u64).to_be_bytes());
            (header, MAX_HEADER)
        }
    }
}

fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let (header, size) = header(FIN | opcode as u8, payload.len());
    let mut frame = Vec::with_capacity(size + payload.len());
    frame.extend_from_slice(&header[..size]);
    frame.extend_from_slice(payload);
    frame.into()
}

/// Encodes a text frame.
pub fn text_frame(text: &str) -> Bytes {
    frame(Opcode::Text, text.as_bytes())
}

/// Encodes a binary frame.
pub fn binary_frame(data: &[u8]) -> Bytes {
    frame(Opcode::Binary, data)
}

/// Encodes a ping without payload.
pub fn ping_frame() -> Bytes {
    Bytes::from_static(&[FIN | Opcode::Ping as u8, 0])
}

/// Encodes the answer to a ping. Payload beyond the limit of a control frame is cut off.
pub fn pong_frame(payload: &[u8]) -> Bytes {
    frame(Opcode::Pong, &payload[..payload.len().min(MAX_CONTROL_PAYLOAD)])
}

/// Encodes a close frame. `code` overrides the code of the table, to echo a client's own; `hint_ms` is
/// the time in milliseconds after which the client should reconnect.
pub fn close_frame(close: CloseReason, code: Option<u16>, hint_ms: Option<u32>) -> Bytes {
    let row = close.row();
    let mut payload = code.unwrap_or(row.code).to_be_bytes().to_vec();
    payload.extend_from_slice(row.reason.as_bytes());
    if let Some(pause) = hint_ms {
        payload.extend_from_slice(format!("; retry in {pause}ms").as_bytes());
    }
    frame(Opcode::Close, &payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_encoded_in_the_shortest_form() {
        for (length, header) in [
            (0usize, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (65535, &[0x81, 126, 0xff, 0xff]),
            (65536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let text = "x".repeat(length);
            let mut built = FrameBuilder::with_capacity(0);
            built.payload().extend_from_slice(text.as_bytes());
            let frame = text_frame(&text);
            assert_eq!(&frame[..header.len()], header);
            assert_eq!(frame.len(), header.len() + length);
            assert_eq!(built.finish(), frame);
        }
    }

    #[test]
    fn restart_close_carries_the_retry_hint() {
        let frame = close_frame(CloseReason::Restart, None, Some(1500));
        assert_eq!(frame[..2], [0x88, frame.len() as u8 - 2]);
        assert_eq!(&frame[2..], b"\x03\xf4restart; retry in 1500ms");
    }
}
