//! Faults of one replica's connections, in both deployments alike: to the nodes, or from the load balancer. The load
//! balancer does not notice, because its readiness checks take another path.

use super::{FaultOutcome, any_slot, wait_seconds};
use crate::replica_slot::ReplicaSlot;
use crate::system::{REPLICAS, System};
use fastrand::Rng;
use futures_util::future::join_all;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};
use warren_testkit::LIMIT;
use warren_testkit::process::POLL;
use warren_testkit::proxy::Traffic;

/// Time limit for giving up a connection to a node that does not answer.
const DETECTION_LIMIT: Duration = Duration::from_secs(15);
/// Bytes per second.
const SLOW: usize = 20_000;

pub async fn broker_cut(system: &System, rng: &mut Rng) -> FaultOutcome {
    all_nodes(system, rng, Traffic::Cut, 5).await
}

pub async fn broker_slow(system: &System, rng: &mut Rng) -> FaultOutcome {
    all_nodes(system, rng, Traffic::Slowly(SLOW), 8).await
}

pub async fn broker_all_black_holed(system: &System, rng: &mut Rng) -> FaultOutcome {
    all_nodes(system, rng, Traffic::Nothing, 20).await
}

async fn all_nodes(system: &System, rng: &mut Rng, passing: Traffic, seconds: u64) -> FaultOutcome {
    let pair = system.pair(any_slot(rng));
    for slot in pair {
        slot.set_node_traffic(passing);
    }
    wait_seconds(seconds).await;
    for slot in pair {
        slot.set_node_traffic(Traffic::All);
    }
    FaultOutcome::default()
}

pub async fn broker_black_holed(system: &System, rng: &mut Rng) -> FaultOutcome {
    one_node(system, rng, Traffic::Nothing).await
}

pub async fn broker_only_up(system: &System, rng: &mut Rng) -> FaultOutcome {
    one_node(system, rng, Traffic::OnlyUp).await
}

pub async fn broker_only_down(system: &System, rng: &mut Rng) -> FaultOutcome {
    one_node(system, rng, Traffic::OnlyDown).await
}

/// Breaks the connection to the node that the replica publishes to, until it publishes to another one.
async fn one_node(system: &System, rng: &mut Rng, passing: Traffic) -> FaultOutcome {
    let pair = system.pair(any_slot(rng));
    let mut broken = Vec::new();
    for slot in pair {
        let name = format!("warren {} publish", slot.name);
        let publishes = async {
            loop {
                // The replica may be connecting just now.
                if let Some(node) = system.cluster.lock().await.try_node_of(&name).await {
                    break node;
                }
                sleep(POLL).await;
            }
        };
        broken.push((slot, timeout(LIMIT, publishes).await.expect("it publishes somewhere")));
    }
    let detected = join_all(broken.into_iter().map(async |(slot, node)| {
        let detected = gives_up(slot, node, passing).await;
        // The fault lasts beyond its detection.
        wait_seconds(3).await;
        slot.to_nodes[node].set_traffic(Traffic::All);
        detected
    }))
    .await;
    let longest = detected.into_iter().max().unwrap_or_default();
    FaultOutcome { detected: Some((longest, DETECTION_LIMIT)), ..FaultOutcome::default() }
}

/// Breaks the connection. Returns the time until the replica stops publishing through it.
async fn gives_up(slot: &Rc<ReplicaSlot>, node: usize, passing: Traffic) -> Duration {
    let series = "warren_amqp_reconnects_total{role=\"publish\"}";
    let before = slot.metric(series).await;
    assert!(node < REPLICAS);
    let began = Instant::now();
    slot.to_nodes[node].set_traffic(passing);
    slot.rises(series, before, 4 * DETECTION_LIMIT).await;
    began.elapsed()
}

pub async fn clients_cut(system: &System, rng: &mut Rng) -> FaultOutcome {
    clients(system, rng, Traffic::Cut).await
}

pub async fn clients_slow(system: &System, rng: &mut Rng) -> FaultOutcome {
    clients(system, rng, Traffic::Slowly(SLOW)).await
}

pub async fn clients_black_holed(system: &System, rng: &mut Rng) -> FaultOutcome {
    clients(system, rng, Traffic::Nothing).await
}

pub async fn clients_only_up(system: &System, rng: &mut Rng) -> FaultOutcome {
    clients(system, rng, Traffic::OnlyUp).await
}

pub async fn clients_only_down(system: &System, rng: &mut Rng) -> FaultOutcome {
    clients(system, rng, Traffic::OnlyDown).await
}

async fn clients(system: &System, rng: &mut Rng, passing: Traffic) -> FaultOutcome {
    let pair = system.pair(any_slot(rng));
    for slot in pair {
        slot.from_balancer.set_traffic(passing);
    }
    wait_seconds(8).await;
    for slot in pair {
        slot.from_balancer.set_traffic(Traffic::All);
    }
    FaultOutcome::default()
}
