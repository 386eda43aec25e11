//! `warren check`: proves that what is said at one replica is heard at all of them.
//!
//! It is a client of the replicas and knows of them only what docs/protocol.md says. It listens at
//! every address to a channel that nobody else has, publishes one message through each, and waits
//! until everyone has heard everything once. What decides is plain data, in `tally.rs`.

mod arguments;
mod events;
mod gather;
mod replica;
mod tally;

pub use arguments::{Plan, USAGE, Usage};

use futures_util::stream::{FuturesUnordered, StreamExt, select_all};
use replica::{Listener, Replica};
use std::fmt;
use std::time::Duration;
use tally::Tally;
use tokio::time::{Instant, sleep, sleep_until};

/// Before something is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a second copy is listened for, when everything has arrived.
const QUIET: Duration = Duration::from_millis(300);
/// Problems that are told one by one.
const MAX_PROBLEMS: usize = 50;

/// What was proved: one line for each replica.
#[derive(Debug)]
pub struct Report(Vec<String>);

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.0 {
            writeln!(f, "{line}")?;
        }
        write!(f, "passed: every message arrived everywhere, once")
    }
}

/// What could not be proved, and why.
#[derive(Debug)]
pub struct Failure {
    /// One line for each replica that listened, as far as it came to that.
    heard: Vec<String>,
    problems: Vec<String>,
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.heard.iter().chain(self.problems.iter().take(MAX_PROBLEMS)) {
            writeln!(f, "{line}")?;
        }
        if let Some(more) = self.problems.len().checked_sub(MAX_PROBLEMS).filter(|more| *more > 0) {
            writeln!(f, "and {more} more problems")?;
        }
        write!(f, "failed")
    }
}

/// Does what `plan` says, within its limit.
///
/// # Errors
/// [`Failure`] if an address does not answer as a replica does, if there are too few of them, or if a
/// message does not arrive everywhere, or more than once.
pub async fn run(plan: &Plan) -> Result<Report, Failure> {
    let deadline = Instant::now() + plan.timeout;
    let name = format!("warren-check-{:016x}", fastrand::u64(..));
    let listeners = gather::gather(plan, &name, deadline).await?;
    let tally = deliver(listeners, &name, deadline).await;
    let (heard, problems) = (tally.heard(), tally.problems());
    if problems.is_empty() { Ok(Report(heard)) } else { Err(Failure { heard, problems }) }
}

/// Publishes through each and listens at all.
async fn deliver(listeners: Vec<Listener>, name: &str, deadline: Instant) -> Tally {
    let replicas: Vec<_> = listeners.iter().map(|listener| listener.replica.clone()).collect();
    // They name themselves: on a shared exchange other programs see them, too.
    let text = |from: usize| format!("{name}: {} of {}", from + 1, replicas.len());
    let mut tally = Tally::new(
        replicas.iter().map(Replica::to_string).collect(),
        (0..replicas.len()).map(text).collect(),
    );
    let mut publishing: FuturesUnordered<_> = replicas
        .iter()
        .enumerate()
        .map(async |(from, replica)| (from, publish(replica, name, &text(from)).await))
        .collect();
    let mut said = select_all(
        listeners
            .into_iter()
            .enumerate()
            .map(|(at, listener)| listener.texts().map(move |text| (at, text)).boxed_local()),
    );
    let mut quiet = None;
    loop {
        let end = match tally.is_settled() {
            true => deadline.min(*quiet.get_or_insert_with(|| Instant::now() + QUIET)),
            false => deadline,
        };
        tokio::select! {
            () = sleep_until(end) => return tally,
            Some((from, outcome)) = publishing.next() => tally.published(from, outcome),
            Some((at, text)) = said.next() => match text {
                Ok(text) => tally.said(at, &text),
                Err(problem) => tally.ended(at, problem),
            },
        }
    }
}

/// Publishes, again and again if the replica says that it may work later; the key makes it one message.
async fn publish(replica: &Replica, name: &str, text: &str) -> Result<(), replica::Problem> {
    loop {
        match replica.publish(name, text, text).await {
            Err(problem) if problem.may_pass() => sleep(PAUSE).await,
            outcome => return outcome,
        }
    }
}
