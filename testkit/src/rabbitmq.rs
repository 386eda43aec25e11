//! Real RabbitMQ nodes of the tests: their own ports, data, cookie and port mapper, all on loopback.

use super::disks::Disks;
use super::ports::free_port;
use super::process::{POLL, Process, Sandbox};
use super::rabbitmq_node::{DATA, Node, NodeAddress};
use super::rabbitmq_release::Release;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{env, fs};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// Variable with the address of the shared node, as JSON. `with-rabbitmq` sets it.
pub const SHARED_NODE: &str = "WARREN_TEST_RABBITMQ";

/// A node needs some six seconds of processor time to start.
const START_LIMIT: Duration = Duration::from_secs(90);
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The node that `with-rabbitmq` started, which all tests share that do not disturb it. Their exchanges and
/// queues have names from [`unique`].
pub fn shared() -> &'static Node {
    static SHARED: OnceLock<Node> = OnceLock::new();
    // Read before the lock is taken, so that each test that needs the node panics with this line.
    let address = env::var(SHARED_NODE).unwrap_or_else(|_| {
        panic!(
            "this test needs the shared RabbitMQ node, and {SHARED_NODE} is not set: run `make test`, \
             or `scripts/with-rabbitmq cargo test --test it NAME`"
        )
    });
    SHARED.get_or_init(|| {
        let address = serde_json::from_str(&address).expect("the address of a node, as JSON");
        Node::new(address, Sandbox::new(), None)
    })
}

/// A name for an exchange or a queue that no other test uses, in this process or another.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    format!("{name}-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A name for a node.
pub fn node_name() -> String {
    unique("warren") + "@localhost"
}

/// Nodes that can join each other: they share a cookie, which Erlang makes in the sandbox, and a port
/// mapper.
pub struct NodeGroup {
    release: Release,
    sandbox: Arc<Sandbox>,
    /// A node would start one in the background that outlives it.
    _epmd: Process,
    epmd_port: u16,
    /// Holds the mount namespace in which each node has a disk of its own.
    disks: Option<Arc<Disks>>,
}

impl NodeGroup {
    pub async fn start() -> Arc<Self> {
        Self::with_disks(false).await
    }

    /// A group whose nodes have a small disk each. Only root may do that.
    pub async fn on_small_disks() -> Arc<Self> {
        Self::with_disks(true).await
    }

    async fn with_disks(small_disks: bool) -> Arc<Self> {
        let (release, sandbox, epmd_port) = (Release::asked_for(), Sandbox::new(), free_port());
        let disks = match small_disks {
            true => Some(Arc::new(Disks::new(&sandbox).await)),
            false => None,
        };
        let mut epmd = release.command("epmd");
        epmd.args(["-address", "127.0.0.1", "-port", &epmd_port.to_string()]);
        let mut epmd = sandbox.spawn(epmd);
        answers(&mut epmd, async || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, epmd_port)).await.is_ok()
        })
        .await;
        Arc::new(Self { release, sandbox, _epmd: epmd, epmd_port, disks })
    }
}

/// A node of the test's own, which the test may stop, starve or cut off.
pub struct RabbitMq {
    node: Node,
    /// `None` while it is stopped.
    process: Option<Process>,
    group: Arc<NodeGroup>,
    /// Port of the plugin for Prometheus, where it is enabled.
    metrics_port: Option<u16>,
}

impl Deref for RabbitMq {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl RabbitMq {
    /// Starts a new, empty node and waits until it serves AMQP.
    pub async fn start() -> Self {
        let mut rabbitmq = Self::new(&NodeGroup::start().await, &node_name(), "");
        rabbitmq.start_again().await;
        rabbitmq
    }

    /// Starts a node with the plugin that Prometheus scrapes.
    pub async fn with_metrics() -> Self {
        let port = free_port();
        let settings = format!("prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {port}\n");
        let mut rabbitmq = Self::new(&NodeGroup::start().await, &node_name(), &settings);
        let plugins = rabbitmq.dir().join("enabled_plugins");
        fs::write(plugins, "[rabbitmq_prometheus].\n").expect("sandbox is writable");
        rabbitmq.metrics_port = Some(port);
        rabbitmq.start_again().await;
        rabbitmq
    }

    /// A node that has not been started yet; `settings` are lines for its configuration.
    pub fn new(group: &Arc<NodeGroup>, name: &str, settings: &str) -> Self {
        let address = NodeAddress {
            name: name.to_owned(),
            port: free_port(),
            dist_port: free_port(),
            epmd_port: group.epmd_port,
            home: group.sandbox.dir().to_owned(),
        };
        let dir = address.dir();
        fs::create_dir_all(dir.join(DATA)).expect("sandbox is writable");
        if let Some(disks) = &group.disks {
            disks.mount(&dir.join(DATA));
        }
        let write =
            |name, content: &str| fs::write(dir.join(name), content).expect("sandbox is writable");
        let listener = format!("listeners.tcp.1 = 127.0.0.1:{}\n", address.port);
        let settings = [&*listener, group.release.settings, settings].concat();
        write("rabbitmq.conf", &settings);
        write("advanced.config", "[].\n");
        write("enabled_plugins", "[].\n");
        let node = Node::new(address, group.sandbox.clone(), group.disks.clone());
        Self { node, process: None, group: group.clone(), metrics_port: None }
    }

    /// Starts a stopped node on the same port, with the data that it had.
    pub async fn start_again(&mut self) {
        assert!(self.process.is_none(), "the node is running");
        let mut node = self.group.sandbox.spawn(self.command("rabbitmq-server"));
        answers(&mut node, async || serves_amqp(self.port()).await).await;
        self.process = Some(node);
    }

    /// Stops the node as an administrator would: it closes its connections and tells its clients why.
    pub async fn stop(&mut self) {
        let mut node = self.process.take().expect("the node is running");
        node.signal("TERM");
        node.ended(STOP_LIMIT).await;
    }

    /// Ends the node as a power cut would.
    pub fn kill(&mut self) {
        self.process.take().expect("the node is running").kill();
    }

    /// Stops or continues the node's process. A stopped one keeps its connections and answers nothing.
    pub fn freeze(&mut self, frozen: bool) {
        self.process.as_mut().expect("the node is running").signal(if frozen {
            "STOP"
        } else {
            "CONT"
        });
    }

    /// Fills its disk.
    pub fn fill_disk(&self) {
        self.disks().fill(&self.dir().join(DATA));
    }

    /// Frees the space that [`RabbitMq::fill_disk`] took.
    pub fn free_disk(&self) {
        self.disks().free(&self.dir().join(DATA));
    }

    fn disks(&self) -> &Disks {
        self.group.disks.as_ref().expect("a node with a small disk")
    }

    /// True from its start until it is stopped or killed.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Address that Prometheus scrapes.
    pub fn metrics(&self) -> SocketAddr {
        let port = self.metrics_port.expect("it was started with metrics");
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// Above this share of the machine's memory the node raises an alarm and blocks its publishers:
    /// `0.0000001` does so at once, `0.4` is the default.
    pub async fn set_memory_watermark(&mut self, share: f64) {
        self.ctl(&["set_vm_memory_high_watermark", &format!("{share:.7}")]).await;
    }
}

/// Waits until `check` holds; panics when the process ends first or takes too long. Its last output is
/// shown as it is dropped.
async fn answers(process: &mut Process, check: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + START_LIMIT;
    while !check().await {
        if let Some(status) = process.exited() {
            panic!("the process ended before it answered: {status}");
        }
        assert!(Instant::now() < deadline, "no answer after {START_LIMIT:?}");
        sleep(POLL).await;
    }
}

/// True if the node answers a protocol header with a frame, as clients expect.
async fn serves_amqp(port: u16) -> bool {
    let hello = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
        stream.read_u8().await
    };
    const METHOD_FRAME: u8 = 1;
    matches!(timeout(Duration::from_secs(5), hello).await, Ok(Ok(METHOD_FRAME)))
}
