//! The subprotocol `warren.v1`: commands and their answers.

use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use warren_testkit::LIMIT;
use warren_testkit::client::{Client, Ended};
use warren_testkit::http;
use warren_testkit::ports::free_port;
use warren_testkit::process::POLL;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::raw::{HANDSHAKE, Raw};
use warren_testkit::replica::{FORGETFUL, Replica};

/// Sends a command that must fail, and returns the code.
async fn fails(client: &mut Client, command: &Value) -> String {
    let answer = client.ask(command).await;
    assert!(answer["error"]["message"].is_string(), "{command}: {answer}");
    answer["error"]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn publishing_is_answered_with_the_id_that_everybody_sees() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let one = Replica::joined("one", &rabbitmq.url(), &exchange, &[]).await;
    let two = Replica::joined("two", &rabbitmq.url(), &exchange, &[]).await;
    let mut listener = two.client("?channel=news&channel=lobby&channel=first").await;
    let mut client = one.v1("").await;
    for (reference, channel, text) in [
        (json!(1), Some("news"), json!("a string")),
        (json!("two"), Some("news"), json!({ "deep": [1, { "er": null }] })),
        (json!(-3.5), None, json!(null)),
        (json!("x".repeat(62)), None, json!(false)),
        (json!("\u{1F407} \" \\"), None, json!("")),
    ] {
        let mut command = json!({ "publish": { "ref": reference, "text": text } });
        if let Some(channel) = channel {
            command["publish"]["channel"] = json!(channel);
        }
        let answer = client.ask(&command).await;
        let message = listener.message().await;
        assert_eq!(answer, json!({ "published": { "ref": reference, "id": message["id"] } }));
        assert_eq!(
            (&message["text"], &message["channel"]),
            (&text, &json!(channel.unwrap_or("lobby")))
        );
        assert_eq!(message.as_object().unwrap().len(), 4);
    }
    // The first channel of the query is where it goes without one.
    let mut first = one.v1("?channel=first&channel=second").await;
    first.ask(&json!({ "publish": { "ref": 1, "text": "mine" } })).await;
    assert_eq!(listener.message().await["channel"], "first");
    assert_eq!(first.text().await, "mine", "it is subscribed to what the query names");
    // The other client never subscribed to anything, and so it heard nothing of all this.
    let answer = client.ask(&json!({ "subscribe": { "ref": 9, "channel": "quiet" } })).await;
    assert_eq!(answer["subscribed"]["channel"], "quiet");
    one.say("quiet", "the first that it hears").await;
    assert_eq!(client.text().await, "the first that it hears");
}

#[tokio::test]
async fn many_commands_may_be_on_their_way_at_once() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let settings = [("CLIENT_RATE", "100000/s")];
    let replica = Replica::joined("host", &rabbitmq.url(), &exchange, &settings).await;
    let mut client = replica.v1("?channel=a").await;
    for n in 0..500 {
        client.command(&json!({ "publish": { "ref": n, "text": n } })).await;
    }
    let mut ids = Vec::new();
    for n in 0..500 {
        let answer = client.answer(&json!(n)).await;
        ids.push(answer["published"]["id"].as_str().unwrap().to_owned());
    }
    for (n, id) in ids.iter().enumerate() {
        let message = client.message().await;
        assert_eq!((&message["text"], message["id"].as_str().unwrap()), (&json!(n), &**id));
    }
}

#[tokio::test]
async fn one_subscribes_and_unsubscribes() {
    let replica = Replica::ready(&[]).await;
    let ids = [replica.say("a", 1).await, replica.say("a", 2).await, replica.say("a", 3).await];
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
    replica.say("b", "on b").await;
    replica.say("a", "on a").await;
    assert_eq!([client.text().await, client.text().await], [json!("on b"), json!("on a")]);

    let command = json!({ "unsubscribe": { "ref": 3, "channel": "a" } });
    for _ in 0..2 {
        let answer = client.ask(&command).await;
        assert_eq!(answer, json!({ "unsubscribed": { "ref": 3, "channel": "a" } }));
        replica.say("a", "not for it").await;
    }
    replica.say("b", "for it").await;
    assert_eq!(client.text().await, "for it");

    // Back again, with some history, and with a cursor that is none.
    let content = json!({ "ref": 4, "channel": "a", "after": "hello", "history": 1 });
    let answer = client.ask(&subscribe(content)).await;
    assert_eq!(answer["subscribed"]["recovered"], false);
    assert_eq!(answer["subscribed"]["reason"], "malformed");
    assert_eq!(client.text().await, "not for it");
    replica.say("a", "for it again").await;
    assert_eq!(client.text().await, "for it again");
}

#[tokio::test]
async fn a_subscription_joins_its_replay_and_what_is_being_said() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let settings = [("CLIENT_RATE", "100000/s")];
    let replica = Replica::joined("host", &rabbitmq.url(), &exchange, &settings).await;
    let first = replica.say("a", 0).await;
    let mut client = replica.v1("").await;
    for n in 1..100 {
        client.command(&json!({ "publish": { "ref": n, "channel": "a", "text": n } })).await;
    }
    let content = json!({ "ref": "s", "channel": "a", "after": first });
    client.command(&json!({ "subscribe": content })).await;
    for n in 100..200 {
        client.command(&json!({ "publish": { "ref": n, "channel": "a", "text": n } })).await;
    }
    assert_eq!(client.answer(&json!("s")).await["subscribed"]["recovered"], true);
    for n in 1..200 {
        client.answer(&json!(n)).await;
    }
    for n in 1..200 {
        assert_eq!(client.text().await, n);
    }
}

#[tokio::test]
async fn mistakes_are_told_and_the_connection_stays() {
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

    // Without a `ref` that can be given back.
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
async fn a_connection_listens_to_64_channels_at_most() {
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
async fn who_publishes_too_much_is_told_which_one_it_was() {
    let replica = Replica::ready(&[("CLIENT_RATE", "5/m")]).await;
    let mut client = replica.v1("").await;
    let publish = |n: usize| json!({ "publish": { "ref": n, "text": n } });
    assert!(client.ask(&publish(1)).await["published"].is_object());
    for n in 2..4 {
        assert_eq!(fails(&mut client, &publish(n)).await, "rate_limited");
    }
}

#[tokio::test]
async fn while_rabbitmq_is_away_every_command_is_answered() {
    let url = format!("amqp://guest:guest@127.0.0.1:{}", free_port());
    let settings =
        [("AMQP_URL", url.as_str()), ("PUBLISH_TIMEOUT", "500ms"), ("PUBLISH_BUFFER", "4KiB")];
    let replica = Replica::start(&settings).await;
    let mut client = replica.v1("").await;
    let publish =
        |n: usize, size: usize| json!({ "publish": { "ref": n, "text": "x".repeat(size) } });
    client.command(&publish(1, 100)).await;
    assert_eq!(fails(&mut client, &publish(2, 5000)).await, "buffer_full");
    assert_eq!(client.answer(&json!(1)).await["error"]["code"], "publish_timeout");
    // Nobody can tell what came after a cursor; who comes with one is sent away for a while.
    let id = "1-0123456789abcdef";
    let content = json!({ "ref": 3, "channel": "a", "after": id });
    client.command(&json!({ "subscribe": content })).await;
    let unreadable = Ended::Closed(1013, "the log cannot be read now".to_owned());
    assert_eq!(client.ended().await, unreadable);
    let series = "warren_connections_closed_total{code=\"1013\",reason=\"log_unreadable\"}";
    replica.metric_becomes(series, |count| count == 1.0).await;
}

#[tokio::test]
async fn what_comes_too_late_is_told_so_and_what_was_accepted_is_answered() {
    let url = format!("amqp://guest:guest@127.0.0.1:{}", free_port());
    let settings = [
        ("AMQP_URL", url.as_str()),
        ("PUBLISH_TIMEOUT", "5s"),
        ("DRAIN_DELAY", "0s"),
        ("DRAIN_PERIOD", "0s"),
    ];
    let mut replica = Replica::start(&settings).await;
    let mut client = replica.v1("").await;
    let publish = |n: usize| json!({ "publish": { "ref": n, "text": n } });
    client.command(&publish(0)).await;
    replica
        .metric_becomes("warren_messages_received_total{transport=\"websocket\"}", |n| n == 1.0)
        .await;
    replica.process.signal("TERM");
    replica.process.line(LIMIT, |line| line.contains("draining")).await;
    let mut late = 1;
    let error = loop {
        client.command(&publish(late)).await;
        // What is accepted is not answered yet.
        match timeout(POLL, client.frame()).await {
            Ok(frame) => break frame.expect("it stays connected"),
            Err(_) => late += 1,
        }
    };
    assert_eq!(
        (&error["error"]["code"], &error["error"]["ref"]),
        (&json!("shutting_down"), &json!(late))
    );
    for waits in 0..late {
        assert_eq!(client.answer(&json!(waits)).await["error"]["code"], "publish_timeout");
    }
    let Ended::Closed(1012, _) = client.ended().await else { panic!("a restart") };
}

#[tokio::test]
async fn the_subprotocol_is_chosen_if_it_is_offered() {
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
    // Binary messages are not served here either.
    let mut client = replica.v1("").await;
    client.send_raw(Message::binary(vec![1])).await;
    assert_eq!(client.ended().await, Ended::Closed(1003, "only text messages are served".into()));
}

#[tokio::test]
async fn a_cursor_without_a_channel_is_no_reason_to_wait() {
    // There is nothing to be read, hence no need for RabbitMQ.
    let url = format!("amqp://guest:guest@127.0.0.1:{}", free_port());
    let replica = Replica::start(&[("AMQP_URL", url.as_str())]).await;
    let subscribe = json!({ "subscribe": { "ref": 1, "channel": "news" } });
    for after in ["1-0123456789abcdef", "hello"] {
        let mut client = replica.v1(&format!("?after={after}")).await;
        assert_eq!(client.ask(&subscribe).await["subscribed"]["channel"], "news");
    }

    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let settings = [&FORGETFUL[..], &[("WORKERS", "1")]].concat();
    let replica = Replica::joined("host", &rabbitmq.url(), &exchange, &settings).await;
    let mut witness = replica.client("?channel=news").await;
    let first = replica.say("lobby", "first").await;
    let mut last = String::new();
    for _ in 0..100 {
        last = replica.say("lobby", "x".repeat(8 << 10)).await;
    }
    for after in [last.clone(), first, "hello".to_owned()] {
        let mut client = replica.v1(&format!("?after={after}&history=3")).await;
        // It listens to nothing, until it asks for it.
        replica.say("news", "before it listens").await;
        assert_eq!(witness.text().await, "before it listens");
        assert_eq!(client.ask(&subscribe).await["subscribed"]["channel"], "news");
        replica.say("news", "news").await;
        assert_eq!([client.text().await, witness.text().await], ["news", "news"]);
        let content = json!({ "ref": 2, "channel": "lobby", "after": last });
        let answer = client.ask(&json!({ "subscribe": content })).await;
        assert_eq!(answer["subscribed"]["recovered"], true, "{answer}");
        last = replica.say("lobby", "next").await;
        assert_eq!(client.message().await["id"], last);
    }
}
