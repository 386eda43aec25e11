//! Everything that is broken. Each fault breaks something, lets that be for a while, and mends what
//! does not mend itself; whether everybody gets over it is for others to see.

mod broker;
mod clients;
mod network;
mod replicas;
mod topology;

use crate::world::World;
use fastrand::Rng;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use std::time::Duration;
use tokio::time::sleep;

/// What was found while the fault lasted.
#[derive(Default)]
pub struct Finding {
    /// How long it took until it was noticed, and how long it may take.
    pub noticed: Option<(Duration, Duration)>,
    /// RabbitMQ went on to name a leader that is gone, and was helped.
    pub reminded: bool,
    pub wrong: Option<String>,
}

/// What a fault happens to. Two that overlap are of different subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Replica,
    Broker,
    Network,
    Client,
}

/// What nobody can promise while something is broken.
#[derive(Clone, Copy)]
pub struct Excuses {
    /// What clients have not heard yet may be gone from the log with it.
    pub destroys: bool,
    /// Nobody can be answered, where it breaks.
    pub cuts: bool,
}

impl Excuses {
    /// Those of several faults.
    pub fn of(faults: &[&Fault]) -> Self {
        let any = |of: fn(&Self) -> bool| faults.iter().any(|fault| of(&fault.excuses));
        Self { destroys: any(|it| it.destroys), cuts: any(|it| it.cuts) }
    }
}

pub struct Fault {
    pub name: &'static str,
    pub subject: Subject,
    pub excuses: Excuses,
    /// It is one of those that every test run tries.
    pub selected: bool,
    run: for<'a> fn(&'a World, &'a mut Rng) -> LocalBoxFuture<'a, Finding>,
}

impl Fault {
    pub async fn run(&self, world: &World, rng: &mut Rng) -> Finding {
        (self.run)(world, rng).await
    }

    const fn selected(mut self) -> Self {
        self.selected = true;
        self
    }

    const fn cuts(mut self) -> Self {
        self.excuses.cuts = true;
        self
    }

    const fn destroys(mut self) -> Self {
        self.excuses.destroys = true;
        self
    }
}

macro_rules! fault {
    ($name:expr, $subject:ident, $run:expr) => {
        Fault {
            name: $name,
            subject: Subject::$subject,
            excuses: Excuses { destroys: false, cuts: false },
            selected: false,
            run: |world, rng| $run(world, rng).boxed_local(),
        }
    };
}

/// The one for which nodes need disks of their own.
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
    fault!("many clients reconnect at once", Client, clients::crowd),
];

/// How long something stays broken.
async fn lasts(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

/// One of the seats.
fn any_seat(rng: &mut Rng) -> usize {
    rng.usize(..crate::world::SEATS)
}
