//! Requests that a proxy and a replica could interpret differently do not pass a proxy unseen.

use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use warren_testkit::LIMIT;
use warren_testkit::client::Client;
use warren_testkit::haproxy::{HaProxy, Setting};
use warren_testkit::replica::Replica;

/// The request that must not get through.
const HIDDEN: &str =
    "POST /messages HTTP/1.1\r\nHost: x\r\nContent-Length: 17\r\n\r\n{\"text\":\"hidden\"}";
/// The proxy passes requests with this header, which the hidden request lacks.
const SHOWN: &str = "X-Shown: yes\r\n";
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";

/// A publish request whose length is given by `framing`.
fn post(framing: &str, body: &str) -> String {
    format!("POST /messages HTTP/1.1\r\nHost: x\r\n{SHOWN}{framing}\r\n{body}")
}

fn get(path: &str, headers: &str, body: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n{SHOWN}{headers}\r\n{body}")
}

/// Sends a request and returns the statuses of all answers until the connection ends.
async fn answers(addr: SocketAddr, request: &str) -> Vec<u16> {
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        // Ends the request, so that no server waits for more.
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        // The connection may be reset after the answer.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = timeout(LIMIT, exchange).await.expect("the end in time");
    let heads = answer.split("HTTP/1.1 ").skip(1);
    heads.map(|head| head[..3].parse().expect("a status")).collect()
}

/// Asserts that the witness receives a visible message next, and hence nothing hidden before it.
async fn only_visible_message_comes(replica: &Replica, witness: &mut Client, case: &str) {
    replica.publish("lobby", case).await;
    assert_eq!(witness.text().await, case, "smuggled: {case}");
}

/// Requests with a hidden one, and the status that a replica answers.
fn cases() -> Vec<(&'static str, String, u16)> {
    let ended = format!("0\r\n\r\n{HIDDEN}");
    let chunk = format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len());
    let length = |body: &str| format!("Content-Length: {}\r\n", body.len());
    let te = "Transfer-Encoding: chunked\r\n";
    let ended_as = |framing: &str| post(framing, &ended);
    let mut cases = vec![
        ("CL.TE", ended_as(&format!("{}{te}", length(&ended))), 400),
        ("TE.CL", post(&format!("{te}Content-Length: 4\r\n"), &chunk), 400),
        ("no Host", format!("GET / HTTP/1.1\r\n{SHOWN}\r\n"), 400),
        ("two Hosts", get("/", "Host: y\r\n", ""), 400),
        (
            "TE in HTTP/1.0",
            ended_as(te).replace("HTTP/1.1\r\nHost: x\r\nX", "HTTP/1.0\r\nHost: x\r\nX"),
            400,
        ),
        ("a GET with a length", get("/nowhere", &length(HIDDEN), HIDDEN), 404),
        ("a GET with a chunk", get("/nowhere", te, &chunk), 404),
        ("a GET with a bad chunk", get("/nowhere", te, "x\r\n"), 404),
        ("CONNECT", get("/", "", HIDDEN).replace("GET /", "CONNECT x:80"), 404),
        (
            "h2c",
            get(
                "/nowhere",
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
                "",
            ),
            404,
        ),
        (
            "a refused version",
            get("/ws", &format!("{}{KEY}", UPGRADE.replace("13", "777")), HIDDEN),
            426,
        ),
        (
            "a refused origin",
            get("/ws", &format!("{UPGRADE}{KEY}Origin: https://evil.example\r\n"), HIDDEN),
            403,
        ),
        ("a handshake elsewhere", get("/nowhere", &format!("{UPGRADE}{KEY}"), HIDDEN), 404),
        (
            "a handshake with a length",
            get("/ws", &format!("{UPGRADE}{KEY}{}", length(HIDDEN)), HIDDEN),
            426,
        ),
        ("a handshake with a chunk", get("/ws", &format!("{UPGRADE}{KEY}{te}"), &chunk), 426),
        ("a handshake to post", post(&format!("{UPGRADE}{}", length(HIDDEN)), HIDDEN), 400),
    ];
    // Invalid spellings, with a contradicting length.
    for line in [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\r\n chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
    ] {
        cases.push((line, ended_as(&format!("{line}\r\nContent-Length: 5\r\n")), 400));
    }
    for line in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: 18446744073709551621",
    ] {
        cases.push((line, ended_as(&format!("{line}\r\n")), 400));
    }
    for size in ["10000000000000005", "+5", "0x5", "5;\n", "5\n", "-5", " 5", "5\r"] {
        cases.push((size, post(te, &format!("{size}\r\nhello\r\n{ended}")), 400));
    }
    cases
}

#[tokio::test]
async fn ambiguous_request_is_refused_and_closes_connection() {
    let replica = Replica::ready(&[]).await;
    let mut witness = replica.client("").await;
    for (case, request, status) in cases() {
        assert_eq!(answers(replica.addr, &request).await, [status], "{case:?}");
        only_visible_message_comes(&replica, &mut witness, case).await;
    }
    // A valid pipelined request is served, so a smuggled one would have been received.
    let open = get("/nowhere", "", HIDDEN);
    assert_eq!(answers(replica.addr, &open).await, [404, 202]);
    assert_eq!(witness.text().await, "hidden");
}

#[tokio::test]
async fn hidden_request_does_not_pass_load_balancer_rules() {
    let replica = Replica::ready(&[]).await;
    let rule = "http-request deny unless { req.hdr(X-Shown) yes }";
    let setting = Setting { rule, ..Setting::default() };
    let haproxy = HaProxy::with(&[(replica.addr, replica.admin)], setting).await;
    let mut witness = replica.client("").await;
    assert_eq!(answers(haproxy.addr(), HIDDEN).await, [403]);
    let shown = HIDDEN.replacen("Host: x\r\n", &format!("Host: x\r\n{SHOWN}"), 1);
    assert_eq!(answers(haproxy.addr(), &shown).await, [202]);
    assert_eq!(witness.text().await, "hidden");
    for (case, request, _) in cases() {
        let answers = answers(haproxy.addr(), &request).await;
        // Requests that the proxy sees as separate ones get an answer each, which is a refusal.
        let served = answers.iter().skip(1).filter(|status| **status < 400).count();
        assert!(served == 0, "{case:?}: {answers:?}");
        only_visible_message_comes(&replica, &mut witness, case).await;
    }
}
