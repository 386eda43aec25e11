//! One log line for many events of a kind.

use std::time::{Duration, Instant};

/// The shortest time between two lines about the same, unless another is asked for.
const QUIET: Duration = Duration::from_secs(10);
/// Kinds told apart; callers have few.
const KINDS: usize = 16;

/// Counts events, and says when a line about them is due.
#[derive(Debug)]
pub struct Burst<T> {
    /// Kind, events since the last line, and when that was.
    seen: Vec<(T, u64, Instant)>,
    quiet: Duration,
}

impl<T> Default for Burst<T> {
    fn default() -> Self {
        Self::every(QUIET)
    }
}

impl<T> Burst<T> {
    /// With so much time between two lines about the same.
    pub fn every(quiet: Duration) -> Self {
        Self { seen: Vec::new(), quiet }
    }
}

impl<T: PartialEq> Burst<T> {
    /// Counts an event; how many a line should now speak of, if one is due.
    pub fn count(&mut self, kind: T) -> Option<u64> {
        self.count_at(kind, Instant::now())
    }

    fn count_at(&mut self, kind: T, now: Instant) -> Option<u64> {
        match self.seen.iter_mut().find(|(known, ..)| *known == kind) {
            Some((_, count, last)) => {
                *count += 1;
                if now.duration_since(*last) < self.quiet {
                    return None;
                }
                *last = now;
                Some(std::mem::take(count))
            }
            None => {
                if self.seen.len() < KINDS {
                    self.seen.push((kind, 0, now));
                }
                Some(1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_burst_is_told_and_then_the_sum() {
        let mut burst = Burst::default();
        let start = Instant::now();
        assert_eq!(burst.count_at("a", start), Some(1));
        assert_eq!(burst.count_at("a", start + QUIET / 2), None);
        assert_eq!(burst.count_at("b", start + QUIET / 2), Some(1));
        assert_eq!(burst.count_at("a", start + QUIET), Some(2));
        assert_eq!(burst.count_at("a", start + QUIET), None);
    }
}
