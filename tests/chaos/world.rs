//! What everything happens to: three RabbitMQ nodes, and two houses of three replicas on them, one for
//! each delivery, with a load balancer, publishers and followers.

use crate::followers::{self, follow};
use crate::ledger::{Delivery, Ledger};
use crate::say;
use crate::seat::Seat;
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

pub const SEATS: usize = 3;
/// How often a replica proves that it hears itself.
pub const CANARY: Duration = Duration::from_secs(2);
/// How long it may take until everybody is whole again.
const WHOLE: Duration = Duration::from_secs(150);
/// Whom the replicas are to RabbitMQ.
pub const USER: &str = "warren";

pub struct World {
    /// Whoever breaks something of it has it for himself.
    pub cluster: Mutex<Cluster>,
    pub houses: [House; 2],
    /// Of the replicas' user.
    pub password: String,
}

pub struct House {
    pub exchange: String,
    pub seats: Vec<Rc<Seat>>,
    pub ledger: Rc<Ledger>,
    balancer: HaProxy,
}

impl World {
    /// Builds everything and waits until all are here and numbers are being said.
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
        let houses = [
            House::build(Delivery::Log, &cluster, &password).await,
            House::build(Delivery::Live, &cluster, &password).await,
        ];
        cluster.whole(&houses[0].stream()).await;
        for (house, n) in houses.iter().zip(1..) {
            house.people(seed ^ n).await;
        }
        Self { cluster: Mutex::new(cluster), houses, password }
    }

    pub fn log(&self) -> &House {
        &self.houses[0]
    }

    pub fn live(&self) -> &House {
        &self.houses[1]
    }

    /// All seats of both houses.
    pub fn seats(&self) -> impl Iterator<Item = &Rc<Seat>> {
        self.houses.iter().flat_map(|house| &house.seats)
    }

    /// One seat of each house, the same.
    pub fn pair(&self, seat: usize) -> [&Rc<Seat>; 2] {
        [&self.houses[0].seats[seat], &self.houses[1].seats[seat]]
    }

    /// Followers that got from the log what they missed, of the replicas that run now.
    pub async fn replays(&self) -> f64 {
        let series = "warren_resumes_total{outcome=\"log\"}";
        join_all(self.log().seats.iter().map(|seat| seat.metric(series))).await.iter().sum()
    }

    /// Waits until every replica is ready and every follower has heard what is said now. What was
    /// confirmed before, by house.
    ///
    /// # Errors
    /// Who is not whole in time.
    pub async fn whole(&self) -> Result<[Vec<usize>; 2], String> {
        for house in &self.houses {
            house.ledger.set_calm(true);
        }
        let [log, live] = &self.houses;
        let closing = async { Ok([log.close().await?, live.close().await?]) };
        let outcome = timeout(WHOLE, closing).await.unwrap_or_else(|_| {
            let missing: String = self.houses.iter().map(House::who_misses).collect();
            Err(format!("not whole after {WHOLE:?}: {missing}"))
        });
        for house in &self.houses {
            house.ledger.set_calm(false);
        }
        outcome
    }
}

impl House {
    async fn build(delivery: Delivery, cluster: &Cluster, password: &str) -> Self {
        let name = format!("{delivery:?}").to_lowercase();
        let exchange = format!("messages-{name}");
        let seats =
            (0..SEATS).map(|n| {
                let (name, exchange) = (format!("{name}-{n}"), exchange.clone());
                async move {
                    Rc::new(Seat::take(&name, delivery, &exchange, cluster, n, password).await)
                }
            });
        let seats = join_all(seats).await;
        let backends: Vec<_> =
            seats.iter().map(|seat| (seat.from_balancer.addr, seat.admin)).collect();
        let balancer = HaProxy::start(&backends).await;
        for seat in &seats {
            spawn_local(seat.clone().watch());
        }
        Self { exchange, seats, ledger: Rc::new(Ledger::new(delivery)), balancer }
    }

    /// Brings in followers, and then publishers.
    async fn people(&self, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        let here = Rc::new(watch::Sender::new(0));
        let mut expected = 0;
        for transport in followers::OF {
            if followers::reads(self.ledger.delivery, transport) {
                let (ledger, rng) = (self.ledger.clone(), rng.fork());
                spawn_local(follow(ledger, transport, self.addr(), rng, here.clone()));
                expected += 1;
            }
        }
        let all_here = here.subscribe().wait_for(|here| *here == expected).await.is_ok();
        assert!(all_here, "all followers come");
        for voice in say::OF {
            let (ledger, rng) = (self.ledger.clone(), rng.fork());
            spawn_local(say::publish(ledger, voice, self.addr(), rng));
        }
        self.ledger.confirms(20).await;
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.balancer.addr()
    }

    pub fn stream(&self) -> String {
        format!("{}.log", self.exchange)
    }

    /// Waits until all replicas are ready, and all followers have one of the numbers that are said
    /// then. What was confirmed before the first of these.
    async fn close(&self) -> Result<Vec<usize>, String> {
        for seat in &self.seats {
            while !seat.is_ready() {
                sleep(POLL).await;
            }
        }
        let confirmed = self.ledger.close();
        let mut missing: Vec<_> = (0..self.ledger.followers()).collect();
        let mut fences = Vec::new();
        while !missing.is_empty() {
            // One may be lost with `live`, so there are several.
            fences.push(say::fence(&self.ledger, self.addr()).await);
            let until = Instant::now() + Duration::from_secs(1);
            while !missing.is_empty() && Instant::now() < until {
                missing.retain(|one| !fences.iter().any(|fence| self.ledger.has(*one, *fence)));
                sleep(POLL).await;
            }
        }
        Ok(confirmed)
    }

    /// For a failure: which replicas are not ready, and which followers heard nothing for long.
    fn who_misses(&self) -> String {
        let unready = self.seats.iter().filter(|seat| !seat.is_ready());
        let unready: String = unready.map(|seat| format!("{} is not ready; ", seat.name)).collect();
        unready + &self.ledger.who_hears_nothing()
    }

    /// Waits until the log has all of its members.
    pub async fn has_members(&self, cluster: &Cluster) {
        assert!(timeout(LIMIT, cluster.whole(&self.stream())).await.is_ok(), "all members");
    }
}
