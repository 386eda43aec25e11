//! `warren-load`: many clients that receive messages, some that publish them, and a report of the outcome.
//!
//! A client like any other: it knows of the replicas only what docs/protocol.md says. Each client is a task of
//! one thread. The rules are plain data, in `ledger.rs`.

mod arguments;
mod client;
mod cpu_meter;
mod latency;
mod ledger;
mod open;
mod pace;
mod pool;
mod protocol;
mod publisher_loop;
mod reasons;
mod report;
mod run;
mod sequence_tracker;
mod target;

use arguments::Plan;
use pool::ClientPool;
use publisher_loop::PublisherLoop;
use report::{Connections, Deliveries, Load, Messages, Report};
use run::Run;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::future::Future;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;
use target::Endpoint;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};

/// Time after the last message in which missing deliveries are awaited; shorter after Ctrl-C.
const SETTLE: Duration = Duration::from_secs(10);
const SETTLE_INTERRUPTED: Duration = Duration::from_secs(2);
/// Interval between two checks for missing deliveries.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// Time in which duplicates are awaited, once everything is delivered.
const WATCH_DUPLICATES: Duration = Duration::from_millis(300);
/// Time for clients to close their connections.
const LEAVE: Duration = Duration::from_secs(5);
/// Open files that are not clients.
const OTHER_FILES: u64 = 32;
/// The exit code if nothing could be tried, nothing was confirmed, or messages were lost.
const EXIT_FAILED: u8 = 1;

/// A problem that prevents the run.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{host}: no address: {problem}")]
    NoAddress { host: String, problem: String },
    #[error("this process may open {0} files, too few for so many clients: raise `ulimit -n`")]
    Files(u64),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error(transparent)]
    Runtime(#[from] std::io::Error),
}

fn main() -> ExitCode {
    let plan = match Plan::from_arguments(std::env::args_os()) {
        Ok(plan) => plan,
        Err(exit) => return exit.print(),
    };
    match run_to_end(&plan) {
        Ok(report) => {
            println!("{}", if plan.json { report.to_json() } else { report.to_string() });
            if report.passed { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) }
        }
        Err(failure) => {
            eprintln!("warren-load: {failure}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn run_to_end(plan: &Plan) -> Result<Report, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let stop = async {
            either(&mut interrupt, &mut terminate).await;
            // The report follows soon. A second signal does not wait for it.
            tokio::spawn(async move {
                std::process::exit(either(&mut interrupt, &mut terminate).await);
            });
        };
        run(plan, stop).await
    });
    // Does not wait for a name lookup that is still in progress.
    runtime.shutdown_background();
    report
}

/// The exit code that shells give to a process ended by the signal received.
async fn either(interrupt: &mut Signal, terminate: &mut Signal) -> i32 {
    tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    }
}

/// Carries out a plan; when `stop` resolves, reports the results so far.
///
/// # Errors
/// [`Failure`] if it cannot begin. All other problems are in the report.
async fn run(plan: &Plan, stop: impl Future<Output = ()>) -> Result<Report, Failure> {
    allow_files(plan.clients)?;
    let mut stop = pin!(stop);
    let endpoints = tokio::select! {
        biased;
        () = &mut stop => return Ok(Report::default()),
        endpoints = target::endpoints(&plan.targets) => endpoints?,
    };
    LocalSet::new().run_until(run_clients(plan, &endpoints, stop)).await
}

async fn run_clients(
    plan: &Plan,
    endpoints: &[Endpoint],
    stop: impl Future<Output = ()>,
) -> Result<Report, Failure> {
    let mut stop = pin!(stop);
    let mut pool = ClientPool::new(plan, endpoints)?;
    let mut stopped = tokio::select! {
        () = pool.open_all() => false,
        () = &mut stop => true,
    };
    let run = pool.run.clone();
    let mut publishers = PublisherLoop::new(plan, &run, pool.take_publishers());
    if !stopped {
        stopped = tokio::select! {
            () = publishers.publish() => false,
            () = &mut stop => true,
        };
    }
    let load = publishers.cpu.load();
    let delivered_in_time = run.results.borrow().ledger.totals().delivered;
    settle(&run, if stopped { SETTLE_INTERRUPTED } else { SETTLE }).await;
    let report = report(&pool, &publishers, load, delivered_in_time);
    drop(publishers);
    run.leave.notify_waiters();
    let _ = timeout(LEAVE, pool.join_all()).await;
    Ok(report)
}

/// Waits until everything is delivered, up to a limit.
async fn settle(run: &Run, limit: Duration) {
    let end = Instant::now() + limit;
    while !run.results.borrow().ledger.is_settled() {
        if Instant::now() > end {
            return;
        }
        sleep(CHECK_INTERVAL).await;
    }
    sleep(WATCH_DUPLICATES).await;
}

fn report(
    pool: &ClientPool<'_>,
    publishers: &PublisherLoop<'_>,
    load: Load,
    delivered_in_time: u64,
) -> Report {
    let results = pool.run.results.borrow();
    let totals = results.ledger.totals();
    let accepted = results.ledger.clients() as u64;
    let refused: u64 = totals.refused.values().sum();
    let lost = totals.lost + totals.lost_to_closed;
    let per_second = if load.seconds > 0.0 { delivered_in_time as f64 / load.seconds } else { 0.0 };
    Report {
        passed: totals.confirmed > 0 && lost == 0,
        connections: Connections {
            accepted,
            seconds: pool.opened_in.as_secs_f64(),
            replicas: pool.replicas.clone(),
            refused: pool.refused.clone(),
            closed: results.closes.clone(),
            gaps: results.gaps,
        },
        messages: Messages {
            sent: totals.sent,
            confirmed: totals.confirmed,
            unanswered: totals.sent - totals.confirmed - refused,
            refused: totals.refused,
            held_back: publishers.held_back,
        },
        deliveries: Deliveries {
            expected: totals.confirmed * accepted,
            delivered: totals.delivered,
            per_second,
            lost,
            lost_to_closed: totals.lost_to_closed,
            duplicated: totals.duplicated,
            out_of_order: totals.out_of_order,
        },
        latency: results.ledger.latency().percentiles(),
        load,
    }
}

/// Raises the limit of open files as far as allowed.
///
/// # Errors
/// [`Failure::Files`] if it does not suffice.
fn allow_files(clients: usize) -> Result<(), Failure> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // The present limit may suffice, too.
    let _ = setrlimit(Resource::Nofile, limit);
    match getrlimit(Resource::Nofile).current {
        Some(most) if (clients as u64).saturating_add(OTHER_FILES) > most => {
            Err(Failure::Files(most))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn interrupt_does_not_wait_for_a_name_lookup() {
        let plan = Plan::from_arguments(["warren-load", "ws://no-such-name.invalid"]).unwrap();
        let report = run(&plan, std::future::ready(())).await.unwrap();
        assert_eq!((report.passed, report.connections.accepted), (false, 0));
    }
}
