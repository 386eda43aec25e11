//! Hostile text in requests stays text in the answers: it becomes neither a header nor markup.

use crate::replica::Replica;
use serde_json::json;
use warren_testkit::http;
use warren_testkit::raw::{HANDSHAKE, Raw};

/// Line ends, terminal control sequences, quotes, marks of text direction, markup.
const FORGED: &str = "x\"}\r\n{\"level\":\"ERROR\",\"event\":\"stopped\"}\n\u{1b}[2J\u{1b}]0;t\u{7}\u{9b}31m\u{85}\
    \u{2028}\u{2029}\u{202e}\u{2066}\u{200f}</script><script>";

#[tokio::test]
async fn hostile_request_text_adds_no_header_or_markup() {
    const HEADERS: [&str; 11] = [
        "allow",
        "access-control-allow-origin",
        "cache-control",
        "connection",
        "content-length",
        "content-type",
        "date",
        "transfer-encoding",
        "upgrade",
        "vary",
        "x-content-type-options",
    ];
    let replica = Replica::ready(&[("ALLOWED_ORIGINS", "*")]).await;
    let forged = "%0d%0aX-Forged:%20yes%0d%0a%0d%0a%3cscript%3e%00%1b%e2%80%a8";
    let field = json!({ FORGED: "x" }).to_string();
    let mut requests = vec![format!(
        "POST /messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{field}",
        field.len()
    )];
    for path in [
        "/",
        "/ws?channel=",
        "/ws?history=",
        "/events?channel=",
        "/messages?limit=",
        "/messages?after=",
        "/messages?",
        "/replicas/",
    ] {
        let origin = "Origin: http://x\", <script>, *";
        requests.push(format!(
            "GET {path}{forged} HTTP/1.1\r\nHost: x\r\n{origin}\r\nConnection: close\r\n\r\n"
        ));
    }
    requests.push(HANDSHAKE.replace("/ws", &format!("/ws?channel={forged}")));
    for request in requests {
        let response = http::send(replica.addr, &request).await;
        for line in response.head.lines().skip(1) {
            let name = line.split(':').next().unwrap().to_ascii_lowercase();
            assert!(HEADERS.contains(&&*name), "{name} for {request}");
        }
        assert_eq!(response.header("content-type"), "application/json", "{request}");
        assert_eq!(response.header("x-content-type-options"), "nosniff", "{request}");
        if response.status != 200 {
            let message = &response.json()["error"]["message"];
            assert!(message.as_str().unwrap().len() < 1000, "{request}: {message}");
        }
    }
    let offers = "Sec-WebSocket-Protocol: warren.v1, x\"<script>\r\n\
        Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits; x=\"y\r\n";
    let shake = HANDSHAKE.replace("Host: x\r\n", &format!("Host: x\r\n{offers}"));
    let head = Raw::send_first(replica.addr, shake.as_bytes()).await.head().await;
    assert!(head.contains("sec-websocket-protocol: warren.v1\r\n"), "{head}");
    assert!(!head.contains("script") && !head.contains("x="), "{head}");
}
