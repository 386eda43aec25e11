//! The subprotocol `warren.v1`: commands and their answers.

use crate::replica::Replica;
use serde_json::{Value, json};
use tokio::time::timeout;
use warren_client::websocket::Message;
use warren_testkit::client::{Client, Ended};
use warren_testkit::http;
use warren_testkit::ports::free_port;
use warren_testkit::process::POLL;
use warren_testkit::raw::{HANDSHAKE, Raw};

/// Sends a command that must fail, and returns the code.
async fn fails(client: &mut Client, command: &Value) -> String {
    let answer = client.ask(command).await;
    assert!(answer["error"]["message"].is_string(), "{command}: {answer}");
    answer["error"]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn subscribe_and_unsubscribe_change_delivered_channels() {
    let replica = Replica::ready(&[]).await;
    let ids = [
        replica.publish("a", 1).await,
        replica.publish("a", 2).await,
        replica.publish("a", 3).await,
    ];
    let mut client = replica.v1("").await;
    let subscribe = |content: Value| json!({ "subscribe": content });

    let answer = client.ask(&subscribe(json!({ "ref": 1, "channel": "a", "after": ids[0] }))).await;
    assert_eq!(answer["subscribed"]["recovered"], true, "{answer}");
    assert_eq!([client.text().await, client.text().await], [json!(2), json!(3)]);
    let again = subscribe(json!({ "ref": "again", "channel": "a" }));
    assert_eq!(fails(&mut client, &again).await, "bad_request");

    let answer = client.ask(&subscribe(json!({ "ref": 2, "channel": "b" }))).await;
    let expected = json!({ "ref": 2, "channel": "b", "recovered": false, "cursor": ids[2] });
    assert_eq!(answer["subscribed"], expected);
    replica.publish("b", "on b").await;
    replica.publish("a", "on a").await;
    assert_eq!([client.text().await, client.text().await], [json!("on b"), json!("on a")]);

    let command = json!({ "unsubscribe": { "ref": 3, "channel": "a" } });
    for _ in 0..2 {
        let answer = client.ask(&command).await;
        assert_eq!(answer, json!({ "unsubscribed": { "ref": 3, "channel": "a" } }));
        replica.publish("a", "not for it").await;
    }
    replica.publish("b", "for it").await;
    assert_eq!(client.text().await, "for it");

    // Subscribes again, with history, and with a malformed cursor.
    let content = json!({ "ref": 4, "channel": "a", "after": "hello", "history": 1 });
    let answer = client.ask(&subscribe(content)).await;
    assert_eq!(answer["subscribed"]["recovered"], false);
    assert_eq!(answer["subscribed"]["reason"], "malformed");
    assert_eq!(client.text().await, "not for it");
    replica.publish("a", "for it again").await;
    assert_eq!(client.text().await, "for it again");
}

#[tokio::test]
async fn invalid_command_gets_error_and_connection_stays() {
    let replica = Replica::ready(&[("MAX_MESSAGE", "1KiB")]).await;
    let mut client = replica.v1("").await;
    for bad in [
        json!({ "publish": { "ref": 1 } }),
        json!({ "publish": { "ref": 1, "text": 1, "channel": "" } }),
        json!({ "publish": { "ref": 1, "text": 1, "channel": "a\nb" } }),
        json!({ "publish": { "ref": 1, "text": 1, "channel": 7 } }),
        json!({ "publish": { "ref": 1, "text": 1, "chanel": "typo" } }),
        json!({ "publish": { "ref": 1, "text": 1, "key": "" } }),
        json!({ "publish": { "ref": 1, "text": 1, "key": "k".repeat(129) } }),
        json!({ "publish": { "ref": 1, "text": 1, "key": 5 } }),
        json!({ "subscribe": { "ref": 1 } }),
        json!({ "subscribe": { "ref": 1, "channel": "" } }),
        json!({ "subscribe": { "ref": 1, "channel": "a", "history": -1 } }),
        json!({ "subscribe": { "ref": 1, "channel": "a", "after": 5 } }),
        json!({ "unsubscribe": { "ref": 1 } }),
        json!({ "shout": { "ref": 1, "text": "unknown" } }),
    ] {
        assert_eq!(fails(&mut client, &bad).await, "bad_request", "{bad}");
    }
    for large in [json!("x".repeat(1025)), json!(vec![12; 400])] {
        let large = json!({ "publish": { "ref": "large", "text": large } });
        assert_eq!(fails(&mut client, &large).await, "too_large");
    }
    let just = json!({ "publish": { "ref": 5, "text": "x".repeat(1024), "key": "k".repeat(128) } });
    assert!(client.ask(&just).await["published"]["id"].is_string());

    // Without a valid `ref`.
    let long = format!(r#"{{"publish":{{"ref":"{}","text":1}}}}"#, "r".repeat(65));
    for bad in [
        "hello",
        "",
        "{",
        "[]",
        "null",
        "{}",
        r#"{"publish":{"ref":1,"text":1},"subscribe":{"ref":1,"channel":"a"}}"#,
        r#"{"publish":{"text":1}}"#,
        r#"{"publish":{"ref":null,"text":1}}"#,
        r#"{"publish":{"ref":{},"text":1}}"#,
        r#"{"publish":{"ref":[1],"text":1}}"#,
        r#"{"publish":{"ref":true,"text":1}}"#,
        r#"{"publish":1}"#,
        &long,
    ] {
        client.send(bad).await;
        let error = client.frame().await.expect("it stays connected")["error"].clone();
        assert_eq!((&error["code"], &error["ref"]), (&json!("bad_request"), &Value::Null), "{bad}");
    }
    assert!(
        client.ask(&json!({ "publish": { "ref": 6, "text": 1 } })).await["published"].is_object()
    );
}

#[tokio::test]
async fn subscription_to_65th_channel_is_refused() {
    let replica = Replica::ready(&[]).await;
    let mut client = replica.v1("?channel=0").await;
    let subscribe = |n: usize| json!({ "subscribe": { "ref": n, "channel": n.to_string() } });
    for n in 1..64 {
        assert!(client.ask(&subscribe(n)).await["subscribed"].is_object());
    }
    assert_eq!(fails(&mut client, &subscribe(64)).await, "bad_request");
    client.ask(&json!({ "unsubscribe": { "ref": 0, "channel": "0" } })).await;
    assert!(client.ask(&subscribe(64)).await["subscribed"].is_object());
}

#[tokio::test]
async fn publish_above_rate_is_refused_with_its_reference() {
    let replica = Replica::ready(&[("CLIENT_RATE", "5/m")]).await;
    let mut client = replica.v1("").await;
    let publish = |n: usize| json!({ "publish": { "ref": n, "text": n } });
    assert!(client.ask(&publish(1)).await["published"].is_object());
    for n in 2..4 {
        assert_eq!(fails(&mut client, &publish(n)).await, "rate_limited");
    }
}

#[tokio::test]
async fn every_command_is_answered_without_rabbitmq() {
    let url = format!("amqp://guest:guest@127.0.0.1:{}", free_port());
    let settings =
        [("AMQP_URL", url.as_str()), ("PUBLISH_TIMEOUT", "500ms"), ("PUBLISH_BUFFER", "4KiB")];
    let replica = Replica::start(&settings);
    let mut client = replica.v1("").await;
    let publish =
        |n: usize, size: usize| json!({ "publish": { "ref": n, "text": "x".repeat(size) } });
    client.command(&publish(1, 100)).await;
    assert_eq!(fails(&mut client, &publish(2, 5000)).await, "buffer_full");
    assert_eq!(client.answer(&json!(1)).await["error"]["code"], "publish_timeout");
    // Without RabbitMQ no replay is possible, so a client with a cursor is closed and comes back later.
    let id = "1-0123456789abcdef";
    let content = json!({ "ref": 3, "channel": "a", "after": id });
    client.command(&json!({ "subscribe": content })).await;
    let unreadable = Ended::Closed(1013, "the log cannot be read now".to_owned());
    assert_eq!(client.ended().await, unreadable);
    let series = "warren_connections_closed_total{code=\"1013\",reason=\"log_unreadable\"}";
    replica.metric_becomes(series, |count| count == 1.0).await;
}

#[tokio::test]
async fn drain_refuses_new_commands_and_answers_accepted_ones() {
    let url = format!("amqp://guest:guest@127.0.0.1:{}", free_port());
    let settings = [
        ("AMQP_URL", url.as_str()),
        ("PUBLISH_TIMEOUT", "5s"),
        ("DRAIN_DELAY", "0s"),
        ("DRAIN_PERIOD", "0s"),
    ];
    let mut replica = Replica::start(&settings);
    let mut client = replica.v1("").await;
    let publish = |n: usize| json!({ "publish": { "ref": n, "text": n } });
    client.command(&publish(0)).await;
    replica
        .metric_becomes("warren_messages_received_total{transport=\"websocket\"}", |n| n == 1.0)
        .await;
    replica.shut_down();
    replica.metric_becomes("warren_phase{phase=\"draining\"}", |phase| phase == 1.0).await;
    // Commands that are accepted are not answered before their time is over.
    let mut sent = 1;
    let error = loop {
        client.command(&publish(sent)).await;
        sent += 1;
        if let Ok(frame) = timeout(POLL, client.frame()).await {
            break frame.expect("it stays connected");
        }
    };
    assert_eq!(error["error"]["code"], "shutting_down");
    let accepted = error["error"]["ref"].as_u64().expect("a number") as usize;
    for late in accepted + 1..sent {
        assert_eq!(client.answer(&json!(late)).await["error"]["code"], "shutting_down");
    }
    for waiting in 0..accepted {
        assert_eq!(client.answer(&json!(waiting)).await["error"]["code"], "publish_timeout");
    }
    let Ended::Closed(1012, _) = client.ended().await else { panic!("a restart") };
}

#[tokio::test]
async fn offered_subprotocol_is_chosen() {
    let replica = Replica::ready(&[]).await;
    for (offered, chosen) in [
        ("warren.v1", "warren.v1"),
        ("chat, warren.v1", "warren.v1"),
        ("warren.v2", ""),
        ("chat", ""),
    ] {
        let header = format!("Host: x\r\nSec-WebSocket-Protocol: {offered}");
        let handshake = HANDSHAKE.replace("Host: x", &header);
        let mut raw = Raw::send_first(replica.addr, handshake.as_bytes()).await;
        let response = http::Response { status: 101, head: raw.head().await, body: String::new() };
        assert_eq!(response.header("sec-websocket-protocol"), chosen, "{offered}");
    }
    // Binary messages are refused on `warren.v1`, too.
    let mut client = replica.v1("").await;
    client.send_raw(Message::binary(vec![1])).await;
    assert_eq!(client.ended().await, Ended::Closed(1003, "only text messages are served".into()));
}

#[tokio::test]
async fn cursor_without_channel_needs_no_rabbitmq() {
    // Without a channel there is no replay.
    let url = format!("amqp://guest:guest@127.0.0.1:{}", free_port());
    let replica = Replica::start(&[("AMQP_URL", url.as_str())]);
    let subscribe = json!({ "subscribe": { "ref": 1, "channel": "news" } });
    for after in ["1-0123456789abcdef", "hello"] {
        let mut client = replica.v1(&format!("?after={after}")).await;
        assert_eq!(client.ask(&subscribe).await["subscribed"]["channel"], "news");
    }
}
