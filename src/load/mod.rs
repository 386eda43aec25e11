//! `warren load`: many clients that listen, some that publish, and what came of it.
//!
//! It is a client of the replicas and knows of them only what docs/protocol.md says. Every client is a
//! small task of one thread. What decides is plain data, in `ledger.rs`.

mod arguments;
mod client;
mod frames;
mod gather;
mod latency;
mod ledger;
mod meter;
mod open;
mod pace;
mod publish;
mod reasons;
mod report;
mod said;
mod seen;
mod shared;
mod stream;
mod target;

pub use arguments::{Plan, USAGE, Usage};
pub use latency::Percentiles;
pub use pace::Pace;
pub use report::{Connections, Deliveries, Load, Messages, Report};
pub use target::Target;

use gather::Crowd;
use publish::Press;
use rustix::process::{Resource, getrlimit, setrlimit};
use shared::Shared;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};

/// How long after the last message what is missing is waited for; and if there is somebody who waits.
const SETTLE: Duration = Duration::from_secs(10);
const SETTLE_STOPPED: Duration = Duration::from_secs(2);
/// How often it is looked whether all has arrived.
const LOOK: Duration = Duration::from_millis(20);
/// How long a second copy is listened for, when everything has arrived.
const QUIET: Duration = Duration::from_millis(300);
/// How long clients may take to leave.
const LEAVE: Duration = Duration::from_secs(5);
/// Files that are not clients.
const FILES: u64 = 32;

/// Why nothing could be tried.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{host}: no address: {problem}")]
    Unknown { host: String, problem: String },
    #[error("this process may open {0} files, too few for so many clients: raise `ulimit -n`")]
    Files(u64),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Does what `plan` says; when `stop` resolves, it ends with what there is so far.
///
/// # Errors
/// [`Failure`] if it cannot begin. Everything else is in the report.
pub async fn run(plan: &Plan, stop: impl Future<Output = ()>) -> Result<Report, Failure> {
    allow_files(plan.clients)?;
    let mut stop = pin!(stop);
    let addresses = tokio::select! {
        biased;
        () = &mut stop => return Ok(Report::default()),
        addresses = target::addresses(&plan.targets) => addresses?,
    };
    LocalSet::new().run_until(work(plan, &addresses, stop)).await
}

async fn work(
    plan: &Plan,
    addresses: &[target::Address],
    stop: impl Future<Output = ()>,
) -> Result<Report, Failure> {
    let mut stop = pin!(stop);
    let mut crowd = Crowd::new(plan, addresses)?;
    let mut stopped = tokio::select! {
        () = crowd.gather() => false,
        () = &mut stop => true,
    };
    let shared = crowd.shared.clone();
    let mut press = Press::new(plan, &shared, crowd.outlets());
    if !stopped {
        stopped = tokio::select! {
            () = press.run() => false,
            () = &mut stop => true,
        };
    }
    let load = press.meter.end();
    let in_time = shared.books.borrow().ledger.totals().delivered;
    settle(&shared, if stopped { SETTLE_STOPPED } else { SETTLE }).await;
    let report = report(&crowd, &press, load, in_time);
    drop(press);
    shared.leave.notify_waiters();
    let _ = timeout(LEAVE, async { while crowd.clients.join_next().await.is_some() {} }).await;
    Ok(report)
}

/// Waits until everything has arrived, within a limit.
async fn settle(shared: &Shared, limit: Duration) {
    let end = Instant::now() + limit;
    while !shared.books.borrow().ledger.is_settled() {
        if Instant::now() > end {
            return;
        }
        sleep(LOOK).await;
    }
    sleep(QUIET).await;
}

fn report(crowd: &Crowd<'_>, press: &Press<'_>, load: Load, in_time: u64) -> Report {
    let books = crowd.shared.books.borrow();
    let totals = books.ledger.totals();
    let accepted = books.ledger.clients() as u64;
    let refused: u64 = totals.refused.values().sum();
    let lost = totals.lost + totals.lost_to_closed;
    Report {
        passed: totals.confirmed > 0 && lost == 0,
        connections: Connections {
            accepted,
            seconds: crowd.took.as_secs_f64(),
            replicas: crowd.replicas.clone(),
            refused: crowd.refused.clone(),
            closed: books.closes.clone(),
            gaps: books.gaps,
        },
        messages: Messages {
            sent: totals.sent,
            confirmed: totals.confirmed,
            unanswered: totals.sent - totals.confirmed - refused,
            refused: totals.refused,
            held_back: press.held_back,
        },
        deliveries: Deliveries {
            expected: totals.confirmed * accepted,
            delivered: totals.delivered,
            per_second: if load.seconds > 0.0 { in_time as f64 / load.seconds } else { 0.0 },
            lost,
            lost_to_closed: totals.lost_to_closed,
            duplicated: totals.duplicated,
            out_of_order: totals.out_of_order,
        },
        latency: books.ledger.latency().percentiles(),
        load,
    }
}

/// Lets this process open all the files that it may, if those are enough.
fn allow_files(clients: usize) -> Result<(), Failure> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If it cannot be raised, it may be high enough.
    let _ = setrlimit(Resource::Nofile, limit);
    match getrlimit(Resource::Nofile).current {
        Some(most) if (clients as u64).saturating_add(FILES) > most => Err(Failure::Files(most)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_is_being_looked_up_does_not_keep_whoever_interrupts() {
        let plan = Plan::from_arguments(["ws://no-such-name.invalid".into()]);
        let report = run(&plan.unwrap(), std::future::ready(())).await.unwrap();
        assert_eq!((report.passed, report.connections.accepted), (false, 0));
    }
}
