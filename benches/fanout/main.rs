//! Benchmarks of the cost of a delivery and of a connection: `make bench`.
//!
//! CPU is that of the server process. It is reported as a ratio to a bare loop of `send(2)` that writes the
//! same frames to as many sockets, measured in turn with the server. Ratios can be compared between
//! machines, microseconds cannot. `make bench BENCH=deliveries` runs one part.
//!
//! - `BENCH_ROUNDS` (5): rounds, in each of which everything is measured in turn.
//! - `BENCH_SECONDS` (1): duration of a measurement.
//! - `BENCH_CLIENTS` (1000,5000): numbers of clients in `beside`, one after the other.
//! - `BENCH_AGAINST`: other warren binaries, separated by commas, measured alongside.

mod accept;
mod bare;
mod beside;
mod client;
mod dialect;
mod file_limit;
mod frames;
mod others;
mod report;
mod server;
mod traces;
mod workers;

use client::ClientPool;
use report::{Series, table, verdict};
use server::{Sample, Server};
use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use warren_testkit::rabbitmq::RabbitMq;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;
/// A named part of the benchmarks.
type Part = (&'static str, fn(&Plan) -> Outcome);

/// Subscribers of the channel that everything is published to.
const CLIENTS: usize = 1000;
/// Bytes of a message's text.
const TEXT: usize = 256;
/// Messages outstanding.
const WINDOWS: [usize; 2] = [1, 16];
/// Messages per second, each published after the one before was delivered.
const PACE: u32 = 20;
/// Idle connections.
const IDLE: [usize; 2] = [5_000, 10_000];
/// Channels with one subscriber each.
const CHANNELS: [usize; 2] = [10, 10_000];
/// Messages whose round trip is timed.
const ROUND_TRIPS: usize = 500;
/// Turns of each subject in a round.
const TURNS: u32 = 4;
/// Messages before a turn: an idle connection acknowledges its first sixteen segments at once, which
/// doubles their cost.
const WARM_UP: usize = 20;

struct Plan {
    rounds: usize,
    time: Duration,
    clients: Vec<usize>,
    /// Builds of warren, by name.
    builds: Vec<(String, PathBuf)>,
}

fn main() -> Outcome {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if let Some(argument @ (bare::ARGUMENT | bare::ACCEPT)) = arguments.first().map(String::as_str)
    {
        return bare::serve(argument);
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("run it with cargo bench");
        return Ok(());
    }
    let parts: [Part; 8] = [
        ("beside", beside::run),
        ("deliveries", deliveries),
        ("memory", memory),
        ("accept", accept::run),
        ("workers", workers::run),
        ("channels", channels),
        ("log", log),
        ("traces", traces::run),
    ];
    let plan = Plan::from_environment()?;
    let chosen = |name: &str| arguments.iter().any(|argument| argument == name);
    let all = !parts.iter().any(|(name, _)| chosen(name));
    file_limit::raise_file_limit()?;
    for (name, part) in parts {
        if all || chosen(name) {
            part(&plan)?;
        }
    }
    Ok(())
}

impl Plan {
    fn from_environment() -> Outcome<Self> {
        let number = |name, default: f64| env::var(name).map_or(Ok(default), |text| text.parse());
        let this = PathBuf::from(env!("CARGO_BIN_EXE_warren"));
        let mut builds = vec![("Warren".to_owned(), this)];
        for path in env::var("BENCH_AGAINST").unwrap_or_default().split(',') {
            if let Some(name) = Path::new(path).file_name() {
                builds.push((name.display().to_string(), path.into()));
            }
        }
        let clients = env::var("BENCH_CLIENTS").unwrap_or_else(|_| "1000,5000".to_owned());
        Ok(Self {
            clients: clients.split(',').map(str::parse).collect::<Result<_, _>>()?,
            rounds: number("BENCH_ROUNDS", 5.0)?.max(1.0) as usize,
            time: Duration::from_secs_f64(number("BENCH_SECONDS", 1.0)?),
            builds,
        })
    }

    /// Measures the CPU of a delivery of all `subjects` in turn, in microseconds; `run` runs one of them for some
    /// time. Turns are short and a round has several, so that noise of the machine meets all subjects.
    fn measure(
        &self,
        subjects: Vec<String>,
        mut run: impl FnMut(usize, Duration) -> Outcome<Sample>,
    ) -> Outcome<Vec<Series>> {
        let turn = self.time / TURNS;
        for subject in 0..subjects.len() {
            run(subject, turn)?;
        }
        let mut rounds = Vec::new();
        for _ in 0..self.rounds {
            let mut sums = vec![Sample::default(); subjects.len()];
            for _ in 0..TURNS {
                for (subject, sum) in sums.iter_mut().enumerate() {
                    sum.add(&run(subject, turn)?);
                }
            }
            rounds.push(sums);
        }
        Ok(Series::of(subjects, rounds))
    }

    /// As `measure`, for work without a fixed duration.
    fn rounds(
        &self,
        subjects: Vec<String>,
        mut run: impl FnMut(usize) -> Outcome<Sample>,
    ) -> Outcome<Vec<Series>> {
        let mut round = || (0..subjects.len()).map(&mut run).collect::<Outcome<Vec<_>>>();
        let rounds = (0..self.rounds).map(|_| round()).collect::<Outcome<Vec<_>>>()?;
        Ok(Series::of(subjects, rounds))
    }
}

/// CPU of a delivery to each of many subscribers of one channel.
fn deliveries(plan: &Plan) -> Outcome {
    let bare = Server::bare(CLIENTS)?;
    let pool = ClientPool::bare(bare.address, CLIENTS)?;
    let mut contenders = vec![("bare send(2)", bare, pool)];
    for (name, path) in &plan.builds {
        let server = Server::warren(path)?;
        let pool = ClientPool::subscribers(server.address, CLIENTS, |_| "lobby".to_owned())?;
        contenders.push((name, server, pool));
    }
    let loads = WINDOWS.map(|window| format!("{window} outstanding"));
    let loads = [&loads[..], &[format!("{PACE} a second")]].concat();
    let names = contenders.iter().flat_map(|(name, ..)| loads.iter().map(move |load| (name, load)));
    let names = names.map(|(name, load)| format!("{name}, {load}"));
    let series = plan.measure(names.collect(), |subject, time| {
        let (_, server, pool) = &mut contenders[subject / loads.len()];
        let window = WINDOWS.get(subject % loads.len());
        pool.broadcast(*window.unwrap_or(&1), WARM_UP, Duration::ZERO)?;
        server.sample(|| match window {
            Some(window) => pool.broadcast(*window, 0, time),
            None => pool.paced(PACE, time),
        })
    })?;
    table(&format!("CPU of a delivery to {CLIENTS} clients, {TEXT} bytes of text"), &series);
    // Outstanding messages are compared with one outstanding, a rate with the same rate.
    let targets = [(0, 1.15), (0, 0.25), (2, 1.15)].into_iter().cycle();
    for (series_of_build, (bare, target)) in series[loads.len()..].iter().zip(targets) {
        verdict(&series_of_build.name, series_of_build.ratio(&series[bare]), "×", &[target]);
    }
    Ok(())
}

/// Resident memory of idle connections.
fn memory(plan: &Plan) -> Outcome {
    println!("\nMemory of an idle connection");
    for (name, path) in &plan.builds {
        let server = Server::warren(path)?;
        let before = server.resident()?;
        let mut pools = Vec::new();
        for (count, target) in IDLE.into_iter().zip([16_000.0, 2048.0]) {
            let have: usize = pools.iter().map(ClientPool::len).sum();
            pools.push(ClientPool::subscribers(server.address, count - have, |_| {
                "lobby".to_owned()
            })?);
            let bytes = server.resident()?.saturating_sub(before) as f64 / count as f64;
            verdict(&format!("{name}, {count} clients"), bytes, " bytes", &[target]);
        }
    }
    Ok(())
}

/// CPU of a message to one subscriber, among few and among many channels with one subscriber each.
fn channels(plan: &Plan) -> Outcome {
    let name = |channel: usize| format!("channel-{channel:05}");
    let [few, many] = CHANNELS;
    // Existing channels, and channels that are published to: the same few.
    let subjects = [(few, few), (many, few)];
    let mut contenders = Vec::new();
    for (build, path) in &plan.builds {
        for (existing, active) in subjects {
            let server = Server::warren(path)?;
            let pool = ClientPool::subscribers(server.address, existing, name)?;
            contenders.push((build, active, server, pool));
        }
    }
    let names = contenders
        .iter()
        .map(|(build, active, _, pool)| format!("{build}, in {active} channels of {}", pool.len()));
    let series = plan.measure(names.collect(), |subject, time| {
        let (_, active, server, pool) = &mut contenders[subject];
        server.sample(|| pool.in_turn(*active, time))
    })?;
    table("CPU of a message to one subscriber", &series);
    for series in series.chunks(subjects.len()) {
        verdict(&series[1].name, series[1].ratio(&series[0]), "×", &[1.1]);
    }
    Ok(())
}

/// Cost of reading from the log compared with reading from a queue, in CPU and in latency.
fn log(plan: &Plan) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    server::move_to_load_core()?;
    let rabbitmq = runtime.block_on(RabbitMq::start());
    let (_, path) = &plan.builds[0];
    let mut contenders = Vec::new();
    for delivery in ["live", "log"] {
        let server = Server::joined(path, &rabbitmq.url(), delivery)?;
        let pool = ClientPool::subscribers(server.address, CLIENTS, |_| "lobby".to_owned())?;
        let one = ClientPool::subscribers(server.address, 1, |_| "elsewhere".to_owned())?;
        contenders.push((delivery, server, pool, one));
    }
    let names = contenders.iter().flat_map(|(name, ..)| WINDOWS.map(|window| (*name, window)));
    let names = names.map(|(name, window)| format!("{name}, {window} outstanding"));
    let series = plan.measure(names.collect(), |subject, time| {
        let (_, server, pool, _) = &mut contenders[subject / WINDOWS.len()];
        let window = WINDOWS[subject % WINDOWS.len()];
        pool.broadcast(window, WARM_UP, Duration::ZERO)?;
        server.sample(|| pool.broadcast(window, 0, time))
    })?;
    table(&format!("CPU of a delivery to {CLIENTS} clients, through RabbitMQ"), &series);
    for (log, live) in series[WINDOWS.len()..].iter().zip(&series) {
        verdict(&log.name, log.ratio(live), "×", &[1.15]);
    }

    println!("\nFrom a client through RabbitMQ back to it, median of {ROUND_TRIPS} in turn");
    let mut took = [const { Vec::new() }; 2];
    for _ in 0..ROUND_TRIPS {
        for ((.., one), took) in contenders.iter_mut().zip(&mut took) {
            let start = Instant::now();
            one.broadcast(1, 1, Duration::ZERO)?;
            took.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    let [live, log] = took.map(|mut took| {
        took.sort_by(f64::total_cmp);
        took[took.len() / 2]
    });
    println!("  live {live:.2} ms, log {log:.2} ms");
    verdict("log, added", log - live, " ms", &[2.0]);
    Ok(())
}
