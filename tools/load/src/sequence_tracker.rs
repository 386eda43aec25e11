//! The messages of each publisher that each client has received; plain data.

use std::collections::BTreeMap;
use std::ops::Range;

/// The place of a received message in the sequence of its publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receipt {
    /// Sent after all others that the client has.
    Next,
    /// Sent before one that the client has.
    OutOfOrder,
    Duplicate,
}

/// For each client and publisher, the sequence numbers received: all below one, except for some gaps.
#[derive(Debug)]
pub(crate) struct SequenceTracker {
    publishers: usize,
    /// The number after the highest received, by client and publisher.
    next: Vec<u32>,
    /// The numbers missing below `next`. Gaps are rare, so few clients have an entry.
    gaps: BTreeMap<usize, Vec<Range<u32>>>,
}

impl SequenceTracker {
    /// A tracker for a number of publishers, without clients.
    pub(crate) fn new(publishers: usize) -> Self {
        Self { publishers, next: Vec::new(), gaps: BTreeMap::new() }
    }

    /// Adds a client that has received nothing.
    pub(crate) fn add_client(&mut self) {
        self.next.resize(self.next.len() + self.publishers, 0);
    }

    /// Records a message that a client received.
    pub(crate) fn receive(&mut self, client: usize, publisher: usize, number: u32) -> Receipt {
        let pair = client * self.publishers + publisher;
        let next = &mut self.next[pair];
        if number >= *next {
            if number > *next {
                self.gaps.entry(pair).or_default().push(*next..number);
            }
            *next = number + 1;
            return Receipt::Next;
        }
        let Some(gaps) = self.gaps.get_mut(&pair) else { return Receipt::Duplicate };
        let Some(at) = gaps.iter().position(|gap| gap.contains(&number)) else {
            return Receipt::Duplicate;
        };
        let gap = gaps[at].clone();
        let parts = [gap.start..number, number + 1..gap.end];
        gaps.splice(at..=at, parts.into_iter().filter(|part| !part.is_empty()));
        if gaps.is_empty() {
            self.gaps.remove(&pair);
        }
        Receipt::OutOfOrder
    }

    /// Returns whether a client has a message.
    pub(crate) fn has(&self, client: usize, publisher: usize, number: u32) -> bool {
        let pair = client * self.publishers + publisher;
        let gaps = self.gaps.get(&pair);
        number < self.next[pair]
            && !gaps.is_some_and(|gaps| gaps.iter().any(|gap| gap.contains(&number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_filled_in_any_order() {
        let mut tracker = SequenceTracker::new(2);
        (0..2).for_each(|_| tracker.add_client());
        for (number, receipt) in [
            (0, Receipt::Next),
            (5, Receipt::Next),
            (0, Receipt::Duplicate),
            (3, Receipt::OutOfOrder),
            (3, Receipt::Duplicate),
            (1, Receipt::OutOfOrder),
            (4, Receipt::OutOfOrder),
        ] {
            assert_eq!(tracker.receive(1, 1, number), receipt, "{number}");
        }
        let have: Vec<_> = (0..8).filter(|number| tracker.has(1, 1, *number)).collect();
        assert_eq!(have, [0, 1, 3, 4, 5]);
        assert_eq!(tracker.receive(1, 1, 2), Receipt::OutOfOrder);
        assert!(tracker.gaps.is_empty());
        assert!(!tracker.has(1, 0, 0) && !tracker.has(0, 1, 0), "other pairs are not affected");
    }
}
