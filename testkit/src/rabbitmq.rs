//! A real RabbitMQ node, private to the tests: its own ports, data, cookie and port mapper, all on
//! loopback.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{self, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout};

use super::LIMIT;
use super::disks::Disks;
use super::ports::free_port;
use super::process::{POLL, Process, Sandbox};
use super::rabbitmq_release::Release;

/// Where in its folder a node keeps what it has.
const DATA: &str = "data";

/// A node needs some six seconds of processor time to start.
const START_LIMIT: Duration = Duration::from_secs(90);
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The node that tests share when they do not disturb it: starting one takes seconds. It cannot be
/// stopped or starved, as that takes `&mut`. Tests keep apart by names from [`unique`].
pub async fn shared() -> &'static RabbitMq {
    static SHARED: OnceCell<RabbitMq> = OnceCell::const_new();
    SHARED.get_or_init(RabbitMq::start).await
}

/// A name for an exchange or a queue that no other test uses.
pub fn unique(name: &str) -> String {
    format!("{name}-{}-{}", process::id(), count())
}

/// A name for a node.
pub fn node_name() -> String {
    unique("warren") + "@localhost"
}

fn count() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

/// What nodes that can join each other have in common: a cookie, which Erlang makes in the sandbox,
/// and a port mapper.
pub struct Family {
    release: Release,
    sandbox: Arc<Sandbox>,
    /// A node would start one in the background that outlives it.
    _epmd: Process,
    epmd_port: u16,
    /// In whose mount namespace the nodes have disks of their own, if they have.
    disks: Option<Disks>,
}

impl Family {
    pub async fn start() -> Arc<Self> {
        Self::begin(false).await
    }

    /// The same, each node with a small disk of its own. Only root may do that.
    pub async fn on_small_disks() -> Arc<Self> {
        Self::begin(true).await
    }

    async fn begin(small_disks: bool) -> Arc<Self> {
        let (release, sandbox, epmd_port) = (Release::asked_for(), Sandbox::new(), free_port());
        let disks = match small_disks {
            true => Some(Disks::new(&sandbox).await),
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

pub struct RabbitMq {
    /// None while it is stopped.
    node: Option<Process>,
    family: Arc<Family>,
    /// Where its configuration and its data are.
    dir: PathBuf,
    name: String,
    port: u16,
    dist_port: u16,
    /// Of its plugin for Prometheus, where that is enabled.
    metrics_port: Option<u16>,
}

impl RabbitMq {
    /// Starts a new, empty node and waits until it serves AMQP.
    pub async fn start() -> Self {
        let mut rabbitmq = Self::new(&Family::start().await, &node_name(), "");
        rabbitmq.start_again().await;
        rabbitmq
    }

    /// The same, with the plugin that Prometheus reads.
    pub async fn with_metrics() -> Self {
        let port = free_port();
        let settings = format!("prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {port}\n");
        let mut rabbitmq = Self::new(&Family::start().await, &node_name(), &settings);
        let plugins = rabbitmq.dir.join("enabled_plugins");
        fs::write(plugins, "[rabbitmq_prometheus].\n").expect("sandbox is writable");
        rabbitmq.metrics_port = Some(port);
        rabbitmq.start_again().await;
        rabbitmq
    }

    /// A node that has not been started yet; `settings` are lines for its configuration.
    pub fn new(family: &Arc<Family>, name: &str, settings: &str) -> Self {
        let (port, dist_port) = (free_port(), free_port());
        let dir = family.sandbox.dir().join(name);
        fs::create_dir_all(dir.join(DATA)).expect("sandbox is writable");
        if let Some(disks) = &family.disks {
            disks.mount(&dir.join(DATA));
        }
        let write =
            |name, content: &str| fs::write(dir.join(name), content).expect("sandbox is writable");
        let listener = format!("listeners.tcp.1 = 127.0.0.1:{port}\n");
        let settings = [&*listener, family.release.settings, settings].concat();
        write("rabbitmq.conf", &settings);
        write("advanced.config", "[].\n");
        write("enabled_plugins", "[].\n");
        let (family, name) = (family.clone(), name.to_owned());
        Self { node: None, family, dir, name, port, dist_port, metrics_port: None }
    }

    /// Starts a stopped node on the same port, with the data that it had.
    pub async fn start_again(&mut self) {
        assert!(self.node.is_none(), "it is running");
        let mut node = self.family.sandbox.spawn(self.command("rabbitmq-server"));
        answers(&mut node, async || serves_amqp(self.port).await).await;
        self.node = Some(node);
    }

    /// Stops the node as an administrator would: it closes its connections and tells its clients
    /// why.
    pub async fn stop(&mut self) {
        let mut node = self.node.take().expect("it is running");
        node.signal("TERM");
        node.ended(STOP_LIMIT).await;
    }

    /// Ends the node as a power cut would.
    pub fn kill(&mut self) {
        self.node.take().expect("it is running").kill();
    }

    /// Stops or continues the node's process: a peer that is there and does not answer.
    pub fn freeze(&mut self, frozen: bool) {
        self.node.as_mut().expect("it is running").signal(if frozen { "STOP" } else { "CONT" });
    }

    /// Has its disk take nothing more.
    pub fn fill_disk(&self) {
        self.disks().fill(&self.dir.join(DATA));
    }

    /// Has its disk take something again.
    pub fn free_disk(&self) {
        self.disks().free(&self.dir.join(DATA));
    }

    fn disks(&self) -> &Disks {
        self.family.disks.as_ref().expect("a node with a small disk")
    }

    /// Whether it has been started and neither stopped nor killed.
    pub fn is_running(&self) -> bool {
        self.node.is_some()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where Prometheus reads it.
    pub fn metrics(&self) -> SocketAddr {
        let port = self.metrics_port.expect("it was started with metrics");
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}", self.port)
    }

    /// Runs `rabbitmqctl` and returns what it writes; panics when it fails.
    pub async fn ctl(&self, args: &[&str]) -> String {
        let (status, output) = self.tool("rabbitmqctl", args).await;
        assert!(status.success(), "rabbitmqctl {args:?}: {status}: {output}");
        output
    }

    /// Runs `rabbitmq-streams` until it succeeds: it may be asked while a stream looks for its leader.
    pub async fn streams(&self, args: &[&str]) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let (status, output) = self.tool("rabbitmq-streams", args).await;
            if status.success() {
                return;
            }
            assert!(Instant::now() < deadline, "rabbitmq-streams {args:?}: {status}: {output}");
        }
    }

    async fn tool(&self, script: &str, args: &[&str]) -> (ExitStatus, String) {
        let mut command = self.command(script);
        command.arg("--quiet").args(args);
        let mut tool = self.family.sandbox.spawn(command);
        (tool.ended(STOP_LIMIT).await, tool.output())
    }

    /// Runs `rabbitmqctl` and returns what it answers as JSON.
    pub async fn ask(&self, args: &[&str]) -> Value {
        let output = self.ctl(&[&["--formatter", "json"], args].concat()).await;
        serde_json::from_str(&output).unwrap_or_else(|_| panic!("no JSON: {output}"))
    }

    /// How many consumers there are on the connections that their client gave this name.
    pub async fn consumers_of(&self, name: &str) -> usize {
        let connections = self.ask(&["list_connections", "name", "client_properties"]).await;
        let channels = self.ask(&["list_channels", "name", "consumer_count"]).await;
        let [connections, channels] = [&connections, &channels].map(|it| it.as_array().unwrap());
        let theirs = connections.iter().filter(|row| {
            let properties = row["client_properties"].to_string();
            properties.contains(&format!("\"{name}\""))
        });
        let theirs: Vec<_> = theirs.map(|row| row["name"].as_str().unwrap()).collect();
        let channels = channels.iter().filter(|channel| {
            let name = channel["name"].as_str().unwrap();
            theirs.iter().any(|connection| name.starts_with(connection))
        });
        channels.map(|channel| channel["consumer_count"].as_u64().unwrap() as usize).sum()
    }

    /// Closes all connections of a replica.
    pub async fn close_connections(&self, replica: &str) {
        let list = self.ctl(&["list_connections", "pid", "client_properties"]).await;
        for connection in list.lines().filter(|it| it.contains(&format!("warren {replica} "))) {
            let (pid, _) = connection.split_once('\t').expect("two columns");
            self.ctl(&["close_connection", pid, "cut off"]).await;
        }
    }

    /// Above this share of the machine's memory the node raises an alarm and blocks its publishers:
    /// `0.0000001` does so at once, `0.4` is the default.
    pub async fn set_memory_watermark(&mut self, share: f64) {
        self.ctl(&["set_vm_memory_high_watermark", &format!("{share:.7}")]).await;
    }

    /// One of RabbitMQ's scripts, with nothing of the caller's environment and all that keeps the
    /// node apart.
    fn command(&self, script: &str) -> Command {
        let (dir, home) = (&self.dir, self.family.sandbox.dir());
        let script = self.family.release.script(script);
        let mut command = match &self.family.disks {
            Some(disks) => disks.enter(&script),
            None => script,
        };
        command
            .current_dir(dir)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LANG", "C.UTF-8")
            .env("HOME", home)
            .env("ERL_FLAGS", "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}")
            .env("ERL_CRASH_DUMP_SECONDS", "0")
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.family.epmd_port.to_string())
            .env("RABBITMQ_NODENAME", &self.name)
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("RABBITMQ_CTL_DIST_PORT_MIN", "0")
            .env("RABBITMQ_CTL_DIST_PORT_MAX", "0")
            .env("RABBITMQ_CONF_ENV_FILE", dir.join("rabbitmq-env.conf"))
            .env("RABBITMQ_CONFIG_FILE", dir.join("rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", dir.join("advanced.config"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", dir.join(DATA))
            .env("RABBITMQ_PID_FILE", dir.join("pid"))
            .env("RABBITMQ_LOG_BASE", dir.join("log"))
            .env("RABBITMQ_LOGS", "-")
            // Tests share few cores with the node: one scheduler, bound to none of them.
            .env("RABBITMQ_SCHEDULER_BIND_TYPE", "u")
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 1:1")
            // The script becomes the node, instead of standing between it and our signals.
            .env("RUNNING_UNDER_SYSTEMD", "true");
        command
    }
}

/// Waits until `check` holds; panics when the process ends first or takes too long. (Its last
/// output is shown as it is dropped.)
async fn answers(process: &mut Process, check: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + START_LIMIT;
    while !check().await {
        if let Some(status) = process.exited() {
            panic!("it ended before it answered: {status}");
        }
        assert!(Instant::now() < deadline, "no answer after {START_LIMIT:?}");
        sleep(POLL).await;
    }
}

/// Whether a protocol header is answered with a frame, which is what a client would wait for.
async fn serves_amqp(port: u16) -> bool {
    let hello = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
        stream.read_u8().await
    };
    const METHOD_FRAME: u8 = 1;
    matches!(timeout(Duration::from_secs(5), hello).await, Ok(Ok(METHOD_FRAME)))
}
