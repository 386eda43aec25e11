//! The attack surface: paths, methods and headers of both ports, and metrics that clients cannot add to.

use crate::replica::Replica;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use warren_testkit::client::Client;
use warren_testkit::http::{self, Response};
use warren_testkit::raw::HANDSHAKE;

async fn ask(addr: SocketAddr, method: &str, target: &str) -> Response {
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\nCookie: unspeakable\r\nX-Y: unspeakable\r\n\r\n"
    );
    http::send_last(addr, &request).await
}

#[tokio::test]
async fn undeclared_paths_and_methods_are_refused() {
    let replica = Replica::ready(&[]).await;
    let admin = format!("http://{}/metrics", replica.admin);
    for target in [
        "/metrics",
        "/readyz",
        "/livez",
        "//metrics",
        "/./metrics",
        "/../metrics",
        "/%2e%2e/metrics",
        "/messages/../metrics",
        "/ws/..%2fmetrics",
        "/metrics?",
        "/Metrics",
        &admin,
        "/etc/passwd",
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%5c..%5cetc%5cpasswd",
        "//etc/passwd",
        "/index.html",
        "/.env",
        "/.git/config",
        "/style.css/",
        "/debug/pprof",
        "//",
        "/server-status",
        "/WS",
        "/ws/",
        "*",
        "/%00",
        "/%ff",
    ] {
        let response = ask(replica.addr, "GET", target).await;
        assert_eq!((response.status, &*response.error()), (404, "not_found"), "{target}");
    }
    for target in
        ["/", "/ws", "/messages", "/events", "/replicas", "/client.js", "/metrics/", "//metrics"]
    {
        assert_eq!(ask(replica.admin, "GET", target).await.status, 404, "{target}");
    }
    for method in ["TRACE", "OPTIONS", "PUT", "DELETE", "PATCH", "CONNECT", "PROPFIND", "BREW"] {
        for target in
            ["/", "/ws", "/messages", "/events", "/replicas", "/client.js", "/nowhere", "*"]
        {
            let response = ask(replica.addr, method, target).await;
            assert!([404, 405].contains(&response.status), "{method} {target}: {response:?}");
            assert!(!response.body.contains("unspeakable"), "{method} {target}");
        }
        for target in ["/metrics", "/livez", "/readyz", "/", "*"] {
            let response = ask(replica.admin, method, target).await;
            assert!([404, 405].contains(&response.status), "{method} {target}: {response:?}");
        }
    }
    // A request target in absolute form is served whatever its host.
    assert_eq!(ask(replica.addr, "GET", "http://elsewhere/replicas").await.status, 200);
}

#[tokio::test]
async fn responses_have_security_headers() {
    let replica = Replica::ready(&[]).await;
    for path in ["/", "/style.css", "/app.js", "/client.js", "/client.d.ts", "/icon.svg"] {
        let asset = http::get(replica.addr, path).await;
        let policy = asset.header("content-security-policy");
        for rule in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{path}: {policy}");
        assert_eq!(asset.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(asset.header("referrer-policy"), "no-referrer", "{path}");
    }
    for path in ["/messages", "/replicas", "/nowhere", "/ws", "/messages?limit=x"] {
        let answer = http::get(replica.addr, path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("content-type"), "application/json", "{path}");
        assert_eq!(answer.header("server"), "", "{path}");
    }
}

/// Sends requests with `seed` in every value that a client can choose.
async fn send_hostile_values(replica: &Replica, seed: &str) {
    for n in 0..30 {
        let name = format!("{seed}-{n}");
        let mut client: Client =
            replica.v1(&format!("?channel={name}&after={name}&x={name}")).await;
        let publish =
            json!({ "publish": { "ref": n, "channel": name, "text": name, "key": name } });
        assert_eq!(client.ask(&publish).await["published"]["ref"], n);
        client.command(&json!({ name.as_str(): { "ref": 2 } })).await;
        client.close().await;
        let headers = format!(
            "Host: {name}\r\nOrigin: http://{name}.example\r\nUser-Agent: {name}\r\nX-{name}: {name}\r\n\
             Sec-WebSocket-Protocol: {name}\r\nSec-WebSocket-Extensions: {name}\r\n\
             traceparent: 00-0af7651916cd43dd8448eb211c8031{n:02x}-b7ad6b7169203331-01"
        );
        let foreign = HANDSHAKE.replace("Host: x", &headers);
        assert_eq!(http::send(replica.addr, &foreign).await.status, 403);
        let bad = HANDSHAKE.replace("/ws", &format!("/ws?history={name}"));
        assert_eq!(http::send(replica.addr, &bad).await.status, 400);
        assert_eq!(http::get(replica.addr, &format!("/{name}")).await.status, 404);
        assert_eq!(ask(replica.addr, &name.to_uppercase(), "/messages").await.status, 405);
        assert_eq!(
            replica.page(&format!("?channel={name}&after={name}")).await["recovered"],
            false
        );
        let body = json!({ name.as_str(): name }).to_string();
        assert_eq!(http::post(replica.addr, "/messages", &body).await.status, 400);
    }
}

async fn series(replica: &Replica) -> BTreeSet<String> {
    let text = http::get(replica.admin, "/metrics").await.body;
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

#[tokio::test]
async fn client_input_adds_no_metric_series() {
    let replica = Replica::ready(&[]).await;
    send_hostile_values(&replica, "one").await;
    let before = series(&replica).await;
    send_hostile_values(&replica, "another").await;
    let after = series(&replica).await;
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(!after.iter().any(|series| series.contains("another") || series.contains("one-")));
}
