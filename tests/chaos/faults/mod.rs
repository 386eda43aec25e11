//! The faults. Each breaks something, waits, and repairs what does not recover by itself. `run` verifies the recovery.

mod broker;
mod clients;
mod network;
mod replicas;
mod topology;

use crate::system::System;
use fastrand::Rng;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use std::time::Duration;
use tokio::time::sleep;

/// Results of a fault itself.
#[derive(Default)]
pub struct FaultOutcome {
    /// Time until it was detected, and the limit of that time.
    pub detected: Option<(Duration, Duration)>,
    /// True if RabbitMQ named a leader that was gone until it was made to record the new one.
    pub leader_recorded: bool,
    pub wrong: Option<String>,
}

/// Part of the system that a fault breaks. Overlapping faults break different parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Replica,
    Broker,
    Network,
    Client,
}

/// Promises that cannot be kept during a fault.
#[derive(Clone, Copy)]
pub struct Exemptions {
    /// Messages that subscribers have not received yet may be lost with the log.
    pub destroys: bool,
    /// Clients may get no answer.
    pub cuts: bool,
}

impl Exemptions {
    /// The exemptions of several faults.
    pub fn of(faults: &[&Fault]) -> Self {
        let any = |of: fn(&Self) -> bool| faults.iter().any(|fault| of(&fault.exemptions));
        Self { destroys: any(|it| it.destroys), cuts: any(|it| it.cuts) }
    }
}

pub struct Fault {
    pub name: &'static str,
    pub subject: Subject,
    pub exemptions: Exemptions,
    /// True if `make test` runs it.
    pub selected: bool,
    run: for<'a> fn(&'a System, &'a mut Rng) -> LocalBoxFuture<'a, FaultOutcome>,
}

impl Fault {
    pub async fn run(&self, system: &System, rng: &mut Rng) -> FaultOutcome {
        (self.run)(system, rng).await
    }

    const fn selected(mut self) -> Self {
        self.selected = true;
        self
    }

    const fn cuts(mut self) -> Self {
        self.exemptions.cuts = true;
        self
    }

    const fn destroys(mut self) -> Self {
        self.exemptions.destroys = true;
        self
    }
}

macro_rules! fault {
    ($name:expr, $subject:ident, $run:expr) => {
        Fault {
            name: $name,
            subject: Subject::$subject,
            exemptions: Exemptions { destroys: false, cuts: false },
            selected: false,
            run: |system, rng| $run(system, rng).boxed_local(),
        }
    };
}

/// The fault for which nodes need disks of their own.
pub const DISK_FULL: &str = "disk full";

pub static FAULTS: &[Fault] = &[
    fault!("replica killed", Replica, replicas::killed).selected(),
    fault!("replica stopped for 8 s", Replica, replicas::stopped).cuts(),
    fault!("replica drained", Replica, replicas::drained).selected(),
    fault!("replica without free files", Replica, replicas::without_files).cuts(),
    fault!("replica's clock stepped", Replica, replicas::clock_stepped),
    fault!("node killed", Broker, broker::killed),
    fault!("node stopped for 15 s", Broker, broker::stopped),
    fault!("node restarted", Broker, broker::restarted),
    fault!("nodes restarted one by one", Broker, broker::restarted_one_by_one),
    fault!("all nodes killed at once", Broker, broker::killed_at_once),
    fault!("stream's leader killed", Broker, broker::leader_killed).selected(),
    fault!("memory alarm", Broker, broker::memory_alarm).selected(),
    fault!("memory alarm, replica killed", Broker, broker::killed_in_an_alarm),
    fault!("disk alarm", Broker, broker::disk_alarm),
    fault!(DISK_FULL, Broker, broker::disk_full),
    fault!("credentials revoked", Broker, broker::credentials_revoked),
    fault!("connections closed by RabbitMQ", Broker, broker::connections_closed).selected(),
    fault!("consumer cancelled", Broker, topology::consumer_cancelled),
    fault!("binding deleted", Broker, topology::binding_deleted),
    fault!("queue deleted", Broker, topology::queue_deleted),
    fault!("exchange deleted", Broker, topology::exchange_deleted),
    fault!("stream deleted", Broker, topology::stream_deleted).destroys(),
    fault!("20,000 malformed messages", Broker, topology::malformed),
    fault!("RabbitMQ: cut", Network, network::broker_cut),
    fault!("RabbitMQ: slow", Network, network::broker_slow).cuts(),
    fault!("RabbitMQ: node black-holed", Network, network::broker_black_holed).selected(),
    fault!("RabbitMQ: all black-holed", Network, network::broker_all_black_holed),
    fault!("RabbitMQ: replies dropped", Network, network::broker_only_up),
    fault!("RabbitMQ: requests dropped", Network, network::broker_only_down).selected(),
    fault!("clients: cut", Network, network::clients_cut).cuts(),
    fault!("clients: slow", Network, network::clients_slow).cuts(),
    fault!("clients: black-holed", Network, network::clients_black_holed).cuts(),
    fault!("clients: replies dropped", Network, network::clients_only_up).cuts(),
    fault!("clients: requests dropped", Network, network::clients_only_down).cuts(),
    fault!("clients that never read", Client, clients::never_read),
    fault!("clients that read a byte a second", Client, clients::read_slowly),
    fault!("incomplete frames and garbage", Client, clients::garbage),
    fault!("incomplete handshakes", Client, clients::handshakes).selected(),
    fault!("messages beyond the limits", Client, clients::too_large),
    fault!("many clients reconnect at once", Client, clients::reconnect),
];

/// Waits while something is broken.
async fn wait_seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

/// A random replica.
fn any_slot(rng: &mut Rng) -> usize {
    rng.usize(..crate::system::REPLICAS)
}
