//! From an address to a client that receives messages.

use crate::protocol::{RunId, ServerFrame};
use crate::reasons::brief;
use crate::target::Endpoint;
use futures_util::StreamExt;
use rustls::ClientConfig;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use warren_client::websocket::{ConnectError, Message, Refusal, WebSocket};

/// Time from the first attempt to the ready frame.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A client that receives all messages from now on.
pub(crate) struct OpenClient {
    pub(crate) socket: WebSocket,
    /// Name of the replica that serves it.
    pub(crate) replica: String,
}

/// Connects, shakes hands, and waits for the ready frame.
///
/// # Errors
/// The reason, in the same few words for all clients with the same problem.
pub(crate) async fn open(
    endpoint: &Endpoint,
    tls: &Arc<ClientConfig>,
    channel: &str,
    publishes: bool,
    run_id: &RunId,
) -> Result<OpenClient, String> {
    let deadline = Instant::now() + TIMEOUT;
    let handshake = async {
        let mut handshake = endpoint.handshake(channel)?.tls(tls.clone()).timeout(TIMEOUT);
        if publishes {
            handshake = handshake.subprotocol("warren.v1")?;
        }
        handshake.connect().await
    };
    let mut socket = handshake.await.map_err(reason)?;
    let ready = timeout_at(deadline, ready(&mut socket, run_id)).await;
    let replica = ready.unwrap_or_else(|_| Err(NO_ANSWER.to_owned()))?;
    Ok(OpenClient { socket, replica })
}

const NO_ANSWER: &str = "no answer in time";

/// Waits for the ready frame; returns the name of the replica.
async fn ready(socket: &mut WebSocket, run_id: &RunId) -> Result<String, String> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                if let ServerFrame::Ready(replica) = run_id.parse(text.as_bytes()) {
                    return Ok(brief(&replica));
                }
            }
            Some(Ok(Message::Close(_))) => return Err("closed before the ready frame".to_owned()),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(brief(&error.to_string())),
            None => return Err("the server closed the connection".to_owned()),
        }
    }
}

fn reason(error: ConnectError) -> String {
    match error {
        ConnectError::Refused(refusal) => brief(&refused(&refusal)),
        ConnectError::Timeout(_) => NO_ANSWER.to_owned(),
        error => brief(&error.to_string()),
    }
}

/// The status, and the error code if the refusal is Warren's own.
fn refused(Refusal { status, body, .. }: &Refusal) -> String {
    #[derive(Deserialize)]
    struct Body {
        error: Code,
    }
    #[derive(Deserialize)]
    struct Code {
        code: String,
    }
    match serde_json::from_slice::<Body>(body) {
        Ok(body) => format!("{status} {}", body.error.code),
        Err(_) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_has_the_error_code_of_a_refusal() {
        for (status, body, says) in [
            (
                503,
                r#"{"error":{"code":"too_many_connections","message":"full"}}"#,
                "503 too_many_connections",
            ),
            (404, "<html>", "404"),
            (403, "", "403"),
        ] {
            let refusal = Refusal { status, headers: Default::default(), body: body.into() };
            assert_eq!(reason(ConnectError::Refused(Box::new(refusal))), says);
        }
    }

    #[test]
    fn reason_says_nothing_that_differs_between_clients() {
        assert_eq!(reason(ConnectError::Timeout(Duration::from_millis(7))), "no answer in time");
        assert_eq!(reason(ConnectError::NotHttp), "the answer is not HTTP/1.1");
        let refused = std::io::Error::from_raw_os_error(111);
        assert_eq!(reason(ConnectError::Io(refused)), "Connection refused (os error 111)");
    }
}
