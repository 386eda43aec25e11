//! Cursors that cannot be resumed after, and the reasons that clients get.

use lapin::BasicProperties;
use serde_json::{Value, json};
use warren_testkit::amqp_peer::AmqpPeer;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::replica::{LIVE, Replica, SMALL_HISTORY};
use warren_testkit::subscriber::{Subscriber, TRANSPORTS};

/// Asserts that no transport resumes after `after`, for this reason, and that each sends history instead, which ends
/// with the message `last`.
pub async fn refused(replica: &Replica, after: &str, reason: &str, last: &str) {
    for transport in TRANSPORTS {
        let mut lost = Subscriber::connect(transport, replica, &["lobby"], after, 1).await;
        let ready = &lost.ready;
        assert_eq!(ready["recovered"], false, "{after:?} over {transport:?}: {ready}");
        assert_eq!(ready["reason"], reason, "{after:?} over {transport:?}: {ready}");
        assert_eq!(lost.message().await["id"], last, "{after:?} over {transport:?}");
    }
    let page = replica.page(&format!("?channel=lobby&after={after}")).await;
    let expected = json!({ "messages": [], "recovered": false, "more": false, "reason": reason });
    assert_eq!(page, expected, "{after:?}");
}

/// The offset at the beginning of an id.
fn offset(id: &str) -> u64 {
    u64::from_str_radix(id.split('-').next().unwrap(), 16).unwrap()
}

#[tokio::test]
async fn malformed_or_foreign_id_reports_malformed_or_unknown() {
    let (rabbitmq, exchange, elsewhere) = (shared(), unique("messages"), unique("elsewhere"));
    let quiet = [("CANARY_INTERVAL", "0s")];
    let replica = Replica::on_rabbitmq("here", &rabbitmq.url(), &exchange, &quiet).await;
    let other = Replica::on_rabbitmq("there", &rabbitmq.url(), &elsewhere, &quiet).await;
    let mut id = String::new();
    let mut foreign = String::new();
    for n in 0..20 {
        id = replica.publish("lobby", n).await;
        foreign = other.publish("lobby", n).await;
    }
    let (_, check) = id.split_once('-').unwrap();
    let cut_off = &id[..id.len() - 1];
    for malformed in ["hello", "1", "-", "1-", "-1", "1-1", "G-1", "%F0%9F%90%87", cut_off] {
        refused(&replica, malformed, "malformed", &id).await;
    }
    let mistyped = if check.ends_with('0') { "1" } else { "0" };
    let mistyped = format!("{}{mistyped}", &id[..id.len() - 1]);
    let future = format!("{:x}-{check}", offset(&id) + 1000);
    let shifted = format!("{:x}-{check}", offset(&id) - 1);
    for unknown in [&mistyped, &future, &shifted, &foreign] {
        refused(&replica, unknown, "unknown", &id).await;
    }
    for outcome in ["malformed", "unknown"] {
        let series = format!("warren_resumes_total{{outcome=\"{outcome}\"}}");
        assert!(replica.metric(&series).await > 0.0, "{outcome}");
    }
}

#[tokio::test]
async fn evicted_id_reports_expired() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let settings = [&SMALL_HISTORY[..], &[("LOG_MAX_BYTES", "1MiB")]].concat();
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &settings).await;
    let padding = "x".repeat(32 << 10);
    let first = replica.publish("lobby", padding.clone()).await;
    // RabbitMQ drops whole segments, when a segment is full.
    for _ in 0..400 {
        replica.publish("lobby", padding.clone()).await;
        if replica.page("?channel=lobby&limit=1").await["messages"][0]["id"] != first {
            break;
        }
    }
    let last = replica.publish("lobby", "last").await;
    refused(&replica, &first, "expired", &last).await;
    let series = "warren_resumes_total{outcome=\"expired\"}";
    assert!(replica.metric(series).await > 0.0);

    // The oldest message can be resumed after, also on a replica that never read it before.
    let new = Replica::on_rabbitmq("new", &rabbitmq.url(), &exchange, &settings).await;
    let page = new.page("?channel=lobby&limit=2").await;
    let ids = [0, 1].map(|n| page["messages"][n]["id"].as_str().unwrap().to_owned());
    for replica in [&replica, &new] {
        for transport in TRANSPORTS {
            let mut back = Subscriber::connect(transport, replica, &["lobby"], &ids[0], 0).await;
            assert_eq!(back.ready["recovered"], true, "{transport:?}: {}", back.ready);
            assert_eq!(back.message().await["id"], ids[1]);
        }
        refused(replica, &first, "expired", &last).await;
    }
}

#[tokio::test]
async fn id_of_deleted_stream_reports_unknown() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let quiet = [("CANARY_INTERVAL", "0s")];
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &quiet).await;
    let stream = format!("{exchange}.log");
    let peer = AmqpPeer::connect(&rabbitmq.url(), &exchange).await;
    let mut client = replica.client("").await;
    // Equal messages at equal offsets of both streams, behind a message with an id.
    replica.publish("lobby", "old").await;
    assert_eq!(client.text().await, "old");
    let same = br#"{"text":"same","date":"2026-01-02T03:04:05Z"}"#;
    let plain = BasicProperties::default;
    let mut old = Vec::new();
    for _ in 0..100 {
        peer.publish("", same, plain()).await;
        old.push(client.message().await["id"].as_str().unwrap().to_owned());
    }
    let mut listeners = Vec::new();
    for transport in TRANSPORTS {
        listeners.push(Subscriber::connect(transport, &replica, &["lobby"], "", 0).await);
    }

    rabbitmq.ctl(&["delete_queue", &stream]).await;
    // A publish that returns an id has reached the stream.
    let first = loop {
        if let Value::String(id) = &replica.post("lobby", "new").await.json()["id"] {
            break id.clone();
        }
    };
    for listener in &mut listeners {
        listener.gap().await;
        while listener.message().await["id"] != *first {}
    }
    while client.frame().await.expect("it stays connected")["id"] != *first {}
    let mut new = Vec::new();
    while new.len() < 100 {
        peer.publish("", same, plain()).await;
        new.push(client.message().await["id"].as_str().unwrap().to_owned());
    }
    for listener in &mut listeners {
        for id in &new {
            listener.receives(id, "same").await;
        }
    }
    let common: Vec<_> =
        old.iter().filter(|old| new.iter().any(|new| offset(new) == offset(old))).collect();
    assert!(common.len() > 10, "some stand at the same place: {old:?} {new:?}");
    for id in [common[0], common[common.len() - 1], &old[0], &old[99]] {
        refused(&replica, id, "unknown", &new[99]).await;
    }
    // Nor does a replica that never read the first stream accept them.
    let second = Replica::on_rabbitmq("second", &rabbitmq.url(), &exchange, &quiet).await;
    for id in [common[0], common[common.len() - 1]] {
        refused(&second, id, "unknown", &new[99]).await;
    }
    // Messages that replicas publish have unique ids.
    let [before, last] = [replica.publish("lobby", 1).await, replica.publish("lobby", 2).await];
    let mut back = second.client(&format!("?after={before}")).await;
    assert_eq!(back.ready["recovered"], true);
    assert_eq!(back.message().await["id"], last);
}

#[tokio::test]
async fn live_delivery_reports_live() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &[LIVE]).await;
    let id = replica.publish("lobby", "heard").await;
    for transport in TRANSPORTS {
        let mut back = Subscriber::connect(transport, &replica, &["lobby"], &id, 1).await;
        assert_eq!(back.ready["recovered"], false);
        assert_eq!(back.ready["reason"], "live", "{transport:?}: {}", back.ready);
        back.receives(&id, "heard").await;
    }
    assert!(replica.metric("warren_resumes_total{outcome=\"live\"}").await > 0.0);
}
