//! The system that faults are injected into: three RabbitMQ nodes, and on them one replica set for each
//! delivery mode.

use crate::ledger::DeliveryMode;
use crate::managed_replica::ManagedReplica;
use crate::replica_set::ReplicaSet;
use futures_util::future::join_all;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;
use warren_testkit::cluster::Cluster;

/// Limit for the recovery after a fault.
const RECOVERY_LIMIT: Duration = Duration::from_secs(150);
/// The replicas' user at RabbitMQ.
pub const USER: &str = "warren";

pub struct Environment {
    /// Locked by a fault while it changes something in the cluster.
    pub cluster: Mutex<Cluster>,
    /// The set with `log`, and the set with `live`.
    pub sets: [ReplicaSet; 2],
    /// The password of the replicas' user.
    pub password: String,
}

impl Environment {
    /// Starts everything, and waits until all followers are connected and numbers are being confirmed.
    ///
    /// A fault that fills a node's disk needs `small_disks`, which need root.
    pub async fn start(seed: u64, small_disks: bool) -> Self {
        let cluster = match small_disks {
            true => Cluster::on_small_disks().await,
            false => Cluster::start().await,
        };
        let password = format!("correct-horse-{seed:x}");
        let admin = &cluster.nodes[0];
        admin.ctl(&["add_user", USER, &password]).await;
        admin.ctl(&["set_permissions", USER, ".*", ".*", ".*"]).await;
        let sets = [
            ReplicaSet::start(DeliveryMode::Log, &cluster, &password).await,
            ReplicaSet::start(DeliveryMode::Live, &cluster, &password).await,
        ];
        cluster.has_all_members(&sets[0].stream()).await;
        for (set, n) in sets.iter().zip(1..) {
            set.start_clients(seed ^ n).await;
        }
        Self { cluster: Mutex::new(cluster), sets, password }
    }

    /// The replica set with delivery mode `log`.
    pub fn log(&self) -> &ReplicaSet {
        &self.sets[0]
    }

    /// The replica set with delivery mode `live`.
    pub fn live(&self) -> &ReplicaSet {
        &self.sets[1]
    }

    /// The replicas of both sets.
    pub fn replicas(&self) -> impl Iterator<Item = &Rc<ManagedReplica>> {
        self.sets.iter().flat_map(|set| &set.replicas)
    }

    /// One replica of each set, at the same index.
    pub fn replicas_at(&self, index: usize) -> [&Rc<ManagedReplica>; 2] {
        [&self.sets[0].replicas[index], &self.sets[1].replicas[index]]
    }

    /// Resumes that were served from the log, as counted by the replicas that run now.
    pub async fn replays(&self) -> f64 {
        let series = "warren_resumes_total{outcome=\"log\"}";
        let replicas = &self.log().replicas;
        join_all(replicas.iter().map(|replica| replica.metric(series))).await.iter().sum()
    }

    /// Waits until every replica is ready and every follower has received a number that was sent after that.
    /// Returns the numbers that were confirmed before, for each set.
    ///
    /// # Errors
    /// Replicas or followers do not recover in time.
    pub async fn recovered(&self) -> Result<[Vec<usize>; 2], String> {
        for set in &self.sets {
            set.ledger.set_stay_connected(true);
        }
        let [log, live] = &self.sets;
        let recovering = async { Ok([log.recovered().await?, live.recovered().await?]) };
        let outcome = timeout(RECOVERY_LIMIT, recovering).await.unwrap_or_else(|_| {
            let state: String = self.sets.iter().map(ReplicaSet::describe).collect();
            Err(format!("not recovered after {RECOVERY_LIMIT:?}: {state}"))
        });
        for set in &self.sets {
            set.ledger.set_stay_connected(false);
        }
        outcome
    }
}
