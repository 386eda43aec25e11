//! What a second worker costs and brings. The servers may use every core; the load stays on one of them.

use crate::client::Crowd;
use crate::report::{rates, table, verdict};
use crate::server::Server;
use crate::{CLIENTS, Outcome, Plan, WARM_UP, WINDOWS};
use std::time::Duration;

/// What CPU a delivery may take with two workers, beside one.
const TARGET: f64 = 1.05;

pub fn run(plan: &Plan) -> Outcome {
    let (_, path) = &plan.builds[0];
    let mut contenders = Vec::new();
    for (name, workers) in [("one worker", "1"), ("two workers", "2")] {
        let server = Server::on_all_cores(path, &[("WARREN_WORKERS", workers)])?;
        let crowd = Crowd::listeners(server.address, CLIENTS, |_| "lobby".to_owned())?;
        contenders.push((name, server, crowd));
    }
    let names = contenders.iter().flat_map(|(name, ..)| WINDOWS.map(|window| (*name, window)));
    let names = names.map(|(name, window)| format!("{name}, {window} outstanding"));
    let series = plan.measure(names.collect(), |subject, time| {
        let (_, server, crowd) = &mut contenders[subject / WINDOWS.len()];
        let window = WINDOWS[subject % WINDOWS.len()];
        crowd.broadcast(window, WARM_UP, Duration::ZERO)?;
        server.sample(|| crowd.broadcast(window, 0, time))
    })?;
    table(&format!("CPU of a delivery to {CLIENTS} clients, by workers"), &series);
    rates(&series);
    for (two, one) in series[WINDOWS.len()..].iter().zip(&series) {
        verdict(&two.name, two.ratio(one), "×", &[TARGET]);
    }
    Ok(())
}
