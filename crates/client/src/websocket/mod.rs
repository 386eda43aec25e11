//! WebSocket, by tungstenite.
//!
//! A [`Handshake`] opens a [`WebSocket`], a stream and a sink of [`Message`]s. Close codes and pings arrive as
//! messages of their own; tungstenite answers them while the stream is polled.

mod head;
mod transport;

pub use tokio_tungstenite::tungstenite::Error;
pub use tokio_tungstenite::tungstenite::http::HeaderMap;
pub use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};
pub use transport::Transport;

use crate::http::tls_config;
use head::HeadReader;
use rustls::ClientConfig;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Request, Response};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// An open WebSocket.
pub type WebSocket<S = Transport> = WebSocketStream<S>;

/// Time for the connection and the handshake together, unless the caller sets another.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Initial size of the read buffer of each connection, in bytes. tungstenite's own 128 KiB would be 1.3 GB for
/// 10,000 connections. The buffer grows with larger messages.
const READ_BUFFER: usize = 4 << 10;
/// Bytes that are collected before a write, unless the sink is flushed.
const WRITE_BUFFER: usize = 4 << 10;
/// Largest message, in bytes.
const MAX_MESSAGE: usize = 16 << 20;
/// The part of a refusal's body that is read, in bytes.
const MAX_BODY: usize = 16 << 10;

/// The reason why a handshake opened no WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("not a valid WebSocket request: {0}")]
    InvalidRequest(String),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("TLS is not available: {0}")]
    Tls(#[from] rustls::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the server closed the connection during the handshake")]
    Closed,
    #[error("the answer is not HTTP/1.1")]
    NotHttp,
    #[error("the server refused the handshake with status {}", .0.status)]
    Refused(Box<Refusal>),
    #[error("the answer does not complete the handshake: {0}")]
    Incomplete(Box<Error>),
}

/// An HTTP response in place of a WebSocket.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub status: u16,
    pub headers: HeaderMap,
    /// The body, as far as it arrived in time and up to 16 KiB. A chunked body is not awaited.
    pub body: Vec<u8>,
}

/// The HTTP request that becomes a WebSocket, and the way to its server.
#[derive(Clone, Debug)]
pub struct Handshake {
    request: Request<()>,
    address: Option<SocketAddr>,
    tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
    config: WebSocketConfig,
}

impl Handshake {
    /// A handshake with a `ws://` or `wss://` URL.
    ///
    /// # Errors
    /// [`ConnectError::InvalidRequest`] if it is not such a URL.
    pub fn new(url: &str) -> Result<Self, ConnectError> {
        let request = url.into_client_request().map_err(invalid)?;
        let uri = request.uri();
        if !matches!(uri.scheme_str(), Some("ws" | "wss")) || uri.host().is_none() {
            return Err(ConnectError::InvalidRequest(
                "the URL needs ws:// or wss:// and a host".into(),
            ));
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        Ok(Self { request, address: None, tls: None, timeout: TIMEOUT, config })
    }

    /// Adds a header, or replaces it.
    ///
    /// # Errors
    /// [`ConnectError::InvalidRequest`] if the name or the value is not valid in HTTP.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, ConnectError> {
        let name: HeaderName = name.parse().map_err(invalid)?;
        let value: HeaderValue = value.parse().map_err(invalid)?;
        self.request.headers_mut().insert(name, value);
        Ok(self)
    }

    /// Requires a subprotocol: a server that does not select it is refused.
    ///
    /// # Errors
    /// [`ConnectError::InvalidRequest`] if it cannot be a header's value.
    pub fn subprotocol(self, name: &str) -> Result<Self, ConnectError> {
        self.header("sec-websocket-protocol", name)
    }

    /// Connects to this address instead of looking the URL's host up.
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Uses this TLS configuration. Without it, each `wss://` connection loads the trust store anew.
    pub fn tls(mut self, config: Arc<ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Limits the time for the connection and the handshake together.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Connects and shakes hands.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(self) -> Result<WebSocket, ConnectError> {
        let deadline = Instant::now() + self.timeout;
        let tls = self.request.uri().scheme_str() == Some("wss");
        let host = self.request.uri().host().unwrap_or_default();
        // rustls and the resolver take IPv6 addresses without brackets.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = self.request.uri().port_u16().unwrap_or(if tls { 443 } else { 80 });
        let tls = match (tls, &self.tls) {
            (false, _) => None,
            (true, Some(config)) => Some(config.clone()),
            (true, None) => Some(Arc::new(tls_config()?)),
        };
        let opening = async {
            let stream = match (self.address, tls) {
                (Some(address), None) => Transport::tcp(address).await,
                (Some(address), Some(tls)) => Transport::tls(address, host, tls).await,
                (None, None) => Transport::tcp((host, port)).await,
                (None, Some(tls)) => Transport::tls((host.clone(), port), host, tls).await,
            };
            Ok(stream?)
        };
        let stream = self.within(deadline, opening).await?;
        self.start_before(stream, deadline).await
    }

    /// Shakes hands on a connection that is already open.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn start<S>(self, stream: S) -> Result<WebSocket<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let deadline = Instant::now() + self.timeout;
        self.start_before(stream, deadline).await
    }

    async fn start_before<S>(
        self,
        mut stream: S,
        deadline: Instant,
    ) -> Result<WebSocket<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut head = HeadReader::new(&mut stream);
        let request = self.request.clone();
        let shaking = async { Ok(client_async_with_config(request, &mut head, None).await) };
        let outcome = self.within(deadline, shaking).await?.map(drop);
        let rest = head.into_rest();
        match (outcome, rest) {
            (Ok(()), Some(rest)) => {
                let config = Some(self.config);
                Ok(WebSocketStream::from_partially_read(stream, rest, Role::Client, config).await)
            }
            (Ok(()), None) => Err(ConnectError::NotHttp),
            (Err(Error::Http(response)), rest) => {
                let mut refusal = Refusal::new(*response, rest.unwrap_or_default());
                // The status is known, whatever becomes of the body.
                let _ = timeout_at(deadline, refusal.read_body(&mut stream)).await;
                Err(ConnectError::Refused(Box::new(refusal)))
            }
            (Err(error), _) => Err(ConnectError::from_handshake(error)),
        }
    }

    async fn within<T>(
        &self,
        deadline: Instant,
        step: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        timeout_at(deadline, step).await.unwrap_or(Err(ConnectError::Timeout(self.timeout)))
    }
}

impl Refusal {
    fn new(response: Response<Option<Vec<u8>>>, rest: Vec<u8>) -> Self {
        let (head, tail) = response.into_parts();
        let mut body = tail.unwrap_or_default();
        body.extend_from_slice(&rest);
        Self { status: head.status.as_u16(), headers: head.headers, body }
    }

    async fn read_body(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
        let header = |name| self.headers.get(name).and_then(|value| value.to_str().ok());
        let length = match (header("transfer-encoding"), header("content-length")) {
            (Some(_), _) => 0,
            (None, Some(length)) => length.parse().unwrap_or(0),
            // The body ends with the connection.
            (None, None) => MAX_BODY,
        };
        let missing = length.min(MAX_BODY).saturating_sub(self.body.len());
        stream.take(missing as u64).read_to_end(&mut self.body).await.map(drop)
    }
}

impl ConnectError {
    fn from_handshake(error: Error) -> Self {
        match error {
            Error::Io(error) => Self::Io(error),
            Error::Protocol(ProtocolError::HandshakeIncomplete) => Self::Closed,
            Error::Protocol(ProtocolError::HttparseError(_) | ProtocolError::WrongHttpVersion)
            | Error::HttpFormat(_)
            | Error::AttackAttempt => Self::NotHttp,
            error => Self::Incomplete(Box::new(error)),
        }
    }
}

fn invalid(error: impl std::fmt::Display) -> ConnectError {
    ConnectError::InvalidRequest(error.to_string())
}
