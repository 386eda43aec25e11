//! HAProxy in front of several replicas, as a load balancer stands in front of them in production.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::ports::free_port;
use super::process::{POLL, Process, Sandbox};

pub struct HaProxy {
    addr: SocketAddr,
    _process: Process,
}

/// Settings that differ between tests.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// Maximum number of connections. Each needs two files.
    pub clients: usize,
    /// Options of the readiness checks.
    pub checks: &'a str,
    /// A rule for requests, such as `http-request deny if METH_POST`.
    pub rule: &'a str,
}

impl Default for Setting<'_> {
    fn default() -> Self {
        Self { clients: 4000, checks: "inter 100ms fall 1", rule: "" }
    }
}

impl HaProxy {
    /// Balances connections evenly over replicas, given by their client and admin addresses. A replica that is not
    /// ready gets no new connections and keeps those that it has.
    pub async fn start(replicas: &[(SocketAddr, SocketAddr)]) -> Self {
        Self::with(replicas, Setting::default()).await
    }

    pub async fn with(replicas: &[(SocketAddr, SocketAddr)], setting: Setting<'_>) -> Self {
        let sandbox = Sandbox::new();
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let file = sandbox.dir().join("haproxy.cfg");
        fs::write(&file, config(addr, replicas, setting)).expect("the sandbox is writable");

        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("haproxy");
        // Debian installs it outside of an ordinary user's path.
        command.env("PATH", format!("{path}:/usr/sbin")).arg("-db").arg("-f").arg(file);
        let mut process = sandbox.spawn(command);

        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(addr).await.is_err() {
            let gone = process.exited().is_some() || Instant::now() > deadline;
            assert!(!gone, "haproxy does not answer on {addr}");
            sleep(POLL).await;
        }
        Self { addr, _process: process }
    }

    /// Address for clients.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

fn config(addr: SocketAddr, replicas: &[(SocketAddr, SocketAddr)], setting: Setting<'_>) -> String {
    let Setting { clients, checks, rule } = setting;
    let servers: String = replicas
        .iter()
        .enumerate()
        .map(|(n, (client, admin))| {
            format!("    server replica-{n} {client} check port {}\n", admin.port())
        })
        .collect();
    format!(
        "\
global
    maxconn {clients}
defaults
    mode http
    option redispatch 1
    timeout connect 2s
    timeout client 10s
    timeout server 10s
    timeout tunnel 1h
frontend clients
    bind {addr}
    {rule}
    default_backend replicas
backend replicas
    balance roundrobin
    option httpchk GET /readyz
    default-server {checks} rise 1
{servers}"
    )
}
