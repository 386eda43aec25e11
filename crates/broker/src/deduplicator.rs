//! Recognizes duplicates, so that each message is delivered once.
//!
//! Duplicates come from publishers that retry (same channel and key) and from replicas that publish again
//! after a connection is lost, because the first attempt may have succeeded (same origin and number). The
//! verdict depends only on the messages before, not on the local clock or the replica, so that all
//! readers of one order reach the same verdicts.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;
use warren_protocol::message::Channel;

/// Seconds for which a key is remembered after it was last seen.
pub(crate) const DEDUP_WINDOW: u64 = 120;
/// Limit of keys that are remembered.
const MAX_KEYS: usize = 1 << 18;
/// Limit of publishing processes that are remembered.
const MAX_ORIGINS: usize = 1 << 12;
/// Limit of ranges of missing numbers that are remembered for each process.
const MAX_MISSING_RANGES: usize = 32;

/// Properties of a message by which duplicates are recognized.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DedupKeys<'a> {
    pub(crate) key: Option<&'a str>,
    /// The publishing process, and the message's number in its ascending sequence.
    pub(crate) origin: Option<(&'a str, u64)>,
    /// True for a message that an earlier connection may have published.
    pub(crate) repeated: bool,
    /// Time of publishing, in seconds since the Unix epoch.
    pub(crate) published_at: u64,
}

/// Memory of recent keys and numbers. All limits are fixed.
#[derive(Debug, Default)]
pub(crate) struct Deduplicator {
    /// By hash of channel and key.
    keys: HashMap<u128, KnownKey>,
    /// Hash and time of each use of a key, oldest first. A key that was used again is in it again.
    key_uses: VecDeque<(u128, u64)>,
    origins: HashMap<Box<str>, Origin>,
    hashers: [RandomState; 2],
}

/// The first message of a key.
#[derive(Debug)]
struct KnownKey {
    id: Arc<str>,
    last_used: u64,
}

/// Numbers that were seen of one publishing process.
#[derive(Debug)]
struct Origin {
    highest: u64,
    last_used: u64,
    /// Numbers below the highest that did not arrive, ascending. RabbitMQ can return one message as
    /// unroutable and accept the next.
    missing: VecDeque<Range<u64>>,
}

/// Result of the check of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    New,
    /// A duplicate, with the id of the first message if that is still known.
    Duplicate {
        first: Option<Arc<str>>,
    },
}

impl Deduplicator {
    /// Checks the next message in order. If it is new, it gets the id `id`.
    pub(crate) fn judge(
        &mut self,
        channel: &Channel,
        keys: DedupKeys<'_>,
        id: &Arc<str>,
    ) -> Verdict {
        let number_seen =
            keys.origin.is_some_and(|(origin, number)| self.record_number(origin, number, keys));
        let first = keys.key.and_then(|key| self.record_key(channel, key, keys.published_at, id));
        if first.is_some() || number_seen { Verdict::Duplicate { first } } else { Verdict::New }
    }

    /// Records a number of a process. Returns true if it was seen before, or may have been.
    fn record_number(&mut self, origin: &str, number: u64, keys: DedupKeys<'_>) -> bool {
        let now = keys.published_at;
        if let Some(known) = self.origins.get_mut(origin) {
            known.last_used = now.max(known.last_used);
            return known.record(number, keys.repeated);
        }
        if self.origins.len() >= MAX_ORIGINS {
            let oldest = self.origins.iter().min_by_key(|(_, origin)| origin.last_used);
            if let Some(oldest) = oldest.map(|(origin, _)| origin.clone()) {
                self.origins.remove(&oldest);
            }
        }
        let new = Origin { highest: number, last_used: now, missing: VecDeque::new() };
        self.origins.insert(origin.into(), new);
        false
    }

    /// Records the use of a key. Returns the id of its first message if the key was used within the
    /// window.
    fn record_key(
        &mut self,
        channel: &Channel,
        key: &str,
        now: u64,
        id: &Arc<str>,
    ) -> Option<Arc<str>> {
        let [one, two] = self.hashers.each_ref().map(|hasher| hasher.hash_one((channel, key)));
        let hash = u128::from(one) << 64 | u128::from(two);
        self.forget_keys(now);
        self.key_uses.push_back((hash, now));
        match self.keys.get_mut(&hash) {
            Some(known) if known.last_used.abs_diff(now) <= DEDUP_WINDOW => {
                known.last_used = now.max(known.last_used);
                Some(known.id.clone())
            }
            _ => {
                self.keys.insert(hash, KnownKey { id: id.clone(), last_used: now });
                None
            }
        }
    }

    /// Forgets keys that are too old to matter, even if clocks differ by the length of the window.
    fn forget_keys(&mut self, now: u64) {
        while let Some((hash, used)) = self.key_uses.front().copied()
            && (used + 2 * DEDUP_WINDOW < now || self.key_uses.len() >= MAX_KEYS)
        {
            self.key_uses.pop_front();
            if self.keys.get(&hash).is_some_and(|known| known.last_used <= used) {
                self.keys.remove(&hash);
            }
        }
    }
}

impl Origin {
    /// Records a number. Returns true if it is a duplicate. A missing number counts as new only if it is
    /// published again. Otherwise it is a late message of an abandoned connection.
    fn record(&mut self, number: u64, repeated: bool) -> bool {
        if number > self.highest {
            let skipped = self.highest + 1..number;
            if !skipped.is_empty() {
                self.missing.push_back(skipped);
            }
            if self.missing.len() > MAX_MISSING_RANGES {
                self.missing.pop_front();
            }
            self.highest = number;
            return false;
        }
        let index = self.missing.iter().position(|range| repeated && range.contains(&number));
        let Some(Range { start, end }) = index.and_then(|index| self.missing.remove(index)) else {
            return true;
        };
        let (before, after) = (start..number, number + 1..end);
        for rest in [after, before].into_iter().filter(|rest| !rest.is_empty()) {
            self.missing.insert(index.unwrap_or_default(), rest);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Arc<str> {
        text.into()
    }

    fn duplicate_of(first: &str) -> Verdict {
        Verdict::Duplicate { first: Some(id(first)) }
    }

    fn keyed<'a>(key: &'a str, published_at: u64) -> DedupKeys<'a> {
        DedupKeys { key: Some(key), published_at, ..DedupKeys::default() }
    }

    #[test]
    fn key_is_remembered_for_two_minutes_in_its_channel() {
        let (mut dedup, lobby) = (Deduplicator::default(), Channel::default());
        let news = Channel::new("news").unwrap();
        assert_eq!(dedup.judge(&lobby, keyed("k", 1000), &id("a")), Verdict::New);
        assert_eq!(dedup.judge(&lobby, keyed("k", 1120), &id("b")), duplicate_of("a"));
        assert_eq!(dedup.judge(&news, keyed("k", 1120), &id("c")), Verdict::New);
        // Each use extends the time by two minutes.
        assert_eq!(dedup.judge(&lobby, keyed("k", 1240), &id("d")), duplicate_of("a"));
        assert_eq!(dedup.judge(&lobby, keyed("k", 1361), &id("e")), Verdict::New);
        assert_eq!(dedup.judge(&lobby, keyed("k", 1361), &id("f")), duplicate_of("e"));
    }

    #[test]
    fn message_published_again_is_a_duplicate_by_its_number() {
        let (mut dedup, lobby) = (Deduplicator::default(), Channel::default());
        let mut is_new = |origin, number| {
            let keys = DedupKeys { origin: Some((origin, number)), ..DedupKeys::default() };
            dedup.judge(&lobby, keys, &id("x")) == Verdict::New
        };
        let new: Vec<_> = [1, 2, 3, 2, 3, 4, 1, 5].map(|number| is_new("a", number)).into();
        assert_eq!(new, [true, true, true, false, false, true, false, true]);
        assert!(is_new("b", 3));
    }

    #[test]
    fn returned_message_is_new_when_published_again_after_a_later_one() {
        let (mut dedup, lobby) = (Deduplicator::default(), Channel::default());
        let mut is_new = |number, repeated| {
            let keys = DedupKeys { origin: Some(("a", number)), repeated, ..DedupKeys::default() };
            dedup.judge(&lobby, keys, &id("x")) == Verdict::New
        };
        assert!([1, 5, 7].into_iter().all(|number| is_new(number, false)));
        let again: Vec<_> = (1..=8).map(|number| is_new(number, true)).collect();
        assert_eq!(again, [false, true, true, true, false, true, false, true]);
        assert!((1..=8).all(|number| !is_new(number, true)), "each is new once");
        // 9 was delayed, and 10 arrived before it.
        assert!(is_new(10, false) && !is_new(9, false) && is_new(9, true));
    }

    #[test]
    fn missing_numbers_take_bounded_memory() {
        let mut origin = Origin { highest: 0, last_used: 0, missing: VecDeque::new() };
        for number in (0..1000).step_by(2).chain([u64::MAX]) {
            origin.record(number, true);
        }
        assert_eq!(origin.missing.len(), MAX_MISSING_RANGES);
        assert!(origin.record(1, true) && !origin.record(u64::MAX - 1, true));
    }

    #[test]
    fn keys_and_origins_take_bounded_memory() {
        let (mut dedup, lobby) = (Deduplicator::default(), Channel::default());
        for n in 0..MAX_KEYS + 10 {
            dedup.judge(&lobby, keyed(&n.to_string(), 7), &id("x"));
        }
        assert!(dedup.keys.len() <= MAX_KEYS && dedup.key_uses.len() <= MAX_KEYS);
        for n in 0..MAX_ORIGINS + 10 {
            let origin = Some((&*n.to_string(), 1));
            dedup.judge(
                &lobby,
                DedupKeys { origin, published_at: 7, ..DedupKeys::default() },
                &id("x"),
            );
        }
        assert!(dedup.origins.len() <= MAX_ORIGINS);
        dedup.judge(&lobby, keyed("late", 7 + 2 * DEDUP_WINDOW + 1), &id("y"));
        assert_eq!((dedup.keys.len(), dedup.key_uses.len()), (1, 1));
    }
}
