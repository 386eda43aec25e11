//! Publishing, delivery and history over WebSocket and HTTP, with the embedded broker.

use crate::replica::Replica;
use serde_json::json;
use warren_testkit::http;

#[tokio::test]
async fn message_reaches_every_subscriber_of_its_channel_once_and_in_order() {
    let replica = Replica::ready(&[]).await;
    let mut one = replica.client("").await;
    let mut two = replica.client("?channel=lobby").await;
    let mut both = replica.client("?channel=news&channel=lobby").await;
    let mut news = replica.client("?channel=news").await;
    one.send("first").await;
    assert_eq!(both.text().await, "first");
    both.send("second").await;
    for client in [&mut both, &mut news] {
        let message = client.message().await;
        assert_eq!((&message["text"], &message["channel"]), (&json!("second"), &json!("news")));
    }
    one.send("third \u{1F407} \"<b>\"").await;
    for client in [&mut one, &mut two] {
        assert_eq!(client.text().await, "first");
        let message = client.message().await;
        assert_eq!(message["text"], "third \u{1F407} \"<b>\"");
        assert_eq!(message.as_object().unwrap().len(), 4);
        let date: jiff::Timestamp = message["date"].as_str().unwrap().parse().unwrap();
        assert!(date <= jiff::Timestamp::now());
    }
    assert_eq!(both.text().await, "third \u{1F407} \"<b>\"");
}

#[tokio::test]
async fn new_subscriber_gets_history_and_returning_one_gets_missed_messages() {
    let replica = Replica::ready(&[("WORKERS", "1")]).await;
    let mut witness = replica.client("?channel=a&channel=b").await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let response = replica.post(["a", "b"][n % 2], n).await;
        assert_eq!(response.status, 202);
        ids.push(response.json()["id"].as_str().unwrap().to_owned());
        // A confirmed message need not have reached every worker yet.
        assert_eq!(witness.text().await, n);
    }
    let mut late = replica.client("?channel=a&history=2").await;
    assert_eq!(late.ready["recovered"], false);
    assert_eq!([late.text().await, late.text().await], [json!(2), json!(4)]);

    let mut back =
        replica.client(&format!("?channel=a&channel=b&after={}&history=9", ids[1])).await;
    assert_eq!(back.ready["recovered"], true);
    for (n, id) in ids.iter().enumerate().skip(2) {
        let message = back.message().await;
        assert_eq!((&message["text"], &message["id"]), (&json!(n), &json!(id)));
    }

    let elsewhere = ids[1].replace('-', "0-");
    let mut lost = replica.client(&format!("?channel=a&after={elsewhere}&history=1")).await;
    assert_eq!(lost.ready["recovered"], false);
    assert_eq!(lost.text().await, 4);
}

#[tokio::test]
async fn http_publish_is_confirmed_and_invalid_request_is_refused() {
    let replica = Replica::ready(&[("MAX_MESSAGE", "100B")]).await;
    let mut client = replica.client("?channel=orders").await;
    let response = replica.post("orders", json!({ "id": 7, "lines": [1, 2] })).await;
    assert_eq!(response.status, 202);
    let message = client.message().await;
    assert_eq!(message["text"], json!({ "id": 7, "lines": [1, 2] }));
    assert_eq!(message["id"], response.json()["id"]);

    for (body, status, code) in [
        ("", 400, "bad_request"),
        ("{}", 400, "bad_request"),
        (r#"{"text":1,"chanel":"typo"}"#, 400, "bad_request"),
        (r#"{"text":1,"channel":""}"#, 400, "bad_request"),
        (r#"{"text":1,"channel":"a\nb"}"#, 400, "bad_request"),
        (r#"{"text":1"#, 400, "bad_request"),
        ("\u{feff}{}", 400, "bad_request"),
        (&format!(r#"{{"text":"{}"}}"#, "x".repeat(101)), 413, "too_large"),
        (&format!(r#"{{"text":"{}"}}"#, "x".repeat(10_000)), 413, "too_large"),
    ] {
        let response = http::post(replica.addr, "/messages", body).await;
        assert_eq!((response.status, response.error().as_str()), (status, code), "{body}");
    }
    assert_eq!(replica.post("orders", "x".repeat(100)).await.status, 202);
    let request = "PUT /messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let put = http::send(replica.addr, request).await;
    assert_eq!((put.status, put.error().as_str()), (405, "method_not_allowed"));
    assert!(put.header("allow").contains("POST"), "{put:?}");
}

#[tokio::test]
async fn http_publish_from_foreign_origin_is_refused() {
    let replica = Replica::ready(&[]).await;
    let body = r#"{"text":"forged"}"#;
    let request = |origin: &str| {
        format!(
            "POST /messages HTTP/1.1\r\nHost: {}\r\nOrigin: {origin}\r\nConnection: close\r\n\
             Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            replica.addr,
            body.len()
        )
    };
    let foreign = http::send(replica.addr, &request("https://evil.example")).await;
    assert_eq!((foreign.status, foreign.error().as_str()), (403, "origin_not_allowed"));
    let own = http::send(replica.addr, &request(&format!("http://{}", replica.addr))).await;
    assert_eq!(own.status, 202);
}

#[tokio::test]
async fn page_assets_are_served_with_strict_policy() {
    let replica = Replica::ready(&[]).await;
    for (path, kind) in [
        ("/", "text/html"),
        ("/client.js", "text/javascript"),
        ("/client.d.ts", "text/plain"),
        ("/app.js", "text/javascript"),
        ("/style.css", "text/css"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let response = http::get(replica.addr, path).await;
        assert_eq!(response.status, 200, "{path}");
        assert!(response.header("content-type").starts_with(kind), "{path}");
        assert_eq!(response.header("x-content-type-options"), "nosniff");
        assert!(response.header("content-security-policy").starts_with("default-src 'none'"));
        let again = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIf-None-Match: {}\r\n\r\n",
            response.header("etag")
        );
        assert_eq!(http::send(replica.addr, &again).await.status, 304, "{path}");
    }
    let missing = http::get(replica.addr, "/../etc/passwd").await;
    assert_eq!((missing.status, missing.error().as_str()), (404, "not_found"));
}

#[tokio::test]
async fn health_and_roster_are_served_on_their_own_ports() {
    let replica = Replica::ready(&[("REPLICA", "only"), ("ADMIN_LISTEN", "127.0.0.1:0")]).await;
    assert_eq!(http::get(replica.admin, "/livez").await.status, 200);
    assert_eq!(http::get(replica.admin, "/readyz").await.body, "ready\n");
    let client = replica.client("").await;
    let roster = http::get(replica.addr, "/replicas").await.json();
    assert_eq!(roster["replica"], "only");
    assert_eq!(
        roster["replicas"],
        json!([{ "name": "only", "version": env!("CARGO_PKG_VERSION"), "connections": 1 }])
    );
    assert_eq!(replica.metric("warren_connections{transport=\"websocket\"}").await, 1.0);
    client.close().await;
    replica.metric_becomes("warren_connections{transport=\"websocket\"}", |open| open == 0.0).await;
    assert_eq!(
        replica.metric("warren_connections_closed_total{code=\"1000\",reason=\"by_client\"}").await,
        1.0
    );
    // The client port has none of these.
    for path in ["/metrics", "/readyz", "/livez"] {
        assert_eq!(http::get(replica.addr, path).await.status, 404);
    }
}
