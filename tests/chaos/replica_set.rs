//! Three replicas of one delivery mode behind a load balancer, with their publishers and followers.

use crate::followers::{self, FOLLOWERS, follow};
use crate::ledger::{DeliveryMode, Ledger};
use crate::managed_replica::ManagedReplica;
use crate::publishers::{self, PUBLISHERS};
use fastrand::Rng;
use futures_util::future::join_all;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};
use warren_testkit::LIMIT;
use warren_testkit::cluster::Cluster;
use warren_testkit::haproxy::HaProxy;
use warren_testkit::process::POLL;

/// Replicas of a set, and nodes of the cluster.
pub const REPLICAS: usize = 3;

pub struct ReplicaSet {
    pub exchange: String,
    pub replicas: Vec<Rc<ManagedReplica>>,
    pub ledger: Rc<Ledger>,
    balancer: HaProxy,
}

impl ReplicaSet {
    pub async fn start(delivery_mode: DeliveryMode, cluster: &Cluster, password: &str) -> Self {
        let name = format!("{delivery_mode:?}").to_lowercase();
        let exchange = format!("messages-{name}");
        let replicas = (0..REPLICAS).map(|n| {
            let (name, exchange) = (format!("{name}-{n}"), exchange.clone());
            async move {
                Rc::new(
                    ManagedReplica::start(&name, delivery_mode, &exchange, cluster, n, password)
                        .await,
                )
            }
        });
        let replicas = join_all(replicas).await;
        let backends: Vec<_> = replicas
            .iter()
            .map(|replica| (replica.balancer_proxy.addr, replica.admin_addr))
            .collect();
        let balancer = HaProxy::start(&backends).await;
        for replica in &replicas {
            spawn_local(replica.clone().monitor());
        }
        Self { exchange, replicas, ledger: Rc::new(Ledger::new(delivery_mode)), balancer }
    }

    /// Starts the followers, and then the publishers.
    pub async fn start_clients(&self, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        let connected = Rc::new(watch::Sender::new(0));
        let mut expected = 0;
        for transport in FOLLOWERS {
            if followers::is_supported(self.ledger.delivery_mode, transport) {
                let (ledger, rng) = (self.ledger.clone(), rng.fork());
                spawn_local(follow(ledger, transport, self.addr(), rng, connected.clone()));
                expected += 1;
            }
        }
        let all = connected.subscribe().wait_for(|connected| *connected == expected).await.is_ok();
        assert!(all, "all followers connect");
        for kind in PUBLISHERS {
            let (ledger, rng) = (self.ledger.clone(), rng.fork());
            spawn_local(publishers::publish(ledger, kind, self.addr(), rng));
        }
        self.ledger.confirms(20).await;
    }

    /// The address of the load balancer, to which clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.balancer.addr()
    }

    /// The name of the stream that the set reads with `log`.
    pub fn stream(&self) -> String {
        format!("{}.log", self.exchange)
    }

    /// Waits until all replicas are ready and every follower has received one of the markers that are
    /// published then. Returns the numbers that were confirmed before the first marker.
    pub async fn recovered(&self) -> Result<Vec<usize>, String> {
        for replica in &self.replicas {
            while !replica.is_ready() {
                sleep(POLL).await;
            }
        }
        let confirmed = self.ledger.take_confirmed();
        let mut missing: Vec<_> = (0..self.ledger.followers()).collect();
        let mut markers = Vec::new();
        while !missing.is_empty() {
            // Several, because with `live` a marker may be lost.
            markers.push(publishers::publish_marker(&self.ledger, self.addr()).await);
            let until = Instant::now() + Duration::from_secs(1);
            while !missing.is_empty() && Instant::now() < until {
                missing.retain(|follower| {
                    !markers.iter().any(|marker| self.ledger.has_received(*follower, *marker))
                });
                sleep(POLL).await;
            }
        }
        Ok(confirmed)
    }

    /// The replicas that are not ready, and the time since each follower received something, for an error.
    pub fn describe(&self) -> String {
        let unready = self.replicas.iter().filter(|replica| !replica.is_ready());
        let unready: String =
            unready.map(|replica| format!("{} is not ready; ", replica.name)).collect();
        unready + &self.ledger.describe_followers()
    }

    /// Waits until the stream has all of its members.
    pub async fn has_members(&self, cluster: &Cluster) {
        let members = timeout(LIMIT, cluster.has_all_members(&self.stream())).await;
        assert!(members.is_ok(), "the stream has all of its members");
    }
}
