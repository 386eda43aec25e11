//! Many clients that come back at once, all of them from the stream.

use crate::support::amqp::Peer;
use crate::support::files::allow_open_files;
use crate::support::follower::{Book, Follower};
use crate::support::rabbitmq::{shared, unique};
use crate::support::replica::Replica;
use futures_util::future::join_all;
use serde_json::json;
use std::cell::{Cell, RefCell};

const CLIENTS: usize = 2_000;
const MISSED: usize = 5_000;
/// Cursors differ by up to so many messages.
const SPREAD: usize = 100;
/// Readers that a replica opens for replays, beside the one that it always has.
const READERS: usize = 4;

#[tokio::test]
async fn a_crowd_is_served_by_few_readers_and_in_little_memory() {
    allow_open_files(4096);
    let (rabbitmq, exchange) = (shared().await, unique("messages"));
    let settings =
        [("HISTORY_BYTES", "16KiB"), ("CLIENT_BACKLOG", "16KiB"), ("PING_INTERVAL", "10m")];
    let replica = Replica::joined("host", &rabbitmq.url(), &exchange, &settings).await;
    let peer = Peer::connect(&rabbitmq.url(), &exchange).await;
    let start = replica.say("lobby", "start").await;
    let body = |n| json!({ "text": n, "date": "2026-01-02T03:04:05Z" }).to_string();
    peer.publish_all("", (0..MISSED + SPREAD).map(body)).await;

    // One of them first, which shows what all must have.
    let book = RefCell::new(Book::default());
    let mut first = Follower::new(&book, 0, &start);
    assert!(first.connect(replica.addr).await && first.read(MISSED + SPREAD).await);
    for n in 0..MISSED + SPREAD {
        assert_eq!(book.borrow().message(n)["text"], n);
    }

    let before = replica.memory();
    let (mut most_memory, mut most_readers, mut most_consumers) = (0, 0.0, 0);
    let back = Cell::new(0);
    let crowd = join_all((0..CLIENTS).map(async |n| {
        let mut follower = Follower::new(&book, n % SPREAD, &start);
        assert!(follower.connect(replica.addr).await, "it is let in");
        assert!(follower.read(MISSED + SPREAD).await, "it stays connected");
        back.set(back.get() + 1);
        follower
    }));
    let stream = format!("{exchange}.log");
    let watching = async {
        while back.get() < CLIENTS {
            let readers = replica.metric("warren_log_readers").await;
            most_readers = f64::max(most_readers, readers);
            most_memory = most_memory.max(replica.memory());
            let consumers = rabbitmq.ask(&["list_consumers", "queue_name"]).await;
            let consumers = consumers.as_array().unwrap().iter();
            let ours = consumers.filter(|consumer| consumer["queue_name"] == *stream).count();
            most_consumers = most_consumers.max(ours);
        }
    };
    let (mut crowd, ()) = tokio::join!(crowd, watching);
    let grown = most_memory.saturating_sub(before);
    assert!(grown < 150 << 20, "grew by {grown} bytes");
    assert!((1.0..=READERS as f64).contains(&most_readers), "{most_readers} readers");
    assert!((1..=1 + READERS).contains(&most_consumers), "{most_consumers} consumers");
    let resumes = replica.metric("warren_resumes_total{outcome=\"log\"}").await;
    assert_eq!(resumes, 1.0 + CLIENTS as f64);

    // And all of them hear what is said next.
    peer.publish_all("", [body(MISSED + SPREAD)]).await;
    for follower in &mut crowd {
        assert!(follower.read(MISSED + SPREAD + 1).await);
    }
    replica.metric_becomes("warren_log_readers", |readers| readers == 0.0).await;
}
