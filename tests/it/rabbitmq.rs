//! The exchange, shared with other programs and their messages.

use lapin::BasicProperties;
use lapin::options::{ExchangeDeleteOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};
use std::process::Command;
use warren_testkit::LIMIT;
use warren_testkit::amqp_peer::AmqpPeer;
use warren_testkit::http;
use warren_testkit::process::Process;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::replica::{LIVE, Replica};

#[tokio::test]
async fn message_reaches_clients_of_other_replica() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let one = Replica::on_rabbitmq("one", &rabbitmq.url(), &exchange, &[]).await;
    let quick = [("DRAIN_DELAY", "0s"), ("DRAIN_PERIOD", "0s")];
    let two = Replica::on_rabbitmq("two", &rabbitmq.url(), &exchange, &quick).await;
    let mut here = one.client("?channel=a").await;
    let mut there = two.client("?channel=a").await;
    here.send("over the hill").await;
    let message = there.message().await;
    assert_eq!(message["text"], "over the hill");
    assert_eq!(here.message().await, message, "the same on both, id included");
    let id = two.post("a", "and back").await.json()["id"].clone();
    assert_eq!(here.message().await["id"], id);

    // Both rosters have both replicas, and a replica that stops leaves them.
    let names = async |replica: &Replica| {
        let roster = http::get(replica.addr, "/replicas").await.json();
        let list = roster["replicas"].as_array().unwrap().clone();
        list.iter().map(|peer| peer["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    one.metric_becomes("warren_replicas", |count| count == 2.0).await;
    assert_eq!(names(&one).await, ["one", "two"]);
    drop(there);
    assert!(two.terminate().await.success());
    one.metric_becomes("warren_replicas", |count| count == 1.0).await;
    assert_eq!(names(&one).await, ["one"]);
}

#[tokio::test]
async fn published_body_and_properties_are_as_documented() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let mut peer = AmqpPeer::live(&rabbitmq.url(), &exchange).await;
    let replica = Replica::on_rabbitmq("props", &rabbitmq.url(), &exchange, &[LIVE]).await;
    let mut client = replica.client("").await;
    client.send("hello").await;
    let seen = client.message().await;
    let delivery = peer.message().await;
    let body: Value = serde_json::from_slice(&delivery.data).unwrap();
    assert_eq!(body, json!({ "text": "hello", "date": seen["date"] }));
    let properties = &delivery.properties;
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().unwrap().to_string();
    assert_eq!(delivery.routing_key.as_str(), "", "the lobby");
    assert_eq!(text(properties.content_type()), "application/json");
    assert_eq!(text(properties.app_id()), "props");
    assert_eq!(text(properties.message_id()), seen["id"].as_str().unwrap());
    assert!(properties.timestamp().is_some() && properties.kind().is_some());

    let mut news = replica.client("?channel=news").await;
    let (body, parent) = (
        r#"{"channel":"news","text":[1]}"#,
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    );
    let request = format!(
        "POST /messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\ntraceparent: {parent}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(http::send(replica.addr, &request).await.status, 202);
    let delivery = peer.message().await;
    assert_eq!(delivery.routing_key.as_str(), "news");
    let headers = delivery.properties.headers().as_ref().unwrap().inner();
    assert_eq!(headers["traceparent"], AMQPValue::LongString(parent.into()));
    assert_eq!(news.text().await, json!([1]));

    let named = BasicProperties::default().with_message_id("mine-1".into());
    peer.publish("news", br#"{"text":{"a":1},"date":"2026-01-02T03:04:05Z"}"#, named).await;
    assert_eq!(
        news.message().await,
        json!({ "id": "mine-1", "channel": "news", "text": { "a": 1 }, "date": "2026-01-02T03:04:05Z" })
    );
}

#[tokio::test]
async fn queue_is_exclusive_and_bounded_and_connections_are_named() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let name = unique("tracks");
    let _replica = Replica::on_rabbitmq(&name, &rabbitmq.url(), &exchange, &[LIVE]).await;
    let connections = rabbitmq.ctl(&["list_connections", "client_properties"]).await;
    for role in ["publish", "consume"] {
        assert!(connections.contains(&format!("warren {name} {role}")), "{connections}");
    }
    let bindings = rabbitmq.ctl(&["list_bindings", "source_name", "destination_name"]).await;
    let bound = bindings.lines().find_map(|line| line.strip_prefix(&format!("{exchange}\t")));
    let queue = bound.expect("a binding").trim();
    let queues = rabbitmq.ctl(&["list_queues", "name", "exclusive", "durable", "arguments"]).await;
    let line = queues.lines().find(|line| line.starts_with(queue)).expect("its queue");
    assert!(line.contains("true\tfalse"), "exclusive and not durable: {line}");
    assert!(line.contains("x-max-length-bytes") && line.contains("drop-head"), "{line}");
    let consumers =
        rabbitmq.ctl(&["list_consumers", "queue_name", "ack_required", "prefetch_count"]);
    let consumers = consumers.await;
    let line = consumers.lines().find(|line| line.starts_with(queue)).expect("its consumer");
    assert!(line.ends_with("true\t500"), "{line}");
}

#[tokio::test]
async fn foreign_messages_do_not_stop_the_consumer() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let replica =
        Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &[("MAX_MESSAGE", "1KiB")]).await;
    let peer = AmqpPeer::connect(&rabbitmq.url(), &exchange).await;
    let mut client = replica.client("").await;
    let plain = BasicProperties::default;
    let typed = |kind: &str| plain().with_type(kind.into());
    let huge = vec![b'x'; 1 << 20];
    let deep = "[".repeat(5000);
    let bad: [(&[u8], BasicProperties); 7] = [
        (b"\xff\xfe", plain()),
        (&huge, plain()),
        (b"not a canary", typed("warren.replica")),
        (b"{\"replica\":1}", typed("warren.replica")),
        (b"from tomorrow", typed("warren.tomorrow")),
        (deep.as_bytes(), plain()),
        (&huge[..1025], plain()),
    ];
    for (body, properties) in bad {
        peer.publish("", body, properties).await;
    }
    for (body, text) in [
        (&b"no JSON"[..], json!("no JSON")),
        (b"{\"no\":\"text\"}", json!({ "no": "text" })),
        (b"", json!("")),
    ] {
        peer.publish("", body, plain()).await;
        assert_eq!(client.text().await, text);
    }
    // Other types are no control messages.
    peer.publish("", b"{\"text\":\"typed\"}", typed("order.created")).await;
    assert_eq!(client.text().await, "typed");
    for (reason, count) in [("not_utf8", 1.0), ("too_large", 3.0), ("control", 3.0)] {
        let series = format!("warren_messages_malformed_total{{reason=\"{reason}\"}}");
        assert_eq!(replica.metric(&series).await, count, "{reason}");
    }
    // A burst is summarized in one line.
    for _ in 0..500 {
        peer.publish("", b"\xff", plain()).await;
    }
    let series = "warren_messages_malformed_total{reason=\"not_utf8\"}";
    replica.metric_becomes(series, |count| count == 501.0).await;
    let log = replica.process.output();
    assert!(log.matches("\"not_utf8\"").count() <= 3, "{log}");
    assert_eq!(replica.metric("warren_amqp_reconnects_total{role=\"consume\"}").await, 0.0);
}

#[tokio::test]
async fn node_server_shares_the_exchange() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let mut node = Command::new("node");
    node.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recipe/recipe.mjs"))
        .env("AMQP_URL", rabbitmq.url())
        .env("EXCHANGE", &exchange);
    let mut recipe = Process::spawn(node);
    recipe.line(LIMIT, |line| line == "{\"up\":true}").await;
    let replica = Replica::on_rabbitmq("successor", &rabbitmq.url(), &exchange, &[LIVE]).await;
    let mut client = replica.client("").await;

    recipe.write_line("from node");
    let message = client.message().await;
    assert_eq!((&message["text"], &message["channel"]), (&json!("from node"), &json!("lobby")));

    client.send("from warren").await;
    let line = recipe.line(LIMIT, |line| line.contains("from warren")).await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["routingKey"], "");
    let date = client.message().await["date"].clone();
    assert_eq!(line["consumed"], json!({ "text": "from warren", "date": date }));
}

#[tokio::test]
async fn exchange_of_other_delivery_is_logged_and_retried() {
    let rabbitmq = shared();
    let url = rabbitmq.url();
    for (delivery, difference) in [
        ("live", "received 'false' but current is 'true'"),
        ("log", "received 'true' but current is 'false'"),
    ] {
        let exchange = unique("messages");
        let peer = match delivery {
            "live" => AmqpPeer::connect(&url, &exchange).await,
            _ => AmqpPeer::live(&url, &exchange).await,
        };
        let settings = [
            ("AMQP_URL", url.as_str()),
            ("EXCHANGE", &exchange),
            ("CANARY_INTERVAL", "500ms"),
            ("DELIVERY", delivery),
        ];
        let mut replica = Replica::start(&settings).await;
        replica
            .process
            .line(LIMIT, |line| {
                line.contains(&format!("exchange '{exchange}'")) && line.contains(difference)
            })
            .await;
        replica.becomes_ready(false).await;
        let reason = http::get(replica.admin, "/readyz").await.body;
        assert!(reason.contains(&exchange) && reason.contains("WARREN_DELIVERY"), "{reason}");
        peer.channel
            .exchange_delete(exchange.as_str().into(), ExchangeDeleteOptions::default())
            .await
            .unwrap();
        replica.becomes_ready(true).await;
    }
}

#[tokio::test]
async fn foreign_message_without_id_gets_same_id_on_every_replica() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let one = Replica::on_rabbitmq("one", &rabbitmq.url(), &exchange, &[LIVE]).await;
    let two = Replica::on_rabbitmq("two", &rabbitmq.url(), &exchange, &[LIVE]).await;
    let (mut here, mut there) = (one.client("").await, two.client("").await);
    let peer = AmqpPeer::live(&rabbitmq.url(), &exchange).await;
    let mut ids = Vec::new();
    let dated = br#"{"text":"tick","date":"2026-01-02T03:04:05Z"}"#;
    for body in [&dated[..], dated] {
        peer.publish("", body, BasicProperties::default()).await;
        let message = here.message().await;
        assert_eq!(there.message().await["id"], message["id"]);
        ids.push(message["id"].to_string());
    }
    // Published twice it is two messages. Without a date the replicas' ids need not agree.
    peer.publish("", b"tick", BasicProperties::default()).await;
    ids.extend([here.message().await["id"].to_string(), there.message().await["id"].to_string()]);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[tokio::test]
async fn release_4_runs_with_deprecated_features_refused() {
    let asked_for_4 = std::env::var("RABBITMQ").is_ok_and(|release| release == "4");
    let rabbitmq = shared();
    let version = rabbitmq.ctl(&["version"]).await;
    assert!(version.starts_with("4.") || !asked_for_4, "{version}");
    let peer = AmqpPeer::live(&rabbitmq.url(), &unique("messages")).await;
    // A queue that is neither durable nor exclusive.
    let (options, none) = (QueueDeclareOptions::default(), FieldTable::default());
    let declared = peer.channel.queue_declare(unique("queue").into(), options, none).await;
    assert!(declared.is_err() || !asked_for_4, "{declared:?}");
}
