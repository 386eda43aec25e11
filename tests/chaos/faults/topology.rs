//! Faults of the topology that replicas declare, and malformed messages of other programs.

use super::{FaultOutcome, any_slot, wait_seconds};
use crate::system::{CANARY, Deployment, System};
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

/// Time limit until a deaf replica receives messages again: three canaries, and a new connection.
const DEAF: Duration = Duration::from_secs(3 * CANARY.as_secs() + 10);
const MALFORMED: usize = 20_000;

/// Removes the stream's member on the node that a replica reads from, and adds it again. RabbitMQ cancels the consumer.
pub async fn consumer_cancelled(system: &System, rng: &mut Rng) -> FaultOutcome {
    let cluster = system.cluster.lock().await;
    let (deployment, slot) = (system.log(), any_slot(rng));
    let stream = deployment.stream();
    let node = cluster.node_of(&format!("warren {} consume", deployment.slots[slot].name)).await;
    // Removing the leader would only move it.
    let node = if node == cluster.leader_of(&stream).await { (node + 1) % 3 } else { node };
    let name = cluster.nodes[node].name();
    cluster.nodes[node].streams(&["delete_replica", &stream, name]).await;
    wait_seconds(4).await;
    cluster.nodes[node].streams(&["add_replica", &stream, name]).await;
    deployment.has_members(&cluster).await;
    FaultOutcome::default()
}

/// Waits until every replica of these deployments receives its canaries again.
async fn hears_again(deployments: &[&Deployment]) -> Option<(Duration, Duration)> {
    let began = Instant::now();
    join_all(deployments.iter().flat_map(|deployment| &deployment.slots).map(async |slot| {
        let series = "warren_canary_round_trip_seconds_count";
        let before = slot.metric(series).await;
        slot.rises(series, before, 4 * DEAF).await;
    }))
    .await;
    Some((began.elapsed(), DEAF))
}

/// RabbitMQ does not tell a replica of it.
pub async fn binding_deleted(system: &System, _: &mut Rng) -> FaultOutcome {
    let cluster = system.cluster.lock().await;
    let deployment = system.log();
    let peer = AmqpPeer::connect(&cluster.nodes[0].url(), &unique("elsewhere")).await;
    peer.unbind(&deployment.stream(), &deployment.exchange).await.expect("it is bound");
    FaultOutcome { detected: hears_again(&[deployment]).await, ..FaultOutcome::default() }
}

/// Deletes the queue of one replica with delivery mode `live`.
pub async fn queue_deleted(system: &System, rng: &mut Rng) -> FaultOutcome {
    let cluster = system.cluster.lock().await;
    let node = &cluster.nodes[0];
    let bindings = node.ask(&["list_bindings", "source_name", "destination_name"]).await;
    let rows = bindings.as_array().expect("a list").iter();
    let ours = rows.filter(|row| row["source_name"] == system.live().exchange.as_str());
    let queues: Vec<_> = ours.filter_map(|row| row["destination_name"].as_str()).collect();
    let Some(queue) = rng.choice(queues) else {
        return FaultOutcome {
            wrong: Some("no queue is bound".to_owned()),
            ..FaultOutcome::default()
        };
    };
    node.ctl(&["delete_queue", queue]).await;
    FaultOutcome { detected: hears_again(&[system.live()]).await, ..FaultOutcome::default() }
}

/// Deletes the exchanges of both deployments, with their bindings.
pub async fn exchange_deleted(system: &System, _: &mut Rng) -> FaultOutcome {
    let cluster = system.cluster.lock().await;
    for deployment in &system.deployments {
        let peer = AmqpPeer::connect(&cluster.nodes[0].url(), &unique("elsewhere")).await;
        let (name, options) =
            (deployment.exchange.as_str().into(), ExchangeDeleteOptions::default());
        peer.channel.exchange_delete(name, options).await.expect("it is there");
    }
    FaultOutcome {
        detected: hears_again(&[system.log(), system.live()]).await,
        ..FaultOutcome::default()
    }
}

/// Deletes the stream with its messages.
pub async fn stream_deleted(system: &System, _: &mut Rng) -> FaultOutcome {
    let cluster = system.cluster.lock().await;
    let node = &cluster.nodes[0];
    node.ctl(&["delete_queue", &system.log().stream()]).await;
    let detected = hears_again(&[system.log()]).await;
    let list = node.ask(&["list_queues", "name", "type"]).await;
    let stream = row(&list, "name", &system.log().stream());
    let wrong = (stream["type"] != "stream").then(|| format!("it is {stream}"));
    FaultOutcome { detected, wrong, ..FaultOutcome::default() }
}

/// Publishes malformed bodies and properties to a channel without subscribers.
pub async fn malformed(system: &System, rng: &mut Rng) -> FaultOutcome {
    let cluster = system.cluster.lock().await;
    for deployment in &system.deployments {
        let peer = match deployment.ledger.delivery_mode {
            crate::ledger::DeliveryMode::Log => {
                AmqpPeer::connect(&cluster.nodes[0].url(), &deployment.exchange).await
            }
            crate::ledger::DeliveryMode::Live => {
                AmqpPeer::live(&cluster.nodes[0].url(), &deployment.exchange).await
            }
        };
        let publishing = async {
            for _ in 0..MALFORMED / 2 {
                let (body, properties) = nonsense(rng);
                peer.send("noise", &body, properties).await.expect("it is taken");
            }
            peer.publish("noise", b"{\"text\"", BasicProperties::default()).await;
        };
        timeout(Duration::from_secs(60), publishing).await.expect("RabbitMQ takes it");
    }
    FaultOutcome::default()
}

fn nonsense(rng: &mut Rng) -> (Vec<u8>, BasicProperties) {
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
