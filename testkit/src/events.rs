//! A client of server-sent events: raw HTTP, read as it comes.

use super::LIMIT;
use super::http::Response;
use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The fields that came before an empty line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Empty for the default type.
    pub kind: String,
    pub id: Option<String>,
    pub data: String,
    /// Milliseconds.
    pub retry: Option<u64>,
}

impl Event {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

pub struct Events {
    stream: BufReader<TcpStream>,
    /// What chunks brought and no line has taken.
    text: Vec<u8>,
    /// The response's head.
    pub head: Response,
    /// The data of the ready event, and its id.
    pub ready: Value,
    pub cursor: Option<String>,
    /// Comment lines that came so far.
    pub comments: usize,
}

impl Events {
    /// Connects and awaits the ready event. `query` is what follows `/events`.
    pub async fn connect(addr: SocketAddr, query: &str) -> Self {
        Self::connect_with(addr, query, "").await
    }

    /// The same with more header lines, each with its line end.
    pub async fn connect_with(addr: SocketAddr, query: &str, headers: &str) -> Self {
        let opening = timeout(LIMIT, Self::open(addr, query, headers)).await;
        let mut events = opening.expect("an answer in time").expect("it stays connected");
        assert_eq!(events.head.status, 200, "{:?}", events.head);
        assert!(events.head.header("content-type").starts_with("text/event-stream"));
        let ready = events.next().await.expect("an event");
        assert_eq!(ready.kind, "ready", "{ready:?}");
        events.ready = ready.json();
        events.cursor = ready.id;
        events
    }

    /// Sends the request and reads the response's head, whatever it is.
    ///
    /// # Errors
    /// There is nobody, or the connection is lost.
    pub async fn open(addr: SocketAddr, query: &str, headers: &str) -> io::Result<Self> {
        let mut stream = BufReader::new(TcpStream::connect(addr).await?);
        let request = format!(
            "GET /events{query} HTTP/1.1\r\nHost: {addr}\r\nAccept: text/event-stream\r\n\
             {headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.expect("a status");
        let head = Response { status, head, body: String::new() };
        Ok(Self { stream, text: Vec::new(), head, ready: Value::Null, cursor: None, comments: 0 })
    }

    /// The next event; `None` when the server has ended the stream as it should be ended.
    pub async fn next(&mut self) -> Option<Event> {
        let event = timeout(LIMIT, self.event()).await.expect("an event in time");
        event.expect("it stays connected")
    }

    /// The next event, which must be a message.
    pub async fn message(&mut self) -> Value {
        let event = self.next().await.expect("a message");
        assert_eq!((event.kind.as_str(), event.retry), ("", None), "{event:?}");
        let message = event.json();
        assert_eq!(message["id"], event.id.expect("an id"));
        message
    }

    /// The next message's text.
    pub async fn text(&mut self) -> Value {
        self.message().await["text"].clone()
    }

    /// Waits until so many comments came; events that come meanwhile are a failure.
    pub async fn heartbeats(&mut self, count: usize) {
        let beating = async {
            while self.comments < count {
                let line = self.line().await.expect("it stays connected").expect("no end");
                assert!(line.is_empty() || line.starts_with(':'), "{line}");
                self.comments += usize::from(!line.is_empty());
            }
        };
        timeout(LIMIT, beating).await.expect("comments in time");
    }

    /// The next event, however long it takes; `None` at the end.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn event(&mut self) -> io::Result<Option<Event>> {
        let mut event = Event::default();
        let mut fields = 0;
        loop {
            let Some(line) = self.line().await? else { return Ok(None) };
            if line.is_empty() {
                if fields > 0 {
                    return Ok(Some(event));
                }
                continue;
            }
            if line.starts_with(':') {
                self.comments += 1;
                continue;
            }
            fields += 1;
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => event.kind = value.to_owned(),
                "id" => event.id = Some(value.to_owned()),
                "retry" => event.retry = Some(value.parse().expect("milliseconds")),
                "data" if event.data.is_empty() => event.data = value.to_owned(),
                "data" => event.data = format!("{}\n{value}", event.data),
                _ => panic!("no field of an event: {line}"),
            }
        }
    }

    async fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(length) = self.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.text.drain(..=length).collect();
                let line = String::from_utf8(line).expect("UTF-8");
                return Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()));
            }
            if !self.chunk().await? {
                assert!(self.text.is_empty(), "it ends within a line");
                return Ok(None);
            }
        }
    }

    /// Reads the next chunk; false for the last one, which is empty.
    async fn chunk(&mut self) -> io::Result<bool> {
        let mut size = String::new();
        self.stream.read_line(&mut size).await?;
        if !size.ends_with('\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let size = usize::from_str_radix(size.trim_end(), 16).expect("the size of a chunk");
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk).await?;
        assert!(chunk.ends_with(b"\r\n"), "a chunk ends with its line");
        chunk.truncate(size);
        self.text.append(&mut chunk);
        Ok(size > 0)
    }
}
