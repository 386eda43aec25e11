//! What happens to the ways of one replica, the same in both houses: to the nodes, and from the load
//! balancer, which does not see it, as it asks for readiness elsewhere.

use super::{Finding, any_seat, lasts};
use crate::seat::Seat;
use crate::world::{SEATS, World};
use fastrand::Rng;
use futures_util::future::join_all;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};
use warren_testkit::LIMIT;
use warren_testkit::process::POLL;
use warren_testkit::proxy::Passing;

/// In which a connection to a node that does not answer is to be given up.
const NOTICED: Duration = Duration::from_secs(15);
/// Bytes a second.
const SLOW: usize = 20_000;

pub async fn broker_cut(world: &World, rng: &mut Rng) -> Finding {
    all_nodes(world, rng, Passing::Cut, 5).await
}

pub async fn broker_slow(world: &World, rng: &mut Rng) -> Finding {
    all_nodes(world, rng, Passing::Slowly(SLOW), 8).await
}

pub async fn broker_all_black_holed(world: &World, rng: &mut Rng) -> Finding {
    all_nodes(world, rng, Passing::Nothing, 20).await
}

async fn all_nodes(world: &World, rng: &mut Rng, passing: Passing, seconds: u64) -> Finding {
    let pair = world.pair(any_seat(rng));
    for seat in pair {
        seat.let_nodes(passing);
    }
    lasts(seconds).await;
    for seat in pair {
        seat.let_nodes(Passing::All);
    }
    Finding::default()
}

pub async fn broker_black_holed(world: &World, rng: &mut Rng) -> Finding {
    one_node(world, rng, Passing::Nothing).await
}

pub async fn broker_only_up(world: &World, rng: &mut Rng) -> Finding {
    one_node(world, rng, Passing::OnlyUp).await
}

pub async fn broker_only_down(world: &World, rng: &mut Rng) -> Finding {
    one_node(world, rng, Passing::OnlyDown).await
}

/// The way to the node that the replica publishes to, until it publishes to another one.
async fn one_node(world: &World, rng: &mut Rng, passing: Passing) -> Finding {
    let pair = world.pair(any_seat(rng));
    let mut broken = Vec::new();
    for seat in pair {
        let name = format!("warren {} publish", seat.name);
        let publishes = async {
            loop {
                // It may be looking for one just now.
                if let Some(node) = world.cluster.lock().await.try_node_of(&name).await {
                    break node;
                }
                sleep(POLL).await;
            }
        };
        broken.push((seat, timeout(LIMIT, publishes).await.expect("it publishes somewhere")));
    }
    let noticed = join_all(broken.into_iter().map(async |(seat, node)| {
        let noticed = gives_up(seat, node, passing).await;
        // Somebody else has come there meanwhile, or not.
        lasts(3).await;
        seat.to_nodes[node].lets(Passing::All);
        noticed
    }))
    .await;
    let longest = noticed.into_iter().max().unwrap_or_default();
    Finding { noticed: Some((longest, NOTICED)), ..Finding::default() }
}

/// Breaks the way; how long it takes until the replica publishes no more through it.
async fn gives_up(seat: &Rc<Seat>, node: usize, passing: Passing) -> Duration {
    let series = "warren_amqp_reconnects_total{role=\"publish\"}";
    let before = seat.metric(series).await;
    assert!(node < SEATS);
    let began = Instant::now();
    seat.to_nodes[node].lets(passing);
    seat.rises(series, before, 4 * NOTICED).await;
    began.elapsed()
}

pub async fn clients_cut(world: &World, rng: &mut Rng) -> Finding {
    clients(world, rng, Passing::Cut).await
}

pub async fn clients_slow(world: &World, rng: &mut Rng) -> Finding {
    clients(world, rng, Passing::Slowly(SLOW)).await
}

pub async fn clients_black_holed(world: &World, rng: &mut Rng) -> Finding {
    clients(world, rng, Passing::Nothing).await
}

pub async fn clients_only_up(world: &World, rng: &mut Rng) -> Finding {
    clients(world, rng, Passing::OnlyUp).await
}

pub async fn clients_only_down(world: &World, rng: &mut Rng) -> Finding {
    clients(world, rng, Passing::OnlyDown).await
}

async fn clients(world: &World, rng: &mut Rng, passing: Passing) -> Finding {
    let pair = world.pair(any_seat(rng));
    for seat in pair {
        seat.from_balancer.lets(passing);
    }
    lasts(8).await;
    for seat in pair {
        seat.from_balancer.lets(Passing::All);
    }
    Finding::default()
}
