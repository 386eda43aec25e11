//! When to publish; plain data.

use std::time::Duration;

/// How long something that nobody tells of may go unnoticed.
const LOOK: Duration = Duration::from_millis(100);

/// How fast all publishers together publish.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many messages a second, however the server does.
    Rate(f64),
    /// So many on their way: when everyone has got one, the next goes out.
    Outstanding(usize),
}

impl Pace {
    /// When, counted from the beginning, the next message is due, if it is by now.
    pub(super) fn due(self, now: Duration, sent: u64, outstanding: usize) -> Option<Duration> {
        match self {
            // Its time is counted from when it was due, so that waiting is not left out.
            Self::Rate(rate) => Some(at(rate, sent)).filter(|due| *due <= now),
            Self::Outstanding(most) => (outstanding < most).then_some(now),
        }
    }

    /// How long there is nothing to do, if nothing happens.
    pub(super) fn pause(self, now: Duration, sent: u64) -> Duration {
        match self {
            Self::Rate(rate) => at(rate, sent).saturating_sub(now).min(LOOK),
            Self::Outstanding(_) => LOOK,
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
    fn a_rate_does_not_care_how_it_goes() {
        let (pace, now) = (Pace::Rate(20.0), Duration::from_millis(100));
        for (sent, due) in [(0, Some(0)), (1, Some(50)), (2, Some(100)), (3, None)] {
            assert_eq!(pace.due(now, sent, 1000), due.map(Duration::from_millis));
        }
        assert_eq!(pace.pause(now, 3), Duration::from_millis(50));
        assert_eq!(pace.pause(now, 1), Duration::ZERO);
    }

    #[test]
    fn what_is_outstanding_is_waited_for() {
        let (pace, now) = (Pace::Outstanding(2), Duration::from_millis(100));
        assert_eq!((pace.due(now, 9, 1), pace.due(now, 9, 2)), (Some(now), None));
    }
}
