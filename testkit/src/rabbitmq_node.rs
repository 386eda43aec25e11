//! A running RabbitMQ node as its clients and its administrator reach it, whichever process started it.

use super::LIMIT;
use super::disks::Disks;
use super::process::Sandbox;
use super::rabbitmq_release::Release;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use tokio::time::Instant;

/// Folder of a node's data, inside the node's own folder.
pub(crate) const DATA: &str = "data";

/// Name, ports and folder of a node.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NodeAddress {
    pub name: String,
    /// Port for AMQP.
    pub port: u16,
    /// Port for other nodes and for RabbitMQ's tools.
    pub dist_port: u16,
    /// Port of the port mapper that knows the node.
    pub epmd_port: u16,
    /// Folder that has the Erlang cookie, and a folder named after each node.
    pub home: PathBuf,
}

impl NodeAddress {
    /// Folder of the node's configuration and data.
    pub fn dir(&self) -> PathBuf {
        self.home.join(&self.name)
    }
}

pub struct Node {
    address: NodeAddress,
    release: Release,
    /// Runs RabbitMQ's tools.
    sandbox: Arc<Sandbox>,
    /// Disks of the node and of others, where they have disks of their own.
    disks: Option<Arc<Disks>>,
}

impl Node {
    /// A node whose tools run in `sandbox`.
    pub(crate) fn new(
        address: NodeAddress,
        sandbox: Arc<Sandbox>,
        disks: Option<Arc<Disks>>,
    ) -> Self {
        Self { address, release: Release::asked_for(), sandbox, disks }
    }

    pub fn address(&self) -> &NodeAddress {
        &self.address
    }

    /// Folder of the node's configuration and data.
    pub(crate) fn dir(&self) -> PathBuf {
        self.address.dir()
    }

    pub fn port(&self) -> u16 {
        self.address.port
    }

    pub fn name(&self) -> &str {
        &self.address.name
    }

    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}", self.address.port)
    }

    /// Runs `rabbitmqctl` and returns its output; panics when it fails.
    pub async fn ctl(&self, args: &[&str]) -> String {
        let (status, output) = self.tool("rabbitmqctl", args).await;
        assert!(status.success(), "rabbitmqctl {args:?}: {status}: {output}");
        output
    }

    /// Runs `rabbitmq-streams` until it succeeds: it fails while a stream elects its leader.
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
        let mut tool = self.sandbox.spawn(command);
        (tool.ended(LIMIT).await, tool.output())
    }

    /// Runs `rabbitmqctl` and returns its output as JSON.
    pub async fn ask(&self, args: &[&str]) -> Value {
        let output = self.ctl(&[&["--formatter", "json"], args].concat()).await;
        serde_json::from_str(&output).unwrap_or_else(|_| panic!("no JSON: {output}"))
    }

    /// Number of consumers on the connections that their client gave this name.
    pub async fn consumers_of(&self, name: &str) -> usize {
        let connections = self.ask(&["list_connections", "name", "client_properties"]).await;
        let channels = self.ask(&["list_channels", "name", "consumer_count"]).await;
        let [connections, channels] = [&connections, &channels].map(|it| it.as_array().unwrap());
        let named = connections.iter().filter(|row| {
            let properties = row["client_properties"].to_string();
            properties.contains(&format!("\"{name}\""))
        });
        let named: Vec<_> = named.map(|row| row["name"].as_str().unwrap()).collect();
        let channels = channels.iter().filter(|channel| {
            let name = channel["name"].as_str().unwrap();
            named.iter().any(|connection| name.starts_with(connection))
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

    /// One of RabbitMQ's scripts, with nothing of the caller's environment, and with all settings that
    /// separate the node from others.
    pub(crate) fn command(&self, script: &str) -> Command {
        let (address, dir) = (&self.address, self.address.dir());
        let script = self.release.script(script);
        let mut command = match &self.disks {
            Some(disks) => disks.enter(&script),
            None => script,
        };
        command
            .current_dir(&dir)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LANG", "C.UTF-8")
            .env("HOME", &address.home)
            .env("ERL_FLAGS", "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}")
            .env("ERL_CRASH_DUMP_SECONDS", "0")
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", address.epmd_port.to_string())
            .env("RABBITMQ_NODENAME", &address.name)
            .env("RABBITMQ_DIST_PORT", address.dist_port.to_string())
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
