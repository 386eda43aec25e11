//! Keys: messages with the same channel and key are delivered once.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};
use warren_testkit::amqp_peer::AmqpPeer;
use warren_testkit::client::Client;
use warren_testkit::http;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::replica::{LIVE, Replica, SMALL_HISTORY};
use warren_testkit::subscriber::{Subscriber, TRANSPORTS};

/// Publishes over HTTP with a key, and returns the id.
async fn post(replica: &Replica, channel: &str, key: &str, text: impl Into<Value>) -> String {
    let body = json!({ "channel": channel, "key": key, "text": text.into() }).to_string();
    let response = http::post(replica.addr, "/messages", &body).await;
    assert_eq!(response.status, 202, "{}", response.body);
    response.json()["id"].as_str().expect("an id").to_owned()
}

/// Publishes as a command with a key, and returns the id.
async fn command(client: &mut Client, key: &str, text: &str) -> String {
    let content = json!({ "ref": "r", "key": key, "text": text });
    let answer = client.ask(&json!({ "publish": content })).await;
    answer["published"]["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[tokio::test]
async fn repeated_key_returns_first_id_on_any_replica() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let one = Replica::on_rabbitmq("one", &rabbitmq.url(), &exchange, &[]).await;
    let mut two = Replica::on_rabbitmq("two", &rabbitmq.url(), &exchange, &[]).await;
    let mut listener = one.client("?channel=lobby&channel=news").await;
    let mut client = one.v1("?channel=lobby").await;

    let first = post(&one, "lobby", "k1", "first").await;
    assert_eq!(listener.message().await["id"], first);
    assert_eq!(post(&one, "lobby", "k1", "first").await, first, "on the same replica");
    assert_eq!(command(&mut client, "k1", "first").await, first, "over a WebSocket");
    assert_eq!(post(&two, "lobby", "k1", "first").await, first, "on another replica");
    two.kill();
    two.start_again().await;
    two.becomes_ready(true).await;
    assert_eq!(post(&two, "lobby", "k1", "first").await, first, "on one that has just begun");

    // Another channel, another key or no key makes another message.
    let mut others = vec![
        post(&two, "news", "k1", "in another channel").await,
        post(&one, "lobby", "k2", "under another key").await,
        command(&mut client, "K1", "keys are compared as they are").await,
        one.publish("lobby", "without a key").await,
        one.publish("lobby", "without a key").await,
    ];
    for id in &others {
        assert_eq!(listener.message().await["id"], **id, "nothing came twice");
    }
    others.push(first);
    others.sort();
    others.dedup();
    assert_eq!(others.len(), 6);
}

#[tokio::test]
async fn same_key_on_two_replicas_at_once_is_delivered_once() {
    const KEYS: usize = 50;
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let one = Replica::on_rabbitmq("one", &rabbitmq.url(), &exchange, &[]).await;
    let two = Replica::on_rabbitmq("two", &rabbitmq.url(), &exchange, &[]).await;
    let (mut here, mut there) = (one.client("").await, two.client("").await);
    for n in 0..KEYS {
        let key = format!("k{n}");
        let (a, b, c) = tokio::join!(
            post(&one, "lobby", &key, n),
            post(&two, "lobby", &key, n),
            post(&one, "lobby", &key, n),
        );
        assert_eq!((&a, &a), (&b, &c));
        for client in [&mut here, &mut there] {
            let message = client.message().await;
            assert_eq!((&message["id"], &message["text"]), (&json!(a), &json!(n)));
        }
    }
    let copies = one.metric("warren_duplicates_total").await;
    assert!(copies > 0.0, "some of them were on the stream twice");
    let page = two.page("?channel=lobby&limit=1000").await;
    let texts = page["messages"].as_array().unwrap().iter().map(|message| &message["text"]);
    assert!(texts.eq((0..KEYS).map(|n| json!(n)).collect::<Vec<_>>().iter()));
}

#[tokio::test]
async fn duplicate_is_in_no_history_page_or_replay() {
    const COUNT: usize = 150;
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &SMALL_HISTORY).await;
    let mut peer = AmqpPeer::connect(&rabbitmq.url(), &exchange).await;
    let padding = "x".repeat(4 << 10);
    // The stream has every message twice, the copy ten messages later.
    let (mut ids, mut copies) = (Vec::new(), Vec::new());
    for n in 0..COUNT {
        ids.push(post(&replica, "lobby", &format!("k{n}"), json!([n, padding])).await);
        copies.push(peer.message().await);
        if n >= 10 {
            let copy = &copies[n - 10];
            peer.publish("", &copy.data, copy.properties.clone()).await;
            peer.message().await;
        }
    }
    let end = replica.publish("lobby", json!(["end"])).await;
    ids.push(end);
    replica.metric_becomes("warren_duplicates_total", |count| count >= (COUNT - 10) as f64).await;

    let second = Replica::on_rabbitmq("second", &rabbitmq.url(), &exchange, &[]).await;
    for replica in [&replica, &second] {
        let page = replica.page("?channel=lobby&limit=1000").await;
        let messages = page["messages"].as_array().unwrap();
        assert!(messages.iter().map(|message| message["id"].as_str().unwrap()).eq(&ids));
        for transport in TRANSPORTS {
            // Resumes between the two copies of most messages that follow.
            for from in [0, 20, 60, 135, 149] {
                let mut back =
                    Subscriber::connect(transport, replica, &["lobby"], &ids[from], 0).await;
                assert_eq!(back.ready["recovered"], true);
                for id in &ids[from + 1..] {
                    assert_eq!(back.message().await["id"], **id, "{transport:?} from {from}");
                }
            }
            let mut late = Subscriber::connect(transport, replica, &["lobby"], "none", 20).await;
            for id in &ids[COUNT - 19..] {
                assert_eq!(late.message().await["id"], **id, "history over {transport:?}");
            }
        }
    }
    // Pages begin between the copies.
    let mut after = ids[5].clone();
    for stretch in ids[6..].chunks(7) {
        let page = replica.page(&format!("?channel=lobby&limit=7&after={after}")).await;
        let messages = page["messages"].as_array().unwrap();
        assert!(messages.iter().map(|message| message["id"].as_str().unwrap()).eq(stretch));
        after.clone_from(stretch.last().unwrap());
    }
}

#[tokio::test]
async fn republish_after_lost_connection_is_delivered_once() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &[]).await;
    let mut peer = AmqpPeer::connect(&rabbitmq.url(), &exchange).await;
    let mut client = replica.client("").await;
    let id = replica.publish("lobby", "once").await;
    let copy = peer.message().await;
    // As a replica does when the confirm of the first copy is lost.
    let mut headers = copy.properties.headers().clone().unwrap_or_default();
    headers.insert("warren-repeated".into(), AMQPValue::Boolean(true));
    let again = copy.properties.clone().with_headers(headers);
    peer.publish("", &copy.data, again).await;
    peer.publish("", b"next", BasicProperties::default()).await;
    assert_eq!(client.message().await["id"], id);
    assert_eq!(client.text().await, "next");
    let mut late = replica.client("?history=5").await;
    assert_eq!([late.text().await, late.text().await], [json!("once"), json!("next")]);
    let page = replica.page("?channel=lobby").await;
    assert_eq!(page["messages"].as_array().unwrap().len(), 2, "{page}");
}

/// A key as other programs set it.
fn keyed(key: &[u8]) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("warren-key".into(), AMQPValue::LongString(key.into()));
    BasicProperties::default().with_headers(headers)
}

#[tokio::test]
async fn valid_keys_of_other_programs_are_deduplicated() {
    let rabbitmq = shared();
    for delivery in [LIVE, ("DELIVERY", "log")] {
        let exchange = unique("messages");
        let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &[delivery]).await;
        let peer = match delivery {
            LIVE => AmqpPeer::live(&rabbitmq.url(), &exchange).await,
            _ => AmqpPeer::connect(&rabbitmq.url(), &exchange).await,
        };
        let mut client = replica.client("").await;
        let long = |length: usize| "k".repeat(length).into_bytes();
        for (key, copies) in [
            (b"k".to_vec(), 1),
            (long(128), 1),
            (Vec::new(), 2),
            (long(129), 2),
            (long(100_000), 2),
            (b"caf\xe9".to_vec(), 2),
        ] {
            for copy in ["first", "second"] {
                peer.publish("", copy.as_bytes(), keyed(&key)).await;
            }
            peer.publish("", b"end", BasicProperties::default()).await;
            for expected in &["first", "second"][..copies] {
                assert_eq!(client.text().await, *expected, "{} bytes, {delivery:?}", key.len());
            }
            assert_eq!(client.text().await, "end", "{} bytes, {delivery:?}", key.len());
        }
    }
}

#[tokio::test]
async fn live_delivery_returns_first_id_for_duplicate() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &[LIVE]).await;
    let mut listener = replica.client("").await;
    let mut client = replica.v1("").await;
    for n in 0..20 {
        let key = format!("one after the other {n}");
        let first = post(&replica, "lobby", &key, n).await;
        assert_eq!(listener.message().await["id"], first);
        assert_eq!(post(&replica, "lobby", &key, n).await, first);
        assert_eq!(command(&mut client, &key, "again").await, first);
        let key = format!("at once {n}");
        let (a, b, c) = tokio::join!(
            post(&replica, "lobby", &key, n),
            post(&replica, "lobby", &key, n),
            command(&mut client, &key, "as well"),
        );
        let delivered = &listener.message().await["id"];
        assert_eq!([&a, &b, &c].map(|id| json!(id)), [delivered; 3].map(Clone::clone));
    }
    replica.publish("lobby", "end").await;
    assert_eq!(listener.text().await, "end", "every message came once");
}
