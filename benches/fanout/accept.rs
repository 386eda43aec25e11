//! What a newcomer costs: a connection is accepted, its handshake read and answered, and the client
//! greeted.

use crate::client::Crowd;
use crate::dialect::Dialect;
use crate::report::{table, verdict};
use crate::server::Server;
use crate::{Outcome, Plan};
use std::path::PathBuf;

/// What fits into a process that may open 20,000 files.
const NEWCOMERS: usize = 19_000;
/// Newcomers on their way in at any time: when one has been greeted, the next one comes. One by one,
/// each would wake the server up. All at once, it would never sleep, and what waits for it would not
/// fit into its backlog.
pub const AT_ONCE: usize = 64;
/// CPU of a newcomer, in microseconds.
const TARGET: f64 = 35.0;

/// CPU of a newcomer, beside a bare loop that does with one what cannot be left out. Each time it is a
/// new process.
pub fn run(plan: &Plan) -> Outcome {
    let mut contenders: Vec<(&str, Option<&PathBuf>)> = vec![("bare accept(2)", None)];
    contenders.extend(plan.builds.iter().map(|(name, path)| (name.as_str(), Some(path))));
    let names = contenders.iter().map(|(name, _)| (*name).to_owned()).collect();
    let series = plan.rounds(names, |subject| {
        let server = match contenders[subject].1 {
            None => Server::bare_accept()?,
            Some(path) => {
                Server::with(path, &[("WARREN_MAX_CONNECTIONS", &NEWCOMERS.to_string())])?
            }
        };
        server.sample(|| {
            let crowd = Crowd::newcomers(server.address, Dialect::Warren, NEWCOMERS, AT_ONCE)?;
            Ok(crowd.len())
        })
    })?;
    table(&format!("CPU of a newcomer, {NEWCOMERS} of them, {AT_ONCE} at once"), &series);
    for series in &series[1..] {
        verdict(&series.name, series.cost(), " µs", &[TARGET]);
    }
    Ok(())
}
