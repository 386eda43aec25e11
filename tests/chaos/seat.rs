//! A replica's place: its ways to the RabbitMQ nodes and from the load balancer, and what is seen of it
//! while replicas come and go there.

use crate::ledger::Delivery;
use crate::world::{CANARY, SEATS, USER};
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
use warren_testkit::proxy::{Passing, Proxy};
use warren_testkit::replica::Replica;

/// How often a replica is looked at.
const LOOK: Duration = Duration::from_millis(100);

pub struct Seat {
    pub name: String,
    /// Whoever breaks it has it for himself.
    pub replica: Mutex<Replica>,
    /// Its address for clients, past the load balancer.
    pub addr: SocketAddr,
    pub admin: SocketAddr,
    /// To each node.
    pub to_nodes: Vec<Proxy>,
    pub from_balancer: Proxy,
    pid: Cell<u32>,
    seen: RefCell<Seen>,
    password: String,
}

/// What was seen of a replica in this chapter.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    ready: bool,
    /// The most memory, in bytes.
    pub memory: usize,
    unready_since: Option<Instant>,
    pub unready: Duration,
    /// What its log has that it should not have.
    pub wrong: Option<String>,
}

impl Seat {
    pub async fn take(
        name: &str,
        delivery: Delivery,
        exchange: &str,
        cluster: &Cluster,
        n: usize,
        password: &str,
    ) -> Self {
        let mut to_nodes = Vec::new();
        for node in &cluster.nodes {
            to_nodes.push(Proxy::to(node.port()).await);
        }
        // Each begins its list with another node.
        let urls = (0..SEATS)
            .map(|node| format!("amqp://{USER}:{password}@{}", to_nodes[(n + node) % SEATS].addr));
        let urls = urls.collect::<Vec<_>>().join(",");
        let [addr, admin] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let canary = format!("{}s", CANARY.as_secs());
        let settings = [
            ("LISTEN", addr.as_str()),
            ("ADMIN_LISTEN", &admin),
            ("REPLICA", name),
            ("AMQP_URL", &urls),
            ("EXCHANGE", exchange),
            ("DELIVERY", if delivery == Delivery::Log { "log" } else { "live" }),
            ("CANARY_INTERVAL", &canary),
            // So little that clients which were away need the log.
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
            seen: RefCell::default(),
            password: password.to_owned(),
        }
    }

    /// Starts it anew, after it has ended in whatever way.
    pub async fn start_again(&self, replica: &mut Replica) {
        self.inspect(&replica.process.output());
        replica.start_again().await;
        self.pid.set(replica.process.id());
    }

    pub fn let_nodes(&self, passing: Passing) {
        for way in &self.to_nodes {
            way.lets(passing);
        }
    }

    pub fn is_ready(&self) -> bool {
        self.seen.borrow().ready
    }

    /// Waits until it is ready or not.
    pub async fn becomes_ready(&self, ready: bool) -> bool {
        let becoming = async {
            while self.is_ready() != ready {
                sleep(POLL).await;
            }
        };
        timeout(LIMIT, becoming).await.is_ok()
    }

    /// The value of a metric; 0 if it is not there or the replica does not answer.
    pub async fn metric(&self, series: &str) -> f64 {
        let metrics = self.ask("/metrics").await.unwrap_or_default();
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    /// Waits until a metric has risen above what it was, at most so long.
    pub async fn rises(&self, series: &str, above: f64, limit: Duration) -> bool {
        let rising = async {
            while self.metric(series).await <= above {
                sleep(POLL).await;
            }
        };
        timeout(limit, rising).await.is_ok()
    }

    /// The body of what it answers to an administrator, if that is 200.
    async fn ask(&self, path: &str) -> Option<String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let asking = timeout(Duration::from_secs(1), try_send(self.admin, &request)).await;
        let response = asking.ok()?.ok()?;
        if response.body.contains(&self.password) {
            self.is_wrong(format!("{path} has the password"));
        }
        (response.status == 200).then_some(response.body)
    }

    /// Looks at it for ever.
    pub async fn watch(self: Rc<Self>) {
        loop {
            let ready = self.ask("/readyz").await.is_some();
            {
                let mut seen = self.seen.borrow_mut();
                seen.ready = ready;
                if ready {
                    seen.unready_since = None;
                } else {
                    let since = *seen.unready_since.get_or_insert_with(Instant::now);
                    seen.unready = seen.unready.max(since.elapsed());
                }
                seen.memory = seen.memory.max(peak(self.pid.get()).unwrap_or_default());
            }
            sleep(LOOK).await;
        }
    }

    /// Begins a chapter.
    pub fn begin(&self) {
        let mut seen = self.seen.borrow_mut();
        seen.memory = 0;
        seen.unready = Duration::ZERO;
        seen.unready_since = None;
        // Has the kernel forget the peak.
        let _ = fs::write(format!("/proc/{}/clear_refs", self.pid.get()), "5");
    }

    /// What was seen in this chapter.
    pub async fn settle(&self) -> Seen {
        let answering = async {
            while self.ask("/metrics").await.is_none() {
                sleep(POLL).await;
            }
        };
        if timeout(LIMIT, answering).await.is_err() {
            self.is_wrong("no metrics".to_owned());
        }
        let output = self.replica.lock().await.process.output();
        self.inspect(&output);
        let mut seen = self.seen.borrow_mut();
        let wrong = seen.wrong.take();
        Seen { wrong, ..seen.clone() }
    }

    /// Looks for what must never be in a log.
    fn inspect(&self, output: &str) {
        if output.contains(&self.password) {
            self.is_wrong("the log has the password".to_owned());
        }
        let wrong =
            |line: &&str| serde_json::from_str::<Value>(line).is_err() || line.contains("panic");
        // More than the first: what is no event of ours has several, and may begin with an empty one.
        let wrong: Vec<&str> = output.lines().filter(wrong).take(20).collect();
        if !wrong.is_empty() {
            self.is_wrong(format!("the log has: {}", wrong.join("\n")));
        }
    }

    fn is_wrong(&self, what: String) {
        self.seen.borrow_mut().wrong.get_or_insert(format!("{}: {what}", self.name));
    }
}

/// The most memory that a process had, in bytes.
fn peak(pid: u32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<usize>().ok()? << 10)
}
