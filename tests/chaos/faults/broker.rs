//! What happens to RabbitMQ's nodes.

use super::{Finding, any_seat, lasts};
use crate::world::{USER, World};
use fastrand::Rng;
use futures_util::future::join_all;
use warren_testkit::cluster::Cluster;
use warren_testkit::rabbitmq::RabbitMq;

/// Has the log whole again, as docs/operations.md says.
async fn mended(world: &World, cluster: &Cluster) -> Finding {
    let stream = world.log().stream();
    let reminded = !cluster.finds_leader(&stream).await;
    if reminded {
        cluster.note_leader(&stream).await;
    }
    world.log().has_members(cluster).await;
    Finding { reminded, ..Finding::default() }
}

pub async fn killed(world: &World, rng: &mut Rng) -> Finding {
    let mut cluster = world.cluster.lock().await;
    let node = any_seat(rng);
    kill(&mut cluster, node).await;
    mended(world, &cluster).await
}

pub async fn leader_killed(world: &World, _: &mut Rng) -> Finding {
    let mut cluster = world.cluster.lock().await;
    let leader = cluster.leader_of(&world.log().stream()).await;
    kill(&mut cluster, leader).await;
    mended(world, &cluster).await
}

async fn kill(cluster: &mut Cluster, node: usize) {
    cluster.nodes[node].kill();
    lasts(3).await;
    cluster.nodes[node].start_again().await;
}

/// There, and not answering.
pub async fn stopped(world: &World, rng: &mut Rng) -> Finding {
    let mut cluster = world.cluster.lock().await;
    let node = any_seat(rng);
    cluster.nodes[node].freeze(true);
    lasts(15).await;
    cluster.nodes[node].freeze(false);
    mended(world, &cluster).await
}

pub async fn restarted(world: &World, rng: &mut Rng) -> Finding {
    let mut cluster = world.cluster.lock().await;
    let node = &mut cluster.nodes[any_seat(rng)];
    node.stop().await;
    node.start_again().await;
    mended(world, &cluster).await
}

pub async fn restarted_one_by_one(world: &World, _: &mut Rng) -> Finding {
    let mut cluster = world.cluster.lock().await;
    let mut finding = Finding::default();
    for node in 0..cluster.nodes.len() {
        cluster.nodes[node].stop().await;
        cluster.nodes[node].start_again().await;
        finding.reminded |= mended(world, &cluster).await.reminded;
    }
    finding
}

pub async fn killed_at_once(world: &World, _: &mut Rng) -> Finding {
    let mut cluster = world.cluster.lock().await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    join_all(cluster.nodes.iter_mut().map(RabbitMq::start_again)).await;
    mended(world, &cluster).await
}

/// One node's alarm blocks the publishers of all.
pub async fn memory_alarm(world: &World, rng: &mut Rng) -> Finding {
    let mut cluster = world.cluster.lock().await;
    let node = &mut cluster.nodes[any_seat(rng)];
    node.set_memory_watermark(0.000_000_1).await;
    lasts(6).await;
    node.set_memory_watermark(0.4).await;
    Finding::default()
}

/// What its publishers were not told of by then may be gone with it; nothing else.
pub async fn killed_in_an_alarm(world: &World, rng: &mut Rng) -> Finding {
    let mut cluster = world.cluster.lock().await;
    let node = &mut cluster.nodes[any_seat(rng)];
    node.set_memory_watermark(0.000_000_1).await;
    lasts(4).await;
    join_all(world.pair(any_seat(rng)).map(async |seat| {
        let mut replica = seat.replica.lock().await;
        replica.kill();
        seat.start_again(&mut replica).await;
    }))
    .await;
    node.set_memory_watermark(0.4).await;
    Finding::default()
}

pub async fn disk_alarm(world: &World, rng: &mut Rng) -> Finding {
    let cluster = world.cluster.lock().await;
    let node = &cluster.nodes[any_seat(rng)];
    node.ctl(&["set_disk_free_limit", "500GB"]).await;
    lasts(6).await;
    node.ctl(&["set_disk_free_limit", "50MB"]).await;
    Finding::default()
}

/// The replicas' user has another password, and all of its connections are closed.
pub async fn credentials_revoked(world: &World, _: &mut Rng) -> Finding {
    let cluster = world.cluster.lock().await;
    let node = &cluster.nodes[0];
    node.ctl(&["change_password", USER, "another"]).await;
    node.ctl(&["close_all_user_connections", USER, "revoked"]).await;
    lasts(6).await;
    node.ctl(&["change_password", USER, &world.password]).await;
    Finding::default()
}

pub async fn connections_closed(world: &World, _: &mut Rng) -> Finding {
    let cluster = world.cluster.lock().await;
    for _ in 0..3 {
        cluster.nodes[0].ctl(&["close_all_user_connections", USER, "maintenance"]).await;
        lasts(1).await;
    }
    Finding::default()
}

/// The disk of the node that leads the stream takes nothing more, for a while.
pub async fn disk_full(world: &World, _: &mut Rng) -> Finding {
    let mut cluster = world.cluster.lock().await;
    let leader = cluster.leader_of(&world.log().stream()).await;
    let node = &mut cluster.nodes[leader];
    node.fill_disk();
    lasts(8).await;
    node.free_disk();
    // It may or may not have ended itself.
    node.kill();
    node.start_again().await;
    mended(world, &cluster).await
}
