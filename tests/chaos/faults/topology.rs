//! Faults of the topology that replicas declare, and malformed messages from other publishers.

use super::{FaultOutcome, hold_for, random_index};
use crate::environment::Environment;
use crate::ledger::DeliveryMode;
use crate::managed_replica::CANARY_INTERVAL;
use crate::replica_set::ReplicaSet;
use fastrand::Rng;
use futures_util::future::join_all;
use lapin::BasicProperties;
use lapin::options::ExchangeDeleteOptions;
use lapin::types::{AMQPValue, FieldTable};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use warren_testkit::amqp_peer::AmqpPeer;
use warren_testkit::cluster::row;
use warren_testkit::rabbitmq::unique;

/// Limit within which a deaf replica must receive its canaries again: three intervals, and time to connect.
const DETECTION_LIMIT: Duration = Duration::from_secs(3 * CANARY_INTERVAL.as_secs() + 10);
const MALFORMED_MESSAGES: usize = 20_000;

/// Deletes the stream's member on the node from which a replica consumes, so that RabbitMQ cancels the
/// consumer, and adds it again.
pub async fn consumer_cancelled(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    let cluster = environment.cluster.lock().await;
    let (set, index) = (environment.log(), random_index(rng));
    let stream = set.stream();
    let node = cluster.node_of(&format!("warren {} consume", set.replicas[index].name)).await;
    // A deleted leader would only move to another node.
    let node = if node == cluster.leader_of(&stream).await { (node + 1) % 3 } else { node };
    let name = cluster.nodes[node].name();
    cluster.nodes[node].streams(&["delete_replica", &stream, name]).await;
    hold_for(4).await;
    cluster.nodes[node].streams(&["add_replica", &stream, name]).await;
    set.has_members(&cluster).await;
    FaultOutcome::default()
}

/// Waits until every replica of some sets receives its canaries again. Returns the time, and its limit.
async fn canaries_return(sets: &[&ReplicaSet]) -> Option<(Duration, Duration)> {
    let began = Instant::now();
    join_all(sets.iter().flat_map(|set| &set.replicas).map(async |replica| {
        let series = "warren_canary_round_trip_seconds_count";
        let before = replica.metric(series).await;
        replica.metric_rises(series, before, 4 * DETECTION_LIMIT).await;
    }))
    .await;
    Some((began.elapsed(), DETECTION_LIMIT))
}

/// Deletes the binding of the stream, of which replicas are not notified.
pub async fn binding_deleted(environment: &Environment, _: &mut Rng) -> FaultOutcome {
    let cluster = environment.cluster.lock().await;
    let set = environment.log();
    let peer = AmqpPeer::connect(&cluster.nodes[0].url(), &unique("elsewhere")).await;
    peer.unbind(&set.stream(), &set.exchange).await.expect("the stream is bound");
    FaultOutcome { detection: canaries_return(&[set]).await, ..FaultOutcome::default() }
}

/// Deletes the queue of one replica with `live`.
pub async fn queue_deleted(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    let cluster = environment.cluster.lock().await;
    let node = &cluster.nodes[0];
    let bindings = node.ask(&["list_bindings", "source_name", "destination_name"]).await;
    let rows = bindings.as_array().expect("a list").iter();
    let live_rows = rows.filter(|row| row["source_name"] == environment.live().exchange.as_str());
    let queues: Vec<_> = live_rows.filter_map(|row| row["destination_name"].as_str()).collect();
    let Some(queue) = rng.choice(queues) else {
        return FaultOutcome {
            violation: Some("no queue is bound".to_owned()),
            ..FaultOutcome::default()
        };
    };
    node.ctl(&["delete_queue", queue]).await;
    FaultOutcome {
        detection: canaries_return(&[environment.live()]).await,
        ..FaultOutcome::default()
    }
}

/// Deletes the exchanges of both sets, with their bindings.
pub async fn exchange_deleted(environment: &Environment, _: &mut Rng) -> FaultOutcome {
    let cluster = environment.cluster.lock().await;
    for set in &environment.sets {
        let peer = AmqpPeer::connect(&cluster.nodes[0].url(), &unique("elsewhere")).await;
        let (name, options) = (set.exchange.as_str().into(), ExchangeDeleteOptions::default());
        peer.channel.exchange_delete(name, options).await.expect("the exchange exists");
    }
    FaultOutcome {
        detection: canaries_return(&[environment.log(), environment.live()]).await,
        ..FaultOutcome::default()
    }
}

/// Deletes the stream, with all its messages.
pub async fn stream_deleted(environment: &Environment, _: &mut Rng) -> FaultOutcome {
    let cluster = environment.cluster.lock().await;
    let node = &cluster.nodes[0];
    node.ctl(&["delete_queue", &environment.log().stream()]).await;
    let detection = canaries_return(&[environment.log()]).await;
    let list = node.ask(&["list_queues", "name", "type"]).await;
    let stream = row(&list, "name", &environment.log().stream());
    let violation = (stream["type"] != "stream").then(|| format!("not a stream: {stream}"));
    FaultOutcome { detection, violation, ..FaultOutcome::default() }
}

/// Publishes malformed bodies and properties, in a channel without subscribers.
pub async fn malformed_messages(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    let cluster = environment.cluster.lock().await;
    for set in &environment.sets {
        let peer = match set.ledger.delivery_mode {
            DeliveryMode::Log => AmqpPeer::connect(&cluster.nodes[0].url(), &set.exchange).await,
            DeliveryMode::Live => AmqpPeer::live(&cluster.nodes[0].url(), &set.exchange).await,
        };
        let publishing = async {
            for _ in 0..MALFORMED_MESSAGES / 2 {
                let (body, properties) = malformed(rng);
                peer.send("noise", &body, properties).await.expect("RabbitMQ accepts the message");
            }
            peer.publish("noise", b"{\"text\"", BasicProperties::default()).await;
        };
        timeout(Duration::from_secs(60), publishing)
            .await
            .expect("RabbitMQ accepts the messages in time");
    }
    FaultOutcome::default()
}

/// A random body that is not a message, and random properties.
fn malformed(rng: &mut Rng) -> (Vec<u8>, BasicProperties) {
    let bytes = |rng: &mut Rng| -> Vec<u8> { (0..rng.usize(..200)).map(|_| rng.u8(..)).collect() };
    let body = match rng.u8(..6) {
        0 => b"{\"text\": ".to_vec(),
        1 => b"{\"date\": 1}".to_vec(),
        2 => b"{\"text\": 1, \"date\": {}}".to_vec(),
        3 => "[".repeat(200).into_bytes(),
        4 => Vec::new(),
        _ => bytes(rng),
    };
    let text: String = (0..rng.usize(..60)).map(|_| rng.char(..)).collect();
    let mut headers = FieldTable::default();
    headers.insert("warren-key".into(), AMQPValue::LongInt(rng.i32(..)));
    headers.insert("traceparent".into(), AMQPValue::LongString(text.as_str().into()));
    let properties = BasicProperties::default().with_headers(headers);
    let kinds = ["warren.replica", "warren.message", "warren.", "", "\u{1b}[31m"];
    let kind = kinds[rng.usize(..kinds.len())];
    (body, properties.with_type(kind.into()).with_content_type("text/\u{202e}x".into()))
}
