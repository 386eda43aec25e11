//! Which messages are second copies, to be delivered once only.
//!
//! Copies come from senders that try again (same channel and key) and from replicas that publish again
//! what an earlier connection may have got out (same origin, a number that was seen already). The
//! verdict depends on what was read before and on nothing else, neither clock nor replica, so that
//! all who read one order come to the same.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;
use warren_protocol::message::Channel;

/// Seconds in which a key that was seen is known again.
pub(super) const WINDOW: u64 = 120;
/// Keys remembered at most.
const MAX_KEYS: usize = 1 << 18;
/// Publishing processes remembered at most.
const MAX_ORIGINS: usize = 1 << 12;

/// Stretches of numbers that did not come, of a process, remembered at most.
const MAX_HOLES: usize = 32;

/// What may give a message away as a second copy.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DedupKeys<'a> {
    pub(super) key: Option<&'a str>,
    /// The process that published it, and the number it gave it; these rise.
    pub(super) origin: Option<(&'a str, u64)>,
    /// It says that an earlier connection may have got it out.
    pub(super) repeated: bool,
    /// When it was published, in seconds since 1970.
    pub(super) stamp: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Deduplicator {
    /// By the hash of channel and key.
    keys: HashMap<u128, Seen>,
    /// The same, oldest first; one that was seen again is in it again.
    order: VecDeque<(u128, u64)>,
    origins: HashMap<Box<str>, Origin>,
    hashers: [RandomState; 2],
}

/// Which numbers of a process were seen.
#[derive(Debug)]
struct Origin {
    highest: u64,
    /// When something of it came last.
    latest: u64,
    /// Numbers below the highest that did not come, ascending: RabbitMQ may return a message, and take
    /// the next one.
    missing: VecDeque<Range<u64>>,
}

#[derive(Debug)]
struct Seen {
    first: Arc<str>,
    stamp: u64,
}

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    First,
    /// A second copy of the message with this id, if that is still known.
    Second(Option<Arc<str>>),
}

impl Deduplicator {
    /// Judges the next message in order, which has this id if it is a first.
    pub(super) fn judge(
        &mut self,
        channel: &Channel,
        marks: DedupKeys<'_>,
        id: &Arc<str>,
    ) -> Verdict {
        let seen = marks.origin.is_some_and(|(origin, number)| self.seen(origin, number, marks));
        let known = marks.key.and_then(|key| self.known(channel, key, marks.stamp, id));
        match known {
            Some(first) => Verdict::Second(Some(first)),
            None if seen => Verdict::Second(None),
            None => Verdict::First,
        }
    }

    /// Whether this number of this process was seen before, or may have been.
    fn seen(&mut self, origin: &str, number: u64, marks: DedupKeys<'_>) -> bool {
        let stamp = marks.stamp;
        if let Some(known) = self.origins.get_mut(origin) {
            known.latest = stamp.max(known.latest);
            return known.seen(number, marks.repeated);
        }
        if self.origins.len() >= MAX_ORIGINS {
            let oldest = self.origins.iter().min_by_key(|(_, origin)| origin.latest);
            if let Some(oldest) = oldest.map(|(origin, _)| origin.clone()) {
                self.origins.remove(&oldest);
            }
        }
        let new = Origin { highest: number, latest: stamp, missing: VecDeque::new() };
        self.origins.insert(origin.into(), new);
        false
    }

    /// The id of the first message of this key, if it was seen within the window.
    fn known(
        &mut self,
        channel: &Channel,
        key: &str,
        stamp: u64,
        id: &Arc<str>,
    ) -> Option<Arc<str>> {
        let [one, two] = self.hashers.each_ref().map(|hasher| hasher.hash_one((channel, key)));
        let hash = u128::from(one) << 64 | u128::from(two);
        self.forget(stamp);
        self.order.push_back((hash, stamp));
        match self.keys.get_mut(&hash) {
            Some(seen) if seen.stamp.abs_diff(stamp) <= WINDOW => {
                seen.stamp = stamp.max(seen.stamp);
                Some(seen.first.clone())
            }
            _ => {
                self.keys.insert(hash, Seen { first: id.clone(), stamp });
                None
            }
        }
    }

    /// Drops what is too old to matter, even if clocks differ by as much as the window.
    fn forget(&mut self, now: u64) {
        while let Some((hash, stamp)) = self.order.front().copied()
            && (stamp + 2 * WINDOW < now || self.order.len() >= MAX_KEYS)
        {
            self.order.pop_front();
            if self.keys.get(&hash).is_some_and(|seen| seen.stamp <= stamp) {
                self.keys.remove(&hash);
            }
        }
    }
}

impl Origin {
    /// Whether a number was seen before. One that was passed over is new only if it is published again:
    /// else it is what a connection that was given up held back, and too late.
    fn seen(&mut self, number: u64, repeated: bool) -> bool {
        if number > self.highest {
            let hole = self.highest + 1..number;
            if !hole.is_empty() {
                self.missing.push_back(hole);
            }
            if self.missing.len() > MAX_HOLES {
                self.missing.pop_front();
            }
            self.highest = number;
            return false;
        }
        let place = self.missing.iter().position(|hole| repeated && hole.contains(&number));
        let Some(Range { start, end }) = place.and_then(|place| self.missing.remove(place)) else {
            return true;
        };
        let (before, behind) = (start..number, number + 1..end);
        for left in [behind, before].into_iter().filter(|left| !left.is_empty()) {
            self.missing.insert(place.unwrap_or_default(), left);
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

    fn keyed<'a>(key: &'a str, stamp: u64) -> DedupKeys<'a> {
        DedupKeys { key: Some(key), stamp, ..DedupKeys::default() }
    }

    #[test]
    fn a_key_is_known_for_two_minutes_in_its_channel() {
        let (mut once, lobby) = (Deduplicator::default(), Channel::default());
        let news = Channel::new("news").unwrap();
        assert_eq!(once.judge(&lobby, keyed("k", 1000), &id("a")), Verdict::First);
        let second = Verdict::Second(Some(id("a")));
        assert_eq!(once.judge(&lobby, keyed("k", 1120), &id("b")), second);
        assert_eq!(once.judge(&news, keyed("k", 1120), &id("c")), Verdict::First);
        // Seen again, it is known for two more minutes.
        assert_eq!(once.judge(&lobby, keyed("k", 1240), &id("d")), second);
        assert_eq!(once.judge(&lobby, keyed("k", 1361), &id("e")), Verdict::First);
        assert_eq!(once.judge(&lobby, keyed("k", 1361), &id("f")), Verdict::Second(Some(id("e"))));
    }

    #[test]
    fn what_a_process_publishes_again_is_known_by_its_number() {
        let (mut once, lobby) = (Deduplicator::default(), Channel::default());
        let mut judge = |origin, number| {
            let marks = DedupKeys { origin: Some((origin, number)), ..DedupKeys::default() };
            once.judge(&lobby, marks, &id("x")) == Verdict::First
        };
        let first: Vec<_> = [1, 2, 3, 2, 3, 4, 1, 5].map(|number| judge("a", number)).into();
        assert_eq!(first, [true, true, true, false, false, true, false, true]);
        assert!(judge("b", 3));
    }

    #[test]
    fn what_was_returned_while_the_next_got_out_is_new_when_it_is_published_again() {
        let (mut once, lobby) = (Deduplicator::default(), Channel::default());
        let mut judge = |number, repeated| {
            let marks = DedupKeys { origin: Some(("a", number)), repeated, ..DedupKeys::default() };
            once.judge(&lobby, marks, &id("x")) == Verdict::First
        };
        assert!([1, 5, 7].into_iter().all(|number| judge(number, false)));
        let again: Vec<_> = (1..=8).map(|number| judge(number, true)).collect();
        assert_eq!(again, [false, true, true, true, false, true, false, true]);
        assert!((1..=8).all(|number| !judge(number, true)), "each once");
        // It was held back somewhere; what came after it is out.
        assert!(judge(10, false) && !judge(9, false) && judge(9, true));
    }

    #[test]
    fn numbers_that_never_come_take_little() {
        let mut origin = Origin { highest: 0, latest: 0, missing: VecDeque::new() };
        for number in (0..1000).step_by(2).chain([u64::MAX]) {
            origin.seen(number, true);
        }
        assert_eq!(origin.missing.len(), MAX_HOLES);
        assert!(origin.seen(1, true) && !origin.seen(u64::MAX - 1, true));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut once, lobby) = (Deduplicator::default(), Channel::default());
        for n in 0..MAX_KEYS + 10 {
            once.judge(&lobby, keyed(&n.to_string(), 7), &id("x"));
        }
        assert!(once.keys.len() <= MAX_KEYS && once.order.len() <= MAX_KEYS);
        for n in 0..MAX_ORIGINS + 10 {
            let origin = Some((&*n.to_string(), 1));
            once.judge(&lobby, DedupKeys { origin, stamp: 7, ..DedupKeys::default() }, &id("x"));
        }
        assert!(once.origins.len() <= MAX_ORIGINS);
        once.judge(&lobby, keyed("late", 7 + 2 * WINDOW + 1), &id("y"));
        assert_eq!((once.keys.len(), once.order.len()), (1, 1));
    }
}
