//! The system under test: three RabbitMQ nodes and two deployments of three replicas, one for each delivery mode, with
//! a load balancer, publishers and subscribers.

use crate::ledger::{DeliveryMode, Ledger};
use crate::publishers;
use crate::replica_slot::ReplicaSlot;
use crate::subscribers::{self, follow};
use fastrand::Rng;
use futures_util::future::join_all;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};
use warren_testkit::LIMIT;
use warren_testkit::cluster::Cluster;
use warren_testkit::haproxy::HaProxy;
use warren_testkit::process::POLL;

pub const REPLICAS: usize = 3;
/// Interval of the replicas' canaries.
pub const CANARY: Duration = Duration::from_secs(2);
/// Time limit of a recovery.
const RECOVERY: Duration = Duration::from_secs(150);
/// RabbitMQ user of the replicas.
pub const USER: &str = "warren";

pub struct System {
    /// Locked by the fault that breaks it.
    pub cluster: Mutex<Cluster>,
    pub deployments: [Deployment; 2],
    /// Password of the replicas' user.
    pub password: String,
}

pub struct Deployment {
    pub exchange: String,
    pub slots: Vec<Rc<ReplicaSlot>>,
    pub ledger: Rc<Ledger>,
    balancer: HaProxy,
}

impl System {
    /// Builds everything, and waits until all subscribers are connected and numbers are published.
    ///
    /// Nodes whose disks are to be filled need `small_disks`, and root.
    pub async fn build(seed: u64, small_disks: bool) -> Self {
        let cluster = match small_disks {
            true => Cluster::on_small_disks().await,
            false => Cluster::start().await,
        };
        let password = format!("correct-horse-{seed:x}");
        let admin = &cluster.nodes[0];
        admin.ctl(&["add_user", USER, &password]).await;
        admin.ctl(&["set_permissions", USER, ".*", ".*", ".*"]).await;
        let deployments = [
            Deployment::build(DeliveryMode::Log, &cluster, &password).await,
            Deployment::build(DeliveryMode::Live, &cluster, &password).await,
        ];
        cluster.has_all_members(&deployments[0].stream()).await;
        for (deployment, n) in deployments.iter().zip(1..) {
            deployment.add_clients(seed ^ n).await;
        }
        Self { cluster: Mutex::new(cluster), deployments, password }
    }

    pub fn log(&self) -> &Deployment {
        &self.deployments[0]
    }

    pub fn live(&self) -> &Deployment {
        &self.deployments[1]
    }

    /// All replicas of both deployments.
    pub fn slots(&self) -> impl Iterator<Item = &Rc<ReplicaSlot>> {
        self.deployments.iter().flat_map(|deployment| &deployment.slots)
    }

    /// The replica with this number in each deployment.
    pub fn pair(&self, slot: usize) -> [&Rc<ReplicaSlot>; 2] {
        [&self.deployments[0].slots[slot], &self.deployments[1].slots[slot]]
    }

    /// Resumes from the log, counted by the replicas that run now.
    pub async fn replays(&self) -> f64 {
        let series = "warren_resumes_total{outcome=\"log\"}";
        join_all(self.log().slots.iter().map(|slot| slot.metric(series))).await.iter().sum()
    }

    /// Waits until every replica is ready and every subscriber has received a number that is published now. Returns the
    /// numbers confirmed before that, by deployment.
    ///
    /// # Errors
    /// Replicas and subscribers that have not recovered in time.
    pub async fn recovers(&self) -> Result<[Vec<usize>; 2], String> {
        for deployment in &self.deployments {
            deployment.ledger.set_calm(true);
        }
        let [log, live] = &self.deployments;
        let closing = async { Ok([log.recovers().await?, live.recovers().await?]) };
        let outcome = timeout(RECOVERY, closing).await.unwrap_or_else(|_| {
            let missing: String = self.deployments.iter().map(Deployment::missing_report).collect();
            Err(format!("not recovered after {RECOVERY:?}: {missing}"))
        });
        for deployment in &self.deployments {
            deployment.ledger.set_calm(false);
        }
        outcome
    }
}

impl Deployment {
    async fn build(delivery_mode: DeliveryMode, cluster: &Cluster, password: &str) -> Self {
        let name = format!("{delivery_mode:?}").to_lowercase();
        let exchange = format!("messages-{name}");
        let slots = (0..REPLICAS).map(|n| {
            let (name, exchange) = (format!("{name}-{n}"), exchange.clone());
            async move {
                Rc::new(
                    ReplicaSlot::start(&name, delivery_mode, &exchange, cluster, n, password).await,
                )
            }
        });
        let slots = join_all(slots).await;
        let backends: Vec<_> =
            slots.iter().map(|slot| (slot.from_balancer.addr, slot.admin)).collect();
        let balancer = HaProxy::start(&backends).await;
        for slot in &slots {
            spawn_local(slot.clone().watch());
        }
        Self { exchange, slots, ledger: Rc::new(Ledger::new(delivery_mode)), balancer }
    }

    /// Adds subscribers, and then publishers.
    async fn add_clients(&self, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        let here = Rc::new(watch::Sender::new(0));
        let mut expected = 0;
        for transport in subscribers::TRANSPORTS {
            if subscribers::reads(self.ledger.delivery_mode, transport) {
                let (ledger, rng) = (self.ledger.clone(), rng.fork());
                spawn_local(follow(ledger, transport, self.addr(), rng, here.clone()));
                expected += 1;
            }
        }
        let all_here = here.subscribe().wait_for(|here| *here == expected).await.is_ok();
        assert!(all_here, "all subscribers connect");
        for kind in publishers::KINDS {
            let (ledger, rng) = (self.ledger.clone(), rng.fork());
            spawn_local(publishers::publish(ledger, kind, self.addr(), rng));
        }
        self.ledger.await_confirms(20).await;
    }

    /// Address for clients.
    pub fn addr(&self) -> SocketAddr {
        self.balancer.addr()
    }

    pub fn stream(&self) -> String {
        format!("{}.log", self.exchange)
    }

    /// Waits until all replicas are ready, and all subscribers have one of the numbers published then. Returns the
    /// numbers confirmed before the first of these.
    async fn recovers(&self) -> Result<Vec<usize>, String> {
        for slot in &self.slots {
            while !slot.is_ready() {
                sleep(POLL).await;
            }
        }
        let confirmed = self.ledger.take_confirmed();
        let mut missing: Vec<_> = (0..self.ledger.subscribers()).collect();
        let mut markers = Vec::new();
        while !missing.is_empty() {
            // With `live` a number may be lost, so several are published.
            markers.push(publishers::publish_marker(&self.ledger, self.addr()).await);
            let until = Instant::now() + Duration::from_secs(1);
            while !missing.is_empty() && Instant::now() < until {
                missing.retain(|one| !markers.iter().any(|marker| self.ledger.has(*one, *marker)));
                sleep(POLL).await;
            }
        }
        Ok(confirmed)
    }

    /// For a failure: replicas that are not ready, and the time since each subscriber's last message.
    fn missing_report(&self) -> String {
        let unready = self.slots.iter().filter(|slot| !slot.is_ready());
        let unready: String = unready.map(|slot| format!("{} is not ready; ", slot.name)).collect();
        unready + &self.ledger.silence_report()
    }

    /// Waits until the stream has all of its members.
    pub async fn has_members(&self, cluster: &Cluster) {
        assert!(
            timeout(LIMIT, cluster.has_all_members(&self.stream())).await.is_ok(),
            "all members"
        );
    }
}
