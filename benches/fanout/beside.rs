//! Warren compared with other servers, as rows of Markdown.
//!
//! All servers run at once on the core for servers and are measured in turn. Each has its clients only during
//! its turn, because one process cannot open enough files for all. RabbitMQ runs on the core for the load, so
//! that only the server is measured.

use crate::accept::AT_ONCE;
use crate::client::ClientPool;
use crate::dialect::Dialect;
use crate::report::{cell, footnote};
use crate::server::{Sample, Server};
use crate::{Outcome, PACE, Plan, TEXT, WARM_UP, WINDOWS, others, server};
use std::time::Duration;
use warren_testkit::rabbitmq::RabbitMq;

/// Idle connections.
const IDLE: usize = 10_000;

/// Starts a server for a number of clients.
type Start<'a> = Box<dyn Fn(usize) -> Outcome<Server> + 'a>;
/// Name, protocol and start function of a server.
type Contender<'a> = (&'a str, Dialect, Start<'a>);

pub fn run(plan: &Plan) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    server::move_to_load_core()?;
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
        let mut pool = match present.take() {
            Some(pool) => pool,
            None => ClientPool::arriving(server.address, *dialect, clients, AT_ONCE)?,
        };
        let window = WINDOWS.get(subject % loads.len());
        pool.broadcast(*window.unwrap_or(&1), WARM_UP, Duration::ZERO)?;
        pool.take_latency();
        let sample = server.sample(|| match window {
            Some(window) => pool.broadcast(*window, 0, time),
            None => pool.paced(PACE, time),
        })?;
        let latency = Some(pool.take_latency());
        // The last turn with this server disconnects its clients.
        present = (!(subject + 1).is_multiple_of(loads.len())).then_some(pool);
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
                cell(this.rounds().map(|round| round.latency_quantile(0.5)), 2),
                cell(this.rounds().map(|round| round.latency_quantile(0.99)), 2),
            );
        }
    }
    footnote(&series);
    Ok(())
}

/// Resident memory of idle connections, each time in a new process.
fn memory(plan: &Plan, contenders: &[Contender<'_>]) -> Outcome {
    let mut weights = vec![Vec::new(); contenders.len()];
    for _ in 0..plan.rounds {
        for ((_, dialect, start), weights) in contenders.iter().zip(&mut weights) {
            let server = start(IDLE)?;
            let before = server.resident()?;
            let _crowd = ClientPool::arriving(server.address, *dialect, IDLE, AT_ONCE)?;
            weights.push(server.resident()?.saturating_sub(before) as f64 / IDLE as f64);
        }
    }
    for ((name, ..), weights) in contenders.iter().zip(weights) {
        println!("| {name} | {} |", cell(weights.into_iter(), 0));
    }
    Ok(())
}
