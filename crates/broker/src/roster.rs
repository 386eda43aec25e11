//! The roster: replicas that are known from their control messages.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Limit of replicas that are kept: other programs can publish to the exchange.
const MAX_PEERS: usize = 1000;

/// Shortest time before a silent replica is removed. Other replicas may have a longer interval, or none.
const MIN_TIMEOUT: Duration = Duration::from_secs(2);

/// A replica's description of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub name: String,
    pub version: String,
    pub connections: usize,
}

/// Replicas from which a control message came recently, and this replica.
#[derive(Debug)]
pub struct Roster {
    name: String,
    connections: AtomicUsize,
    peers: Mutex<HashMap<String, (Peer, Instant)>>,
    /// Time without a control message after which a replica is no longer listed.
    timeout: Duration,
}

impl Roster {
    pub fn new(name: &str, canary_interval: Duration) -> Self {
        Self {
            name: name.to_owned(),
            connections: AtomicUsize::new(0),
            peers: Mutex::new(HashMap::new()),
            timeout: canary_interval.saturating_mul(3).max(MIN_TIMEOUT),
        }
    }

    /// Description of this replica for the others.
    pub fn own(&self) -> Peer {
        Peer {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            connections: self.connections.load(Ordering::Relaxed),
        }
    }

    /// Sets the number of connected clients of this replica.
    pub fn set_connections(&self, connections: usize) {
        self.connections.store(connections, Ordering::Relaxed);
    }

    /// Records a control message of a replica.
    pub(crate) fn heard(&self, peer: Peer) {
        let mut peers = self.peers();
        peers.retain(|_, (_, at)| at.elapsed() < self.timeout);
        if peers.len() < MAX_PEERS || peers.contains_key(&peer.name) {
            peers.insert(peer.name.clone(), (peer, Instant::now()));
        }
    }

    /// Removes a replica that announced its shutdown.
    pub(crate) fn left(&self, name: &str) {
        self.peers().remove(name);
    }

    /// Known replicas, sorted by name.
    pub fn list(&self) -> Vec<Peer> {
        let mut list: Vec<_> = self
            .peers()
            .values()
            .filter(|(peer, at)| peer.name != self.name && at.elapsed() < self.timeout)
            .map(|(peer, _)| peer.clone())
            .collect();
        list.push(self.own());
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<String, (Peer, Instant)>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str, connections: usize) -> Peer {
        Peer { name: name.into(), version: "1".into(), connections }
    }

    #[test]
    fn list_has_known_peers_until_they_leave() {
        let roster = Roster::new("b", Duration::from_secs(60));
        roster.set_connections(7);
        roster.heard(peer("c", 1));
        roster.heard(peer("a", 2));
        roster.heard(peer("c", 3));
        roster.heard(peer("b", 99));
        let list = |roster: &Roster| -> Vec<_> {
            roster.list().into_iter().map(|peer| (peer.name, peer.connections)).collect()
        };
        assert_eq!(list(&roster), [("a".into(), 2), ("b".into(), 7), ("c".into(), 3)]);
        roster.left("a");
        assert_eq!(list(&roster), [("b".into(), 7), ("c".into(), 3)]);
    }

    #[test]
    fn number_of_peers_is_limited() {
        let roster = Roster::new("own", Duration::from_secs(60));
        for n in 0..2 * MAX_PEERS {
            roster.heard(peer(&n.to_string(), 0));
        }
        assert_eq!(roster.list().len(), MAX_PEERS + 1);
    }
}
