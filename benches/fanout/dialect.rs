//! Requests and frames of each server under test.

use crate::frames::{Frames, TEXT_FRAME, masked};
use crate::{Outcome, TEXT};

/// The protocol of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The bare loop: no handshake.
    Bare,
    Warren,
    /// The Node recipe.
    SocketIo,
    Nchan,
}

/// State of a handshake.
pub enum Progress {
    Wait,
    /// The client must send this next.
    Send(Vec<u8>),
    /// Complete: messages follow.
    Ready,
}

impl Dialect {
    /// Request of a client, if the protocol has a handshake.
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

    /// State of the handshake, from the bytes received since the client last sent something.
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
        // Greetings have a two-byte header.
        let greeting = match greeting {
            [TEXT_FRAME, length, payload @ ..] if payload.len() == usize::from(*length) => payload,
            [] if self == Self::Nchan => return Ok(Progress::Ready),
            _ => return Ok(Progress::Wait),
        };
        // Engine.IO opens the connection; then the client connects to the namespace.
        Ok(match (self, greeting.first()) {
            (Self::SocketIo, Some(b'0')) => Progress::Send(masked(b"40")),
            _ => Progress::Ready,
        })
    }

    /// A message as a client publishes it.
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

    /// Answer to the pings received, if any.
    pub fn pongs(self, frames: &mut Frames) -> Outcome<Option<Vec<u8>>> {
        match (std::mem::take(&mut frames.pings), self) {
            (0, _) => Ok(None),
            (pings, Self::SocketIo) => Ok(Some(masked(b"3").repeat(pings))),
            _ => Err("unexpected frame: not a message".into()),
        }
    }

    /// True if messages are published by HTTP, on a connection of their own.
    pub fn publishes_by_http(self) -> bool {
        self == Self::Nchan
    }
}

/// A handshake response like Warren's.
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

/// A message as clients of Warren receive it.
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
