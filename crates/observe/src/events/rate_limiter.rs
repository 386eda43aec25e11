//! Limits the lines of like events: the first is written at once, then at most one line in a period, with
//! the number of events. The rest of a burst gets a line of its own, so that no event is lost.

use super::{Event, EventName};
use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Events that are summed together: by name, and by the value of the label that counts them. Both are
/// declared, so keys are few.
pub(super) type RateKey = (EventName, &'static str);

/// Sums of the events that have no line yet.
#[derive(Debug, Default)]
pub struct LogRateLimiter(Mutex<HashMap<RateKey, Burst>>);

/// Events since the last line.
#[derive(Debug)]
struct Burst {
    count: u64,
    /// The event that the next line shows.
    last: Option<Event>,
    quiet: Duration,
    /// The earliest time of the next line.
    due: Instant,
}

/// An event, and the number of events that its line stands for.
type LogLine = (Event, u64);

impl LogRateLimiter {
    /// Writes a line for `count` like events, or adds them to the next line.
    pub fn emit(&self, event: Event, count: u64) {
        let Some((key, quiet)) = event.rate() else {
            return event.write((count > 1).then_some(count));
        };
        if let Some(line) = self.add(event, count, key, quiet, Instant::now()) {
            write(line);
        }
    }

    /// Writes the lines that are due.
    pub fn write_due(&self) {
        self.take_due(Instant::now()).into_iter().for_each(write);
    }

    /// Writes a line for all events that have none yet.
    pub fn write_rest(&self) {
        let mut bursts = self.bursts();
        let rest: Vec<_> = bursts.values_mut().filter_map(Burst::take).collect();
        drop(bursts);
        rest.into_iter().for_each(write);
    }

    fn add(
        &self,
        event: Event,
        count: u64,
        key: RateKey,
        quiet: Duration,
        now: Instant,
    ) -> Option<LogLine> {
        let mut bursts = self.bursts();
        let new = || Burst { count: 0, last: None, quiet, due: now };
        let burst = bursts.entry(key).or_insert_with(new);
        burst.count += count;
        burst.last = Some(event);
        burst.take_due(now)
    }

    /// The lines that are due. The caller writes them after the lock is released.
    fn take_due(&self, now: Instant) -> Vec<LogLine> {
        self.bursts().values_mut().filter_map(|burst| burst.take_due(now)).collect()
    }

    fn bursts(&self) -> MutexGuard<'_, HashMap<RateKey, Burst>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Burst {
    fn take_due(&mut self, now: Instant) -> Option<LogLine> {
        let line = (self.due <= now).then(|| self.take())??;
        self.due = now + self.quiet;
        Some(line)
    }

    fn take(&mut self) -> Option<LogLine> {
        Some((self.last.take()?, mem::take(&mut self.count)))
    }
}

fn write((event, count): LogLine) {
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
    fn first_event_of_a_burst_has_a_line_and_then_the_sum() {
        let limiter = LogRateLimiter::default();
        let start = Instant::now();
        let add = |label, count, after| {
            let key = (EventName::CanaryMissed, label);
            let line = limiter.add(event(), count, key, QUIET, start + after);
            line.map(|(_, count)| count)
        };
        assert_eq!(add("a", 1, Duration::ZERO), Some(1));
        assert_eq!(add("a", 3, QUIET / 2), None);
        assert_eq!(add("b", 2, QUIET / 2), Some(2));
        assert_eq!(add("a", 1, QUIET), Some(4));
        assert_eq!(add("a", 1, QUIET), None);
    }

    #[test]
    fn rest_of_a_burst_has_a_line_when_it_is_due() {
        let limiter = LogRateLimiter::default();
        let start = Instant::now();
        let key = (EventName::CanaryMissed, "");
        let add = |after| limiter.add(event(), 1, key, QUIET, start + after);
        let due = |after| {
            limiter.take_due(start + after).into_iter().map(|(_, count)| count).collect::<Vec<_>>()
        };
        assert!(add(Duration::ZERO).is_some() && due(QUIET).is_empty(), "nothing is left");
        assert!(add(QUIET).is_some() && add(QUIET).is_none() && add(QUIET * 3 / 2).is_none());
        assert!(due(QUIET * 3 / 2).is_empty());
        assert_eq!(due(QUIET * 2), [2]);
        assert!(due(QUIET * 9).is_empty());
        // That was a line, so the next event waits.
        assert!(add(QUIET * 5 / 2).is_none() && add(QUIET * 3).is_some());
    }
}
