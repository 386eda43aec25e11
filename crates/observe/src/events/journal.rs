//! One line for many events of a kind: the first at once, then one now and then that says how many there
//! were. None is lost: what is left when a burst is over is told, too.

use super::Event;
use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is summed together: the name of an event, and the series that counts it. Both are of the table,
/// so that there are few.
pub(super) type Kind = (&'static str, &'static str);

/// See the module.
#[derive(Debug, Default)]
pub struct Journal(Mutex<HashMap<Kind, Burst>>);

/// What happened since the last line.
#[derive(Debug)]
struct Burst {
    count: u64,
    /// The line is that of the last one.
    last: Option<Event>,
    quiet: Duration,
    /// When there may be a line again.
    due: Instant,
}

/// A line.
type Told = (Event, u64);

impl Journal {
    /// Writes a line for `count` times the same, or keeps them for one.
    pub fn emit(&self, event: Event, count: u64) {
        let Some((kind, quiet)) = event.pace() else {
            return event.write((count > 1).then_some(count));
        };
        if let Some(told) = self.sum(event, count, kind, quiet, Instant::now()) {
            write(told);
        }
    }

    /// Writes what is due.
    pub fn write_due(&self) {
        self.due(Instant::now()).for_each(write);
    }

    /// Writes all that was not told yet.
    pub fn write_rest(&self) {
        let mut bursts = self.bursts();
        let rest: Vec<_> = bursts.values_mut().filter_map(Burst::take).collect();
        drop(bursts);
        rest.into_iter().for_each(write);
    }

    fn sum(
        &self,
        event: Event,
        count: u64,
        kind: Kind,
        quiet: Duration,
        now: Instant,
    ) -> Option<Told> {
        let mut bursts = self.bursts();
        let new = || Burst { count: 0, last: None, quiet, due: now };
        let burst = bursts.entry(kind).or_insert_with(new);
        burst.count += count;
        burst.last = Some(event);
        burst.take_due(now)
    }

    fn due(&self, now: Instant) -> impl Iterator<Item = Told> + use<> {
        let due = |burst: &mut Burst| burst.take_due(now);
        let due: Vec<_> = self.bursts().values_mut().filter_map(due).collect();
        // Written when nobody is kept waiting.
        due.into_iter()
    }

    fn bursts(&self) -> MutexGuard<'_, HashMap<Kind, Burst>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Burst {
    fn take_due(&mut self, now: Instant) -> Option<Told> {
        let told = (self.due <= now).then(|| self.take())??;
        self.due = now + self.quiet;
        Some(told)
    }

    fn take(&mut self) -> Option<Told> {
        Some((self.last.take()?, mem::take(&mut self.count)))
    }
}

fn write((event, count): Told) {
    event.write(Some(count));
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_secs(10);

    fn event() -> Event {
        Event::CanaryMissed
    }

    #[test]
    fn the_first_of_a_burst_is_told_and_then_the_sum() {
        let journal = Journal::default();
        let start = Instant::now();
        let sum = |kind, count, after| {
            let told = journal.sum(event(), count, ("event", kind), QUIET, start + after);
            told.map(|(_, count)| count)
        };
        assert_eq!(sum("a", 1, Duration::ZERO), Some(1));
        assert_eq!(sum("a", 3, QUIET / 2), None);
        assert_eq!(sum("b", 2, QUIET / 2), Some(2));
        assert_eq!(sum("a", 1, QUIET), Some(4));
        assert_eq!(sum("a", 1, QUIET), None);
    }

    #[test]
    fn what_is_left_when_a_burst_is_over_is_told_when_it_is_due() {
        let journal = Journal::default();
        let start = Instant::now();
        let tell = |after| journal.sum(event(), 1, ("event", ""), QUIET, start + after);
        let due = |after| journal.due(start + after).map(|(_, count)| count).collect::<Vec<_>>();
        assert!(tell(Duration::ZERO).is_some() && due(QUIET).is_empty(), "nothing is left");
        assert!(tell(QUIET).is_some() && tell(QUIET).is_none() && tell(QUIET * 3 / 2).is_none());
        assert!(due(QUIET * 3 / 2).is_empty());
        assert_eq!(due(QUIET * 2), [2]);
        assert!(due(QUIET * 9).is_empty());
        // It was a line, so the next is not at once.
        assert!(tell(QUIET * 5 / 2).is_none() && tell(QUIET * 3).is_some());
    }
}
