//! WebSocket frames (RFC 6455) as plain data.
//!
//! - `decode`, `encode`: frame headers, masking, fragmentation.
//! - `utf8`: incremental validation.
//! - `deflate`, `negotiate`: permessage-deflate (RFC 7692).
//! - `close`: the table of close codes.
//!
//! Knows no sockets, no tasks, and not what a message means.

mod close;
mod decode;
mod deflate;
mod encode;
mod negotiate;
mod utf8;

pub use close::{CloseReason, GONE, LABELS as CLOSE_LABELS, Reconnect, TABLE as CLOSES};
pub use decode::{FrameDecoder, FrameEvent, ProtocolViolation, ReadLimits};
pub use deflate::{Deflater, Inflater};
pub use encode::{
    FrameBuilder, binary_frame, close_frame, deflated, ping_frame, pong_frame, text_frame,
};
pub use negotiate::{NegotiatedDeflate, Window, negotiate};

/// Largest payload of a control frame in bytes (RFC 6455, 5.5).
const MAX_CONTROL_PAYLOAD: usize = 125;

/// Bit that marks a compressed message in its first frame (RFC 7692, 6).
const RSV1: u8 = 0x40;

/// Frame types (RFC 6455, 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xA,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}
