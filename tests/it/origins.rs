//! Pages of foreign origins that use their visitors' browsers: cross-site WebSocket hijacking, and the same over event
//! streams and requests.

use std::net::SocketAddr;
use warren_testkit::haproxy::HaProxy;
use warren_testkit::http::{self, Response};
use warren_testkit::raw::HANDSHAKE;
use warren_testkit::replica::Replica;

const HOST: &str = "chat.example:8080";

/// Header lines of foreign pages, some of which look like the replica's own.
const FOREIGN: [&str; 24] = [
    "Origin: https://evil.example",
    "Origin: null",
    "Origin:",
    "Origin: http://",
    "Origin: chat.example:8080",
    "Origin: //chat.example:8080",
    "Origin: http://chat.example",
    "Origin: http://chat.example:80",
    "Origin: http://chat.example:80801",
    "Origin: http://chat.example:08080",
    "Origin: http://chat.example:8080.evil.example",
    "Origin: http://chat.example.evil.example:8080",
    "Origin: http://evil-chat.example:8080",
    "Origin: http://evil.chat.example:8080",
    "Origin: http://chat.example.:8080",
    "Origin: http://chat.example:8080@evil.example",
    "Origin: http://user@chat.example:8080",
    "Origin: http://evil.example/chat.example:8080",
    "Origin: http://evil.example#http://chat.example:8080",
    "Origin: http://evil.example://chat.example:8080",
    "Origin: app://chat.example:8080",
    "Origin: http://chat.example:8080 http://evil.example",
    "Origin: http://chat.example:8080\r\nOrigin: https://evil.example",
    "Origin: https://evil.example\r\nOrigin: http://chat.example:8080",
];
/// Header lines of the replica's own page. A proxy may terminate TLS, and names have no case.
const OWN: [&str; 4] = [
    "X: y",
    "Origin: http://chat.example:8080",
    "Origin: https://chat.example:8080",
    "Origin: HTTP://Chat.Example:8080",
];

fn requests(origin: &str) -> [String; 4] {
    let host = format!(
        "Host: {HOST}\r\n{origin}\r\nX-Forwarded-Host: evil.example\r\nForwarded: host=evil.example"
    );
    let head = |line: &str| format!("{line} HTTP/1.1\r\n{host}\r\nConnection: close\r\n");
    [
        HANDSHAKE.replace("Host: x", &host),
        format!("{}\r\n", head("GET /events")),
        format!("{}\r\n", head("GET /messages")),
        // A form can send this without a preflight request.
        format!(
            "{}Content-Type: text/plain\r\nContent-Length: 10\r\n\r\n{{\"text\":1}}",
            head("POST /messages")
        ),
    ]
}

async fn refused(addr: SocketAddr, origin: &str) {
    for request in requests(origin) {
        let response = http::send_last(addr, &request).await;
        let Response { status, .. } = response;
        assert_eq!((status, &*response.error()), (403, "origin_not_allowed"), "{request}");
        assert_eq!(response.header("access-control-allow-origin"), "", "{request}");
    }
}

#[tokio::test]
async fn foreign_origin_is_refused_everywhere() {
    let replica = Replica::ready(&[]).await;
    let haproxy = HaProxy::start(&[(replica.addr, replica.admin)]).await;
    let mut witness = replica.client("").await;
    for addr in [replica.addr, haproxy.addr()] {
        for origin in FOREIGN {
            refused(addr, origin).await;
        }
        for origin in OWN {
            let [_, _, page, post] = requests(origin);
            assert_eq!(http::send(addr, &page).await.status, 200, "{origin}");
            assert_eq!(http::send(addr, &post).await.status, 202, "{origin}");
            assert_eq!(witness.text().await, 1, "and nothing of the others");
        }
    }
}

#[tokio::test]
async fn listed_origin_matches_exactly() {
    let replica = Replica::ready(&[("ALLOWED_ORIGINS", "https://friend.example, app://x")]).await;
    for origin in [
        "http://friend.example",
        "https://friend.example:443",
        "https://friend.example.",
        "https://friend.example/",
        "https://friend.example.evil.example",
        "https://evil.friend.example",
        "https://xfriend.example",
        "null",
        "*",
    ] {
        refused(replica.addr, &format!("Origin: {origin}")).await;
    }
    for origin in ["https://friend.example", "app://x"] {
        let [_, _, page, _] = requests(&format!("Origin: {origin}"));
        let page = http::send(replica.addr, &page).await;
        assert_eq!((page.status, page.header("access-control-allow-origin")), (200, origin));
        assert_eq!(page.header("vary"), "Origin");
        assert_eq!(page.header("access-control-allow-credentials"), "");
    }
}
