//! The times to publish at; plain data.

use std::time::Duration;

/// Longest pause between two checks.
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// The pace of all publishers together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// Messages a second, whether or not the server keeps up.
    Rate(f64),
    /// Messages in flight: when all clients have one, the next is sent.
    Outstanding(usize),
}

impl Pace {
    /// The time from the start at which the next message was due; `None` if it is not due yet.
    pub(crate) fn due(self, now: Duration, sent: u64, outstanding: usize) -> Option<Duration> {
        match self {
            // Its latency counts from here, so that the time in which publishers wait is not left out.
            Self::Rate(rate) => Some(at(rate, sent)).filter(|due| *due <= now),
            Self::Outstanding(most) => (outstanding < most).then_some(now),
        }
    }

    /// The time until the next message may be due.
    pub(crate) fn pause(self, now: Duration, sent: u64) -> Duration {
        match self {
            Self::Rate(rate) => at(rate, sent).saturating_sub(now).min(MAX_PAUSE),
            Self::Outstanding(_) => MAX_PAUSE,
        }
    }
}

fn at(rate: f64, number: u64) -> Duration {
    Duration::from_secs_f64(number as f64 / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_ignores_outstanding_messages() {
        let (pace, now) = (Pace::Rate(20.0), Duration::from_millis(100));
        for (sent, due) in [(0, Some(0)), (1, Some(50)), (2, Some(100)), (3, None)] {
            assert_eq!(pace.due(now, sent, 1000), due.map(Duration::from_millis));
        }
        assert_eq!(pace.pause(now, 3), Duration::from_millis(50));
        assert_eq!(pace.pause(now, 1), Duration::ZERO);
    }

    #[test]
    fn pace_of_outstanding_messages_waits_for_them() {
        let (pace, now) = (Pace::Outstanding(2), Duration::from_millis(100));
        assert_eq!((pace.due(now, 9, 1), pace.due(now, 9, 2)), (Some(now), None));
    }
}
