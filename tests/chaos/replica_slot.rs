//! A replica of the system, with proxies to the RabbitMQ nodes and from the load balancer. The process may be replaced
//! by another one at the same addresses.

use crate::ledger::DeliveryMode;
use crate::system::{CANARY, REPLICAS, USER};
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

/// Interval between two looks at a replica.
const LOOK: Duration = Duration::from_millis(100);

pub struct ReplicaSlot {
    pub name: String,
    /// Locked by the fault that breaks it.
    pub replica: Mutex<Replica>,
    /// Address for clients, without the load balancer.
    pub addr: SocketAddr,
    pub admin: SocketAddr,
    /// Proxies to each node.
    pub to_nodes: Vec<Proxy>,
    pub from_balancer: Proxy,
    pid: Cell<u32>,
    observed: RefCell<Observations>,
    password: String,
}

/// Observations of a replica during a fault.
#[derive(Clone, Debug, Default)]
pub struct Observations {
    ready: bool,
    /// Peak memory in bytes.
    pub memory: usize,
    unready_since: Option<Instant>,
    pub unready: Duration,
    /// First violation, such as an unexpected line in its log.
    pub wrong: Option<String>,
}

impl ReplicaSlot {
    pub async fn start(
        name: &str,
        delivery_mode: DeliveryMode,
        exchange: &str,
        cluster: &Cluster,
        n: usize,
        password: &str,
    ) -> Self {
        let mut to_nodes = Vec::new();
        for node in &cluster.nodes {
            to_nodes.push(Proxy::to(node.port()).await);
        }
        // Each replica prefers another node.
        let urls = (0..REPLICAS).map(|node| {
            format!("amqp://{USER}:{password}@{}", to_nodes[(n + node) % REPLICAS].addr)
        });
        let urls = urls.collect::<Vec<_>>().join(",");
        let [addr, admin] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let canary = format!("{}s", CANARY.as_secs());
        let settings = [
            ("LISTEN", addr.as_str()),
            ("ADMIN_LISTEN", &admin),
            ("REPLICA", name),
            ("AMQP_URL", &urls),
            ("EXCHANGE", exchange),
            ("DELIVERY", if delivery_mode == DeliveryMode::Log { "log" } else { "live" }),
            ("CANARY_INTERVAL", &canary),
            // So little history that clients which were away need the log.
            ("HISTORY_BYTES", "64KiB"),
            ("CLIENT_BACKLOG", "128KiB"),
            ("DRAIN_DELAY", "500ms"),
            ("DRAIN_PERIOD", "4s"),
        ];
        let replica = Replica::ready(&settings).await;
        let from_balancer = Proxy::to(replica.addr.port()).await;
        Self {
            name: name.to_owned(),
            addr: replica.addr,
            admin: replica.admin,
            to_nodes,
            from_balancer,
            pid: Cell::new(replica.process.id()),
            replica: Mutex::new(replica),
            observed: RefCell::default(),
            password: password.to_owned(),
        }
    }

    /// Starts an ended replica again.
    pub async fn start_again(&self, replica: &mut Replica) {
        self.inspect(&replica.process.output());
        replica.start_again().await;
        self.pid.set(replica.process.id());
    }

    pub fn set_node_traffic(&self, passing: Traffic) {
        for way in &self.to_nodes {
            way.set_traffic(passing);
        }
    }

    pub fn is_ready(&self) -> bool {
        self.observed.borrow().ready
    }

    /// Waits until it is ready, or unready.
    pub async fn becomes_ready(&self, ready: bool) -> bool {
        let becoming = async {
            while self.is_ready() != ready {
                sleep(POLL).await;
            }
        };
        timeout(LIMIT, becoming).await.is_ok()
    }

    /// The value of a metric, or 0 if it is missing or the replica does not answer.
    pub async fn metric(&self, series: &str) -> f64 {
        let metrics = self.ask("/metrics").await.unwrap_or_default();
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    /// Waits until a metric exceeds a value, for at most `limit`.
    pub async fn rises(&self, series: &str, above: f64, limit: Duration) -> bool {
        let rising = async {
            while self.metric(series).await <= above {
                sleep(POLL).await;
            }
        };
        timeout(limit, rising).await.is_ok()
    }

    /// The body of an admin response with status 200.
    async fn ask(&self, path: &str) -> Option<String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let asking = timeout(Duration::from_secs(1), try_send(self.admin, &request)).await;
        let response = asking.ok()?.ok()?;
        if response.body.contains(&self.password) {
            self.record_violation(format!("{path} has the password"));
        }
        (response.status == 200).then_some(response.body)
    }

    /// Observes the replica until the test ends.
    pub async fn watch(self: Rc<Self>) {
        loop {
            let ready = self.ask("/readyz").await.is_some();
            {
                let mut observed = self.observed.borrow_mut();
                observed.ready = ready;
                if ready {
                    observed.unready_since = None;
                } else {
                    let since = *observed.unready_since.get_or_insert_with(Instant::now);
                    observed.unready = observed.unready.max(since.elapsed());
                }
                observed.memory = observed.memory.max(peak(self.pid.get()).unwrap_or_default());
            }
            sleep(LOOK).await;
        }
    }

    /// Resets the observations at the beginning of a fault.
    pub fn begin_fault(&self) {
        let mut observed = self.observed.borrow_mut();
        observed.memory = 0;
        observed.unready = Duration::ZERO;
        observed.unready_since = None;
        // Resets the peak in the kernel.
        let _ = fs::write(format!("/proc/{}/clear_refs", self.pid.get()), "5");
    }

    /// The observations since [`ReplicaSlot::begin_fault`].
    pub async fn end_fault(&self) -> Observations {
        let answering = async {
            while self.ask("/metrics").await.is_none() {
                sleep(POLL).await;
            }
        };
        if timeout(LIMIT, answering).await.is_err() {
            self.record_violation("no metrics".to_owned());
        }
        let output = self.replica.lock().await.process.output();
        self.inspect(&output);
        let mut observed = self.observed.borrow_mut();
        let wrong = observed.wrong.take();
        Observations { wrong, ..observed.clone() }
    }

    /// Looks for lines that must never be in a log.
    fn inspect(&self, output: &str) {
        if output.contains(&self.password) {
            self.record_violation("the log has the password".to_owned());
        }
        let wrong =
            |line: &&str| serde_json::from_str::<Value>(line).is_err() || line.contains("panic");
        // More than the first line: output that is no event has several, and may begin with an empty one.
        let wrong: Vec<&str> = output.lines().filter(wrong).take(20).collect();
        if !wrong.is_empty() {
            self.record_violation(format!("the log has: {}", wrong.join("\n")));
        }
    }

    fn record_violation(&self, what: String) {
        self.observed.borrow_mut().wrong.get_or_insert(format!("{}: {what}", self.name));
    }
}

/// Peak memory of a process in bytes.
fn peak(pid: u32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<usize>().ok()? << 10)
}
