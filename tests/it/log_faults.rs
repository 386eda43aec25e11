//! Delivery mode `log`: rare conditions that must not lose a message.

use crate::cursors::refused;
use lapin::BasicProperties;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::interval;
use warren_testkit::amqp_peer::AmqpPeer;
use warren_testkit::client::Client;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::raw::Raw;
use warren_testkit::replica::{Replica, SMALL_HISTORY};
use warren_testkit::subscriber::{Subscriber, TRANSPORTS};

const QUIET: (&str, &str) = ("CANARY_INTERVAL", "0s");

fn id(message: &Value) -> String {
    message["id"].as_str().expect("an id").to_owned()
}

/// The offset at the beginning of an id.
fn offset(id: &str) -> u64 {
    u64::from_str_radix(id.split('-').next().unwrap(), 16).unwrap()
}

/// The ids of all pages of the lobby after `after`, or from the beginning.
async fn pages(replica: &Replica, after: Option<&str>, limit: usize) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    loop {
        let last = ids.last().map(String::as_str).or(after);
        let after = last.map(|id| format!("&after={id}")).unwrap_or_default();
        let page = replica.page(&format!("?channel=lobby&limit={limit}{after}")).await;
        assert_eq!(page["recovered"], true, "after {last:?}: {}", page["reason"]);
        ids.extend(page["messages"].as_array().unwrap().iter().map(id));
        if page["more"] == false {
            return ids;
        }
    }
}

/// RabbitMQ writes an entry of its own into a stream when a segment is full. The entry has an offset, and no consumer
/// gets it.
#[tokio::test]
async fn offset_hole_is_not_taken_for_the_end_of_the_log() {
    /// Offset at which the first segment of the stream is full.
    const HOLE: u64 = 256;
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    // Segments of 256 KiB.
    let settings = [&SMALL_HISTORY[..], &[QUIET, ("LOG_MAX_BYTES", "2MiB")]].concat();
    let old = Replica::on_rabbitmq("old", &rabbitmq.url(), &exchange, &settings).await;
    let peer = AmqpPeer::connect(&rabbitmq.url(), &exchange).await;
    let mut client = old.client("").await;
    let mut ids = Vec::new();
    while ids.len() < 900 {
        // Some 220 KiB, then a message that fills the segment, then more than fits in memory.
        let size = if ids.len() as u64 == HOLE - 1 { 60 << 10 } else { 600 };
        let body = json!({ "text": "x".repeat(size), "date": "2026-01-02T03:04:05Z" });
        peer.publish_all("", [body.to_string()]).await;
        ids.push(id(&client.message().await));
    }
    let offsets: Vec<_> = ids.iter().map(|id| offset(id)).collect();
    let before = Vec::from_iter(0..HOLE);
    assert_eq!((&offsets[..256], offsets[256]), (&before[..], HOLE + 1), "there is a hole");

    let new = Replica::on_rabbitmq("new", &rabbitmq.url(), &exchange, &settings).await;
    for replica in [&old, &new] {
        for from in [0, 200, 254, 255, 256] {
            for transport in TRANSPORTS {
                let after = &ids[from];
                let mut back = Subscriber::connect(transport, replica, &["lobby"], after, 0).await;
                assert_eq!(back.ready["recovered"], true, "{transport:?} {from}: {}", back.ready);
                for id in &ids[from + 1..] {
                    assert_eq!(back.message().await["id"], **id, "{transport:?} after {from}");
                }
            }
            let after = Some(ids[from].as_str());
            assert_eq!(pages(replica, after, 100).await, ids[from + 1..], "pages after {from}");
        }
        for limit in [1000, 256, 100] {
            assert_eq!(pages(replica, None, limit).await, ids, "pages of {limit}");
        }
    }
    assert!(new.metric("warren_resumes_total{outcome=\"log\"}").await > 0.0);
}

/// Reads up to a gap. Messages may come before it.
async fn gap(client: &mut Client) {
    while client.frame().await.expect("it stays connected")["gap"].is_null() {}
}

/// Deletes the stream while another program publishes `body(n)` several times a second. Two replicas must find the new
/// stream, which is shorter than the old one for long.
async fn found_again(body: impl Fn(usize) -> String) {
    const OLD: usize = 3000;
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let two = Replica::on_rabbitmq("two", &rabbitmq.url(), &exchange, &[QUIET]).await;
    let one = Replica::on_rabbitmq("one", &rabbitmq.url(), &exchange, &[]).await;
    let mut peer = AmqpPeer::connect(&rabbitmq.url(), &exchange).await;
    let early = one.publish("lobby", "early").await;
    peer.publish_all("", (0..OLD).map(&body)).await;
    let late = one.publish("lobby", "late").await;
    for replica in [&one, &two] {
        let mut client = replica.client(&format!("?after={early}")).await;
        while client.message().await["id"] != *late {}
    }

    let talking = async {
        let mut pace = interval(Duration::from_millis(150));
        for n in 0.. {
            pace.tick().await;
            let body = body(n);
            // RabbitMQ closes the connection at times when a stream is deleted under it.
            if peer.try_publish("", body.as_bytes(), BasicProperties::default()).await.is_err() {
                peer = AmqpPeer::connect(&rabbitmq.url(), &exchange).await;
            }
        }
    };
    let listening = async {
        let mut clients = [one.client("").await, two.client("").await];
        for client in &mut clients {
            client.message().await;
        }
        rabbitmq.ctl(&["delete_queue", &format!("{exchange}.log")]).await;
        for client in &mut clients {
            gap(client).await;
            client.message().await;
        }
        for replica in [&one, &two] {
            replica.becomes_ready(true).await;
        }
        clients
    };
    let mut clients = tokio::select! {
        clients = listening => clients,
        () = talking => unreachable!("it talks for ever"),
    };

    let last = two.publish("lobby", "last").await;
    for client in &mut clients {
        while client.message().await["id"] != *last {}
    }
    for replica in [&one, &two] {
        refused(replica, &early, "unknown", &last).await;
        refused(replica, &late, "unknown", &last).await;
    }
}

#[tokio::test]
async fn recreated_stream_is_found_under_load() {
    found_again(|n| n.to_string()).await;
}

#[tokio::test]
async fn recreated_stream_is_found_under_load_of_equal_messages() {
    found_again(|_| "same".to_owned()).await;
}

/// It is likely, not certain, that the replica handles an entry each time that its session ends: it has one worker, for
/// which every message is much work.
#[tokio::test]
async fn reconnecting_replica_that_is_behind_loses_nothing() {
    const LISTENERS: usize = 150;
    const ROUNDS: usize = 20;
    const EACH: usize = 500;
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let settings = [("WORKERS", "1"), ("CLIENT_BACKLOG", "64MiB"), ("CANARY_INTERVAL", "100ms")];
    let other = Replica::on_rabbitmq("other", &rabbitmq.url(), &exchange, &[QUIET]).await;
    let slow = Replica::on_rabbitmq("slow", &rabbitmq.url(), &exchange, &settings).await;
    let stream = format!("{exchange}.log");
    // A second binding of the stream, which stays when that of the replicas is gone.
    let side = AmqpPeer::connect(&rabbitmq.url(), &unique("side")).await;
    side.bind(&stream).await.unwrap();
    for _ in 0..LISTENERS {
        let mut raw = Raw::connect(slow.addr).await;
        tokio::spawn(async move { tokio::io::copy(&mut raw.stream, &mut tokio::io::sink()).await });
    }
    let mut client = slow.client("").await;

    let padding = "x".repeat(1 << 10);
    for round in 0..ROUNDS {
        side.publish_all("", (0..EACH).map(|n| json!([round, n, padding]).to_string())).await;
        // The next canary is returned, and the replica starts a new session.
        side.unbind(&stream, &exchange).await.unwrap();
    }
    let end = other.publish("lobby", "end").await;

    let mut heard = Vec::new();
    while heard.last() != Some(&end) {
        heard.push(id(&client.message().await));
    }
    let all = pages(&other, None, 1000).await;
    let known: HashSet<_> = heard.iter().collect();
    let missing: Vec<_> = all.iter().filter(|id| !known.contains(id)).collect();
    assert_eq!(missing, Vec::<&String>::new());
    assert!(heard == all, "each once, and in order");
    assert_eq!(heard.len(), ROUNDS * EACH + 1);
    let series = "warren_amqp_reconnects_total{role=\"consume\"}";
    assert!(slow.metric(series).await > 1.0, "it did begin anew");
}

#[tokio::test]
async fn empty_log_has_empty_page() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let one = Replica::on_rabbitmq("one", &rabbitmq.url(), &exchange, &[QUIET]).await;
    let two = Replica::on_rabbitmq("two", &rabbitmq.url(), &exchange, &[QUIET]).await;
    let empty = json!({ "messages": [], "recovered": true, "more": false });
    for replica in [&one, &two] {
        assert_eq!(replica.page("").await, empty);
    }
    let first = one.publish("lobby", "first").await;
    let mut client = two.client(&format!("?after={first}")).await;
    assert_eq!(client.ready["recovered"], true, "{}", client.ready);
    for replica in [&one, &two] {
        assert_eq!(pages(replica, None, 10).await, std::slice::from_ref(&first));
        assert_eq!(replica.page(&format!("?after={first}")).await, empty);
    }
    let second = two.publish("lobby", "second").await;
    assert_eq!(client.message().await["id"], second);
}

#[tokio::test]
async fn log_of_one_entry_is_read_without_canaries() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let one = Replica::on_rabbitmq("one", &rabbitmq.url(), &exchange, &[QUIET]).await;
    let first = one.publish("lobby", "first").await;
    let two = Replica::on_rabbitmq("two", &rabbitmq.url(), &exchange, &[QUIET]).await;
    assert_eq!(pages(&two, None, 10).await, std::slice::from_ref(&first));
    let mut client = two.client(&format!("?after={first}")).await;
    assert_eq!(client.ready["recovered"], true, "{}", client.ready);
    let second = one.publish("lobby", "second").await;
    assert_eq!(client.message().await["id"], second);
}

/// While the program publishes equal messages, the contents of both streams do not differ.
#[tokio::test]
async fn recreated_stream_that_differs_only_at_its_end_is_found() {
    const OLD: usize = 3000;
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &[QUIET]).await;
    let peer = AmqpPeer::connect(&rabbitmq.url(), &exchange).await;
    let mut client = replica.client("").await;
    // Without an id and a date.
    let say = async || peer.publish("", b"same", BasicProperties::default()).await;
    for _ in 0..OLD {
        say().await;
    }
    for _ in 0..OLD {
        client.message().await;
    }
    let talking = async {
        let mut pace = interval(Duration::from_millis(150));
        loop {
            pace.tick().await;
            say().await;
        }
    };
    let listening = async {
        client.message().await;
        rabbitmq.ctl(&["delete_queue", &format!("{exchange}.log")]).await;
        gap(&mut client).await;
        client.message().await;
    };
    tokio::select! {
        () = listening => {}
        () = talking => {}
    }
    replica.becomes_ready(true).await;
}
