//! From names to subscribers of all their replicas.

use super::arguments::{MAX_REPLICAS, Plan};
use super::replica::{Client, Problem, Subscriber};
use super::{Failure, RETRY_DELAY};
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::time::{Instant, sleep, timeout_at};

/// Time for one attempt, if another may follow.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Subscribes at every address of every target. With a number of replicas to wait for, it tries until the
/// deadline, and resolves the names each time; without one, it tries once.
pub(super) async fn subscribe_all(
    plan: &Plan,
    channel: &str,
    deadline: Instant,
) -> Result<Vec<Subscriber>, Failure> {
    let failure = |problems| Failure { received: Vec::new(), problems };
    let client = Client::new().map_err(|problem| failure(vec![problem.to_string()]))?;
    let mut subscribers = Vec::new();
    loop {
        let end = match plan.replicas {
            Some(_) => deadline.min(Instant::now() + ATTEMPT_TIMEOUT),
            None => deadline,
        };
        let mut problems = attempt(plan, &client, channel, &mut subscribers, end).await;
        let names: BTreeSet<_> =
            subscribers.iter().map(|subscriber| &subscriber.replica.name).collect();
        let (found, wanted) = (names.len(), plan.replicas.unwrap_or(1));
        if found < wanted {
            problems.push(format!("{found} of {wanted} replicas answered"));
        }
        if problems.is_empty() {
            subscribers.sort_by_cached_key(|subscriber| subscriber.replica.to_string());
            return Ok(subscribers);
        }
        if plan.replicas.is_none() || Instant::now() + RETRY_DELAY >= deadline {
            return Err(failure(problems));
        }
        sleep(RETRY_DELAY).await;
    }
}

/// Resolves the names and subscribes at the addresses that are new; returns the problems.
async fn attempt(
    plan: &Plan,
    client: &Client,
    channel: &str,
    subscribers: &mut Vec<Subscriber>,
    end: Instant,
) -> Vec<String> {
    let lookups = join_all(plan.targets.iter().map(async |target| {
        let found = timeout_at(end, lookup_host(target)).await.map_err(|_| Problem::Timeout);
        let found = found.and_then(|found| found.map_err(Problem::no_address));
        (target, found.map(Iterator::collect::<Vec<_>>))
    }));
    let mut problems = Vec::new();
    let mut addresses = BTreeMap::new();
    for (target, found) in lookups.await {
        match found {
            Ok(found) => addresses.extend(found.into_iter().map(|address| (address, target))),
            Err(problem) => problems.push(format!("{target}: {problem}")),
        }
    }
    if addresses.len() > MAX_REPLICAS {
        return vec![format!("there are {} addresses, more than {MAX_REPLICAS}", addresses.len())];
    }
    subscribers.retain(|subscriber| addresses.contains_key(&subscriber.replica.address));
    let known: BTreeSet<_> =
        subscribers.iter().map(|subscriber| subscriber.replica.address).collect();
    let new = addresses.iter().filter(|(address, _)| !known.contains(address));
    let opened = join_all(new.map(async |(&address, &target)| {
        let opened = timeout_at(end, client.subscribe(target, address, channel)).await;
        (target, address, opened.unwrap_or(Err(Problem::Timeout)))
    }));
    let mut failed = Vec::new();
    for (target, address, opened) in opened.await {
        match opened {
            Ok(subscriber) => subscribers.push(subscriber),
            Err(problem) => failed.push((target, address, problem)),
        }
    }
    let open: BTreeSet<_> =
        subscribers.iter().map(|subscriber| subscriber.replica.address).collect();
    failed.retain(|(target, address, _)| !is_unserved_family(&addresses, &open, target, *address));
    let line = |(_, address, problem)| format!("{address}: {problem}");
    problems.extend(failed.into_iter().map(line));
    problems
}

/// Returns whether a name has IPv4 and IPv6 addresses, and its replicas serve only the family that `address` is
/// not of. `localhost` is such a name, and so is a dual-stack Service.
fn is_unserved_family(
    addresses: &BTreeMap<SocketAddr, &String>,
    open: &BTreeSet<SocketAddr>,
    target: &str,
    address: SocketAddr,
) -> bool {
    let served = |v4| {
        let mut all =
            addresses.iter().filter(|(other, name)| **name == target && other.is_ipv4() == v4);
        all.any(|(other, _)| open.contains(other))
    };
    !served(address.is_ipv4()) && served(!address.is_ipv4())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn family_is_served_if_one_of_its_addresses_answers() {
        let [a4, b4, a6, b6] = ["1.1.1.1:1", "1.1.1.2:1", "[::1]:1", "[::2]:1"]
            .map(|address| address.parse::<SocketAddr>().unwrap());
        let (name, other) = ("name:1".to_owned(), "other:1".to_owned());
        let addresses = BTreeMap::from([(a4, &name), (b4, &name), (a6, &name), (b6, &other)]);
        for (open, address, unserved) in [
            (&[a4, b4][..], a6, true),
            (&[a4], a6, true),
            (&[a6], a4, true),
            (&[a4, a6], b4, false),
            (&[a4, b4], b6, false),
            (&[b6], a6, false),
            (&[], a6, false),
        ] {
            let open = open.iter().copied().collect();
            let name = addresses[&address];
            assert_eq!(is_unserved_family(&addresses, &open, name, address), unserved, "{open:?}");
        }
    }
}
