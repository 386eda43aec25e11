//! Clients that send byte by byte are closed after a time limit, others are served meanwhile, and no file stays open.

use futures_util::future::join_all;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, sleep, timeout};
use warren_testkit::LIMIT;
use warren_testkit::http;
use warren_testkit::process::POLL;
use warren_testkit::raw::HANDSHAKE;
use warren_testkit::replica::Replica;

/// Clients of each kind, all at once.
const EACH: usize = 20;
const CHUNKED: &str = "Host: x\r\nTransfer-Encoding: chunked\r\n";

/// Sends `begins`, then one byte after the other until the connection ends. Returns the answer.
async fn send_slowly(addr: SocketAddr, begins: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(begins.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let mut got = Vec::new();
    let drip = async {
        let mut beat = interval(Duration::from_millis(500));
        loop {
            beat.tick().await;
            if writing.write_all(b"a").await.is_err() {
                return std::future::pending().await;
            }
        }
    };
    let end = async {
        tokio::select! {
            _ = reading.read_to_end(&mut got) => {}
            () = drip => {}
        }
    };
    timeout(LIMIT, end).await.unwrap_or_else(|_| panic!("never ended: {begins}"));
    String::from_utf8(got).unwrap()
}

fn files(replica: &Replica) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", replica.process.id())).unwrap().count()
}

#[tokio::test]
async fn slow_requests_time_out_and_others_are_served() {
    let replica = Replica::ready(&[("PUBLISH_TIMEOUT", "200ms"), ("WORKERS", "1")]).await;
    let before = files(&replica);
    let mut client = replica.client("").await;
    let cases = [
        ("", 408),
        ("GET / HTTP/1.1\r\nHost: x\r\nX: ", 408),
        (&HANDSHAKE[..HANDSHAKE.len() - 4], 408),
        // actix itself has no time limit for a second head.
        ("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\nGET /", 404),
        ("POST /messages HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n{", 408),
        (&format!("POST /messages HTTP/1.1\r\n{CHUNKED}\r\nfff\r\n{{"), 408),
        (&format!("POST /messages HTTP/1.1\r\n{CHUNKED}\r\n1;ext"), 408),
        (&format!("POST /messages HTTP/1.1\r\n{CHUNKED}\r\n0\r\nTrailer: "), 408),
        // Bodies that are not needed are not waited for.
        ("GET /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n", 404),
        (&format!("GET / HTTP/1.1\r\n{CHUNKED}\r\nfff\r\n"), 200),
        (&format!("GET /nowhere HTTP/1.1\r\n{CHUNKED}Connection: close\r\n\r\nfff\r\n"), 404),
        (&format!("POST /messages HTTP/1.1\r\n{CHUNKED}Origin: http://evil\r\n\r\nfff\r\n"), 403),
        (&HANDSHAKE.replace("Host: x", CHUNKED.trim_end()), 426),
        ("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 426),
    ];
    let slow =
        join_all(cases.iter().cycle().take(cases.len() * EACH).map(async |(begins, status)| {
            let got = send_slowly(replica.addr, begins).await;
            assert!(got.starts_with(&format!("HTTP/1.1 {status} ")), "{begins:?}: {got:?}");
            assert_eq!(got.matches("HTTP/1.1 ").count(), 1, "{begins:?}: {got:?}");
        }));
    let served = async {
        loop {
            replica.publish("lobby", "meanwhile").await;
            assert_eq!(client.text().await, "meanwhile");
            sleep(POLL).await;
        }
    };
    tokio::select! {
        _ = slow => {}
        () = served => {}
    }
    client.close().await;
    let deadline = Instant::now() + LIMIT;
    while files(&replica) > before {
        assert!(Instant::now() < deadline, "{} files, not {before}", files(&replica));
        sleep(POLL).await;
    }
}

/// A client that keeps its connection open between requests.
struct KeepAliveClient(TcpStream);

impl KeepAliveClient {
    async fn connect(addr: SocketAddr) -> Self {
        Self(TcpStream::connect(addr).await.unwrap())
    }

    /// Sends the last piece of a request and returns the beginning of the answer.
    async fn ask(&mut self, request: &str) -> String {
        self.0.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 1024];
        let size = timeout(LIMIT, self.0.read(&mut answer)).await.expect("an answer").unwrap();
        String::from_utf8_lossy(&answer[..size]).into_owned()
    }
}

#[tokio::test]
async fn unfinished_second_head_times_out() {
    let replica = Replica::ready(&[]).await;
    for begins in ["G", "GET / HTTP/1.1\r\nHost: x\r\n"] {
        let mut client = KeepAliveClient::connect(replica.addr).await;
        for _ in 0..2 {
            let answer = client.ask("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        }
        client.0.write_all(begins.as_bytes()).await.unwrap();
        let end = timeout(LIMIT / 4, client.0.read(&mut [0; 1])).await.expect("the end");
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
}

#[tokio::test]
async fn idle_connection_with_slow_body_is_served() {
    let replica = Replica::ready(&[("PUBLISH_TIMEOUT", "200ms")]).await;
    let mut client = KeepAliveClient::connect(replica.addr).await;
    // Longer than the limit of a head, and nearly as long as idle connections are kept.
    for pause in [6, 6, 13] {
        let answer = client.ask("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        sleep(Duration::from_secs(pause)).await;
    }
    let body = format!("{{\"text\":\"{}\"}}", "x".repeat(60_000));
    let head =
        format!("POST /messages HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    client.0.write_all(head.as_bytes()).await.unwrap();
    let mut beat = interval(Duration::from_millis(250));
    let (most, last) = body.split_at(body.len() - 1);
    for piece in most.as_bytes().chunks(most.len() / 10) {
        client.0.write_all(piece).await.unwrap();
        beat.tick().await;
    }
    let answer = client.ask(last).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
}

#[tokio::test]
async fn event_streams_with_upgrade_header_are_bounded_and_end() {
    let settings =
        [("CLIENT_BACKLOG", "64KiB"), ("HISTORY_BYTES", "256KiB"), ("PING_INTERVAL", "500ms")];
    let replica = Replica::ready(&settings).await;
    let request = HANDSHAKE.replace("/ws", "/events");
    let mut events = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(replica.addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut begun = [0; 15];
        timeout(LIMIT, stream.read_exact(&mut begun)).await.expect("an answer in time").unwrap();
        assert_eq!(&begun, b"HTTP/1.1 200 OK");
        events.push(stream);
    }
    let series = "warren_connections{transport=\"sse\"}";
    replica.metric_becomes(series, |open| open == 20.0).await;
    let before = replica.memory();
    let text = "x".repeat(48 << 10);
    for _ in 0..400 {
        assert_eq!(replica.post("lobby", text.as_str()).await.status, 202);
    }
    let grown = replica.memory().saturating_sub(before);
    assert!(grown < 32 << 20, "grew by {grown} bytes");
    drop(events);
    replica.metric_becomes(series, |open| open == 0.0).await;
    assert_eq!(http::get(replica.addr, "/messages").await.status, 200);
}
