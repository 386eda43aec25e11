//! A WebSocket client of another make.

use super::LIMIT;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

pub struct Client {
    socket: WebSocketStream<TcpStream>,
    /// The content of the ready frame.
    pub ready: Value,
}

/// What came instead of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// Code and reason of a close frame.
    Closed(u16, String),
    /// The connection broke off.
    Broken,
}

impl Client {
    /// Connects and awaits the ready frame. `query` is what follows `/ws`.
    pub async fn connect(addr: SocketAddr, query: &str) -> Self {
        Self::try_connect(addr, query).await.unwrap_or_else(|error| panic!("no WebSocket: {error}"))
    }

    pub async fn try_connect(addr: SocketAddr, query: &str) -> Result<Self, Error> {
        let connect = async {
            let stream = TcpStream::connect(addr).await?;
            let (mut socket, _) = client_async(format!("ws://{addr}/ws{query}"), stream).await?;
            let ready = loop {
                if let Message::Text(text) =
                    socket.next().await.ok_or(Error::ConnectionClosed)??
                {
                    break serde_json::from_str::<Value>(&text).unwrap();
                }
            };
            assert!(ready["ready"]["replica"].is_string(), "no ready frame: {ready}");
            Ok(Self { socket, ready: ready["ready"].clone() })
        };
        timeout(LIMIT, connect).await.expect("a handshake in time")
    }

    pub async fn send(&mut self, text: impl Into<String>) {
        self.socket.send(Message::text(text.into())).await.expect("the socket takes a message");
    }

    pub async fn send_raw(&mut self, message: Message) {
        self.socket.send(message).await.expect("the socket takes a message");
    }

    /// The next frame that is an object.
    pub async fn frame(&mut self) -> Result<Value, Ended> {
        let next = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => {
                        return Ok(serde_json::from_str(&text).unwrap());
                    }
                    Some(Ok(Message::Close(Some(frame)))) => {
                        let ended = Ended::Closed(frame.code.into(), frame.reason.to_string());
                        // Answers the close, as clients do.
                        while self.socket.next().await.is_some_and(|next| next.is_ok()) {}
                        return Err(ended);
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Err(Ended::Broken),
                }
            }
        };
        timeout(LIMIT, next).await.expect("a frame in time")
    }

    /// The next message; anything else is a failure.
    pub async fn message(&mut self) -> Value {
        let frame = self.frame().await.expect("a message");
        assert!(frame["id"].is_string(), "not a message: {frame}");
        frame
    }

    /// The next message's text.
    pub async fn text(&mut self) -> Value {
        self.message().await["text"].clone()
    }

    /// Reads on until the server ends the connection.
    pub async fn ended(&mut self) -> Ended {
        loop {
            if let Err(ended) = self.frame().await {
                return ended;
            }
        }
    }

    pub async fn close(mut self) {
        let _ = self.socket.close(None).await;
        while self.socket.next().await.is_some_and(|next| next.is_ok()) {}
    }
}
