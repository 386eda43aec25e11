//! Subscribers that compare frames instead of parsing them, so that a test can have thousands.

use super::LIMIT;
use futures_util::StreamExt;
use serde_json::Value;
use std::cell::RefCell;
use std::net::SocketAddr;
use tokio::time::timeout;
use warren_client::websocket::{Handshake, Message, WebSocket};

/// The frames of all messages in their order, each from the subscriber that received it first.
#[derive(Default)]
pub struct Book {
    bytes: Vec<u8>,
    /// End of each frame in `bytes`.
    ends: Vec<usize>,
}

impl Book {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The n-th message.
    pub fn message(&self, n: usize) -> Value {
        serde_json::from_slice(self.frame(n)).unwrap()
    }

    /// The id of the n-th message.
    pub fn id(&self, n: usize) -> String {
        self.message(n)["id"].as_str().expect("an id").to_owned()
    }

    fn frame(&self, n: usize) -> &[u8] {
        let start = n.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[n]]
    }

    /// Compares the n-th message of a subscriber, or records it if it is the first to have one.
    fn compare(&mut self, n: usize, frame: &[u8]) {
        if n == self.len() {
            self.bytes.extend_from_slice(frame);
            self.ends.push(self.bytes.len());
        }
        let text = |frame| String::from_utf8_lossy(frame).into_owned();
        assert!(
            self.frame(n) == frame,
            "one has {} where another has {}",
            text(frame),
            text(self.frame(n))
        );
    }
}

/// A subscriber that resumes after its last message when its connection is lost.
pub struct Follower<'a> {
    book: &'a RefCell<Book>,
    /// Number of messages received.
    pub has: usize,
    /// Id of the message before the first of the book.
    start: String,
    socket: Option<WebSocket>,
}

impl<'a> Follower<'a> {
    /// A subscriber that has the first `has` messages of a book that begins after the id `start`.
    pub fn new(book: &'a RefCell<Book>, has: usize, start: &str) -> Self {
        Self { book, has, start: start.to_owned(), socket: None }
    }

    pub fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    pub fn disconnect(&mut self) {
        self.socket = None;
    }

    /// Connects with its cursor, and asserts that all missed messages follow.
    ///
    /// # Errors
    /// The reason for which there is no ready frame.
    pub async fn connect(&mut self, addr: SocketAddr) -> Result<(), String> {
        let after = match self.has.checked_sub(1) {
            Some(last) => self.book.borrow().id(last),
            None => self.start.clone(),
        };
        let handshake = Handshake::new(&format!("ws://{addr}/ws?after={after}"));
        let handshake = handshake.map_err(|error| error.to_string())?.timeout(LIMIT);
        let mut socket = handshake.connect().await.map_err(|error| error.to_string())?;
        let ready = match next(&mut socket).await.ok_or("no ready frame")? {
            Message::Text(ready) => ready,
            Message::Close(frame) => return Err(format!("closed: {frame:?}")),
            other => return Err(format!("no ready frame but {other:?}")),
        };
        let ready: Value = serde_json::from_str(&ready).unwrap();
        assert_eq!(ready["ready"]["recovered"], true, "after {after}: {ready}");
        self.socket = Some(socket);
        Ok(())
    }

    /// Reads until it has `goal` messages. Returns false if the connection ends before.
    pub async fn read(&mut self, goal: usize) -> bool {
        while self.has < goal {
            let Some(socket) = &mut self.socket else { return false };
            match next(socket).await {
                None | Some(Message::Close(_)) => {
                    self.socket = None;
                    return false;
                }
                Some(Message::Text(text)) => {
                    self.book.borrow_mut().compare(self.has, text.as_bytes());
                }
                Some(other) => panic!("neither a message nor a close frame: {other:?}"),
            }
            self.has += 1;
        }
        true
    }
}

/// The next frame other than a ping, or `None` when the connection has ended.
async fn next(socket: &mut WebSocket) -> Option<Message> {
    loop {
        let next = timeout(LIMIT, socket.next()).await.expect("a frame in time");
        match next?.ok()? {
            Message::Ping(_) => {}
            message => return Some(message),
        }
    }
}
