//! `warren check`: verifies that a message published at each replica arrives at all of them.
//!
//! A client of the replicas, which knows of them only what docs/protocol.md says. It subscribes at every address
//! to a channel of its own, publishes one message through each, and waits until all have received everything
//! once. The rules are plain data, in `delivery_matrix.rs`.

mod arguments;
mod delivery_matrix;
mod gather;
mod replica;
mod replica_event;

pub use arguments::Plan;

use delivery_matrix::DeliveryMatrix;
use futures_util::stream::{FuturesUnordered, StreamExt, select_all};
use replica::{Replica, Subscriber};
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// Time before another attempt.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Time in which duplicates are awaited, once everything has arrived.
const WATCH_DUPLICATES: Duration = Duration::from_millis(300);
/// Problems that are reported one by one.
const MAX_PROBLEMS: usize = 50;

/// The result of a check that passed: one line for each replica.
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

/// The result of a check that failed.
#[derive(Debug)]
pub struct Failure {
    /// One line for each replica, if messages were published.
    received: Vec<String>,
    problems: Vec<String>,
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.received.iter().chain(self.problems.iter().take(MAX_PROBLEMS)) {
            writeln!(f, "{line}")?;
        }
        if let Some(more) = self.problems.len().checked_sub(MAX_PROBLEMS).filter(|more| *more > 0) {
            writeln!(f, "and {more} more problems")?;
        }
        write!(f, "failed")
    }
}

/// Carries out a plan, within its time limit.
///
/// # Errors
/// [`Failure`] if an address does not answer as a replica does, if too few replicas answer, or if a message does
/// not arrive everywhere exactly once.
pub async fn run(plan: &Plan) -> Result<Report, Failure> {
    let deadline = Instant::now() + plan.timeout;
    let name = format!("warren-check-{:016x}", fastrand::u64(..));
    let subscribers = gather::subscribe_all(plan, &name, deadline).await?;
    let deliveries = publish_all(subscribers, &name, deadline).await;
    let (received, problems) = (deliveries.received(), deliveries.problems());
    if problems.is_empty() { Ok(Report(received)) } else { Err(Failure { received, problems }) }
}

/// Publishes a message through each replica and records which subscribers receive it.
async fn publish_all(
    subscribers: Vec<Subscriber>,
    name: &str,
    deadline: Instant,
) -> DeliveryMatrix {
    let replicas: Vec<_> =
        subscribers.iter().map(|subscriber| subscriber.replica.clone()).collect();
    // The text names its origin: on a shared exchange other programs see it, too.
    let text = |from: usize| format!("{name}: {} of {}", from + 1, replicas.len());
    let mut deliveries = DeliveryMatrix::new(
        replicas.iter().map(Replica::to_string).collect(),
        (0..replicas.len()).map(text).collect(),
    );
    let mut publishing: FuturesUnordered<_> = replicas
        .iter()
        .enumerate()
        .map(async |(from, replica)| (from, publish(replica, name, &text(from)).await))
        .collect();
    let mut texts = select_all(
        subscribers
            .into_iter()
            .enumerate()
            .map(|(at, subscriber)| subscriber.texts().map(move |text| (at, text)).boxed_local()),
    );
    let mut settled_end = None;
    loop {
        let end = match deliveries.is_settled() {
            true => {
                let end = settled_end.get_or_insert_with(|| Instant::now() + WATCH_DUPLICATES);
                deadline.min(*end)
            }
            false => deadline,
        };
        tokio::select! {
            () = sleep_until(end) => return deliveries,
            Some((from, outcome)) = publishing.next() => deliveries.published(from, outcome),
            Some((at, text)) = texts.next() => match text {
                Ok(text) => deliveries.received_text(at, &text),
                Err(problem) => deliveries.ended(at, problem),
            },
        }
    }
}

/// Publishes, and tries again after a temporary problem. The key makes all attempts one message.
async fn publish(replica: &Replica, name: &str, text: &str) -> Result<(), replica::Problem> {
    loop {
        match replica.publish(name, text, text).await {
            Err(problem) if problem.is_temporary() => sleep(RETRY_DELAY).await,
            outcome => return outcome,
        }
    }
}
