//! From names to replicas that are listened to.

use super::arguments::{MAX_REPLICAS, Plan};
use super::replica::{Client, Listener, Problem};
use super::{Failure, PAUSE};
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::time::{Instant, sleep, timeout_at};

/// How long one attempt may take, if there is time for another one.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Listens at every address of every target. With a number of replicas to wait for, it tries until
/// the deadline, and looks the names up each time; without one, it tries once.
pub(super) async fn gather(
    plan: &Plan,
    channel: &str,
    deadline: Instant,
) -> Result<Vec<Listener>, Failure> {
    let failure = |problems| Failure { heard: Vec::new(), problems };
    let client = Client::new().map_err(|problem| failure(vec![problem.to_string()]))?;
    let mut listeners = Vec::new();
    loop {
        let end = match plan.replicas {
            Some(_) => deadline.min(Instant::now() + ATTEMPT),
            None => deadline,
        };
        let mut problems = attempt(plan, &client, channel, &mut listeners, end).await;
        let names: BTreeSet<_> = listeners.iter().map(|listener| &listener.replica.name).collect();
        let (found, wanted) = (names.len(), plan.replicas.unwrap_or(1));
        if found < wanted {
            problems.push(format!("{found} of {wanted} replicas answered"));
        }
        if problems.is_empty() {
            listeners.sort_by_cached_key(|listener| listener.replica.to_string());
            return Ok(listeners);
        }
        if plan.replicas.is_none() || Instant::now() + PAUSE >= deadline {
            return Err(failure(problems));
        }
        sleep(PAUSE).await;
    }
}

/// Looks the names up and listens at the addresses that are new; says what did not work.
async fn attempt(
    plan: &Plan,
    client: &Client,
    channel: &str,
    listeners: &mut Vec<Listener>,
    end: Instant,
) -> Vec<String> {
    let lookups = join_all(plan.targets.iter().map(async |target| {
        let found = timeout_at(end, lookup_host(target)).await.map_err(|_| Problem::Late);
        let found = found.and_then(|found| found.map_err(Problem::unknown));
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
    listeners.retain(|listener| addresses.contains_key(&listener.replica.address));
    let known: BTreeSet<_> = listeners.iter().map(|listener| listener.replica.address).collect();
    let new = addresses.iter().filter(|(address, _)| !known.contains(address));
    let opened = join_all(new.map(async |(&address, &target)| {
        let opened = timeout_at(end, client.listen(target, address, channel)).await;
        (target, address, opened.unwrap_or(Err(Problem::Late)))
    }));
    let mut failed = Vec::new();
    for (target, address, opened) in opened.await {
        match opened {
            Ok(listener) => listeners.push(listener),
            Err(problem) => failed.push((target, address, problem)),
        }
    }
    let open: BTreeSet<_> = listeners.iter().map(|listener| listener.replica.address).collect();
    failed.retain(|(target, address, _)| !is_unserved_family(&addresses, &open, target, *address));
    let line = |(_, address, problem)| format!("{address}: {problem}");
    problems.extend(failed.into_iter().map(line));
    problems
}

/// Whether a name has addresses of both families, and its replicas serve only the other one than that
/// of `address`: `localhost` is such a name, and so is a Service of both families.
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
    fn a_family_counts_as_soon_as_one_of_its_addresses_answers() {
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
