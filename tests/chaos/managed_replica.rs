//! A replica that faults stop and start again, with proxies between it and the RabbitMQ nodes, and between the
//! load balancer and it. Its readiness, memory and log output are monitored.

use crate::environment::USER;
use crate::ledger::DeliveryMode;
use crate::replica_set::REPLICAS;
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::fs;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};
use warren_testkit::LIMIT;
use warren_testkit::cluster::Cluster;
use warren_testkit::http::try_send;
use warren_testkit::ports::free_port;
use warren_testkit::process::POLL;
use warren_testkit::proxy::{Proxy, Traffic};
use warren_testkit::replica::Replica;

/// `WARREN_CANARY_INTERVAL` of the replicas.
pub const CANARY_INTERVAL: Duration = Duration::from_secs(2);
/// Interval between two checks of a replica.
const MONITOR_INTERVAL: Duration = Duration::from_millis(100);
/// Number of faulty log lines that a violation quotes: a text that is not an event has several lines, and its
/// first may be empty.
const QUOTED_LINES: usize = 20;

pub struct ManagedReplica {
    pub name: String,
    /// Locked by a fault while it changes something in the replica.
    pub replica: Mutex<Replica>,
    /// The address for clients, without the load balancer.
    pub addr: SocketAddr,
    pub admin_addr: SocketAddr,
    /// One proxy to each RabbitMQ node.
    pub node_proxies: Vec<Proxy>,
    /// The proxy that the load balancer connects to.
    pub balancer_proxy: Proxy,
    pid: Cell<u32>,
    observed: RefCell<Observations>,
    password: String,
}

/// Results of monitoring a replica in the current round.
#[derive(Clone, Debug, Default)]
pub struct Observations {
    ready: bool,
    /// The maximum, in bytes.
    pub memory: usize,
    unready_since: Option<Instant>,
    /// The longest time without readiness.
    pub unready: Duration,
    /// The first violation, such as a secret in the log output.
    pub violation: Option<String>,
}

impl ManagedReplica {
    pub async fn start(
        name: &str,
        delivery_mode: DeliveryMode,
        exchange: &str,
        cluster: &Cluster,
        index: usize,
        password: &str,
    ) -> Self {
        let mut node_proxies = Vec::new();
        for node in &cluster.nodes {
            node_proxies.push(Proxy::to(node.port()).await);
        }
        // Each replica has another node as its first.
        let urls = (0..REPLICAS).map(|node| {
            format!("amqp://{USER}:{password}@{}", node_proxies[(index + node) % REPLICAS].addr)
        });
        let urls = urls.collect::<Vec<_>>().join(",");
        let [addr, admin_addr] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let canary_interval = format!("{}s", CANARY_INTERVAL.as_secs());
        let settings = [
            ("LISTEN", addr.as_str()),
            ("ADMIN_LISTEN", &admin_addr),
            ("REPLICA", name),
            ("AMQP_URL", &urls),
            ("EXCHANGE", exchange),
            ("DELIVERY", if delivery_mode == DeliveryMode::Log { "log" } else { "live" }),
            ("CANARY_INTERVAL", &canary_interval),
            // Small, so that clients that were disconnected need a replay.
            ("HISTORY_BYTES", "64KiB"),
            ("CLIENT_BACKLOG", "128KiB"),
            ("DRAIN_DELAY", "500ms"),
            ("DRAIN_PERIOD", "4s"),
        ];
        let replica = Replica::ready(&settings).await;
        let balancer_proxy = Proxy::to(replica.addr.port()).await;
        Self {
            name: name.to_owned(),
            addr: replica.addr,
            admin_addr: replica.admin,
            node_proxies,
            balancer_proxy,
            pid: Cell::new(replica.process.id()),
            replica: Mutex::new(replica),
            observed: RefCell::default(),
            password: password.to_owned(),
        }
    }

    /// Starts the replica again, after its process has ended.
    pub async fn start_again(&self, replica: &mut Replica) {
        self.check_log_output(&replica.process.output());
        replica.start_again().await;
        self.pid.set(replica.process.id());
    }

    /// Sets the traffic to and from all RabbitMQ nodes.
    pub fn set_node_traffic(&self, traffic: Traffic) {
        for proxy in &self.node_proxies {
            proxy.set_traffic(traffic);
        }
    }

    pub fn is_ready(&self) -> bool {
        self.observed.borrow().ready
    }

    /// Waits until the replica is ready. Returns false if that takes too long.
    pub async fn becomes_ready(&self) -> bool {
        let becoming = async {
            while !self.is_ready() {
                sleep(POLL).await;
            }
        };
        timeout(LIMIT, becoming).await.is_ok()
    }

    /// The value of a metric, or 0 if it does not exist or the replica does not answer.
    pub async fn metric(&self, series: &str) -> f64 {
        let metrics = self.get("/metrics").await.unwrap_or_default();
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    /// Waits until a metric has risen above a value, for `limit` at most.
    pub async fn metric_rises(&self, series: &str, above: f64, limit: Duration) -> bool {
        let rising = async {
            while self.metric(series).await <= above {
                sleep(POLL).await;
            }
        };
        timeout(limit, rising).await.is_ok()
    }

    /// The body of a response from the admin address, if its status is 200.
    async fn get(&self, path: &str) -> Option<String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let sending = timeout(Duration::from_secs(1), try_send(self.admin_addr, &request)).await;
        let response = sending.ok()?.ok()?;
        if response.body.contains(&self.password) {
            self.add_violation(&format!("{path} contains the password"));
        }
        (response.status == 200).then_some(response.body)
    }

    /// Checks readiness and memory, without end.
    pub async fn monitor(self: Rc<Self>) {
        loop {
            let ready = self.get("/readyz").await.is_some();
            {
                let mut observed = self.observed.borrow_mut();
                observed.ready = ready;
                if ready {
                    observed.unready_since = None;
                } else {
                    let since = *observed.unready_since.get_or_insert_with(Instant::now);
                    observed.unready = observed.unready.max(since.elapsed());
                }
                let memory = peak_memory(self.pid.get()).unwrap_or_default();
                observed.memory = observed.memory.max(memory);
            }
            sleep(MONITOR_INTERVAL).await;
        }
    }

    pub fn begin_round(&self) {
        let mut observed = self.observed.borrow_mut();
        observed.memory = 0;
        observed.unready = Duration::ZERO;
        observed.unready_since = None;
        // Resets the peak that the kernel keeps.
        let _ = fs::write(format!("/proc/{}/clear_refs", self.pid.get()), "5");
    }

    /// Checks the metrics and the log output, and returns the observations of the round.
    pub async fn end_round(&self) -> Observations {
        let answering = async {
            while self.get("/metrics").await.is_none() {
                sleep(POLL).await;
            }
        };
        if timeout(LIMIT, answering).await.is_err() {
            self.add_violation("/metrics does not answer");
        }
        let output = self.replica.lock().await.process.output();
        self.check_log_output(&output);
        let mut observed = self.observed.borrow_mut();
        let violation = observed.violation.take();
        Observations { violation, ..observed.clone() }
    }

    /// Searches the log output for the password, panics, and lines that are not JSON.
    fn check_log_output(&self, output: &str) {
        if output.contains(&self.password) {
            self.add_violation("the log output contains the password");
        }
        let is_faulty =
            |line: &&str| serde_json::from_str::<Value>(line).is_err() || line.contains("panic");
        let faulty: Vec<&str> = output.lines().filter(is_faulty).take(QUOTED_LINES).collect();
        if !faulty.is_empty() {
            self.add_violation(&format!("the log output contains: {}", faulty.join("\n")));
        }
    }

    fn add_violation(&self, text: &str) {
        let mut observed = self.observed.borrow_mut();
        observed.violation.get_or_insert_with(|| format!("{}: {text}", self.name));
    }
}

/// The peak memory of a process, in bytes.
fn peak_memory(pid: u32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<usize>().ok()? << 10)
}
