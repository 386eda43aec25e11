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

/// The setting for delivery mode `live`, which is not the default.
pub const LIVE: (&str, &str) = ("DELIVERY", "live");

/// Settings with which a replica keeps only some 320 KiB of messages, so that older ones have to come from the log.
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

/// A command for `warren` with exactly these settings, on free ports. Names are without the prefix, except those of
/// other systems.
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
    /// Starts a replica with these settings, whose names are without the prefix, and waits until it serves. It need not
    /// be ready yet.
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

    /// Kills the process. A replica of [`Replica::on_rabbitmq`] can be started again.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Changes or removes a setting for the next start.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        self.settings.retain(|(other, _)| other != name);
        self.settings.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }

    /// Starts an ended replica again, with the same settings and addresses.
    pub async fn start_again(&mut self) {
        assert!(self.process.exited().is_some(), "it is running");
        let settings = self.settings.clone();
        let settings: Vec<_> = settings.iter().map(|(name, value)| (&**name, &**value)).collect();
        *self = Self::start(&settings).await;
    }

    /// Starts a replica and waits until it is ready.
    pub async fn ready(settings: &[(&str, &str)]) -> Self {
        let replica = Self::start(settings).await;
        replica.becomes_ready(true).await;
        replica
    }

    /// Starts a replica on this RabbitMQ and exchange, and waits until it is ready.
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

    /// Peak of the resident memory in bytes.
    pub fn peak_memory(&self) -> usize {
        self.status("VmHWM:")
    }

    /// CPU time in seconds so far.
    pub fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        // The name before it may contain blanks.
        let fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2);
        let ticks: u64 = fields.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        // Ticks per second that Linux reports to programs, whatever it uses itself.
        ticks as f64 / 100.0
    }

    /// Resets the peak of the memory to the present value.
    pub fn reset_peak_memory(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").unwrap();
    }

    fn status(&self, name: &str) -> usize {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
    }

    /// Ends the replica with SIGTERM, and waits.
    pub async fn terminate(mut self) -> ExitStatus {
        self.process.signal("TERM");
        self.process.ended(LIMIT).await
    }
}
