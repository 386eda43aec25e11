//! The WebSocket client of the tests.

use super::LIMIT;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::collections::VecDeque;
use std::net::SocketAddr;
use tokio::time::timeout;
use warren_client::websocket::{ConnectError, Error, Handshake, Message, WebSocket};

pub struct Client {
    socket: WebSocket,
    /// Frames received while an answer was awaited.
    kept: VecDeque<Value>,
    /// Content of the ready frame.
    pub ready: Value,
}

/// The end of a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// Code and reason of a close frame.
    Closed(u16, String),
    /// Broken off without a close frame.
    Broken,
}

impl Client {
    /// Connects and awaits the ready frame. `query` is the part of the address after `/ws`.
    pub async fn connect(addr: SocketAddr, query: &str) -> Self {
        Self::try_connect(addr, query).await.unwrap_or_else(|error| panic!("no WebSocket: {error}"))
    }

    /// Connects with the subprotocol `warren.v1`.
    pub async fn connect_v1(addr: SocketAddr, query: &str) -> Self {
        let client = Self::try_connect_v1(addr, query).await;
        client.unwrap_or_else(|error| panic!("no WebSocket: {error}"))
    }

    pub async fn try_connect_v1(addr: SocketAddr, query: &str) -> Result<Self, ConnectError> {
        Self::handshake(addr, query, Some("warren.v1")).await
    }

    pub async fn try_connect(addr: SocketAddr, query: &str) -> Result<Self, ConnectError> {
        Self::handshake(addr, query, None).await
    }

    async fn handshake(
        addr: SocketAddr,
        query: &str,
        protocol: Option<&str>,
    ) -> Result<Self, ConnectError> {
        let mut handshake = Handshake::new(&format!("ws://{addr}/ws{query}"))?.timeout(LIMIT);
        if let Some(protocol) = protocol {
            handshake = handshake.subprotocol(protocol)?;
        }
        let mut socket = handshake.connect().await?;
        let ready = async {
            loop {
                match socket.next().await {
                    Some(Ok(Message::Text(text))) => return Ok(text),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(ConnectError::Incomplete(Box::new(error))),
                    None => return Err(ConnectError::Closed),
                }
            }
        };
        let ready = timeout(LIMIT, ready).await.expect("a ready frame in time")?;
        let ready: Value = serde_json::from_str(&ready).unwrap();
        assert!(ready["ready"]["replica"].is_string(), "no ready frame: {ready}");
        Ok(Self { socket, kept: VecDeque::new(), ready: ready["ready"].clone() })
    }

    pub async fn send(&mut self, text: impl Into<String>) {
        self.try_send(text).await.expect("the socket takes a message");
    }

    pub async fn try_send(&mut self, text: impl Into<String>) -> Result<(), Error> {
        self.socket.send(Message::text(text.into())).await
    }

    pub async fn send_raw(&mut self, message: Message) {
        self.socket.send(message).await.expect("the socket takes a message");
    }

    /// Sends a command of `warren.v1`.
    pub async fn command(&mut self, command: &Value) {
        self.send(command.to_string()).await;
    }

    /// Sends a command and awaits the frame with the same `ref`. Other frames that come before it
    /// are kept for later.
    pub async fn ask(&mut self, command: &Value) -> Value {
        self.command(command).await;
        self.answer(&content(command)["ref"]).await
    }

    /// Awaits the answer with this `ref`.
    pub async fn answer(&mut self, reference: &Value) -> Value {
        if let Some(n) = self.kept.iter().position(|frame| content(frame)["ref"] == *reference) {
            return self.kept.remove(n).unwrap();
        }
        loop {
            let frame = self.next_frame().await.expect("an answer");
            if frame["id"].is_null() && content(&frame)["ref"] == *reference {
                return frame;
            }
            self.kept.push_back(frame);
        }
    }

    /// The next frame.
    pub async fn frame(&mut self) -> Result<Value, Ended> {
        match self.kept.pop_front() {
            Some(frame) => Ok(frame),
            None => self.next_frame().await,
        }
    }

    async fn next_frame(&mut self) -> Result<Value, Ended> {
        let next = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => {
                        return Ok(serde_json::from_str(&text).unwrap());
                    }
                    Some(Ok(Message::Close(Some(frame)))) => {
                        let ended = Ended::Closed(frame.code.into(), frame.reason.to_string());
                        // Answers the close frame.
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

    /// The next message. Anything else is a failure.
    pub async fn message(&mut self) -> Value {
        let frame = self.frame().await.expect("a message");
        assert!(frame["id"].is_string(), "not a message: {frame}");
        frame
    }

    /// The next message's text.
    pub async fn text(&mut self) -> Value {
        self.message().await["text"].clone()
    }

    /// Reads until the server ends the connection.
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

/// Content of a frame, which has one key.
fn content(frame: &Value) -> &Value {
    frame.as_object().and_then(|object| object.values().next()).unwrap_or(&Value::Null)
}
