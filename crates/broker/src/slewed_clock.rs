//! A clock that does not step.
//!
//! Whether a key was seen within two minutes is judged by when messages were published. If the machine's
//! clock is set meanwhile, by an hour or by a minute, that must not make a second copy a new message.

use rustix::time::{ClockId, clock_gettime};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// It comes nearer to the machine's clock by this part of the time that passes.
const SLEW_DIVISOR: i128 = 10;

/// See the module.
#[derive(Debug)]
pub struct SlewedClock(Mutex<ClockState>);

/// What it shows, in nanoseconds since 1970, and the time since the machine started at which it did.
#[derive(Clone, Copy, Debug)]
struct ClockState {
    shows: i128,
    at: i128,
}

impl SlewedClock {
    /// One that shows what the machine's clock does.
    pub fn new() -> Self {
        Self(Mutex::new(ClockState { shows: wall(), at: since_start() }))
    }

    /// The present, in seconds since 1970.
    pub fn now(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.go(since_start(), wall());
        u64::try_from(state.shows / 1_000_000_000).unwrap_or_default()
    }
}

impl ClockState {
    fn go(&mut self, at: i128, wall: i128) {
        let passed = (at - self.at).max(0);
        let (most, shows) = (passed / SLEW_DIVISOR, self.shows + passed);
        *self = Self { shows: shows + (wall - shows).clamp(-most, most), at };
    }
}

fn wall() -> i128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128)
}

/// Time in which the machine slept is counted.
fn since_start() -> i128 {
    let time = clock_gettime(ClockId::Boottime);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_the_machines_clock_is_taken_in_slowly() {
        const SECOND: i128 = 1_000_000_000;
        let mut state = ClockState { shows: 1_000 * SECOND, at: 0 };
        // The machine's is an hour ahead, then an hour behind, then right.
        for (at, wall, shows) in [(10, 4_610, 1_011), (20, -2_580, 1_020), (30, 1_030, 1_030)] {
            state.go(at * SECOND, wall * SECOND);
            assert_eq!(state.shows, shows * SECOND, "after {at} s");
        }
        let clock = SlewedClock::new();
        assert!(clock.now().abs_diff((wall() / SECOND) as u64) <= 1);
    }
}
