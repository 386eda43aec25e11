//! Faults of RabbitMQ nodes.

use super::{FaultOutcome, hold_for, random_index};
use crate::environment::{Environment, USER};
use fastrand::Rng;
use futures_util::future::join_all;
use warren_testkit::cluster::Cluster;
use warren_testkit::rabbitmq::RabbitMq;

/// Waits until the stream has its leader and all members, and repairs the leader as docs/operations.md
/// describes.
async fn stream_recovered(environment: &Environment, cluster: &Cluster) -> FaultOutcome {
    let stream = environment.log().stream();
    let leader_updated = !cluster.finds_leader(&stream).await;
    if leader_updated {
        cluster.note_leader(&stream).await;
    }
    environment.log().has_members(cluster).await;
    FaultOutcome { leader_updated, ..FaultOutcome::default() }
}

pub async fn killed(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    let mut cluster = environment.cluster.lock().await;
    let node = random_index(rng);
    kill(&mut cluster, node).await;
    stream_recovered(environment, &cluster).await
}

pub async fn leader_killed(environment: &Environment, _: &mut Rng) -> FaultOutcome {
    let mut cluster = environment.cluster.lock().await;
    let leader = cluster.leader_of(&environment.log().stream()).await;
    kill(&mut cluster, leader).await;
    stream_recovered(environment, &cluster).await
}

async fn kill(cluster: &mut Cluster, node: usize) {
    cluster.nodes[node].kill();
    hold_for(3).await;
    cluster.nodes[node].start_again().await;
}

/// Stops the process of a node, which does not answer until it continues.
pub async fn stopped(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    let mut cluster = environment.cluster.lock().await;
    let node = random_index(rng);
    cluster.nodes[node].freeze(true);
    hold_for(15).await;
    cluster.nodes[node].freeze(false);
    stream_recovered(environment, &cluster).await
}

pub async fn restarted(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    let mut cluster = environment.cluster.lock().await;
    let node = &mut cluster.nodes[random_index(rng)];
    node.stop().await;
    node.start_again().await;
    stream_recovered(environment, &cluster).await
}

pub async fn restarted_one_by_one(environment: &Environment, _: &mut Rng) -> FaultOutcome {
    let mut cluster = environment.cluster.lock().await;
    let mut outcome = FaultOutcome::default();
    for node in 0..cluster.nodes.len() {
        cluster.nodes[node].stop().await;
        cluster.nodes[node].start_again().await;
        outcome.leader_updated |= stream_recovered(environment, &cluster).await.leader_updated;
    }
    outcome
}

pub async fn all_killed_at_once(environment: &Environment, _: &mut Rng) -> FaultOutcome {
    let mut cluster = environment.cluster.lock().await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    join_all(cluster.nodes.iter_mut().map(RabbitMq::start_again)).await;
    stream_recovered(environment, &cluster).await
}

/// Raises an alarm on one node, which blocks the publishers on all nodes.
pub async fn memory_alarm(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    let mut cluster = environment.cluster.lock().await;
    let node = &mut cluster.nodes[random_index(rng)];
    node.set_memory_watermark(0.000_000_1).await;
    hold_for(6).await;
    node.set_memory_watermark(0.4).await;
    FaultOutcome::default()
}

/// Kills a replica during an alarm. Only messages that it has not confirmed may be lost.
pub async fn memory_alarm_and_replica_killed(
    environment: &Environment,
    rng: &mut Rng,
) -> FaultOutcome {
    let mut cluster = environment.cluster.lock().await;
    let node = &mut cluster.nodes[random_index(rng)];
    node.set_memory_watermark(0.000_000_1).await;
    hold_for(4).await;
    join_all(environment.replicas_at(random_index(rng)).map(async |managed| {
        let mut replica = managed.replica.lock().await;
        replica.kill();
        managed.start_again(&mut replica).await;
    }))
    .await;
    node.set_memory_watermark(0.4).await;
    FaultOutcome::default()
}

pub async fn disk_alarm(environment: &Environment, rng: &mut Rng) -> FaultOutcome {
    let cluster = environment.cluster.lock().await;
    let node = &cluster.nodes[random_index(rng)];
    node.ctl(&["set_disk_free_limit", "500GB"]).await;
    hold_for(6).await;
    node.ctl(&["set_disk_free_limit", "50MB"]).await;
    FaultOutcome::default()
}

/// Changes the password of the replicas' user, and closes its connections.
pub async fn credentials_revoked(environment: &Environment, _: &mut Rng) -> FaultOutcome {
    let cluster = environment.cluster.lock().await;
    let node = &cluster.nodes[0];
    node.ctl(&["change_password", USER, "another"]).await;
    node.ctl(&["close_all_user_connections", USER, "revoked"]).await;
    hold_for(6).await;
    node.ctl(&["change_password", USER, &environment.password]).await;
    FaultOutcome::default()
}

pub async fn connections_closed(environment: &Environment, _: &mut Rng) -> FaultOutcome {
    let cluster = environment.cluster.lock().await;
    for _ in 0..3 {
        cluster.nodes[0].ctl(&["close_all_user_connections", USER, "maintenance"]).await;
        hold_for(1).await;
    }
    FaultOutcome::default()
}

/// Fills the disk of the node that leads the stream, and frees it after a while.
pub async fn disk_full(environment: &Environment, _: &mut Rng) -> FaultOutcome {
    let mut cluster = environment.cluster.lock().await;
    let leader = cluster.leader_of(&environment.log().stream()).await;
    let node = &mut cluster.nodes[leader];
    node.fill_disk();
    hold_for(8).await;
    node.free_disk();
    // The node may have stopped by itself or not.
    node.kill();
    node.start_again().await;
    stream_recovered(environment, &cluster).await
}
