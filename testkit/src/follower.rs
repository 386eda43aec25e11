//! Clients that compare what they get instead of parsing it, so that there can be many of them.

use super::LIMIT;
use super::raw::HANDSHAKE;
use serde_json::Value;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::ops::Range;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;

/// The one order of messages: their frames, as the client had them that was first to get them.
#[derive(Default)]
pub struct Book {
    bytes: Vec<u8>,
    /// Where each frame ends.
    ends: Vec<usize>,
}

impl Book {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The n-th message.
    pub fn message(&self, n: usize) -> Value {
        serde_json::from_slice(payload(self.frame(n))).unwrap()
    }

    /// The id of the n-th message.
    pub fn id(&self, n: usize) -> String {
        self.message(n)["id"].as_str().expect("an id").to_owned()
    }

    fn frame(&self, n: usize) -> &[u8] {
        let start = n.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[n]]
    }

    /// A client got this frame as its n-th message.
    fn compare(&mut self, n: usize, frame: &[u8]) {
        if n == self.len() {
            self.bytes.extend_from_slice(frame);
            self.ends.push(self.bytes.len());
        }
        let text = |frame| String::from_utf8_lossy(payload(frame)).into_owned();
        assert!(
            self.frame(n) == frame,
            "one has {} where another has {}",
            text(frame),
            text(self.frame(n))
        );
    }
}

/// A client that goes on, after each lost connection, behind the last message that it has.
pub struct Follower<'a> {
    book: &'a RefCell<Book>,
    /// How many messages of the book it has.
    pub has: usize,
    /// Id of the message before the book's first.
    start: String,
    frames: Option<Frames>,
}

impl<'a> Follower<'a> {
    /// One that has the first `has` messages of a book that begins after the id `start`.
    pub fn new(book: &'a RefCell<Book>, has: usize, start: &str) -> Self {
        Self { book, has, start: start.to_owned(), frames: None }
    }

    pub fn is_connected(&self) -> bool {
        self.frames.is_some()
    }

    pub fn disconnect(&mut self) {
        self.frames = None;
    }

    /// Connects with its cursor. If that succeeds, all that it missed follows.
    ///
    /// # Errors
    /// What came instead of the ready frame.
    pub async fn connect(&mut self, addr: SocketAddr) -> Result<(), String> {
        let after = match self.has.checked_sub(1) {
            Some(last) => self.book.borrow().id(last),
            None => self.start.clone(),
        };
        let mut frames = Frames::open(addr, &format!("?after={after}")).await?;
        let ready = frames.next().await.ok_or("no ready frame")?;
        let ready = &frames.buffer[ready];
        if ready[0] == CLOSE {
            return Err(String::from_utf8_lossy(&payload(ready)[2..]).into_owned());
        }
        let ready: Value = serde_json::from_slice(payload(ready)).unwrap();
        assert_eq!(ready["ready"]["recovered"], true, "after {after}: {ready}");
        self.frames = Some(frames);
        Ok(())
    }

    /// Reads until it has `goal` messages. False when the connection ended before.
    pub async fn read(&mut self, goal: usize) -> bool {
        while self.has < goal {
            let Some(frames) = &mut self.frames else { return false };
            let Some(frame) = frames.next().await else {
                self.frames = None;
                return false;
            };
            let frame = &frames.buffer[frame];
            if frame[0] == CLOSE {
                self.frames = None;
                return false;
            }
            assert_eq!(frame[0], TEXT, "neither a message nor a close frame");
            self.book.borrow_mut().compare(self.has, frame);
            self.has += 1;
        }
        true
    }
}

/// The frames of one connection.
struct Frames {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// How much of the buffer was returned.
    taken: usize,
}

impl Frames {
    /// Makes the handshake.
    async fn open(addr: SocketAddr, query: &str) -> Result<Self, String> {
        let connected = TcpStream::connect(addr).await;
        let mut stream = connected.map_err(|error| error.to_string())?;
        let request = HANDSHAKE.replace("/ws", &format!("/ws{query}"));
        stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
        let mut frames = Self { stream, buffer: Vec::new(), taken: 0 };
        loop {
            let head = frames.buffer.windows(4).position(|end| end == b"\r\n\r\n");
            if let Some(end) = head {
                frames.taken = end + 4;
                if frames.buffer.starts_with(b"HTTP/1.1 101 ") {
                    return Ok(frames);
                }
                return Err(String::from_utf8_lossy(&frames.buffer).into_owned());
            }
            frames.more().await.ok_or("it hung up")?;
        }
    }

    /// Where in the buffer the next frame is; none at the end.
    async fn next(&mut self) -> Option<Range<usize>> {
        loop {
            let rest = &self.buffer[self.taken..];
            if let Some(length) = length(rest).filter(|length| *length <= rest.len()) {
                let frame = self.taken..self.taken + length;
                self.taken = frame.end;
                return Some(frame);
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Option<()> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.reserve(32 << 10);
        let read = timeout(LIMIT, self.stream.read_buf(&mut self.buffer));
        let read = read.await.expect("something in time").ok()?;
        (read > 0).then_some(())
    }
}

/// How long the frame is that begins here, if that can be seen.
fn length(frame: &[u8]) -> Option<usize> {
    match *frame.get(1)? {
        126 => Some(4 + usize::from(u16::from_be_bytes([*frame.get(2)?, *frame.get(3)?]))),
        127 => panic!("a frame of more than 64 KiB"),
        length => Some(2 + usize::from(length)),
    }
}

fn payload(frame: &[u8]) -> &[u8] {
    if frame[1] == 126 { &frame[4..] } else { &frame[2..] }
}
