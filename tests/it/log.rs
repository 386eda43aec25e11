//! Delivery mode `log`: every replica reads one stream.

use futures_util::future::join_all;
use lapin::BasicProperties;
use serde_json::{Value, json};
use warren_testkit::amqp_peer::AmqpPeer;
use warren_testkit::client::Client;
use warren_testkit::cluster::row;
use warren_testkit::rabbitmq::{RabbitMq, shared, unique};
use warren_testkit::replica::Replica;

/// Reads so many messages. Anything else is a failure.
async fn messages(client: &mut Client, count: usize) -> Vec<Value> {
    let mut messages = Vec::new();
    while messages.len() < count {
        messages.push(client.message().await);
    }
    messages
}

#[tokio::test]
async fn all_subscribers_see_one_order() {
    const EACH: usize = 60;
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let one = Replica::on_rabbitmq("one", &rabbitmq.url(), &exchange, &[]).await;
    let two = Replica::on_rabbitmq("two", &rabbitmq.url(), &exchange, &[]).await;
    let peer = AmqpPeer::connect(&rabbitmq.url(), &exchange).await;
    let clients = [&one, &two, &one, &two].map(|replica| replica.client(""));
    let mut clients = join_all(clients).await;
    let mut events = two.events("").await;
    let mut senders = [one.client("").await, two.client("").await];

    let [first, second] = &mut senders;
    tokio::join!(
        async {
            for n in 0..EACH {
                first.send(format!("first {n}")).await;
            }
        },
        async {
            for n in 0..EACH {
                second.send(format!("second {n}")).await;
            }
        },
        async {
            for n in 0..EACH {
                one.publish("lobby", format!("third {n}")).await;
            }
        },
        async {
            for n in 0..EACH {
                // Without an id and a date, the offset gives the message the same id on all replicas.
                let text = format!("fourth {n}");
                peer.publish("", text.as_bytes(), BasicProperties::default()).await;
            }
        },
    );

    clients.extend(senders);
    let heard = join_all(clients.iter_mut().map(|client| messages(client, 4 * EACH))).await;
    let names = |messages: &[Value]| -> Vec<_> {
        messages.iter().map(|message| (message["id"].clone(), message["text"].clone())).collect()
    };
    let order = names(&heard[0]);
    for other in &heard[1..] {
        assert_eq!(names(other), order);
    }
    for (id, text) in &order {
        let message = events.message().await;
        assert_eq!((&message["id"], &message["text"]), (id, text));
    }
    let mut ids: Vec<_> = order.iter().map(|(id, _)| id.to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4 * EACH, "ids are all different");
    for who in ["first", "second", "third", "fourth"] {
        let texts = order.iter().filter_map(|(_, text)| text.as_str()?.strip_prefix(who));
        let numbers: Vec<usize> = texts.map(|n| n.trim().parse().unwrap()).collect();
        assert_eq!(numbers, Vec::from_iter(0..EACH), "{who}, in its own order");
    }
}

#[tokio::test]
async fn declared_topology_matches_document() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let settings = [("LOG_MAX_AGE", "2h"), ("LOG_MAX_BYTES", "512MiB")];
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &settings).await;
    let stream = format!("{exchange}.log");

    let list = rabbitmq.ask(&["list_exchanges", "name", "type", "durable", "auto_delete"]).await;
    let expected =
        json!({ "name": exchange, "type": "fanout", "durable": true, "auto_delete": false });
    assert_eq!(row(&list, "name", &exchange), &expected);
    let columns = ["list_queues", "name", "type", "durable", "auto_delete", "arguments"];
    let list = rabbitmq.ask(&columns).await;
    let queue = row(&list, "name", &stream);
    assert_eq!((&queue["type"], &queue["durable"]), (&json!("stream"), &json!(true)), "{queue}");
    assert_eq!(queue["auto_delete"], false);
    let arguments = queue["arguments"].to_string();
    for argument in
        ["x-queue-type", "x-max-age", "x-max-length-bytes", "x-stream-max-segment-size-bytes"]
    {
        assert!(arguments.contains(argument), "{argument} in {arguments}");
    }
    assert!(arguments.contains(&(512u32 << 20).to_string()), "{arguments}");
    let bindings = rabbitmq.ask(&["list_bindings"]).await;
    let binding = row(&bindings, "source_name", &exchange);
    let bound = (&binding["destination_name"], &binding["routing_key"]);
    assert_eq!(bound, (&json!(stream), &json!("")));
    // The topology outlives the replica.
    drop(replica);
    let list = rabbitmq.ask(&columns).await;
    row(&list, "name", &stream);
}

#[tokio::test]
async fn bodies_and_properties_match_live_delivery() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let mut peer = AmqpPeer::connect(&rabbitmq.url(), &exchange).await;
    let replica = Replica::on_rabbitmq("props", &rabbitmq.url(), &exchange, &[]).await;
    let mut client = replica.client("?channel=news").await;
    client.send("hello").await;
    let seen = client.message().await;
    let delivery = peer.message().await;
    let body: Value = serde_json::from_slice(&delivery.data).unwrap();
    assert_eq!(body, json!({ "text": "hello", "date": seen["date"] }));
    assert_eq!(delivery.routing_key.as_str(), "news");
    let properties = &delivery.properties;
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().unwrap().to_string();
    assert_eq!(text(properties.content_type()), "application/json");
    assert_eq!(text(properties.app_id()), "props");
    assert!(!text(properties.message_id()).is_empty());
    assert_eq!(text(properties.kind()), "warren.message");
    assert!(properties.timestamp().is_some());
}

#[tokio::test]
async fn rabbitmq_outage_keeps_clients_and_loses_nothing() {
    let mut rabbitmq = RabbitMq::start().await;
    let exchange = unique("messages");
    let settings = [("PUBLISH_TIMEOUT", "60s"), ("CLIENT_RATE", "100000/s")];
    let one = Replica::on_rabbitmq("one", &rabbitmq.url(), &exchange, &settings).await;
    let two = Replica::on_rabbitmq("two", &rabbitmq.url(), &exchange, &settings).await;
    let mut sender = one.client("").await;
    let mut listener = two.client("").await;
    let mut events = two.events("").await;
    let mut expected = 0;
    for power_cut in [false, true] {
        sender.send(format!("{expected}")).await;
        assert_eq!(listener.text().await, format!("{expected}"), "nothing else came");
        if power_cut {
            rabbitmq.kill();
        } else {
            rabbitmq.stop().await;
        }
        for replica in [&one, &two] {
            replica.becomes_ready(false).await;
        }
        for n in 1..100 {
            sender.send(format!("{}", expected + n)).await;
        }
        rabbitmq.start_again().await;
        // A message that another program publishes before the replicas are back is delivered, too.
        // RabbitMQ accepts connections and confirms messages before the stream is available.
        let stream = format!("{exchange}.log");
        let peer = loop {
            let peer = AmqpPeer::connect(&rabbitmq.url(), &exchange).await;
            if peer.bind(&stream).await.is_ok() {
                break peer;
            }
        };
        peer.publish("other", b"meanwhile", BasicProperties::default()).await;
        for n in 1..100 {
            assert_eq!(listener.text().await, format!("{}", expected + n), "in order, and no gap");
        }
        for n in 0..100 {
            for text in [sender.text().await, events.text().await] {
                assert_eq!(text, format!("{}", expected + n), "once, in order, and no gap");
            }
        }
        for replica in [&one, &two] {
            replica.becomes_ready(true).await;
            let mut other = replica.client("?channel=other&history=9").await;
            assert_eq!(other.text().await, "meanwhile");
        }
        expected += 100;
    }
}

#[tokio::test]
async fn returning_replica_catches_up() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let name = unique("away");
    let one = Replica::on_rabbitmq("one", &rabbitmq.url(), &exchange, &[]).await;
    let mut two = Replica::on_rabbitmq(&name, &rabbitmq.url(), &exchange, &[]).await;
    let mut client = two.client("").await;
    let mut ids = vec![one.publish("lobby", 0).await];
    assert_eq!(client.text().await, 0);

    // The process is stopped, and its connections are closed meanwhile.
    two.process.signal("STOP");
    for n in 1..50 {
        ids.push(one.publish("lobby", n).await);
    }
    rabbitmq.close_connections(&name).await;
    two.process.signal("CONT");
    for (n, id) in ids.iter().enumerate().skip(1) {
        let message = client.message().await;
        assert_eq!((&message["text"], message["id"].as_str().unwrap()), (&json!(n), &**id));
    }

    // The process is killed and started again.
    two.kill();
    for n in 50..100 {
        ids.push(one.publish("lobby", n).await);
    }
    two.start_again().await;
    two.becomes_ready(true).await;
    for from in [0, 30, 49, 70] {
        let mut back = two.client(&format!("?after={}", ids[from])).await;
        assert_eq!(back.ready["recovered"], true, "{}", back.ready);
        for (n, id) in ids.iter().enumerate().skip(from + 1) {
            let message = back.message().await;
            assert_eq!((&message["text"], message["id"].as_str().unwrap()), (&json!(n), &**id));
        }
    }
}

#[tokio::test]
async fn new_replica_has_old_messages_before_it_is_ready() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let old = Replica::on_rabbitmq("old", &rabbitmq.url(), &exchange, &[]).await;
    let mut ids = Vec::new();
    for n in 0..40 {
        ids.push(old.publish(["odd", "even"][n % 2], n).await);
    }
    drop(old);
    let new = Replica::on_rabbitmq("new", &rabbitmq.url(), &exchange, &[]).await;
    let mut client = new.client("?channel=even&history=3").await;
    for n in [35, 37, 39] {
        let message = client.message().await;
        assert_eq!((&message["text"], message["id"].as_str().unwrap()), (&json!(n), &*ids[n]));
    }
    assert_eq!(client.ready["cursor"], ids[39]);
    new.publish("even", "more").await;
    assert_eq!(client.text().await, "more");
}
