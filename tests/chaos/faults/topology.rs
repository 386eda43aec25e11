//! What happens to what the replicas have declared, and what others put there.

use super::{Finding, any_seat, lasts};
use crate::world::{CANARY, House, World};
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

/// In which a deaf replica is to hear again: three canaries, and what connecting takes.
const DEAF: Duration = Duration::from_secs(3 * CANARY.as_secs() + 10);
const MALFORMED: usize = 20_000;

/// The log's member on the node that a replica reads it from is taken away, and then put back: RabbitMQ
/// cancels the consumer.
pub async fn consumer_cancelled(world: &World, rng: &mut Rng) -> Finding {
    let cluster = world.cluster.lock().await;
    let (house, seat) = (world.log(), any_seat(rng));
    let stream = house.stream();
    let node = cluster.node_of(&format!("warren {} consume", house.seats[seat].name)).await;
    // Where the leader is, it would only move.
    let node = if node == cluster.leader_of(&stream).await { (node + 1) % 3 } else { node };
    let name = cluster.nodes[node].name();
    cluster.nodes[node].streams(&["delete_replica", &stream, name]).await;
    lasts(4).await;
    cluster.nodes[node].streams(&["add_replica", &stream, name]).await;
    house.has_members(&cluster).await;
    Finding::default()
}

/// Waits until every replica of some houses hears itself again.
async fn hears_again(houses: &[&House]) -> Option<(Duration, Duration)> {
    let began = Instant::now();
    join_all(houses.iter().flat_map(|house| &house.seats).map(async |seat| {
        let series = "warren_canary_round_trip_seconds_count";
        let before = seat.metric(series).await;
        seat.rises(series, before, 4 * DEAF).await;
    }))
    .await;
    Some((began.elapsed(), DEAF))
}

/// Nothing tells a replica of it.
pub async fn binding_deleted(world: &World, _: &mut Rng) -> Finding {
    let cluster = world.cluster.lock().await;
    let house = world.log();
    let peer = AmqpPeer::connect(&cluster.nodes[0].url(), &unique("elsewhere")).await;
    peer.unbind(&house.stream(), &house.exchange).await.expect("it is bound");
    Finding { noticed: hears_again(&[house]).await, ..Finding::default() }
}

/// The queue of one live replica.
pub async fn queue_deleted(world: &World, rng: &mut Rng) -> Finding {
    let cluster = world.cluster.lock().await;
    let node = &cluster.nodes[0];
    let bindings = node.ask(&["list_bindings", "source_name", "destination_name"]).await;
    let rows = bindings.as_array().expect("a list").iter();
    let ours = rows.filter(|row| row["source_name"] == world.live().exchange.as_str());
    let queues: Vec<_> = ours.filter_map(|row| row["destination_name"].as_str()).collect();
    let Some(queue) = rng.choice(queues) else {
        return Finding { wrong: Some("no queue is bound".to_owned()), ..Finding::default() };
    };
    node.ctl(&["delete_queue", queue]).await;
    Finding { noticed: hears_again(&[world.live()]).await, ..Finding::default() }
}

/// Those of both houses, with their bindings.
pub async fn exchange_deleted(world: &World, _: &mut Rng) -> Finding {
    let cluster = world.cluster.lock().await;
    for house in &world.houses {
        let peer = AmqpPeer::connect(&cluster.nodes[0].url(), &unique("elsewhere")).await;
        let (name, options) = (house.exchange.as_str().into(), ExchangeDeleteOptions::default());
        peer.channel.exchange_delete(name, options).await.expect("it is there");
    }
    Finding { noticed: hears_again(&[world.log(), world.live()]).await, ..Finding::default() }
}

/// With all that is in it.
pub async fn stream_deleted(world: &World, _: &mut Rng) -> Finding {
    let cluster = world.cluster.lock().await;
    let node = &cluster.nodes[0];
    node.ctl(&["delete_queue", &world.log().stream()]).await;
    let noticed = hears_again(&[world.log()]).await;
    let list = node.ask(&["list_queues", "name", "type"]).await;
    let stream = row(&list, "name", &world.log().stream());
    let wrong = (stream["type"] != "stream").then(|| format!("it is {stream}"));
    Finding { noticed, wrong, ..Finding::default() }
}

/// Bodies that are no messages, and properties that are nonsense, in a channel to which nobody listens.
pub async fn malformed(world: &World, rng: &mut Rng) -> Finding {
    let cluster = world.cluster.lock().await;
    for house in &world.houses {
        let peer = match house.ledger.delivery {
            crate::ledger::Delivery::Log => {
                AmqpPeer::connect(&cluster.nodes[0].url(), &house.exchange).await
            }
            crate::ledger::Delivery::Live => {
                AmqpPeer::live(&cluster.nodes[0].url(), &house.exchange).await
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
    Finding::default()
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
