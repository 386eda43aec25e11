//! A clock that does not step.
//!
//! Messages are duplicates if they have the same key and were published within two minutes. If the system
//! clock is set in the meantime, by a minute or an hour, a duplicate must not pass as a new message.

use rustix::time::{ClockId, clock_gettime};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Divisor of the elapsed time: at most this fraction of it is added or removed to follow the system
/// clock.
const SLEW_DIVISOR: i128 = 10;

/// A clock that follows the system clock at a limited rate.
#[derive(Debug)]
pub struct SlewedClock(Mutex<ClockState>);

/// A reading of the clock and of the monotonic clock at the same moment.
#[derive(Clone, Copy, Debug)]
struct ClockState {
    /// Nanoseconds since the Unix epoch.
    time: i128,
    /// Nanoseconds since the machine started.
    uptime: i128,
}

impl SlewedClock {
    /// A clock that starts with the time of the system clock.
    pub fn new() -> Self {
        Self(Mutex::new(ClockState { time: system_time(), uptime: uptime() }))
    }

    /// Current time in seconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.advance(uptime(), system_time());
        u64::try_from(state.time / 1_000_000_000).unwrap_or_default()
    }
}

impl ClockState {
    fn advance(&mut self, uptime: i128, system_time: i128) {
        let elapsed = (uptime - self.uptime).max(0);
        let (max_slew, time) = (elapsed / SLEW_DIVISOR, self.time + elapsed);
        let slew = (system_time - time).clamp(-max_slew, max_slew);
        *self = Self { time: time + slew, uptime };
    }
}

fn system_time() -> i128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128)
}

/// Nanoseconds since the machine started, including time in suspend.
fn uptime() -> i128 {
    let time = clock_gettime(ClockId::Boottime);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_of_the_system_clock_is_followed_slowly() {
        const SECOND: i128 = 1_000_000_000;
        let mut state = ClockState { time: 1_000 * SECOND, uptime: 0 };
        // The system clock is an hour ahead, then an hour behind, then right.
        for (uptime, system_time, time) in
            [(10, 4_610, 1_011), (20, -2_580, 1_020), (30, 1_030, 1_030)]
        {
            state.advance(uptime * SECOND, system_time * SECOND);
            assert_eq!(state.time, time * SECOND, "after {uptime} s");
        }
        let clock = SlewedClock::new();
        assert!(clock.now().abs_diff((system_time() / SECOND) as u64) <= 1);
    }
}
