//! AMQP messages that no library would send, and that stay on the stream.

use lapin::BasicProperties;
use serde_json::{Value, json};
use warren_testkit::amqp_peer::AmqpPeer;
use warren_testkit::client::Client;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::raw_amqp::{RawAmqp, RawProperties};
use warren_testkit::replica::{Replica, SMALL_HISTORY};
use warren_testkit::subscriber::{Subscriber, TRANSPORTS};

const NOT_UTF8: &[u8] = b"caf\xe9\xff";

/// Publishes a message and returns its id when `client` has it, whatever comes before it.
async fn say(replica: &Replica, client: &mut Client, text: Value) -> String {
    assert_eq!(replica.post("lobby", text.clone()).await.status, 202);
    loop {
        let message = client.message().await;
        if message["text"] == text {
            return message["id"].as_str().unwrap().to_owned();
        }
    }
}

#[tokio::test]
async fn non_utf8_properties_stop_no_replica() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let mut replica =
        Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &SMALL_HISTORY).await;
    let mut client = replica.client("").await;
    let mut raw = RawAmqp::connect(rabbitmq.port()).await;
    let plain = RawProperties::default();
    let mut ids = vec![say(&replica, &mut client, json!([0])).await];
    for (n, properties) in (1..).zip([
        plain,
        RawProperties { routing_key: NOT_UTF8, ..plain },
        RawProperties { message_id: NOT_UTF8, ..plain },
        RawProperties { kind: NOT_UTF8, ..plain },
        RawProperties { content_type: NOT_UTF8, ..plain },
        RawProperties { app_id: NOT_UTF8, ..plain },
        RawProperties { header: NOT_UTF8, ..plain },
        RawProperties { kind: b"warren.caf\xe9", ..plain },
        RawProperties { routing_key: &[0xff; 255], message_id: &[0xfe; 255], ..plain },
    ]) {
        raw.publish(&exchange, b"{\"text\":\"strange\"}", properties).await;
        ids.push(say(&replica, &mut client, json!([n])).await);
    }
    // Some of the malformed messages may be delivered. All valid ones are.
    async fn ours(listener: &mut Subscriber, ids: &[String]) {
        for id in ids {
            while listener.message().await["id"] != **id {}
        }
    }
    // More than the history, so that the replica replays from the stream. Then a restarted replica does so, which
    // has only the stream.
    let padding = "x".repeat(8 << 10);
    for n in 0..100 {
        ids.push(replica.publish("lobby", json!([n, padding])).await);
    }
    for begun_anew in [false, true] {
        if begun_anew {
            replica.kill();
            replica.start_again().await;
            replica.becomes_ready(true).await;
        }
        for transport in TRANSPORTS {
            let mut back = Subscriber::connect(transport, &replica, &["lobby"], &ids[0], 0).await;
            assert_eq!(back.ready["recovered"], true, "{transport:?}: {}", back.ready);
            ours(&mut back, &ids[1..]).await;
        }
        let page = replica.page("?channel=lobby&limit=1000").await;
        let mut listed = page["messages"].as_array().unwrap().iter();
        for id in &ids {
            assert!(listed.any(|message| message["id"] == **id), "{id} in {page}");
        }
    }
}

#[tokio::test]
async fn undeliverable_message_is_skipped_in_replays() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let settings = [&SMALL_HISTORY[..], &[("MAX_MESSAGE", "8KiB")]].concat();
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &settings).await;
    let peer = AmqpPeer::connect(&rabbitmq.url(), &exchange).await;
    let typed = |kind: &str| BasicProperties::default().with_type(kind.into());
    let huge = vec![b'x'; 3 << 20];
    let deep = "[".repeat(20_000);
    let mut ids = vec![replica.publish("lobby", json!([0])).await];
    for (n, (key, body, kind)) in (1..).zip([
        ("", &b"\xff\xfe"[..], ""),
        ("", &huge, ""),
        ("", &huge[..9 << 10], ""),
        ("", deep.as_bytes(), ""),
        ("a\nb", b"bad channel", ""),
        ("", b"not a canary", "warren.replica"),
        ("", b"from tomorrow", "warren.tomorrow"),
    ]) {
        peer.publish(key, body, typed(kind)).await;
        ids.push(replica.publish("lobby", json!([n])).await);
    }
    let padding = "x".repeat(7 << 10);
    for n in 0..100 {
        ids.push(replica.publish("lobby", json!([n, padding])).await);
    }
    let new = Replica::on_rabbitmq("new", &rabbitmq.url(), &exchange, &settings).await;
    for replica in [&replica, &new] {
        for transport in TRANSPORTS {
            let mut back = Subscriber::connect(transport, replica, &["lobby"], &ids[0], 0).await;
            assert_eq!(back.ready["recovered"], true, "{transport:?}: {}", back.ready);
            for id in &ids[1..] {
                assert_eq!(back.message().await["id"], **id, "{transport:?}");
            }
        }
        let page = replica.page("?channel=lobby&limit=1000").await;
        let messages = page["messages"].as_array().unwrap();
        assert!(messages.iter().map(|message| message["id"].as_str().unwrap()).eq(&ids));
    }
}
