//! SSE streams from a small server.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::num::NonZeroUsize;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use warren_client::http;
use warren_client::sse::{Error, Event, EventStream, Message};

const LIMIT: NonZeroUsize = NonZeroUsize::new(1000).unwrap();

/// A stream of these chunks of the body, from a server that hangs up after them.
async fn stream(chunks: &[&[u8]]) -> EventStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let chunks: Vec<_> = chunks.iter().map(|chunk| chunk.to_vec()).collect();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        let _ = socket.read(&mut [0; 1024]).await;
        socket
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
            .await
            .unwrap();
        for chunk in chunks {
            let _ = socket.write_all(&chunk).await;
            tokio::task::yield_now().await;
        }
    });
    let response = http::client().build().unwrap().get(url).send().await.unwrap();
    EventStream::new(response, LIMIT)
}

fn message(kind: &str, id: Option<&str>, data: &str) -> Event {
    Event::Message(Message { kind: kind.into(), id: id.map(Into::into), data: data.into() })
}

#[tokio::test]
async fn split_and_joined_events_are_decoded() {
    let body = b"\xef\xbb\xbfevent: ready\nid: 7\ndata: {}\n\n:\n\n: beat\n\nid: 8\r\ndata: one\r\ndata:two\r\n\r\n\
        retry: 1500\n\nevent: gap\ndata: {}\n\nunknown\n\n";
    let bytes: Vec<_> = body.chunks(1).collect();
    for chunks in [&[&body[..]][..], &bytes] {
        let mut events = stream(chunks).await;
        for expected in [
            message("ready", Some("7"), "{}"),
            message("message", Some("8"), "one\ntwo"),
            Event::Retry(Duration::from_millis(1500)),
            message("gap", Some("8"), "{}"),
        ] {
            assert_eq!(events.next().await.unwrap(), Some(expected));
        }
        assert_eq!(events.next().await.unwrap(), None);
        assert_eq!(events.comments(), 2);
    }
}

#[tokio::test]
async fn comments_are_counted_without_an_event() {
    let mut events = stream(&[b": beat\n\n", b":\n\n"]).await;
    while events.receive().await.unwrap() {
        assert_eq!(events.next_received().unwrap(), None);
    }
    assert_eq!(events.comments(), 2);
}

#[tokio::test]
async fn endless_line_is_an_error() {
    for line in ["data: ", "x", ":", "id: "] {
        let line = format!("{line}{}", "x".repeat(5000));
        let mut events = stream(&[line.as_bytes()]).await;
        assert!(matches!(events.next().await, Err(Error::TooLarge(1000))), "{line}");
    }
}

#[tokio::test]
async fn event_of_endless_lines_is_an_error() {
    let lines = "data: 0123456789\n".repeat(200);
    let mut events = stream(&[lines.as_bytes()]).await;
    assert!(matches!(events.next().await, Err(Error::TooLarge(1000))));
}

#[tokio::test]
async fn end_within_a_line_is_an_error() {
    let mut events = stream(&[b"data: hello\n\ndata: he"]).await;
    assert_eq!(events.next().await.unwrap(), Some(message("message", None, "hello")));
    assert!(matches!(events.next().await, Err(Error::Truncated)));
}

#[tokio::test]
async fn end_within_an_event_is_an_end() {
    let mut events = stream(&[b"data: hello\n"]).await;
    assert_eq!(events.next().await.unwrap(), None);
}
