//! The rate limit of one client's messages.

use std::time::Instant;
use warren_config::Rate;

/// A token bucket that fills at a rate, and holds two seconds of it.
#[derive(Debug)]
pub struct Limiter {
    tokens: f32,
    filled: Instant,
}

impl Limiter {
    pub fn new(rate: Rate) -> Self {
        Self { tokens: burst(rate), filled: Instant::now() }
    }

    /// Takes a token for one message. False if the message is beyond the rate.
    pub fn allow(&mut self, rate: Rate) -> bool {
        self.allow_at(rate, Instant::now())
    }

    fn allow_at(&mut self, rate: Rate, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f32();
        self.filled = now;
        self.tokens = (self.tokens + passed * rate.per_second).min(burst(rate));
        let allowed = self.tokens >= 1.0;
        if allowed {
            self.tokens -= 1.0;
        }
        allowed
    }
}

fn burst(rate: Rate) -> f32 {
    (2.0 * rate.per_second).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn burst_is_allowed_then_the_rate() {
        let rate = Rate { per_second: 10.0 };
        let mut limiter = Limiter::new(rate);
        let start = limiter.filled;
        let count =
            |limiter: &mut Limiter, at| (0..100).filter(|_| limiter.allow_at(rate, at)).count();
        assert_eq!(count(&mut limiter, start), 20);
        assert_eq!(count(&mut limiter, start + Duration::from_millis(510)), 5);
        assert_eq!(count(&mut limiter, start + Duration::from_secs(60)), 20);
    }
}
