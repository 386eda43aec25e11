//! Server processes, started on a core of their own and measured.

use crate::{Outcome, bare};
use hdrhistogram::Histogram;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use warren_testkit::process::Sandbox;

/// Time in which a server must accept connections.
const START_TIMEOUT: Duration = Duration::from_secs(10);

pub struct Server {
    child: Child,
    pub address: SocketAddr,
    _sandbox: Option<Arc<Sandbox>>,
}

/// Measurements during deliveries. Times are in microseconds.
#[derive(Clone, Default)]
pub struct Sample {
    pub deliveries: f64,
    /// CPU time of the server.
    pub cpu: f64,
    /// Time that its threads waited for a core.
    pub waited: f64,
    /// CPU time of the load.
    pub load: f64,
    pub wall: f64,
    /// Latencies of deliveries, if recorded.
    pub latency: Option<Histogram<u32>>,
}

impl Sample {
    pub fn add(&mut self, other: &Self) {
        self.deliveries += other.deliveries;
        self.cpu += other.cpu;
        self.waited += other.waited;
        self.load += other.load;
        self.wall += other.wall;
        match (&mut self.latency, &other.latency) {
            // Both have the same bounds.
            (Some(all), Some(more)) => drop(all.add(more)),
            (all, more) => *all = all.take().or_else(|| more.clone()),
        }
    }

    /// CPU time of the server per delivery.
    pub fn cost(&self) -> f64 {
        self.cpu / self.deliveries
    }

    /// Deliveries per second.
    pub fn rate(&self) -> f64 {
        self.deliveries / self.wall * 1e6
    }

    /// Latency quantile in milliseconds.
    pub fn latency_quantile(&self, share: f64) -> f64 {
        let latency = self.latency.as_ref();
        latency.map_or(0.0, |latency| latency.value_at_quantile(share) as f64 / 1e3)
    }
}

impl Server {
    /// Starts the bare loop of `send(2)`.
    pub fn bare(clients: usize) -> Outcome<Self> {
        Self::this(&[bare::ARGUMENT, &clients.to_string()])
    }

    /// Starts the bare accept loop.
    pub fn bare_accept() -> Outcome<Self> {
        Self::this(&[bare::ACCEPT])
    }

    /// Starts this program with other arguments.
    fn this(arguments: &[&str]) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments);
        Self::that_prints_its_port(command)
    }

    /// Starts a server that prints its port when it serves.
    pub fn that_prints_its_port(mut command: Command) -> Outcome<Self> {
        command.stdout(Stdio::piped());
        let mut child = start(command)?;
        let mut port = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut port)?;
        }
        let address = (Ipv4Addr::LOCALHOST, port.trim().parse()?).into();
        Ok(Self { child, address, _sandbox: None })
    }

    /// Starts a server for this address, whose files are in `sandbox`.
    pub fn at(address: SocketAddr, command: Command, sandbox: Arc<Sandbox>) -> Outcome<Self> {
        let server = Self { child: start(command)?, address, _sandbox: Some(sandbox) };
        server.wait_until_serving()?;
        Ok(server)
    }

    /// Starts Warren with one worker and the embedded broker.
    pub fn warren(binary: &Path) -> Outcome<Self> {
        Self::with(binary, &[])
    }

    /// Starts Warren with one worker, RabbitMQ, and this delivery mode.
    pub fn joined(binary: &Path, url: &str, delivery: &str) -> Outcome<Self> {
        let settings = [
            ("WARREN_AMQP_URL", url),
            ("WARREN_DELIVERY", delivery),
            ("WARREN_EXCHANGE", delivery),
        ];
        Self::with(binary, &settings)
    }

    /// Starts Warren with one worker and these variables.
    pub fn with(binary: &Path, settings: &[(&str, &str)]) -> Outcome<Self> {
        Self::started(binary, settings, start)
    }

    /// As `with`, on all cores.
    pub fn on_all_cores(binary: &Path, settings: &[(&str, &str)]) -> Outcome<Self> {
        Self::started(binary, settings, start_anywhere)
    }

    fn started(
        binary: &Path,
        settings: &[(&str, &str)],
        start: impl Fn(Command) -> Outcome<Child>,
    ) -> Outcome<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = Command::new(binary);
        command.env_clear().envs([
            ("WARREN_LISTEN", address.to_string().as_str()),
            ("WARREN_ADMIN_LISTEN", "127.0.0.1:0"),
            ("WARREN_WORKERS", "1"),
            ("WARREN_CLIENT_RATE", "1000000/s"),
            ("WARREN_PING_INTERVAL", "1h"),
            ("WARREN_LOG", "error"),
        ]);
        command.envs(settings.iter().copied());
        let server = Self { child: start(command)?, address, _sandbox: None };
        server.wait_until_serving()?;
        Ok(server)
    }

    /// Waits until the server accepts connections.
    fn wait_until_serving(&self) -> Outcome {
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(self.address).is_err() {
            if Instant::now() > deadline {
                return Err(format!("nobody serves at {}", self.address).into());
            }
            pause(Duration::from_millis(10));
        }
        pause(Duration::from_millis(200));
        Ok(())
    }

    /// Measures the server while `work` runs; `work` returns the number of deliveries.
    pub fn sample(&self, work: impl FnOnce() -> Outcome<usize>) -> Outcome<Sample> {
        let (server, load, start) = (self.used()?, used("self")?, Instant::now());
        let deliveries = work()?;
        let wall = start.elapsed();
        let (server_after, load_after) = (self.used()?, used("self")?);
        Ok(Sample {
            deliveries: deliveries as f64,
            cpu: server_after.0 - server.0,
            waited: server_after.1 - server.1,
            load: load_after.0 - load.0,
            wall: wall.as_secs_f64() * 1e6,
            latency: None,
        })
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> Outcome<u64> {
        pause(Duration::from_millis(500));
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kilobytes: u64 = line.unwrap_or_default().trim_end_matches("kB").trim().parse()?;
        Ok(kilobytes << 10)
    }

    /// As [`used`], once the server is idle: the kernel accounts at the end of a time slice.
    fn used(&self) -> Outcome<(f64, f64)> {
        pause(Duration::from_millis(20));
        used(&self.child.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of a process, and its time waiting for a core, in microseconds.
fn used(process: &str) -> Outcome<(f64, f64)> {
    let mut sum = (0.0, 0.0);
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let stat = fs::read_to_string(task?.path().join("schedstat"))?;
        let mut fields = stat.split_whitespace().map(str::parse::<f64>);
        if let (Some(ran), Some(waited)) = (fields.next(), fields.next()) {
            sum = (sum.0 + ran? / 1e3, sum.1 + waited? / 1e3);
        }
    }
    Ok(sum)
}

/// The core for servers and the core for the load; the same one if there is only one.
struct Cores {
    all: CpuSet,
    servers: CpuSet,
    load: CpuSet,
}

fn cores() -> Outcome<&'static Cores> {
    static CORES: OnceLock<Cores> = OnceLock::new();
    if let Some(cores) = CORES.get() {
        return Ok(cores);
    }
    let all = sched_getaffinity(None)?;
    let mut each = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).map(|core| {
        let mut one = CpuSet::new();
        one.set(core);
        one
    });
    let servers = each.next().unwrap_or(all);
    let load = each.next().unwrap_or(servers);
    Ok(CORES.get_or_init(|| Cores { all, servers, load }))
}

/// Moves this process, and what it starts later, to the core for the load.
pub fn move_to_load_core() -> Outcome {
    Ok(sched_setaffinity(None, &cores()?.load)?)
}

/// Starts a process on the core for servers.
fn start(command: Command) -> Outcome<Child> {
    start_on(&cores()?.servers, command)
}

/// Starts a process on all cores.
fn start_anywhere(command: Command) -> Outcome<Child> {
    start_on(&cores()?.all, command)
}

fn start_on(place: &CpuSet, mut command: Command) -> Outcome<Child> {
    cores()?;
    // A child inherits the affinity of its parent.
    sched_setaffinity(None, place)?;
    let child = command.spawn();
    move_to_load_core()?;
    Ok(child?)
}

#[expect(clippy::disallowed_methods, reason = "nobody else is on this thread")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
