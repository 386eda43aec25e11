//! Ids for messages that arrive without one, with delivery mode `live`.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Limit of messages that are remembered, to distinguish messages with the same content.
const CAPACITY: usize = 1 << 15;

/// Assigns ids from the content of messages. A message with a date gets the same id on every replica, so
/// that a client that changes replicas recognizes it. A message without a date cannot be distinguished
/// from another with the same content, so its id is unique: a client may see the message twice, but never
/// misses one.
#[derive(Debug)]
pub(crate) struct ContentIds {
    /// First part of the ids of undated messages.
    origin: String,
    undated: u64,
    /// By hash of recent content: number of ids assigned, and how many of them are in `order`.
    seen: HashMap<u64, (u64, u32)>,
    order: VecDeque<u64>,
}

impl ContentIds {
    pub(crate) fn new(replica: &str) -> Self {
        Self {
            origin: format!("{replica}.{:08x}", fastrand::u32(..)),
            undated: 0,
            seen: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Id for a message without a date: random for this process, and never used again.
    pub(crate) fn undated(&mut self) -> Arc<str> {
        self.undated += 1;
        format!("{}-{:x}", self.origin, self.undated).into()
    }

    /// Id for a message with a date, from a hash of its content.
    pub(crate) fn dated(&mut self, routing_key: &str, body: &[u8]) -> Arc<str> {
        // `DefaultHasher::new` has fixed keys, so that all replicas of one build get the same hash.
        let mut hasher = DefaultHasher::new();
        (routing_key, body).hash(&mut hasher);
        let content = hasher.finish();
        let (assigned, recent) = self.seen.entry(content).or_default();
        *assigned += 1;
        *recent += 1;
        let id = format!("{content:016x}.{assigned}").into();
        self.order.push_back(content);
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
            && let Some((_, recent)) = self.seen.get_mut(&oldest)
        {
            *recent -= 1;
            if *recent == 0 {
                self.seen.remove(&oldest);
            }
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_the_same_on_all_replicas_and_differ_for_equal_messages() {
        let (mut one, mut two) = (ContentIds::new("a"), ContentIds::new("b"));
        let mut ids = Vec::new();
        for (key, body) in [("", "a"), ("", "b"), ("", "a"), ("k", "a")] {
            ids.push(one.dated(key, body.as_bytes()));
            assert_eq!(ids.last(), Some(&two.dated(key, body.as_bytes())));
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 4);
        for n in 0..2 * CAPACITY {
            one.dated("", n.to_string().as_bytes());
        }
        assert_eq!((one.seen.len(), one.order.len()), (CAPACITY, CAPACITY));
        // Ids stay unique when the same content arrives more often than is remembered.
        let ids: HashSet<_> = (0..2 * CAPACITY).map(|_| one.dated("", b"tick")).collect();
        assert_eq!(ids.len(), 2 * CAPACITY);
        // A restarted replica does not repeat the ids of its predecessor.
        assert_ne!(ContentIds::new("a").undated(), ContentIds::new("a").undated());
    }
}
