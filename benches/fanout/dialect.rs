//! How each server is spoken to; plain data.

use crate::frames::{Frames, TEXT_FRAME, masked};
use crate::{Outcome, TEXT};

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// It speaks first, and without a handshake.
    Bare,
    Warren,
    /// The recipe, by socket.io.
    SocketIo,
    Nchan,
}

/// What an answer to a handshake comes to.
pub enum Progress {
    Wait,
    /// The client is to say this next.
    Say(Vec<u8>),
    /// Nothing is left to come before messages.
    Ready,
}

impl Dialect {
    /// What a client says first.
    pub fn request(self, channel: &str) -> Option<String> {
        let path = match self {
            Self::Bare => return None,
            Self::Warren => format!("/ws?channel={channel}"),
            Self::SocketIo => "/socket.io/?EIO=4&transport=websocket".to_owned(),
            Self::Nchan => format!("/listen?channel={channel}"),
        };
        Some(format!(
            "GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        ))
    }

    /// Judges what came since the client last said something.
    pub fn progress(self, answer: &[u8]) -> Outcome<Progress> {
        let greeting = if answer.starts_with(b"HTTP/1.1 ") {
            let Some(head) = answer.windows(4).position(|end| end == b"\r\n\r\n") else {
                return Ok(Progress::Wait);
            };
            if !answer.starts_with(b"HTTP/1.1 101") {
                return Err(String::from_utf8_lossy(answer).into());
            }
            &answer[head + 4..]
        } else {
            answer
        };
        // Greetings are short.
        let greeting = match greeting {
            [TEXT_FRAME, length, payload @ ..] if payload.len() == usize::from(*length) => payload,
            [] if self == Self::Nchan => return Ok(Progress::Ready),
            _ => return Ok(Progress::Wait),
        };
        // engine.io opens the connection; then a client of socket.io enters the namespace.
        Ok(match (self, greeting.first()) {
            (Self::SocketIo, Some(b'0')) => Progress::Say(masked(b"40")),
            _ => Progress::Ready,
        })
    }

    /// A message as a client says it.
    pub fn message(self) -> Vec<u8> {
        let text = "x".repeat(TEXT);
        match self {
            Self::Bare | Self::Warren => masked(text.as_bytes()),
            Self::SocketIo => masked(format!(r#"42["message","{text}"]"#).as_bytes()),
            Self::Nchan => format!(
                "POST /say?channel=lobby HTTP/1.1\r\nhost: bench\r\ncontent-type: text/plain\r\n\
                 content-length: {TEXT}\r\n\r\n{text}"
            )
            .into_bytes(),
        }
    }

    /// What answers the pings that came, if any did.
    pub fn pongs(self, frames: &mut Frames) -> Outcome<Option<Vec<u8>>> {
        match (std::mem::take(&mut frames.pings), self) {
            (0, _) => Ok(None),
            (pings, Self::SocketIo) => Ok(Some(masked(b"3").repeat(pings))),
            _ => Err("a frame that is no message".into()),
        }
    }

    /// Whether messages are said over a connection of their own, by HTTP.
    pub fn is_said_by_http(self) -> bool {
        self == Self::Nchan
    }
}

/// An answer like Warren's.
pub fn answer() -> Vec<u8> {
    let greeting = r#"{"ready":{"recovered":false,"replica":"replica-012345","version":"0.1.0"}}"#;
    let mut answer =
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n"
            .to_vec();
    answer.extend_from_slice(&[TEXT_FRAME, greeting.len() as u8]);
    answer.extend_from_slice(greeting.as_bytes());
    answer
}

/// A message as clients of Warren get it.
pub fn delivery() -> Vec<u8> {
    let payload = format!(
        r#"{{"id":"01234567-1000","channel":"lobby","text":"{}","date":"2026-01-02T03:04:05.678Z"}}"#,
        "x".repeat(TEXT)
    );
    let length = (payload.len() as u16).to_be_bytes();
    let mut frame = vec![TEXT_FRAME, 126, length[0], length[1]];
    frame.extend_from_slice(payload.as_bytes());
    frame
}
