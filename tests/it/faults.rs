//! RabbitMQ stops, loses its topology, or raises a memory alarm. `log` has the same for delivery mode `log`.

use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use serde_json::Value;
use warren_testkit::LIMIT;
use warren_testkit::amqp_peer::AmqpPeer;
use warren_testkit::client::Client;
use warren_testkit::http;
use warren_testkit::rabbitmq::{RabbitMq, shared, unique};
use warren_testkit::rabbitmq_node::Node;
use warren_testkit::replica::{LIVE, Replica};

/// Reads up to the message with this text. Errors and gaps may come before it.
async fn receives(client: &mut Client, text: &str) {
    while client.frame().await.expect("it stays connected")["text"] != text {}
}

/// Publishes texts that begin with `name` until one is delivered.
async fn is_delivered(client: &mut Client, name: &str) {
    for n in 0.. {
        client.send(format!("{name} {n}")).await;
        loop {
            let frame = client.frame().await.expect("it stays connected");
            if frame["text"] == format!("{name} {n}") {
                return;
            }
            if frame["error"].is_object() {
                break;
            }
        }
    }
}

#[tokio::test]
async fn restart_of_rabbitmq_under_load_loses_nothing_confirmed() {
    let mut rabbitmq = RabbitMq::start().await;
    let exchange = unique("messages");
    let settings = [LIVE, ("PUBLISH_TIMEOUT", "60s"), ("CLIENT_RATE", "100000/s")];
    let one = Replica::on_rabbitmq("one", &rabbitmq.url(), &exchange, &settings).await;
    let two = Replica::on_rabbitmq("two", &rabbitmq.url(), &exchange, &settings).await;
    let mut sender = one.client("").await;
    let mut listener = two.client("").await;
    sender.send("before").await;
    receives(&mut listener, "before").await;
    receives(&mut sender, "before").await;

    rabbitmq.stop().await;
    for replica in [&one, &two] {
        replica.becomes_ready(false).await;
        assert_eq!(http::get(replica.admin, "/livez").await.status, 200, "alive all the same");
    }
    // Messages published meanwhile wait, and are sent in their order.
    for n in 0..100 {
        sender.send(format!("meanwhile {n}")).await;
    }
    rabbitmq.start_again().await;
    for n in 0..100 {
        let text = loop {
            let frame = sender.frame().await.expect("it stays connected");
            if frame["id"].is_string() {
                break frame["text"].clone();
            }
            assert!(frame["gap"].is_object(), "only a gap comes: {frame}");
        };
        assert_eq!(text, format!("meanwhile {n}"), "once, and in order");
    }
    for replica in [&one, &two] {
        replica.becomes_ready(true).await;
    }
    // A subscriber gets a gap before the next message.
    while !listener.frame().await.expect("it stays connected")["gap"].is_object() {}
    sender.send("after").await;
    receives(&mut listener, "after").await;
    for replica in [&one, &two] {
        let log = replica.process.output();
        assert!(!log.contains("guest:guest"), "no secret in a log");
    }
}

#[tokio::test]
async fn replica_without_rabbitmq_starts_and_reports_errors_to_publishers() {
    let mut rabbitmq = RabbitMq::start().await;
    let url = rabbitmq.url();
    rabbitmq.kill();
    let settings = [
        ("AMQP_URL", url.as_str()),
        ("PUBLISH_TIMEOUT", "300ms"),
        ("CANARY_INTERVAL", "500ms"),
        ("PUBLISH_BUFFER", "4KiB"),
    ];
    let replica = Replica::start(&settings).await;
    replica.becomes_ready(false).await;
    let mut client = replica.client("").await;
    client.send("too early").await;
    let error = client.frame().await.unwrap();
    assert_eq!(error["error"]["code"], "publish_timeout");
    let response = replica.post("lobby", "too early").await;
    assert_eq!((response.status, response.error().as_str()), (503, "publish_timeout"));
    let response = replica.post("lobby", "x".repeat(5000)).await;
    assert_eq!((response.status, response.error().as_str()), (503, "buffer_full"));
    assert!(!response.header("retry-after").is_empty());
    // Each failure is counted once.
    let failed = |outcome| format!("warren_messages_published_total{{outcome=\"{outcome}\"}}");
    assert_eq!(replica.metric(&failed("publish_timeout")).await, 2.0);
    assert_eq!(replica.metric(&failed("buffer_full")).await, 1.0);
    let scrape = http::get(replica.admin, "/metrics").await.body;
    let rejected = scrape.lines().filter(|line| line.starts_with("warren_messages_rejected_total"));
    assert!(rejected.clone().count() > 3 && rejected.clone().all(|line| line.ends_with(" 0")));
    rabbitmq.start_again().await;
    replica.becomes_ready(true).await;
    is_delivered(&mut client, "at last").await;
}

/// The queues bound to an exchange.
async fn queues(rabbitmq: &Node, exchange: &str) -> Vec<String> {
    let bindings = rabbitmq.ctl(&["list_bindings", "source_name", "destination_name"]).await;
    let queues =
        bindings.lines().filter_map(|line| line.strip_prefix(exchange)?.strip_prefix('\t'));
    queues.map(|queue| queue.trim().to_owned()).collect()
}

#[tokio::test]
async fn deleted_queue_or_exchange_is_declared_again() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &[LIVE]).await;
    let mut client = replica.client("").await;
    let other = AmqpPeer::connect(&rabbitmq.url(), &unique("elsewhere")).await;

    // An exclusive queue can only be unbound by others through the exchange, or deleted by rabbitmqctl.
    let queue = queues(rabbitmq, &exchange).await.pop().expect("the replica's queue");
    let refused = other.channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default());
    assert!(refused.await.is_err(), "it is exclusive");
    rabbitmq.ctl(&["delete_queue", &queue]).await;
    is_delivered(&mut client, "without a queue").await;
    replica.becomes_ready(true).await;

    let other = AmqpPeer::connect(&rabbitmq.url(), &unique("elsewhere")).await;
    other
        .channel
        .exchange_delete(exchange.as_str().into(), ExchangeDeleteOptions::default())
        .await
        .unwrap();
    is_delivered(&mut client, "without an exchange").await;
    replica.becomes_ready(true).await;
}

#[tokio::test]
async fn unbound_replica_without_publishers_detects_it() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let url = rabbitmq.url();
    let mut replica = Replica::on_rabbitmq("host", &url, &exchange, &[LIVE]).await;
    let mut client = replica.client("").await;
    let mut peer = AmqpPeer::live(&url, &exchange).await;
    // Right after a canary, so that no canary is returned by an exchange without a queue.
    peer.control().await;
    // Only the connection of an exclusive queue can unbind it, so the exchange is deleted and declared again.
    // RabbitMQ does not tell the replica that its binding is gone.
    peer.remake_exchange().await;
    let deaf = replica.process.line(LIMIT, |line| line.contains("\"deaf\"")).await;
    let deaf: Value = serde_json::from_str(&deaf).unwrap();
    assert_eq!(deaf["missing"], 2, "within three intervals: {deaf}");
    replica.becomes_ready(true).await;
    peer.publish("", b"{\"text\":\"heard again\"}", lapin::BasicProperties::default()).await;
    receives(&mut client, "heard again").await;
}

#[tokio::test]
async fn memory_alarm_delays_messages_and_keeps_clients() {
    let mut rabbitmq = RabbitMq::start().await;
    let exchange = unique("messages");
    let settings = [("PUBLISH_TIMEOUT", "60s"), ("DRAIN_DELAY", "0s"), ("DRAIN_PERIOD", "0s")];
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &settings).await;
    let mut client = replica.client("").await;
    rabbitmq.set_memory_watermark(0.000_000_1).await;
    // RabbitMQ reports the alarm when the connection publishes next.
    client.send("held back").await;
    replica.metric_becomes("warren_amqp_blocked", |blocked| blocked == 1.0).await;
    // RabbitMQ reads nothing from this connection while it is blocked.
    let blocked = "warren_amqp_blocked_seconds_total";
    replica.metric_becomes(blocked, |seconds| seconds >= 2.0).await;
    assert_eq!(replica.metric("warren_messages_unconfirmed").await, 1.0);
    assert_eq!(replica.metric("warren_deliveries_total").await, 0.0, "nothing gets through");
    assert_eq!(http::get(replica.admin, "/readyz").await.status, 200, "it still delivers");
    rabbitmq.set_memory_watermark(0.4).await;
    let frame = client.frame().await.unwrap();
    assert_eq!(frame["text"], Value::from("held back"));
    replica.metric_becomes("warren_amqp_blocked", |blocked| blocked == 0.0).await;

    // Without unconfirmed messages, an alarm does not delay the shutdown.
    rabbitmq.set_memory_watermark(0.000_000_1).await;
    replica.metric_becomes("warren_amqp_blocked", |blocked| blocked == 1.0).await;
    assert_eq!(replica.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn unreachable_node_makes_replica_try_the_next() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let unused_port = warren_testkit::ports::free_port();
    let urls = format!("amqp://guest:guest@127.0.0.1:{unused_port}, {}", rabbitmq.url());
    let replica = Replica::on_rabbitmq("host", &urls, &exchange, &[]).await;
    let mut client = replica.client("").await;
    is_delivered(&mut client, "hello").await;
}
