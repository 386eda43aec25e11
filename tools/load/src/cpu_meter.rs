//! The CPU use of this process, which has one thread.

use crate::report::Load;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
/// The shortest time for which a share is computed, in seconds: a process is always busy at first.
const MIN_SECONDS: f64 = 0.1;

#[derive(Debug)]
pub(crate) struct CpuMeter {
    start: Sample,
    /// The beginning of the present second.
    second: Sample,
    busiest: f64,
}

/// A moment, and the CPU time used up to it, in seconds.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    used: f64,
}

impl CpuMeter {
    pub(crate) fn start() -> Self {
        let now = Sample::now();
        Self { start: now, second: now, busiest: 0.0 }
    }

    /// Looks for the busiest second; to be called several times a second.
    pub(crate) fn sample(&mut self) {
        if self.second.at.elapsed() >= SECOND {
            let now = Sample::now();
            self.busiest = self.busiest.max(now.share_since(&self.second));
            self.second = now;
        }
    }

    /// The use since the start.
    pub(crate) fn load(&self) -> Load {
        let now = Sample::now();
        let busy = now.share_since(&self.start);
        Load::new((now.at - self.start.at).as_secs_f64(), busy, self.busiest.max(busy))
    }
}

impl Sample {
    fn now() -> Self {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Self { at: Instant::now(), used: time.tv_sec as f64 + time.tv_nsec as f64 / 1e9 }
    }

    /// The share of a core used since `before`; 0 if that is too short ago.
    fn share_since(&self, before: &Self) -> f64 {
        let wall = (self.at - before.at).as_secs_f64();
        if wall >= MIN_SECONDS { (self.used - before.used) / wall } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_of_a_short_time_is_zero() {
        let end = Sample::now();
        let before = |seconds| Sample {
            at: end.at - Duration::from_secs_f64(seconds),
            used: end.used - 0.9 * seconds,
        };
        assert_eq!(end.share_since(&before(0.0)), 0.0);
        assert_eq!(end.share_since(&before(0.05)), 0.0);
        assert!((end.share_since(&before(0.5)) - 0.9).abs() < 0.001);
    }
}
