//! Faults of the network around one replica of each set: its connections to the RabbitMQ nodes, and those from
//! the load balancer. The load balancer does not detect them, because it checks readiness by another way.

use super::{FaultOutcome, hold_for, random_index};
use crate::environment::Environment;
use crate::managed_replica::ManagedReplica;
use crate::replica_set::REPLICAS;
use fastrand::Rng;
use futures_util::future::join_all;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};
use warren_testkit::LIMIT;
use warren_testkit::process::POLL;
use warren_testkit::proxy::Traffic;

/// Limit within which a replica must give up a connection to a node that does not answer.
const DETECTION_LIMIT: Duration = Duration::from_secs(15);
/// Rate of a slow connection, in bytes a second.
const SLOW_RATE: usize = 20_000;

pub async fn broker_cut(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    all_nodes(environment, rng, Traffic::Cut, 5).await
}

pub async fn broker_slow(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    all_nodes(environment, rng, Traffic::Slowly(SLOW_RATE), 8).await
}

pub async fn broker_all_black_holed(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    all_nodes(environment, rng, Traffic::Nothing, 20).await
}

async fn all_nodes(
    environment: &Environment,
    rng: &mut Rng,
    traffic: Traffic,
    seconds: u64,
) -> FaultOutcome {
    let replicas = environment.replicas_at(random_index(rng));
    for replica in replicas {
        replica.set_node_traffic(traffic);
    }
    hold_for(seconds).await;
    for replica in replicas {
        replica.set_node_traffic(Traffic::All);
    }
    FaultOutcome::default()
}

pub async fn broker_node_black_holed(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    one_node(environment, rng, Traffic::Nothing).await
}

pub async fn broker_replies_dropped(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    one_node(environment, rng, Traffic::OnlyUp).await
}

pub async fn broker_requests_dropped(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    one_node(environment, rng, Traffic::OnlyDown).await
}

/// Interrupts the connections to the node that a replica publishes to, until it publishes to another one.
async fn one_node(environment: &Environment, rng: &mut Rng, traffic: Traffic) -> FaultOutcome {
    let replicas = environment.replicas_at(random_index(rng));
    let mut publishing = Vec::new();
    for replica in replicas {
        let name = format!("warren {} publish", replica.name);
        let find_node = async {
            loop {
                // The replica may be connecting at this moment.
                if let Some(node) = environment.cluster.lock().await.try_node_of(&name).await {
                    break node;
                }
                sleep(POLL).await;
            }
        };
        let node = timeout(LIMIT, find_node).await.expect("a connection that publishes");
        publishing.push((replica, node));
    }
    let detected_after = join_all(publishing.into_iter().map(async |(replica, node)| {
        let detected_after = reconnects(replica, node, traffic).await;
        // The fault outlasts its detection.
        hold_for(3).await;
        replica.node_proxies[node].set_traffic(Traffic::All);
        detected_after
    }))
    .await;
    let longest = detected_after.into_iter().max().unwrap_or_default();
    FaultOutcome { detection: Some((longest, DETECTION_LIMIT)), ..FaultOutcome::default() }
}

/// Interrupts the connections to a node, and returns the time until the replica no longer publishes to it.
async fn reconnects(replica: &Rc<ManagedReplica>, node: usize, traffic: Traffic) -> Duration {
    let series = "warren_amqp_reconnects_total{role=\"publish\"}";
    let before = replica.metric(series).await;
    assert!(node < REPLICAS);
    let began = Instant::now();
    replica.node_proxies[node].set_traffic(traffic);
    replica.metric_rises(series, before, 4 * DETECTION_LIMIT).await;
    began.elapsed()
}

pub async fn clients_cut(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    clients(environment, rng, Traffic::Cut).await
}

pub async fn clients_slow(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    clients(environment, rng, Traffic::Slowly(SLOW_RATE)).await
}

pub async fn clients_black_holed(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    clients(environment, rng, Traffic::Nothing).await
}

pub async fn clients_replies_dropped(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    clients(environment, rng, Traffic::OnlyUp).await
}

pub async fn clients_requests_dropped(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    clients(environment, rng, Traffic::OnlyDown).await
}

async fn clients(environment: &Environment, rng: &mut Rng, traffic: Traffic) -> FaultOutcome {
    let replicas = environment.replicas_at(random_index(rng));
    for replica in replicas {
        replica.balancer_proxy.set_traffic(traffic);
    }
    hold_for(8).await;
    for replica in replicas {
        replica.balancer_proxy.set_traffic(Traffic::All);
    }
    FaultOutcome::default()
}
