//! Ids for messages that came without one, where no log gives them; the same on every replica.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Messages remembered, to tell the second of a kind from the first.
const CAPACITY: usize = 1 << 15;

/// Names messages that came without an id. One that carries its date is named by what it is: replicas
/// give it the same name, so that a client which changes replicas knows it again. One without a date
/// cannot be told from another that says the same, so it gets a name that is never given again: seen
/// twice is better than taken for another and not shown.
#[derive(Debug)]
pub(crate) struct ContentIds {
    /// Begins the names of undated messages.
    origin: String,
    undated: u64,
    /// Of each content seen lately: how many were named, and how many of them are in `order`.
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

    pub(crate) fn name(&mut self, dated: bool, routing_key: &str, body: &[u8]) -> Arc<str> {
        if !dated {
            self.undated += 1;
            return format!("{}-{:x}", self.origin, self.undated).into();
        }
        // Without a key of its own, so that all replicas of one build hash alike.
        let mut hasher = DefaultHasher::new();
        (routing_key, body).hash(&mut hasher);
        let content = hasher.finish();
        let (named, recent) = self.seen.entry(content).or_default();
        *named += 1;
        *recent += 1;
        let name = format!("{content:016x}.{named}").into();
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
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn replicas_give_the_same_names_and_equal_messages_different_ones() {
        let (mut one, mut two) = (ContentIds::new("a"), ContentIds::new("b"));
        let mut names = Vec::new();
        for (key, body) in [("", "a"), ("", "b"), ("", "a"), ("k", "a")] {
            names.push(one.name(true, key, body.as_bytes()));
            assert_eq!(names.last(), Some(&two.name(true, key, body.as_bytes())));
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 4);
        for n in 0..2 * CAPACITY {
            one.name(true, "", n.to_string().as_bytes());
        }
        assert_eq!((one.seen.len(), one.order.len()), (CAPACITY, CAPACITY));
        // However often the same is said, it is always another message.
        let names: HashSet<_> = (0..2 * CAPACITY).map(|_| one.name(true, "", b"tick")).collect();
        assert_eq!(names.len(), 2 * CAPACITY);
        // A replica that began anew must not give the names that its predecessor gave.
        assert_ne!(
            ContentIds::new("a").name(false, "", b"t"),
            ContentIds::new("a").name(false, "", b"t")
        );
    }
}
