//! Thousands of clients resume from the log at once.

use futures_util::future::join_all;
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::time::sleep;
use warren_testkit::amqp_peer::AmqpPeer;
use warren_testkit::follower::{Book, Follower};
use warren_testkit::heavy::heavy;
use warren_testkit::open_files::allow_open_files;
use warren_testkit::process::POLL;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::raw::{HANDSHAKE, Raw};
use warren_testkit::replica::Replica;

const CLIENTS: usize = 2_000;
const MISSED: usize = 5_000;
/// Further messages that some clients missed.
const SPREAD: usize = 3_000;
/// Consumers that a replica opens for replays, beside the one for new messages.
const READERS: usize = 4;
/// Pause between two counts of consumers: shorter than they stay, and long enough to leave the CPUs to the clients.
const PAUSE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn many_resuming_clients_share_few_consumers_and_little_memory() {
    let _heavy = heavy().await;
    allow_open_files(4096);
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let settings =
        [("HISTORY_BYTES", "16KiB"), ("CLIENT_BACKLOG", "16KiB"), ("PING_INTERVAL", "10m")];
    let name = unique("crowded");
    let replica = Replica::on_rabbitmq(&name, &rabbitmq.url(), &exchange, &settings).await;
    let peer = AmqpPeer::connect(&rabbitmq.url(), &exchange).await;
    let start = replica.publish("lobby", "start").await;
    let body = |n| json!({ "text": n, "date": "2026-01-02T03:04:05Z" }).to_string();
    peer.publish_all("", (0..MISSED + SPREAD).map(body)).await;

    // A client of another replica reads all messages first, for comparison.
    let elsewhere = Replica::on_rabbitmq("elsewhere", &rabbitmq.url(), &exchange, &settings).await;
    let book = RefCell::new(Book::default());
    let mut first = Follower::new(&book, 0, &start);
    first.connect(elsewhere.addr).await.expect("it is let in");
    assert!(first.read(MISSED + SPREAD).await);
    for n in 0..MISSED + SPREAD {
        assert_eq!(book.borrow().message(n)["text"], n);
    }

    let before = replica.memory();
    // RabbitMQ's answers take some time, and consumers stay only for some seconds after a replay. Therefore they are
    // counted on another thread, as the clients keep this one busy.
    let (stop, stopped) = mpsc::channel::<()>();
    let replays = format!("warren {name} replay");
    let counting = thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut most = 0;
        loop {
            let last = stopped.try_recv() == Err(TryRecvError::Disconnected);
            most = runtime.block_on(rabbitmq.consumers_of(&replays)).max(most);
            if last {
                return most;
            }
            runtime.block_on(async { sleep(PAUSE).await });
        }
    });
    let back = Cell::new(false);
    let followers = async {
        let followers = join_all((0..CLIENTS).map(async |n| {
            let mut follower = Follower::new(&book, n * SPREAD / CLIENTS, &start);
            follower.connect(replica.addr).await.expect("it is let in");
            follower
        }));
        let mut followers = followers.await;
        // Their sockets are full now, and replays wait for room.
        join_all(followers.iter_mut().map(async |follower| {
            assert!(follower.read(MISSED + SPREAD).await, "it stays connected");
        }))
        .await;
        back.set(true);
        followers
    };
    let watching = async {
        let (mut memory, mut readers) = (0, 0.0);
        while !back.get() {
            readers = f64::max(readers, replica.metric("warren_replay_consumers").await);
            memory = memory.max(replica.memory());
            sleep(POLL).await;
        }
        (memory, readers)
    };
    let (mut followers, (memory, readers)) = tokio::join!(followers, watching);
    drop(stop);
    let consumers = counting.join().expect("the count of consumers");
    assert!((1..=READERS).contains(&consumers), "{consumers} consumers");
    let grown = memory.saturating_sub(before);
    assert!(grown < 150 << 20, "grew by {grown} bytes");
    assert!((1.0..=READERS as f64).contains(&readers), "{readers} readers");
    let resumes = replica.metric("warren_resumes_total{outcome=\"log\"}").await;
    assert_eq!(resumes, CLIENTS as f64);

    // All of them receive the next message.
    peer.publish_all("", [body(MISSED + SPREAD)]).await;
    for follower in &mut followers {
        assert!(follower.read(MISSED + SPREAD + 1).await);
    }
    replica.metric_becomes("warren_replay_consumers", |readers| readers == 0.0).await;
}

/// More replays than run at a time, each of another part of the log.
const ERAS: usize = 270;
const ERA: usize = 256;

#[tokio::test]
async fn clients_with_different_cursors_resume_in_turn() {
    let _heavy = heavy().await;
    allow_open_files(4096);
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let settings =
        [("HISTORY_BYTES", "16KiB"), ("CLIENT_BACKLOG", "16KiB"), ("PING_INTERVAL", "10m")];
    let replica = Replica::on_rabbitmq("eras", &rabbitmq.url(), &exchange, &settings).await;
    let peer = AmqpPeer::connect(&rabbitmq.url(), &exchange).await;
    let mut last = replica.publish("lobby", "start").await;
    let body = |n| json!({ "text": n, "date": "2026-01-02T03:04:05Z" }).to_string();
    peer.publish_all("", (0..ERAS * ERA).map(body)).await;
    let end = replica.publish("lobby", "end").await;
    // Another replica reads the pages, so that this one has none of them cached.
    let elsewhere = Replica::on_rabbitmq("elsewhere", &rabbitmq.url(), &exchange, &settings).await;
    let mut cursors = Vec::new();
    while last != end {
        let page = elsewhere.page(&format!("?limit={}&after={last}", 3 * ERA)).await;
        let mut ids =
            page["messages"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap());
        cursors.extend(ids.clone().skip(ERA - 1).step_by(ERA).map(ToOwned::to_owned));
        ids.next_back().unwrap().clone_into(&mut last);
    }
    assert!(cursors.len() >= ERAS);
    join_all(cursors.iter().map(async |after| {
        let request = HANDSHAKE.replace("/ws", &format!("/ws?after={after}"));
        let mut raw = Raw::send_first(replica.addr, request.as_bytes()).await;
        raw.head().await;
        assert_eq!(raw.json().await["ready"]["recovered"], true);
    }))
    .await;
}
