//! Cost of a new connection: accept, handshake and greeting.

use crate::client::ClientPool;
use crate::dialect::Dialect;
use crate::report::{table, verdict};
use crate::server::Server;
use crate::{Outcome, Plan};
use std::path::PathBuf;

/// Connections that fit into a process with a limit of 20,000 files.
const NEWCOMERS: usize = 19_000;
/// Open handshakes at a time: when one is greeted, the next connects. One by one, each would wake the server;
/// all at once would exceed its backlog.
pub const AT_ONCE: usize = 64;
/// Target for the CPU of a new connection, in microseconds.
const TARGET: f64 = 35.0;

/// Measures the CPU of a new connection, and that of the bare accept loop, each time in a new process.
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
            let pool = ClientPool::arriving(server.address, Dialect::Warren, NEWCOMERS, AT_ONCE)?;
            Ok(pool.len())
        })
    })?;
    table(&format!("CPU of a newcomer, {NEWCOMERS} of them, {AT_ONCE} at once"), &series);
    for series in &series[1..] {
        verdict(&series.name, series.cost(), " µs", &[TARGET]);
    }
    Ok(())
}
