//! The faults. Each injects a failure, waits, and repairs what does not recover by itself. The effects are
//! observed elsewhere.

mod broker;
mod clients;
mod network;
mod replicas;
mod topology;

use crate::environment::Environment;
use crate::replica_set::REPLICAS;
use fastrand::Rng;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use std::time::Duration;
use tokio::time::sleep;

/// Observations during a fault.
#[derive(Default)]
pub struct FaultOutcome {
    /// Time until the fault was detected, and the limit for it.
    pub detection: Option<(Duration, Duration)>,
    /// RabbitMQ continued to name a leader of the stream that no longer exists, and was made to update it.
    pub leader_updated: bool,
    /// The first violation of a guarantee.
    pub violation: Option<String>,
}

/// The part of the system that a fault affects. Faults that overlap affect different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    Replica,
    Broker,
    Network,
    Client,
}

/// Exceptions from the guarantees during a fault.
#[derive(Clone, Copy)]
pub struct Tolerance {
    /// Messages that clients have not received may be lost with the log.
    pub log_loss: bool,
    /// Clients may receive no answer.
    pub no_answer: bool,
}

impl Tolerance {
    /// The exceptions of several faults together.
    pub fn of(faults: &[&Fault]) -> Self {
        let any = |of: fn(&Self) -> bool| faults.iter().any(|fault| of(&fault.tolerance));
        Self {
            log_loss: any(|tolerance| tolerance.log_loss),
            no_answer: any(|tolerance| tolerance.no_answer),
        }
    }
}

pub struct Fault {
    pub name: &'static str,
    pub component: Component,
    pub tolerance: Tolerance,
    /// Part of the selection in `make test`.
    pub selected: bool,
    run: for<'a> fn(&'a Environment, &'a mut Rng) -> LocalBoxFuture<'a, FaultOutcome>,
}

impl Fault {
    pub async fn run(&self, environment: &Environment, rng: &mut Rng) -> FaultOutcome {
        (self.run)(environment, rng).await
    }

    const fn selected(mut self) -> Self {
        self.selected = true;
        self
    }

    const fn tolerates_no_answer(mut self) -> Self {
        self.tolerance.no_answer = true;
        self
    }

    const fn tolerates_log_loss(mut self) -> Self {
        self.tolerance.log_loss = true;
        self
    }
}

macro_rules! fault {
    ($name:expr, $component:ident, $run:expr) => {
        Fault {
            name: $name,
            component: Component::$component,
            tolerance: Tolerance { log_loss: false, no_answer: false },
            selected: false,
            run: |environment, rng| $run(environment, rng).boxed_local(),
        }
    };
}

/// The fault for which nodes need small disks.
pub const DISK_FULL: &str = "disk full";

pub static FAULTS: &[Fault] = &[
    fault!("replica killed", Replica, replicas::killed).selected(),
    fault!("replica stopped for 8 s", Replica, replicas::stopped).tolerates_no_answer(),
    fault!("replica drained", Replica, replicas::drained).selected(),
    fault!("replica without free files", Replica, replicas::without_free_files)
        .tolerates_no_answer(),
    fault!("replica's clock stepped", Replica, replicas::clock_stepped),
    fault!("node killed", Broker, broker::killed),
    fault!("node stopped for 15 s", Broker, broker::stopped),
    fault!("node restarted", Broker, broker::restarted),
    fault!("nodes restarted one by one", Broker, broker::restarted_one_by_one),
    fault!("all nodes killed at once", Broker, broker::all_killed_at_once),
    fault!("stream's leader killed", Broker, broker::leader_killed).selected(),
    fault!("memory alarm", Broker, broker::memory_alarm).selected(),
    fault!("memory alarm, replica killed", Broker, broker::memory_alarm_and_replica_killed),
    fault!("disk alarm", Broker, broker::disk_alarm),
    fault!(DISK_FULL, Broker, broker::disk_full),
    fault!("credentials revoked", Broker, broker::credentials_revoked),
    fault!("connections closed by RabbitMQ", Broker, broker::connections_closed).selected(),
    fault!("consumer cancelled", Broker, topology::consumer_cancelled),
    fault!("binding deleted", Broker, topology::binding_deleted),
    fault!("queue deleted", Broker, topology::queue_deleted),
    fault!("exchange deleted", Broker, topology::exchange_deleted),
    fault!("stream deleted", Broker, topology::stream_deleted).tolerates_log_loss(),
    fault!("20,000 malformed messages", Broker, topology::malformed_messages),
    fault!("RabbitMQ: cut", Network, network::broker_cut),
    fault!("RabbitMQ: slow", Network, network::broker_slow).tolerates_no_answer(),
    fault!("RabbitMQ: node black-holed", Network, network::broker_node_black_holed).selected(),
    fault!("RabbitMQ: all black-holed", Network, network::broker_all_black_holed),
    fault!("RabbitMQ: replies dropped", Network, network::broker_replies_dropped),
    fault!("RabbitMQ: requests dropped", Network, network::broker_requests_dropped).selected(),
    fault!("clients: cut", Network, network::clients_cut).tolerates_no_answer(),
    fault!("clients: slow", Network, network::clients_slow).tolerates_no_answer(),
    fault!("clients: black-holed", Network, network::clients_black_holed).tolerates_no_answer(),
    fault!("clients: replies dropped", Network, network::clients_replies_dropped)
        .tolerates_no_answer(),
    fault!("clients: requests dropped", Network, network::clients_requests_dropped)
        .tolerates_no_answer(),
    fault!("clients that never read", Client, clients::never_read),
    fault!("clients that read a byte a second", Client, clients::read_slowly),
    fault!("incomplete frames and garbage", Client, clients::garbage),
    fault!("incomplete handshakes", Client, clients::incomplete_handshakes).selected(),
    fault!("messages beyond the limits", Client, clients::beyond_limits),
    fault!("many clients reconnect at once", Client, clients::reconnect_at_once),
];

/// Waits while a fault lasts.
async fn hold_for(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

/// The index of a random replica or node.
fn random_index(rng: &mut Rng) -> usize {
    rng.usize(..REPLICAS)
}
