//! The subprotocol `warren.v1` on RabbitMQ.

use serde_json::json;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::replica::{Replica, SMALL_HISTORY};

#[tokio::test]
async fn publish_returns_the_id_that_subscribers_get() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let one = Replica::on_rabbitmq("one", &rabbitmq.url(), &exchange, &[]).await;
    let two = Replica::on_rabbitmq("two", &rabbitmq.url(), &exchange, &[]).await;
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
    // Without a channel, a message goes to the first channel of the query.
    let mut first = one.v1("?channel=first&channel=second").await;
    first.ask(&json!({ "publish": { "ref": 1, "text": "mine" } })).await;
    assert_eq!(listener.message().await["channel"], "first");
    assert_eq!(first.text().await, "mine", "it is subscribed to what the query names");
    // The other client has no subscription, so it received nothing of this.
    let answer = client.ask(&json!({ "subscribe": { "ref": 9, "channel": "quiet" } })).await;
    assert_eq!(answer["subscribed"]["channel"], "quiet");
    one.publish("quiet", "first").await;
    assert_eq!(client.text().await, "first");
}

#[tokio::test]
async fn pipelined_commands_are_all_answered() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let settings = [("CLIENT_RATE", "100000/s")];
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &settings).await;
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
async fn subscription_continues_replay_with_new_messages() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let settings = [("CLIENT_RATE", "100000/s")];
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &settings).await;
    let first = replica.publish("a", 0).await;
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
async fn cursor_without_channel_does_not_delay_ready() {
    let subscribe = json!({ "subscribe": { "ref": 1, "channel": "news" } });
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let settings = [&SMALL_HISTORY[..], &[("WORKERS", "1")]].concat();
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &settings).await;
    let mut witness = replica.client("?channel=news").await;
    let first = replica.publish("lobby", "first").await;
    let mut last = String::new();
    for _ in 0..100 {
        last = replica.publish("lobby", "x".repeat(8 << 10)).await;
    }
    for after in [last.clone(), first, "hello".to_owned()] {
        let mut client = replica.v1(&format!("?after={after}&history=3")).await;
        // It receives nothing before it subscribes.
        replica.publish("news", "before it listens").await;
        assert_eq!(witness.text().await, "before it listens");
        assert_eq!(client.ask(&subscribe).await["subscribed"]["channel"], "news");
        replica.publish("news", "news").await;
        assert_eq!([client.text().await, witness.text().await], ["news", "news"]);
        let content = json!({ "ref": 2, "channel": "lobby", "after": last });
        let answer = client.ask(&json!({ "subscribe": content })).await;
        assert_eq!(answer["subscribed"]["recovered"], true, "{answer}");
        last = replica.publish("lobby", "next").await;
        assert_eq!(client.message().await["id"], last);
    }
}
