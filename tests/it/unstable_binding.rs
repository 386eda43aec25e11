//! The stream is bound and unbound while messages are published: RabbitMQ returns some of them, and confirms others.

use lapin::options::QueueBindOptions;
use lapin::types::FieldTable;
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::sleep;
use warren_testkit::amqp_peer::AmqpPeer;
use warren_testkit::rabbitmq::{shared, unique};
use warren_testkit::replica::Replica;

const MESSAGES: usize = 2_000;

#[tokio::test]
async fn confirmed_message_is_delivered_once_while_binding_flaps() {
    let (url, exchange) = (shared().url(), unique("messages"));
    let stream = format!("{exchange}.log");
    let settings = [("PUBLISH_TIMEOUT", "50s"), ("CLIENT_RATE", "1000000/s")];
    let replica = Replica::on_rabbitmq("one", &url, &exchange, &settings).await;
    let mut listener = replica.client("").await;
    let mut sender = replica.v1("").await;
    // Its queue is on another exchange, since RabbitMQ returns only messages that no queue takes.
    let peer = AmqpPeer::connect(&url, &unique("elsewhere")).await;
    let flapping = async {
        loop {
            peer.unbind(&stream, &exchange).await.unwrap();
            let (queue, from) = (stream.as_str().into(), exchange.as_str().into());
            let (options, none) = (QueueBindOptions::default(), FieldTable::default());
            peer.channel.queue_bind(queue, from, "".into(), options, none).await.unwrap();
            sleep(Duration::from_millis(fastrand::u64(..30))).await;
        }
    };
    let publishing = async {
        for n in 0..MESSAGES {
            sender.command(&json!({ "publish": { "ref": n, "text": n } })).await;
            if n % 20 == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        }
        let mut confirmed = Vec::new();
        for n in 0..MESSAGES {
            let answer = sender.answer(&n.into()).await;
            if answer["published"].is_object() {
                confirmed.push(n);
            }
        }
        confirmed
    };
    let confirmed = tokio::select! {
        confirmed = publishing => confirmed,
        () = flapping => unreachable!("for ever"),
    };
    replica.becomes_ready(true).await;
    replica.publish("lobby", "end").await;
    let mut heard: HashMap<usize, usize> = HashMap::new();
    loop {
        let text = listener.text().await;
        match text.as_u64() {
            Some(number) => *heard.entry(number as usize).or_default() += 1,
            None => break,
        }
    }
    let lost: Vec<_> = confirmed.iter().filter(|number| !heard.contains_key(number)).collect();
    let twice: Vec<_> = heard.iter().filter(|(_, count)| **count > 1).collect();
    let returned = replica.metric("warren_messages_returned_total").await;
    assert!(returned > 0.0, "it was unbound at the right time");
    assert!(lost.is_empty() && twice.is_empty(), "lost {lost:?}, twice {twice:?}");
    assert_eq!(confirmed.len(), MESSAGES, "what is returned is published again");
}
