//! Warren beside others that do the same, as rows of Markdown.
//!
//! All of them run at once, on the core for servers, and are measured in turn; each has its clients
//! during its turn alone, as one process may not open so many files. RabbitMQ runs on the core for the
//! load: what is measured is what hands its messages to clients.

use crate::accept::AT_ONCE;
use crate::client::Crowd;
use crate::dialect::Dialect;
use crate::report::{cell, footnote};
use crate::server::{Sample, Server};
use crate::{Outcome, PACE, Plan, TEXT, WARM_UP, WINDOWS, others, server};
use std::time::Duration;
use warren_testkit::rabbitmq::RabbitMq;

/// Connections that only listen, and nothing is said.
const IDLE: usize = 10_000;

/// A way to start a server for so many clients.
type Start<'a> = Box<dyn Fn(usize) -> Outcome<Server> + 'a>;
/// A server by its name, and what it speaks.
type Contender<'a> = (&'a str, Dialect, Start<'a>);

pub fn run(plan: &Plan) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    server::go_to_load()?;
    let rabbitmq = runtime.block_on(RabbitMq::start());
    let url = rabbitmq.url();
    let mut contenders: Vec<Contender<'_>> = vec![
        ("bare `send(2)`", Dialect::Bare, Box::new(Server::bare)),
        ("Node recipe", Dialect::SocketIo, Box::new(|_| others::recipe(&url))),
        ("nchan", Dialect::Nchan, Box::new(|_| others::nchan())),
    ];
    for (name, path) in &plan.builds {
        let start: Start<'_> = Box::new(|_| Server::joined(path, &url, "log"));
        contenders.push((name, Dialect::Warren, start));
    }
    println!("\nOne process on one core, {TEXT} bytes of text: medians of {} rounds", plan.rounds);
    println!(
        "\n| clients | messages | server | CPU a delivery, µs | to bare | deliveries/s | p50, ms | p99, ms |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for clients in &plan.clients {
        deliveries(plan, &contenders, *clients)?;
    }
    println!("\n| server | bytes of memory a connection, {IDLE} idle |\n| --- | --- |");
    memory(plan, &contenders[1..])
}

fn deliveries(plan: &Plan, contenders: &[Contender<'_>], clients: usize) -> Outcome {
    let servers = contenders.iter().map(|(_, dialect, start)| Ok((start(clients)?, *dialect)));
    let servers = servers.collect::<Outcome<Vec<_>>>()?;
    let loads = WINDOWS.map(|window| format!("{window} outstanding"));
    let loads = [&loads[..], &[format!("{PACE} a second")]].concat();
    let names = vec![String::new(); contenders.len() * loads.len()];
    let mut present = None;
    let series = plan.measure(names, |subject, time| {
        let (server, dialect) = &servers[subject / loads.len()];
        let mut crowd = match present.take() {
            Some(crowd) => crowd,
            None => Crowd::newcomers(server.address, *dialect, clients, AT_ONCE)?,
        };
        let window = WINDOWS.get(subject % loads.len());
        crowd.broadcast(*window.unwrap_or(&1), WARM_UP, Duration::ZERO)?;
        crowd.latency();
        let sample = server.sample(|| match window {
            Some(window) => crowd.broadcast(*window, 0, time),
            None => crowd.paced(PACE, time),
        })?;
        let latency = Some(crowd.latency());
        // After its last turn with this server it leaves.
        present = (!(subject + 1).is_multiple_of(loads.len())).then_some(crowd);
        Ok(Sample { latency, ..sample })
    })?;
    for (load, messages) in loads.iter().enumerate() {
        for ((name, ..), series_of_one) in contenders.iter().zip(series.chunks(loads.len())) {
            let this = &series_of_one[load];
            println!(
                "| {clients} | {messages} | {name} | {} | {} | {} | {} | {} |",
                cell(this.rounds().map(Sample::cost), 2),
                cell(this.ratios(&series[load]), 2),
                cell(this.rounds().map(Sample::rate), 0),
                cell(this.rounds().map(|round| round.within(0.5)), 2),
                cell(this.rounds().map(|round| round.within(0.99)), 2),
            );
        }
    }
    footnote(&series);
    Ok(())
}

/// Resident memory of connections on which nothing happens, each time in a new process.
fn memory(plan: &Plan, contenders: &[Contender<'_>]) -> Outcome {
    let mut weights = vec![Vec::new(); contenders.len()];
    for _ in 0..plan.rounds {
        for ((_, dialect, start), weights) in contenders.iter().zip(&mut weights) {
            let server = start(IDLE)?;
            let before = server.resident()?;
            let _crowd = Crowd::newcomers(server.address, *dialect, IDLE, AT_ONCE)?;
            weights.push(server.resident()?.saturating_sub(before) as f64 / IDLE as f64);
        }
    }
    for ((name, ..), weights) in contenders.iter().zip(weights) {
        println!("| {name} | {} |", cell(weights.into_iter(), 0));
    }
    Ok(())
}
