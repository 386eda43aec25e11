//! Requests that are too large, or endless, are refused with a status, in bounded memory, while others are served.

use futures_util::future::join_all;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use warren_testkit::LIMIT;
use warren_testkit::haproxy::HaProxy;
use warren_testkit::process::POLL;
use warren_testkit::replica::Replica;

/// More than any buffer holds.
const MUCH: usize = 8 << 20;

/// Sends `begins`, then `again` repeatedly, up to a limit. Returns the status of the answer.
async fn status(addr: SocketAddr, begins: &str, again: &str) -> u16 {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let mut answer = Vec::new();
    let again = again.repeat((64 << 10) / again.len().max(1));
    let flood = async {
        let mut sent = begins.len();
        let mut flowing = writing.write_all(begins.as_bytes()).await.is_ok();
        while flowing && sent < MUCH && !again.is_empty() {
            flowing = writing.write_all(again.as_bytes()).await.is_ok();
            sent += again.len();
        }
        // A proxy would wait for more.
        let _ = writing.shutdown().await;
    };
    // The connection may be reset after the answer.
    let ended = async { tokio::join!(flood, reading.read_to_end(&mut answer)) };
    timeout(LIMIT, ended).await.unwrap_or_else(|_| panic!("never ended: {begins}")).1.ok();
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    status.unwrap_or_else(|| panic!("no status for {begins}: {answer}")).parse().unwrap()
}

#[tokio::test]
async fn oversized_request_is_refused_in_bounded_memory() {
    let replica = Replica::ready(&[("MAX_MESSAGE", "16KiB"), ("CLIENT_RATE", "1000/s")]).await;
    let haproxy = HaProxy::start(&[(replica.addr, replica.admin)]).await;
    let mut client = replica.client("").await;
    replica.publish("lobby", "before").await;
    assert_eq!(client.text().await, "before");
    let before = replica.peak_memory();

    let post = "POST /messages HTTP/1.1\r\nHost: x\r\n";
    let chunked = format!("{post}Transfer-Encoding: chunked\r\n\r\n");
    let heads = [
        ("one huge header", "GET / HTTP/1.1\r\nHost: x\r\nX: ".to_owned(), "x", 431),
        ("many headers", "GET / HTTP/1.1\r\nHost: x\r\n".to_owned(), "X: y\r\n", 431),
        ("a name without an end", "GET / HTTP/1.1\r\nHost: x\r\n".to_owned(), "x", 431),
        ("an address without an end", "GET /".to_owned(), "x", 431),
        ("a query without an end", "GET /ws?channel=".to_owned(), "x", 431),
        (
            "a long address",
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(70_000)),
            "",
            400,
        ),
        ("a method without an end", String::new(), "X", 431),
    ];
    let bodies = [
        ("a body of 2^64 - 1", format!("{post}Content-Length: {}\r\n\r\n", u64::MAX), "x", 413),
        (
            "a length of 2^64",
            format!("{post}Content-Length: 18446744073709551616\r\n\r\n"),
            "",
            400,
        ),
        ("chunks without an end", chunked.clone(), "5\r\nhello\r\n", 413),
        ("a chunk of 2^64 - 1", format!("{chunked}ffffffffffffffff\r\n"), "x", 413),
        (
            "a text that is too long",
            format!("{post}Content-Length: 30011\r\n\r\n{{\"text\":\"{}\"}}", "x".repeat(30_000)),
            "",
            413,
        ),
    ];
    let endless = [
        ("an extension without an end", format!("{chunked}1;"), "x", 408),
        ("a trailer without an end", format!("{chunked}0\r\nX: "), "x", 408),
    ];
    let attack = async {
        for (name, begins, again, expected) in heads.iter().chain(&bodies) {
            assert_eq!(status(replica.addr, begins, again).await, *expected, "{name}");
        }
        // Input that is read and discarded ends by a timeout, or by a reset.
        for (name, begins, again, expected) in &endless {
            let status = status(replica.addr, begins, again).await;
            assert!(status == *expected || status == 400, "{name}: {status}");
        }
        // The proxy refuses some requests itself. All are refused.
        for (name, begins, again, _) in heads.iter().chain(&bodies) {
            let status = status(haproxy.addr(), begins, again).await;
            assert!((400..500).contains(&status), "{name} through the proxy: {status}");
        }
        // Many at a time.
        let many = heads.iter().chain(&bodies).cycle().take(5 * (heads.len() + bodies.len()));
        join_all(many.map(async |(_, begins, again, _)| status(replica.addr, begins, again).await))
            .await;
    };
    let served = async {
        loop {
            client.send("meanwhile").await;
            assert_eq!(client.text().await, "meanwhile");
            sleep(POLL).await;
        }
    };
    tokio::select! {
        () = attack => {}
        () = served => {}
    }
    let grown = replica.peak_memory() - before;
    assert!(grown < 32 << 20, "grew by {grown} bytes");
}

#[tokio::test]
async fn refusal_reaches_client_that_sends_whole_body_first() {
    let replica = Replica::ready(&[]).await;
    let haproxy = HaProxy::start(&[(replica.addr, replica.admin)]).await;
    let length = format!("Content-Length: {MUCH}\r\n\r\n");
    for (head, expected) in [
        (format!("POST /messages HTTP/1.1\r\nHost: x\r\n{length}"), 413),
        (format!("POST /messages HTTP/1.1\r\nHost: x\r\nOrigin: http://y\r\n{length}"), 403),
        (format!("GET /nowhere HTTP/1.1\r\nHost: x\r\n{length}"), 404),
    ] {
        for addr in [replica.addr, haproxy.addr()] {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            let all = [head.as_bytes(), &vec![b'x'; MUCH]].concat();
            let sent = timeout(LIMIT, stream.write_all(&all)).await.expect("read on");
            // The proxy may answer before it has read all.
            assert!(sent.is_ok() || addr == haproxy.addr(), "{head}: {sent:?}");
            let mut answer = vec![0; 12];
            let read = timeout(LIMIT, stream.read_exact(&mut answer)).await.expect("an answer");
            read.unwrap_or_else(|error| panic!("{head} to {addr}: {error}"));
            assert_eq!(answer, format!("HTTP/1.1 {expected}").as_bytes());
        }
    }
}

#[tokio::test]
async fn endless_second_head_is_refused() {
    let replica = Replica::ready(&[]).await;
    let mut stream = TcpStream::connect(replica.addr).await.unwrap();
    let mut answer = vec![0; 1024];
    stream.write_all(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let size = timeout(LIMIT, stream.read(&mut answer)).await.expect("an answer").unwrap();
    assert!(answer[..size].starts_with(b"HTTP/1.1 404 "));
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX: ").await.unwrap();
    let _ = stream.write_all(&vec![b'x'; 128 << 10]).await;
    let size = timeout(LIMIT, stream.read(&mut answer)).await.expect("an answer").unwrap();
    let answer = String::from_utf8_lossy(&answer[..size]);
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}
