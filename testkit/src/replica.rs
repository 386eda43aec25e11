//! A replica as a process of its own, as in production.

use super::LIMIT;
use super::endpoints::Endpoints;
use super::ports::free_port;
use super::process::Process;
use serde_json::Value;
use std::env;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

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
pub const SMALL_HISTORY: [(&str, &str); 2] =
    [("HISTORY_BYTES", "64KiB"), ("CLIENT_BACKLOG", "64KiB")];

pub struct Replica {
    pub process: Process,
    endpoints: Endpoints,
    settings: Vec<(String, String)>,
}

impl Deref for Replica {
    type Target = Endpoints;

    fn deref(&self) -> &Endpoints {
        &self.endpoints
    }
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
        let endpoints = Endpoints { addr: address("address"), admin: address("admin") };
        Self { process, endpoints, settings }
    }

    /// Ends it as a power cut would. What [`Replica::on_rabbitmq`] made can be started again.
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
    pub async fn on_rabbitmq(name: &str, url: &str, exchange: &str, more: &[(&str, &str)]) -> Self {
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
    pub fn reset_peak_memory(&self) {
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
