//! What a delivery costs and what a connection weighs: `make bench`.
//!
//! CPU is the server process's own, and is given as a ratio to a bare loop of `send(2)` that hands the
//! same frames to as many sockets, measured in turn with it. Ratios travel between machines;
//! microseconds do not. `make bench BENCH=deliveries` runs one of the parts.
//!
//! - `BENCH_ROUNDS` (5): times that each thing is measured, in turn with the others.
//! - `BENCH_SECONDS` (1): how long each time.
//! - `BENCH_CLIENTS` (1000,5000): how many clients the servers of `beside` have, one after the other.
//! - `BENCH_AGAINST`: other warren binaries, separated by commas, measured alongside.

mod accept;
mod bare;
mod beside;
mod client;
mod dialect;
mod frames;
mod others;
mod report;
mod server;
mod traces;
mod workers;

use client::Crowd;
use report::{Series, table, verdict};
use server::{Sample, Server};
use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use warren_testkit::rabbitmq::RabbitMq;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;
/// Something to measure, by name.
type Part = (&'static str, fn(&Plan) -> Outcome);

/// Listeners of the one channel that everything is said in.
const CLIENTS: usize = 1000;
/// Bytes of a message's text.
const TEXT: usize = 256;
/// Messages outstanding.
const WINDOWS: [usize; 2] = [1, 16];
/// Messages a second, with nothing outstanding when the next one comes.
const PACE: u32 = 20;
/// Connections that only listen, and nothing is said.
const IDLE: [usize; 2] = [5_000, 10_000];
/// Channels with one listener each.
const CHANNELS: [usize; 2] = [10, 10_000];
/// Messages whose time is taken.
const ROUND_TRIPS: usize = 500;
/// Turns of each thing in a round.
const TURNS: u32 = 4;
/// Messages before a turn: a connection that was idle acknowledges its first sixteen segments at once,
/// which doubles what they cost.
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
        println!("to be run by cargo bench");
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
    server::raise_file_limit()?;
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

    /// CPU of a delivery, in microseconds, of all `subjects` in turn; `run` runs one for some time.
    /// Machines have moods: turns are short, and many of them make a round.
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

    /// The same of what takes as long as it takes.
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

/// CPU of a delivery to each of many listeners of one channel.
fn deliveries(plan: &Plan) -> Outcome {
    let bare = Server::bare(CLIENTS)?;
    let crowd = Crowd::strangers(bare.address, CLIENTS)?;
    let mut contenders = vec![("bare send(2)", bare, crowd)];
    for (name, path) in &plan.builds {
        let server = Server::warren(path)?;
        let crowd = Crowd::listeners(server.address, CLIENTS, |_| "lobby".to_owned())?;
        contenders.push((name, server, crowd));
    }
    let loads = WINDOWS.map(|window| format!("{window} outstanding"));
    let loads = [&loads[..], &[format!("{PACE} a second")]].concat();
    let names = contenders.iter().flat_map(|(name, ..)| loads.iter().map(move |load| (name, load)));
    let names = names.map(|(name, load)| format!("{name}, {load}"));
    let series = plan.measure(names.collect(), |subject, time| {
        let (_, server, crowd) = &mut contenders[subject / loads.len()];
        let window = WINDOWS.get(subject % loads.len());
        crowd.broadcast(*window.unwrap_or(&1), WARM_UP, Duration::ZERO)?;
        server.sample(|| match window {
            Some(window) => crowd.broadcast(*window, 0, time),
            None => crowd.paced(PACE, time),
        })
    })?;
    table(&format!("CPU of a delivery to {CLIENTS} clients, {TEXT} bytes of text"), &series);
    // Outstanding messages are held against one at a time, and the pace against the same pace.
    let targets = [(0, 1.15), (0, 0.25), (2, 1.15)].into_iter().cycle();
    for (series_of_build, (bare, target)) in series[loads.len()..].iter().zip(targets) {
        verdict(&series_of_build.name, series_of_build.ratio(&series[bare]), "×", &[target]);
    }
    Ok(())
}

/// Resident memory of connections on which nothing happens.
fn memory(plan: &Plan) -> Outcome {
    println!("\nMemory of an idle connection");
    for (name, path) in &plan.builds {
        let server = Server::warren(path)?;
        let before = server.resident()?;
        let mut crowds = Vec::new();
        for (count, target) in IDLE.into_iter().zip([16_000.0, 2048.0]) {
            let have: usize = crowds.iter().map(Crowd::len).sum();
            crowds.push(Crowd::listeners(server.address, count - have, |_| "lobby".to_owned())?);
            let bytes = server.resident()?.saturating_sub(before) as f64 / count as f64;
            verdict(&format!("{name}, {count} clients"), bytes, " bytes", &[target]);
        }
    }
    Ok(())
}

/// CPU of a message to one listener, among few and among many channels with one listener each.
fn channels(plan: &Plan) -> Outcome {
    let name = |channel: usize| format!("channel-{channel:05}");
    let [few, many] = CHANNELS;
    // Channels that there are, and channels that something is said in: the same few.
    let subjects = [(few, few), (many, few)];
    let mut contenders = Vec::new();
    for (build, path) in &plan.builds {
        for (there_are, spoken_in) in subjects {
            let server = Server::warren(path)?;
            let crowd = Crowd::listeners(server.address, there_are, name)?;
            contenders.push((build, spoken_in, server, crowd));
        }
    }
    let names = contenders.iter().map(|(build, spoken_in, _, crowd)| {
        format!("{build}, in {spoken_in} channels of {}", crowd.len())
    });
    let series = plan.measure(names.collect(), |subject, time| {
        let (_, spoken_in, server, crowd) = &mut contenders[subject];
        server.sample(|| crowd.in_turn(*spoken_in, time))
    })?;
    table("CPU of a message to one listener", &series);
    for series in series.chunks(subjects.len()) {
        verdict(&series[1].name, series[1].ratio(&series[0]), "×", &[1.1]);
    }
    Ok(())
}

/// What reading from the log costs beside reading from a queue, in CPU and in time.
fn log(plan: &Plan) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    server::go_to_load()?;
    let rabbitmq = runtime.block_on(RabbitMq::start());
    let (_, path) = &plan.builds[0];
    let mut contenders = Vec::new();
    for delivery in ["live", "log"] {
        let server = Server::joined(path, &rabbitmq.url(), delivery)?;
        let crowd = Crowd::listeners(server.address, CLIENTS, |_| "lobby".to_owned())?;
        let one = Crowd::listeners(server.address, 1, |_| "elsewhere".to_owned())?;
        contenders.push((delivery, server, crowd, one));
    }
    let names = contenders.iter().flat_map(|(name, ..)| WINDOWS.map(|window| (*name, window)));
    let names = names.map(|(name, window)| format!("{name}, {window} outstanding"));
    let series = plan.measure(names.collect(), |subject, time| {
        let (_, server, crowd, _) = &mut contenders[subject / WINDOWS.len()];
        let window = WINDOWS[subject % WINDOWS.len()];
        crowd.broadcast(window, WARM_UP, Duration::ZERO)?;
        server.sample(|| crowd.broadcast(window, 0, time))
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
