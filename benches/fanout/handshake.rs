//! From a connection to one that is ready to listen; plain data.

use crate::Outcome;
use crate::frames::TEXT_FRAME;

/// What a client says first.
pub fn request(channel: &str) -> String {
    format!(
        "GET /ws?channel={channel} HTTP/1.1\r\nhost: bench\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
}

/// Whether this is the whole answer, greeting included, so that nothing is left to come.
pub fn is_complete(answer: &[u8]) -> Outcome<bool> {
    let Some(head) = answer.windows(4).position(|end| end == b"\r\n\r\n") else {
        return Ok(false);
    };
    if !answer.starts_with(b"HTTP/1.1 101") {
        return Err(String::from_utf8_lossy(answer).into());
    }
    // The greeting is short.
    Ok(matches!(&answer[head + 4..], [TEXT_FRAME, length, payload @ ..]
        if payload.len() == usize::from(*length)))
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
