//! Cost and gain of a second worker. The servers may use all cores; the load stays on one.

use crate::client::ClientPool;
use crate::report::{rates, table, verdict};
use crate::server::Server;
use crate::{CLIENTS, Outcome, Plan, WARM_UP, WINDOWS};
use std::time::Duration;

/// Target for the CPU of a delivery with two workers, as a ratio to one.
const TARGET: f64 = 1.05;

pub fn run(plan: &Plan) -> Outcome {
    let (_, path) = &plan.builds[0];
    let mut contenders = Vec::new();
    for (name, workers) in [("one worker", "1"), ("two workers", "2")] {
        let server = Server::on_all_cores(path, &[("WARREN_WORKERS", workers)])?;
        let pool = ClientPool::subscribers(server.address, CLIENTS, |_| "lobby".to_owned())?;
        contenders.push((name, server, pool));
    }
    let names = contenders.iter().flat_map(|(name, ..)| WINDOWS.map(|window| (*name, window)));
    let names = names.map(|(name, window)| format!("{name}, {window} outstanding"));
    let series = plan.measure(names.collect(), |subject, time| {
        let (_, server, pool) = &mut contenders[subject / WINDOWS.len()];
        let window = WINDOWS[subject % WINDOWS.len()];
        pool.broadcast(window, WARM_UP, Duration::ZERO)?;
        server.sample(|| pool.broadcast(window, 0, time))
    })?;
    table(&format!("CPU of a delivery to {CLIENTS} clients, by workers"), &series);
    rates(&series);
    for (two, one) in series[WINDOWS.len()..].iter().zip(&series) {
        verdict(&two.name, two.ratio(one), "×", &[TARGET]);
    }
    Ok(())
}
