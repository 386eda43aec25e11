//! Server-sent events.

use crate::replica::Replica;
use serde_json::json;
use warren_testkit::events::Events;
use warren_testkit::http;
use warren_testkit::raw::HANDSHAKE;

#[tokio::test]
async fn hangup_ends_event_stream_at_once() {
    let replica = Replica::ready(&[("PING_INTERVAL", "10m")]).await;
    let open = "warren_connections{transport=\"sse\"}";
    let streams = [replica.events("").await, replica.events("?channel=quiet").await];
    assert_eq!(replica.metric(open).await, 2.0);
    drop(streams);
    replica.metric_becomes(open, |open| open == 0.0).await;
}

#[tokio::test]
async fn published_message_arrives_as_event() {
    let replica = Replica::ready(&[("REPLICA", "only")]).await;
    replica.publish("a", "old").await;
    let mut events = replica.events("?channel=a&channel=b&history=5").await;
    assert_eq!(events.ready["replica"], "only");
    assert_eq!(events.ready["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(events.ready["recovered"], false);
    assert_eq!(events.text().await, "old");
    let mut client = replica.client("?channel=a&channel=b").await;
    let id = replica.publish("b", json!({ "lines": "one\ntwo\r\nthree \u{1F407}" })).await;
    let message = events.message().await;
    assert_eq!(message, client.message().await, "the same as over a WebSocket");
    assert_eq!((&message["id"], &message["channel"]), (&json!(id), &json!("b")));
    replica.publish("elsewhere", "not for them").await;
    client.send("from a WebSocket").await;
    assert_eq!(events.text().await, "from a WebSocket");
    assert_eq!(events.head.header("cache-control"), "no-store");
    let mut lobby = replica.events("").await;
    replica.publish("lobby", "without a channel").await;
    assert_eq!(lobby.text().await, "without a channel");
}

#[tokio::test]
async fn idle_event_stream_gets_heartbeats() {
    let replica = Replica::ready(&[("PING_INTERVAL", "100ms")]).await;
    let mut events = replica.events("").await;
    for beats in [1, 5, 20] {
        events.heartbeats(beats).await;
    }
    replica.publish("lobby", "still here").await;
    assert_eq!(events.text().await, "still here");
}

#[tokio::test]
async fn drain_sends_retry_hint_and_ends_event_stream() {
    let settings = [("DRAIN_DELAY", "0s"), ("DRAIN_PERIOD", "1s")];
    let mut replica = Replica::ready(&settings).await;
    let mut all = Vec::new();
    for _ in 0..20 {
        all.push(replica.events("").await);
    }
    replica.shut_down();
    let mut pauses = Vec::new();
    for events in &mut all {
        let farewell = events.next().await.expect("a pause to make");
        pauses.push(farewell.retry.expect("milliseconds"));
        assert_eq!((farewell.data.as_str(), farewell.id), ("", None));
        assert_eq!(events.next().await, None, "and then it ends");
    }
    pauses.sort_unstable();
    pauses.dedup();
    assert!(pauses.len() > 5, "returns are spread: {pauses:?}");
    replica.ended().await;
}

#[tokio::test]
async fn slow_event_stream_is_closed_and_resumes_without_loss() {
    const COUNT: usize = 150;
    let settings = [("CLIENT_BACKLOG", "64KiB")];
    let replica = Replica::ready(&settings).await;
    let mut events = replica.events("").await;
    // Far more than the backlog and the kernel's buffers. Then the client reads.
    let padding = "x".repeat(60 << 10);
    for n in 0..COUNT {
        replica.publish("lobby", json!([n, padding])).await;
    }
    let mut cursor = String::new();
    let mut expected = 0;
    while let Some(event) = events.next().await {
        assert_eq!(event.json()["text"][0], expected);
        expected += 1;
        cursor = event.id.expect("an id");
    }
    assert!((1..COUNT).contains(&expected), "it ended within");
    let series = "warren_connections_closed_total{code=\"1013\",reason=\"too_slow\"}";
    replica.metric_becomes(series, |count| count == 1.0).await;
    let mut back = replica.events(&format!("?after={cursor}")).await;
    assert_eq!(back.ready["recovered"], true);
    for n in expected..COUNT {
        assert_eq!(back.text().await[0], n);
    }
}

#[tokio::test]
async fn foreign_origin_gets_events_only_if_allowed() {
    let replica = Replica::ready(&[("ALLOWED_ORIGINS", "https://friend.example")]).await;
    let with = |origin: &str| {
        format!(
            "GET /events HTTP/1.1\r\nHost: {}\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n",
            replica.addr
        )
    };
    let foreign = http::send(replica.addr, &with("https://evil.example")).await;
    assert_eq!((foreign.status, foreign.error().as_str()), (403, "origin_not_allowed"));
    let header = "Origin: https://friend.example\r\n";
    let mut friend = Events::connect_with(replica.addr, "", header).await;
    assert_eq!(friend.head.header("access-control-allow-origin"), "https://friend.example");
    let header = format!("Origin: http://{}\r\n", replica.addr);
    let mut own = Events::connect_with(replica.addr, "", &header).await;
    replica.publish("lobby", "hello").await;
    for events in [&mut friend, &mut own] {
        assert_eq!(events.text().await, "hello");
    }
}

#[tokio::test]
async fn invalid_query_is_refused_and_event_streams_count_as_connections() {
    let replica = Replica::ready(&[]).await;
    for query in ["?channel=", "?history=all", "?channel=a%0Ab"] {
        let response = http::get(replica.addr, &format!("/events{query}")).await;
        assert_eq!((response.status, response.error().as_str()), (400, "bad_request"), "{query}");
    }
    // Event streams count against the same limit as WebSockets.
    let full = Replica::ready(&[("MAX_CONNECTIONS", "1")]).await;
    let only = full.events("").await;
    for path in ["/events", "/ws"] {
        let refused = http::send(full.addr, &HANDSHAKE.replace("/ws", path)).await;
        assert_eq!((refused.status, refused.error().as_str()), (503, "too_many_connections"));
    }
    drop(only);
    full.metric_becomes("warren_connections{transport=\"sse\"}", |open| open == 0.0).await;
    full.events("").await;
}
