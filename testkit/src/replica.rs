//! A replica as a process of its own, as in production.

use super::LIMIT;
use super::client::Client;
use super::events::Events;
use super::http::{self, Response};
use super::ports::free_port;
use super::process::Process;
use serde_json::Value;
use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use tokio::time::{Instant, sleep};

/// The `warren` program of the build that the running test belongs to.
pub fn warren() -> PathBuf {
    program("warren")
}

/// A program of the build that the running test belongs to. Cargo puts tests into `deps`, beside the programs.
pub fn program(name: &str) -> PathBuf {
    let test = env::current_exe().expect("this test's own path");
    let program = test.parent().and_then(Path::parent).expect("a build directory").join(name);
    assert!(program.exists(), "{} is not built: run `cargo build --workspace`", program.display());
    program
}

/// The setting for the delivery that is not the default.
pub const LIVE: (&str, &str) = ("DELIVERY", "live");

/// Settings with which a replica forgets what lies more than some 320 KiB back, so that older
/// messages have to come from the stream.
pub const FORGETFUL: [(&str, &str); 2] = [("HISTORY_BYTES", "64KiB"), ("CLIENT_BACKLOG", "64KiB")];

pub struct Replica {
    pub process: Process,
    pub addr: SocketAddr,
    pub admin: SocketAddr,
    settings: Vec<(String, String)>,
}

/// A command for the binary with these settings, on ports of the kernel's choice, and nothing else.
/// Names are without the prefix, but for those that are others'.
pub fn command(settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(warren());
    command
        .env_clear()
        .env("WARREN_LISTEN", "127.0.0.1:0")
        .env("WARREN_ADMIN_LISTEN", "127.0.0.1:0")
        .env("WARREN_LOG_FORMAT", "json")
        .env("WARREN_WORKERS", "2");
    for (name, value) in settings {
        let own = !["OTEL_", "SSL_", "LD_", "FAKETIME"].iter().any(|it| name.starts_with(it));
        command.env(if own { format!("WARREN_{name}") } else { (*name).to_owned() }, value);
    }
    command
}

impl Replica {
    /// Starts one with these settings (names without the prefix) and waits until it serves; it need
    /// not be ready yet.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let mut process = Process::spawn(command(settings));
        let line = process.line(LIMIT, |line| line.contains("\"serving:")).await;
        let line: Value = serde_json::from_str(&line).unwrap();
        let address = |name: &str| line[name].as_str().unwrap().parse().unwrap();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let settings = settings.iter().map(owned).collect();
        Self { addr: address("address"), admin: address("admin"), process, settings }
    }

    /// Ends it as a power cut would. What [`Replica::joined`] made can be started again.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Has it started with another value of a setting from now on, or without.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        self.settings.retain(|(other, _)| other != name);
        self.settings.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }

    /// Starts it anew with the same settings, hence at the same addresses.
    pub async fn start_again(&mut self) {
        assert!(self.process.exited().is_some(), "it is running");
        let settings = self.settings.clone();
        let settings: Vec<_> = settings.iter().map(|(name, value)| (&**name, &**value)).collect();
        *self = Self::start(&settings).await;
    }

    /// Starts one and waits until it is ready.
    pub async fn ready(settings: &[(&str, &str)]) -> Self {
        let replica = Self::start(settings).await;
        replica.becomes_ready(true).await;
        replica
    }

    /// Starts one on this RabbitMQ and exchange, and waits until it is ready.
    pub async fn joined(name: &str, url: &str, exchange: &str, more: &[(&str, &str)]) -> Self {
        let [listen, admin] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let mut settings = vec![
            ("LISTEN", listen.as_str()),
            ("ADMIN_LISTEN", admin.as_str()),
            ("REPLICA", name),
            ("AMQP_URL", url),
            ("EXCHANGE", exchange),
            ("CANARY_INTERVAL", "2s"),
        ];
        settings.extend(more);
        Self::ready(&settings).await
    }

    pub async fn client(&self, query: &str) -> Client {
        Client::connect(self.addr, query).await
    }

    /// A client that gives commands.
    pub async fn v1(&self, query: &str) -> Client {
        Client::connect_v1(self.addr, query).await
    }

    pub async fn events(&self, query: &str) -> Events {
        Events::connect(self.addr, query).await
    }

    /// One page of `GET /messages`.
    pub async fn page(&self, query: &str) -> Value {
        let page = http::get(self.addr, &format!("/messages{query}")).await;
        assert_eq!(page.status, 200, "{query}: {}", page.body);
        page.json()
    }

    /// Publishes over HTTP.
    pub async fn post(&self, channel: &str, text: impl Into<Value>) -> Response {
        let body = serde_json::json!({ "channel": channel, "text": text.into() });
        http::post(self.addr, "/messages", &body.to_string()).await
    }

    /// Publishes over HTTP, with these headers, as they are written.
    pub async fn post_with(&self, headers: &str, channel: &str, text: &str) -> Response {
        let body = serde_json::json!({ "channel": channel, "text": text }).to_string();
        let request = format!(
            "POST /messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        http::send(self.addr, &request).await
    }

    /// Publishes over HTTP and returns the id.
    pub async fn say(&self, channel: &str, text: impl Into<Value>) -> String {
        let response = self.post(channel, text).await;
        assert_eq!(response.status, 202, "{}", response.body);
        response.json()["id"].as_str().expect("an id").to_owned()
    }

    pub async fn becomes_ready(&self, ready: bool) {
        let status = if ready { 200 } else { 503 };
        let deadline = Instant::now() + LIMIT;
        loop {
            let response = http::get(self.admin, "/readyz").await;
            if response.status == status {
                return;
            }
            assert!(Instant::now() < deadline, "not {status} but: {}", response.body);
            sleep(super::process::POLL).await;
        }
    }

    /// The value of a metric, with its labels written as in the exposition.
    pub async fn metric(&self, series: &str) -> f64 {
        self.series(series).await.unwrap_or_else(|metrics| panic!("no {series} in:\n{metrics}"))
    }

    /// The same; all metrics if there is none such.
    async fn series(&self, series: &str) -> Result<f64, String> {
        let metrics = http::get(self.admin, "/metrics").await.body;
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map(|value| value.parse().unwrap()).ok_or(metrics)
    }

    /// Waits until a metric satisfies `wanted`; one that has not been counted yet is 0.
    pub async fn metric_becomes(&self, series: &str, wanted: impl Fn(f64) -> bool) -> f64 {
        let deadline = Instant::now() + LIMIT;
        loop {
            let value = self.series(series).await.unwrap_or(0.0);
            if wanted(value) {
                return value;
            }
            assert!(Instant::now() < deadline, "{series} is {value}");
            sleep(super::process::POLL).await;
        }
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> usize {
        self.status("VmRSS:")
    }

    /// The most that it ever was.
    pub fn peak_memory(&self) -> usize {
        self.status("VmHWM:")
    }

    /// Seconds of CPU that it took so far.
    pub fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        // The name in front may have blanks in it.
        let fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2);
        let ticks: u64 = fields.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        // As many a second as Linux tells programs, whatever it counts itself.
        ticks as f64 / 100.0
    }

    /// From now on the peak is that of what follows.
    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").unwrap();
    }

    fn status(&self, name: &str) -> usize {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
    }

    /// Ends it by signal and waits.
    pub async fn terminate(mut self) -> ExitStatus {
        self.process.signal("TERM");
        self.process.ended(LIMIT).await
    }
}
