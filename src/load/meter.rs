//! How busy this process is: it has one thread.

use super::report::Load;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
/// A share of less than this many seconds says nothing: whoever has just begun is always busy.
const LEAST: f64 = 0.1;

#[derive(Debug)]
pub(super) struct Meter {
    begin: Mark,
    second: Mark,
    busiest: f64,
}

/// A moment, and the CPU time that was used up to it.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    used: f64,
}

impl Meter {
    pub(super) fn begin() -> Self {
        let mark = Mark::now();
        Self { begin: mark, second: mark, busiest: 0.0 }
    }

    /// To be called several times a second.
    pub(super) fn look(&mut self) {
        if self.second.at.elapsed() >= SECOND {
            let now = Mark::now();
            self.busiest = self.busiest.max(now.share_since(&self.second));
            self.second = now;
        }
    }

    pub(super) fn end(&self) -> Load {
        let now = Mark::now();
        let busy = now.share_since(&self.begin);
        Load::new((now.at - self.begin.at).as_secs_f64(), busy, self.busiest.max(busy))
    }
}

impl Mark {
    fn now() -> Self {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Self { at: Instant::now(), used: time.tv_sec as f64 + time.tv_nsec as f64 / 1e9 }
    }

    /// The share of a core that was used since then; 0 if that is too short a time to tell.
    fn share_since(&self, before: &Self) -> f64 {
        let wall = (self.at - before.at).as_secs_f64();
        if wall >= LEAST { (self.used - before.used) / wall } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_no_share() {
        let end = Mark::now();
        let before = |seconds| Mark {
            at: end.at - Duration::from_secs_f64(seconds),
            used: end.used - 0.9 * seconds,
        };
        assert_eq!(end.share_since(&before(0.0)), 0.0);
        assert_eq!(end.share_since(&before(0.05)), 0.0);
        assert!((end.share_since(&before(0.5)) - 0.9).abs() < 0.001);
    }
}
