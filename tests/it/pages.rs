//! `GET /messages` reads the log, page by page.

use serde_json::{Value, json};
use warren_testkit::amqp_peer::AmqpPeer;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::replica::{Replica, SMALL_HISTORY};

#[tokio::test]
async fn pages_of_any_size_from_any_replica_make_up_the_log() {
    const COUNT: usize = 210;
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let forgetful = Replica::on_rabbitmq("one", &rabbitmq.url(), &exchange, &SMALL_HISTORY).await;
    let other = Replica::on_rabbitmq("two", &rabbitmq.url(), &exchange, &[]).await;
    let padding = "x".repeat(4 << 10);
    let mut expected = Vec::new();
    for n in 0..COUNT {
        let channel = ["a", "b", "c"][n % 3];
        let id = forgetful.publish(channel, json!([n, padding])).await;
        expected.push((id, channel, n));
    }
    for replica in [&forgetful, &other] {
        for channels in ["channel=a&channel=b&channel=c", "channel=c&channel=a", "channel=b"] {
            for limit in [1000, 100, COUNT / 3, 7] {
                let messages = replica.all_pages(channels, limit).await;
                let received = messages.iter().map(|message| {
                    (message["id"].as_str().unwrap(), message["text"][0].as_u64().unwrap())
                });
                let wanted = expected.iter().filter(|(_, channel, _)| {
                    channels.split('&').any(|name| name == format!("channel={channel}"))
                });
                let wanted: Vec<_> = wanted.map(|(id, _, n)| (&**id, *n as u64)).collect();
                assert_eq!(received.collect::<Vec<_>>(), wanted, "{channels} by {limit}");
            }
        }
        // A message has the same four members as on other transports.
        let page = replica.page("?channel=a&limit=1").await;
        let (message, more) = (&page["messages"][0], &page["more"]);
        assert_eq!(message.as_object().unwrap().len(), 4, "{message}");
        assert_eq!((&message["channel"], more), (&json!("a"), &json!(true)));
        // The default limit is 100. At the end there is nothing more until a message is published.
        let page = replica.page("?channel=a&channel=b&channel=c").await;
        assert_eq!(page["messages"].as_array().unwrap().len(), 100);
        let last = &expected[COUNT - 1].0;
        let page = replica.page(&format!("?channel=a&after={last}")).await;
        assert_eq!(page, json!({ "messages": [], "recovered": true, "more": false }));
    }
    let last = &expected[COUNT - 1].0;
    let id = other.publish("a", "news").await;
    let page = other.page(&format!("?channel=a&after={last}")).await;
    assert_eq!((&page["messages"][0]["id"], &page["more"]), (&json!(id), &json!(false)));
    assert_eq!(page["messages"][0]["text"], "news");
}

#[tokio::test]
async fn rare_channel_is_found_in_busy_log() {
    let (rabbitmq, exchange) = (shared(), unique("messages"));
    let replica = Replica::on_rabbitmq("host", &rabbitmq.url(), &exchange, &SMALL_HISTORY).await;
    let peer = AmqpPeer::connect(&rabbitmq.url(), &exchange).await;
    let first = replica.publish("rare", "first").await;
    peer.publish_all("busy", (0..20_000).map(|n| n.to_string())).await;
    let second = replica.publish("rare", "second").await;
    let ids = |page: &Value| -> Vec<_> {
        let messages = page["messages"].as_array().unwrap();
        messages.iter().map(|message| message["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&replica.page("?channel=rare").await), [first.clone(), second.clone()]);
    let page = replica.page(&format!("?channel=rare&after={first}")).await;
    assert_eq!((ids(&page), &page["more"]), (vec![second.clone()], &json!(false)));
    let page = replica.page("?channel=rare&limit=1").await;
    assert_eq!((ids(&page), &page["more"]), (vec![first.clone()], &json!(true)));
    let page = replica.page("?channel=unused").await;
    assert_eq!(page, json!({ "messages": [], "recovered": true, "more": false }));
    let mut back = replica.client(&format!("?channel=rare&after={first}")).await;
    assert_eq!(back.ready["recovered"], true);
    assert_eq!(back.message().await["id"], second);
}
