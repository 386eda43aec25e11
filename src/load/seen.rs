//! Which messages of which publishers a client has seen; plain data.

use std::collections::BTreeMap;
use std::ops::Range;

/// How a message comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// After all that the client has of its publisher.
    Next,
    /// After some that were sent later.
    Late,
    Again,
}

/// The numbers that were seen, for each client and publisher: all below one, but for some gaps.
#[derive(Debug)]
pub(super) struct Seen {
    publishers: usize,
    /// The number after the highest that was seen, by client and publisher.
    next: Vec<u32>,
    /// What is missing below. There are few, so few clients have an entry.
    gaps: BTreeMap<usize, Vec<Range<u32>>>,
}

impl Seen {
    /// For so many publishers, and no clients yet.
    pub(super) fn new(publishers: usize) -> Self {
        Self { publishers, next: Vec::new(), gaps: BTreeMap::new() }
    }

    /// One more client, which has seen nothing.
    pub(super) fn join(&mut self) {
        self.next.resize(self.next.len() + self.publishers, 0);
    }

    pub(super) fn see(&mut self, client: usize, publisher: usize, number: u32) -> Sight {
        let pair = client * self.publishers + publisher;
        let next = &mut self.next[pair];
        if number >= *next {
            if number > *next {
                self.gaps.entry(pair).or_default().push(*next..number);
            }
            *next = number + 1;
            return Sight::Next;
        }
        let Some(gaps) = self.gaps.get_mut(&pair) else { return Sight::Again };
        let Some(at) = gaps.iter().position(|gap| gap.contains(&number)) else {
            return Sight::Again;
        };
        let gap = gaps[at].clone();
        let parts = [gap.start..number, number + 1..gap.end];
        gaps.splice(at..=at, parts.into_iter().filter(|part| !part.is_empty()));
        if gaps.is_empty() {
            self.gaps.remove(&pair);
        }
        Sight::Late
    }

    pub(super) fn has(&self, client: usize, publisher: usize, number: u32) -> bool {
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
    fn gaps_are_filled_from_any_side() {
        let mut seen = Seen::new(2);
        (0..2).for_each(|_| seen.join());
        for (number, sight) in [
            (0, Sight::Next),
            (5, Sight::Next),
            (0, Sight::Again),
            (3, Sight::Late),
            (3, Sight::Again),
            (1, Sight::Late),
            (4, Sight::Late),
        ] {
            assert_eq!(seen.see(1, 1, number), sight, "{number}");
        }
        let have: Vec<_> = (0..8).filter(|number| seen.has(1, 1, *number)).collect();
        assert_eq!(have, [0, 1, 3, 4, 5]);
        assert_eq!(seen.see(1, 1, 2), Sight::Late);
        assert!(seen.gaps.is_empty());
        assert!(!seen.has(1, 0, 0) && !seen.has(0, 1, 0), "others have seen nothing");
    }
}
