//! Resuming with `after`: missed messages come first, then new ones.

use futures_util::future::join_all;
use serde_json::{Value, json};
use std::cell::Cell;
use tokio::sync::watch;
use warren_testkit::amqp_peer::AmqpPeer;
use warren_testkit::events::Events;
use warren_testkit::proxy::{Proxy, Traffic};
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::raw::{HANDSHAKE, Raw};
use warren_testkit::replica::{Replica, SMALL_HISTORY};
use warren_testkit::subscriber::{Subscriber, TRANSPORTS, Transport};

const CHANNELS: [&str; 3] = ["a", "b", "c"];

/// Publishes so many long texts that a replica with a small history has only the last of them in memory. The n-th
/// text begins with n.
async fn fill(replica: &Replica, peer: &AmqpPeer, count: usize) -> Vec<Value> {
    let padding = "x".repeat(4 << 10);
    let mut client = replica.client("?channel=a&channel=b&channel=c").await;
    let mut messages = Vec::new();
    while messages.len() < count {
        // In batches for which no client is too slow.
        let stretch = messages.len()..messages.len() + 6;
        for n in stretch.clone() {
            let body = json!({ "text": [n, padding], "date": "2026-01-02T03:04:05Z" });
            peer.publish_all(CHANNELS[n % 3], [body.to_string()]).await;
        }
        for _ in stretch {
            messages.push(client.message().await);
        }
    }
    messages
}

fn number(message: &Value) -> usize {
    message["text"][0].as_u64().unwrap() as usize
}

#[tokio::test]
async fn missed_messages_come_from_memory_or_log_over_every_transport() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &SMALL_HISTORY).await;
    let peer = AmqpPeer::connect(&rabbitmq.url(), &exchange).await;
    let mut all = fill(&replica, &peer, 240).await;
    let id = |message: &Value| message["id"].as_str().unwrap().to_owned();

    for transport in TRANSPORTS {
        for from in [0, 1, 50, 200, 238, 239] {
            for channels in [&CHANNELS[..], &["b"], &["c", "a"]] {
                if transport == Transport::Subscribe && channels.len() > 1 {
                    continue;
                }
                let after = id(&all[from]);
                let mut back = Subscriber::connect(transport, &replica, channels, &after, 7).await;
                assert_eq!(back.ready["recovered"], true, "{transport:?} {from}: {}", back.ready);
                assert!(back.ready["reason"].is_null(), "{}", back.ready);
                let missed = all[from + 1..].iter();
                for message in missed
                    .filter(|message| channels.contains(&message["channel"].as_str().unwrap()))
                {
                    assert_eq!(&back.message().await, message, "{transport:?} {from} {channels:?}");
                }
                let now = replica.publish(channels[0], "now").await;
                all.push(back.message().await);
                assert_eq!(all[all.len() - 1]["id"], now);
            }
        }
    }
    let outcome = |outcome| format!("warren_resumes_total{{outcome=\"{outcome}\"}}");
    assert!(replica.metric(&outcome("memory")).await > 0.0);
    assert!(replica.metric(&outcome("log")).await > 0.0);
    assert!(replica.metric("warren_replay_pages_total").await > 0.0);
    replica.metric_becomes("warren_replay_consumers", |readers| readers == 0.0).await;
}

#[tokio::test]
async fn quick_reader_has_each_page_read_once() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &SMALL_HISTORY).await;
    let first = replica.publish("lobby", "first").await;
    let text = "x".repeat(60_000);
    for _ in 0..40 {
        replica.publish("lobby", text.as_str()).await;
    }
    let mut client = replica.client(&format!("?after={first}")).await;
    for _ in 0..40 {
        assert_eq!(client.text().await, text);
    }
    // A page is read again only when the client was slow for a moment, not for each message.
    let read = replica.metric("warren_replay_pages_total").await;
    assert!((1.0..=9.0).contains(&read), "{read} times");
}

#[tokio::test]
async fn replay_meets_new_messages_without_loss_or_duplicate() {
    const OLD: usize = 150;
    const CLIENTS: usize = 30;
    const FURTHER: usize = 40;
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let one = Replica::on_rabbitmq("one", &rabbitmq.url(), &exchange, &SMALL_HISTORY).await;
    let two = Replica::on_rabbitmq("two", &rabbitmq.url(), &exchange, &SMALL_HISTORY).await;
    let padding = "x".repeat(4 << 10);
    let mut ids = Vec::new();
    for n in 0..OLD {
        ids.push(one.publish("lobby", json!([n, padding])).await);
    }

    let (published, wanted) = (watch::Sender::new(OLD), Cell::new(CLIENTS));
    let publishing = async {
        while wanted.get() > 0 {
            let n = *published.borrow();
            one.publish("lobby", json!([n, padding])).await;
            published.send_replace(n + 1);
        }
    };
    let returning = (0..CLIENTS).map(async |client| {
        let (transport, replica) = (TRANSPORTS[client % 5], [&one, &two][client % 2]);
        // One after the other, while messages are published.
        published.subscribe().wait_for(|published| *published >= OLD + client).await.unwrap();
        let from = client * OLD / CLIENTS;
        let mut back = Subscriber::connect(transport, replica, &["lobby"], &ids[from], 0).await;
        assert_eq!(back.ready["recovered"], true, "{transport:?}: {}", back.ready);
        let last = *published.borrow() + FURTHER;
        for expected in from + 1..last {
            assert_eq!(number(&back.message().await), expected, "{transport:?} after {from}");
        }
        wanted.set(wanted.get() - 1);
    });
    tokio::join!(publishing, join_all(returning));
    let series = "warren_resumes_total{outcome=\"log\"}";
    assert!(one.metric(series).await + two.metric(series).await > 0.0);
}

#[tokio::test]
async fn id_ahead_of_replica_is_not_reported_unknown() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let proxy = Proxy::to(rabbitmq.port()).await;
    let url = format!("amqp://guest:guest@{}", proxy.addr);
    let one = Replica::on_rabbitmq("one", &rabbitmq.url(), &exchange, &[]).await;
    // With this interval it does not notice soon that nothing comes.
    let behind =
        Replica::on_rabbitmq("behind", &url, &exchange, &[("CANARY_INTERVAL", "1m")]).await;
    proxy.set_traffic(Traffic::Nothing);
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(one.publish("lobby", n).await);
    }
    // A client that comes from the other replica is closed with a reason to come back.
    let handshake = HANDSHAKE.replace("/ws", &format!("/ws?after={}", ids[1]));
    let mut raw = Raw::send_first(behind.addr, handshake.as_bytes()).await;
    raw.head().await;
    let (opcode, payload) = raw.frame().await.expect("a frame");
    let payload = String::from_utf8_lossy(&payload);
    assert!(opcode == 8 && payload.ends_with("the log cannot be read now"), "{payload}");
    proxy.set_traffic(Traffic::All);
    for transport in TRANSPORTS {
        let mut back = Subscriber::connect(transport, &behind, &["lobby"], &ids[1], 0).await;
        assert_eq!(back.ready["recovered"], true, "{transport:?}: {}", back.ready);
        back.receives(&ids[2], 2).await;
    }
}

#[tokio::test]
async fn ready_cursor_covers_all_earlier_messages() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let one = [("WORKERS", "1")];
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &one).await;
    for transport in TRANSPORTS {
        let mut witness = replica.client("").await;
        replica.publish("lobby", "before").await;
        assert_eq!(witness.text().await, "before");
        let listener = Subscriber::connect(transport, &replica, &["lobby"], "outdated", 0).await;
        let cursor = listener.ready["cursor"].as_str().expect("a cursor").to_owned();
        drop(listener);
        let ids = [replica.publish("elsewhere", 1).await, replica.publish("lobby", 2).await];
        let mut back = Subscriber::connect(transport, &replica, &["lobby"], &cursor, 9).await;
        assert_eq!(back.ready["recovered"], true, "{transport:?}: {}", back.ready);
        back.receives(&ids[1], 2).await;
        // The id of a message of another channel is a valid cursor.
        let mut back = Subscriber::connect(transport, &replica, &["lobby"], &ids[0], 9).await;
        back.receives(&ids[1], 2).await;
    }
}

#[tokio::test]
async fn last_event_id_header_precedes_after_parameter() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &[]).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(replica.publish("lobby", n).await);
    }
    let query = format!("?after={}", ids[0]);
    let header = format!("Last-Event-ID: {}\r\n", ids[2]);
    let mut back = Events::connect_with(replica.addr, &query, &header).await;
    assert_eq!(back.ready["recovered"], true);
    assert_eq!(back.text().await, 3);
    let mut back = replica.events(&query).await;
    assert_eq!(back.text().await, 1);
    // The ready event has the cursor as its id, so that a browser that got no message sends it.
    let quiet = replica.events("?channel=quiet").await;
    let cursor = quiet.cursor.expect("a cursor");
    replica.publish("quiet", "at last").await;
    let header = format!("Last-Event-ID: {cursor}\r\n");
    let mut back = Events::connect_with(replica.addr, "?channel=quiet", &header).await;
    assert_eq!(back.text().await, "at last");
}
