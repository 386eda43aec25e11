//! From an address to a client that is ready to listen.

use super::frames::{CLOSE, Frames, TEXT};
use super::reasons::brief;
use super::said::{Mark, Said};
use super::stream::Stream;
use super::target::Address;
use reqwest::Url;
use rustls::ClientConfig;
use serde::Deserialize;
use std::io::Error;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// How long it may take to get in.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of what a server answers, so much is looked at.
const MAX_ANSWER: usize = 16 << 10;

const NO_HTTP: &str = "no answer of HTTP";
const HUNG_UP: &str = "the server hung up";

/// A client that hears everything from now on.
pub(super) struct Opened {
    pub(super) stream: Stream,
    pub(super) frames: Frames,
    /// Of the replica that serves it.
    pub(super) replica: String,
}

/// Connects, shakes hands, and waits for the greeting.
///
/// # Errors
/// Why that was not to be, in a few words that are the same for all to whom the same happens.
pub(super) async fn open(
    to: &Address,
    tls: &Arc<ClientConfig>,
    channel: &str,
    publishes: bool,
    mark: &Mark,
) -> Result<Opened, String> {
    let mut answer = Vec::new();
    let opening = async {
        let stream = Stream::connect(to, tls).await.map_err(|error| brief(&error.to_string()))?;
        shake_hands(stream, &request(to, channel, publishes)?, mark, &mut answer).await
    };
    let opened = timeout(PATIENCE, opening).await;
    // Who has said no in time, and not why, has said no.
    let late = || refusal(&answer).unwrap_or_else(|| "no answer in time".to_owned());
    opened.unwrap_or_else(|_| Err(late()))
}

fn request(to: &Address, channel: &str, publishes: bool) -> Result<String, String> {
    let (host, path) = (to.target.host(), &to.target.path);
    let url = Url::parse_with_params(&format!("http://{host}{path}"), [("channel", channel)]);
    let url = url.map_err(|error| error.to_string())?;
    let protocol = if publishes { "sec-websocket-protocol: warren.v1\r\n" } else { "" };
    Ok(format!(
        "GET {path}?{} HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {}\r\n{protocol}\r\n",
        url.query().unwrap_or_default(),
        key()
    ))
}

/// Sixteen random bytes in base64.
fn key() -> String {
    let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(21).collect();
    // The last letter has two bits of the sixteenth byte.
    format!("{random}A==")
}

async fn shake_hands(
    mut stream: Stream,
    request: &str,
    mark: &Mark,
    answer: &mut Vec<u8>,
) -> Result<Opened, String> {
    let failed = |error: Error| brief(&error.to_string());
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    let head = hear(&mut stream, answer).await?;
    let mut frames = Frames::default();
    let (mut buffer, mut bytes) = ([0; 1024], &answer[head..]);
    loop {
        let greeting = frames.take(bytes, |kind, payload| match (kind, mark.read(payload)) {
            (TEXT, Said::Ready(replica)) => ControlFlow::Break(Ok(brief(&replica))),
            (CLOSE, _) => ControlFlow::Break(Err("closed at once".to_owned())),
            _ => ControlFlow::Continue(()),
        });
        match greeting {
            Ok(Some(replica)) => return Ok(Opened { stream, frames, replica: replica? }),
            Ok(None) => {}
            Err(_) => return Err("what came is no WebSocket frame".to_owned()),
        }
        let size = stream.read(&mut buffer).await.map_err(failed)?;
        if size == 0 {
            return Err(HUNG_UP.to_owned());
        }
        bytes = &buffer[..size];
    }
}

/// Reads an answer up to the end of its head, and says where that is; or all of it, if it is a refusal:
/// the code is in the body, which may come later.
async fn hear(
    stream: &mut (impl AsyncRead + Unpin),
    answer: &mut Vec<u8>,
) -> Result<usize, String> {
    let mut buffer = [0; 1024];
    loop {
        let head = answer.windows(4).position(|end| end == b"\r\n\r\n").map(|end| end + 4);
        match (head, refusal(answer)) {
            (Some(head), None) => return Ok(head),
            (Some(head), Some(refusal)) if is_whole(answer, head) => return Err(refusal),
            _ if answer.len() > MAX_ANSWER => return Err(NO_HTTP.to_owned()),
            _ => {}
        }
        let problem = match stream.read(&mut buffer).await {
            Ok(0) => HUNG_UP.to_owned(),
            Ok(size) => {
                answer.extend_from_slice(&buffer[..size]);
                continue;
            }
            Err(error) => brief(&error.to_string()),
        };
        return Err(refusal(answer).unwrap_or(problem));
    }
}

/// Whether as much of a refusal is there as is looked at. One that does not say its length ends with the
/// connection; one in chunks is not Warren's own, and its status says enough.
fn is_whole(answer: &[u8], head: usize) -> bool {
    let body = answer.len() - head;
    let headers = String::from_utf8_lossy(&answer[..head]);
    let ends = |(name, value): (&str, &str)| {
        let length = name.eq_ignore_ascii_case("content-length");
        length && value.trim().parse::<usize>().is_ok_and(|length| body >= length)
            || name.eq_ignore_ascii_case("transfer-encoding")
    };
    answer.len() > MAX_ANSWER || headers.lines().filter_map(|line| line.split_once(':')).any(ends)
}

/// What an answer says that is not 101: the status, and the code if Warren gave it.
fn refusal(answer: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        error: Code,
    }
    #[derive(Deserialize)]
    struct Code {
        code: String,
    }
    if answer.is_empty() {
        return None;
    }
    let text = String::from_utf8_lossy(answer);
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|line| line.get(..3));
    if status == Some("101") {
        return None;
    }
    let Some(status) = status else { return Some(NO_HTTP.to_owned()) };
    let body = text.split_once("\r\n\r\n").map(|(_, body)| serde_json::from_str::<Body>(body));
    Some(match body {
        Some(Ok(body)) => brief(&format!("{status} {}", body.error.code)),
        _ => brief(status),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_somebody_was_not_let_in() {
        let full = r#"HTTP/1.1 503 Service Unavailable
retry-after: 3

{"error":{"code":"too_many_connections","message":"full"}}"#;
        for (answer, says) in [
            (full.replace('\n', "\r\n"), Some("503 too_many_connections")),
            ("HTTP/1.1 404 Not Found\r\n\r\n<html>".to_owned(), Some("404")),
            ("SSH-2.0".to_owned(), Some("no answer of HTTP")),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(), None),
        ] {
            assert_eq!(refusal(answer.as_bytes()).as_deref(), says);
        }
    }

    #[tokio::test]
    async fn the_code_may_come_after_the_head() {
        let body = r#"{"error":{"code":"too_many_connections","message":"full"}}"#;
        for (header, says) in [
            (format!("Content-Length: {}", body.len()), "503 too_many_connections"),
            ("transfer-encoding: chunked".to_owned(), "503"),
        ] {
            let head = format!("HTTP/1.1 503 Service Unavailable\r\n{header}\r\n\r\n");
            // The server leaves the connection open.
            let (_server, open) = tokio::io::duplex(1);
            let mut stream = head.as_bytes().chain(body.as_bytes()).chain(open);
            let heard = hear(&mut stream, &mut Vec::new()).await;
            assert_eq!(heard, Err(says.to_owned()));
        }
        // Or it hangs up.
        let head = &b"HTTP/1.1 503 Service Unavailable\r\n\r\n"[..];
        let heard = hear(&mut head.chain(body.as_bytes()), &mut Vec::new()).await;
        assert_eq!(heard, Err("503 too_many_connections".to_owned()));
        assert_eq!(hear(&mut &b""[..], &mut Vec::new()).await, Err(HUNG_UP.to_owned()));
    }

    #[tokio::test]
    async fn what_follows_the_head_is_no_part_of_it() {
        let head = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
        let mut answer = Vec::new();
        let heard = hear(&mut head.as_slice().chain(&b"\x81\x02hi"[..]), &mut answer).await;
        assert_eq!(heard, Ok(head.len()));
    }
}
