//! Faults of RabbitMQ's nodes.

use super::{FaultOutcome, any_slot, wait_seconds};
use crate::system::{System, USER};
use fastrand::Rng;
use futures_util::future::join_all;
use warren_testkit::cluster::Cluster;
use warren_testkit::rabbitmq::RabbitMq;

/// Repairs the stream as docs/operations.md says, and waits until it has all members.
async fn repaired(system: &System, cluster: &Cluster) -> FaultOutcome {
    let stream = system.log().stream();
    let leader_recorded = !cluster.finds_leader(&stream).await;
    if leader_recorded {
        cluster.note_leader(&stream).await;
    }
    system.log().has_members(cluster).await;
    FaultOutcome { leader_recorded, ..FaultOutcome::default() }
}

pub async fn killed(system: &System, rng: &mut Rng) -> FaultOutcome {
    let mut cluster = system.cluster.lock().await;
    let node = any_slot(rng);
    kill(&mut cluster, node).await;
    repaired(system, &cluster).await
}

pub async fn leader_killed(system: &System, _: &mut Rng) -> FaultOutcome {
    let mut cluster = system.cluster.lock().await;
    let leader = cluster.leader_of(&system.log().stream()).await;
    kill(&mut cluster, leader).await;
    repaired(system, &cluster).await
}

async fn kill(cluster: &mut Cluster, node: usize) {
    cluster.nodes[node].kill();
    wait_seconds(3).await;
    cluster.nodes[node].start_again().await;
}

/// Stops the process of a node, which keeps its connections and does not answer.
pub async fn stopped(system: &System, rng: &mut Rng) -> FaultOutcome {
    let mut cluster = system.cluster.lock().await;
    let node = any_slot(rng);
    cluster.nodes[node].freeze(true);
    wait_seconds(15).await;
    cluster.nodes[node].freeze(false);
    repaired(system, &cluster).await
}

pub async fn restarted(system: &System, rng: &mut Rng) -> FaultOutcome {
    let mut cluster = system.cluster.lock().await;
    let node = &mut cluster.nodes[any_slot(rng)];
    node.stop().await;
    node.start_again().await;
    repaired(system, &cluster).await
}

pub async fn restarted_one_by_one(system: &System, _: &mut Rng) -> FaultOutcome {
    let mut cluster = system.cluster.lock().await;
    let mut outcome = FaultOutcome::default();
    for node in 0..cluster.nodes.len() {
        cluster.nodes[node].stop().await;
        cluster.nodes[node].start_again().await;
        outcome.leader_recorded |= repaired(system, &cluster).await.leader_recorded;
    }
    outcome
}

pub async fn killed_at_once(system: &System, _: &mut Rng) -> FaultOutcome {
    let mut cluster = system.cluster.lock().await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    join_all(cluster.nodes.iter_mut().map(RabbitMq::start_again)).await;
    repaired(system, &cluster).await
}

/// An alarm of one node blocks the publishers of all.
pub async fn memory_alarm(system: &System, rng: &mut Rng) -> FaultOutcome {
    let mut cluster = system.cluster.lock().await;
    let node = &mut cluster.nodes[any_slot(rng)];
    node.set_memory_watermark(0.000_000_1).await;
    wait_seconds(6).await;
    node.set_memory_watermark(0.4).await;
    FaultOutcome::default()
}

/// Kills a replica during an alarm. Only unconfirmed messages may be lost with it.
pub async fn killed_in_an_alarm(system: &System, rng: &mut Rng) -> FaultOutcome {
    let mut cluster = system.cluster.lock().await;
    let node = &mut cluster.nodes[any_slot(rng)];
    node.set_memory_watermark(0.000_000_1).await;
    wait_seconds(4).await;
    join_all(system.pair(any_slot(rng)).map(async |slot| {
        let mut replica = slot.replica.lock().await;
        replica.kill();
        slot.start_again(&mut replica).await;
    }))
    .await;
    node.set_memory_watermark(0.4).await;
    FaultOutcome::default()
}

pub async fn disk_alarm(system: &System, rng: &mut Rng) -> FaultOutcome {
    let cluster = system.cluster.lock().await;
    let node = &cluster.nodes[any_slot(rng)];
    node.ctl(&["set_disk_free_limit", "500GB"]).await;
    wait_seconds(6).await;
    node.ctl(&["set_disk_free_limit", "50MB"]).await;
    FaultOutcome::default()
}

/// Changes the password of the replicas' user, and closes all of its connections.
pub async fn credentials_revoked(system: &System, _: &mut Rng) -> FaultOutcome {
    let cluster = system.cluster.lock().await;
    let node = &cluster.nodes[0];
    node.ctl(&["change_password", USER, "another"]).await;
    node.ctl(&["close_all_user_connections", USER, "revoked"]).await;
    wait_seconds(6).await;
    node.ctl(&["change_password", USER, &system.password]).await;
    FaultOutcome::default()
}

pub async fn connections_closed(system: &System, _: &mut Rng) -> FaultOutcome {
    let cluster = system.cluster.lock().await;
    for _ in 0..3 {
        cluster.nodes[0].ctl(&["close_all_user_connections", USER, "maintenance"]).await;
        wait_seconds(1).await;
    }
    FaultOutcome::default()
}

/// Fills the disk of the stream's leader for some seconds.
pub async fn disk_full(system: &System, _: &mut Rng) -> FaultOutcome {
    let mut cluster = system.cluster.lock().await;
    let leader = cluster.leader_of(&system.log().stream()).await;
    let node = &mut cluster.nodes[leader];
    node.fill_disk();
    wait_seconds(8).await;
    node.free_disk();
    // The node may or may not have ended by itself.
    node.kill();
    node.start_again().await;
    repaired(system, &cluster).await
}
