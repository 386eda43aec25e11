//! How long deliveries took; plain data.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// The longest that is told apart, in microseconds: an hour.
const MOST: u64 = 3_600_000_000;
/// Digits that are kept of each: what is told is right within a thousandth.
const DIGITS: u8 = 3;

/// None only if there is no room for it.
#[derive(Debug)]
pub(super) struct Latency(Option<Histogram<u64>>);

/// From a publish to its deliveries, in milliseconds: half of them took at most `p50`, and so on.
#[derive(Clone, Copy, Debug, Serialize, PartialEq)]
pub struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

impl Default for Latency {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, MOST, DIGITS).ok())
    }
}

impl Latency {
    pub(super) fn record(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(MOST);
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(micros);
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// None if there was no delivery.
    pub(super) fn percentiles(&self) -> Option<Percentiles> {
        let histogram = self.0.as_ref().filter(|histogram| !histogram.is_empty())?;
        let milliseconds = |micros: u64| micros as f64 / 1e3;
        let below = |quantile| milliseconds(histogram.value_at_quantile(quantile));
        Some(Percentiles {
            p50: below(0.5),
            p90: below(0.9),
            p99: below(0.99),
            max: milliseconds(histogram.max()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_within_a_thousandth() {
        let mut latency = Latency::default();
        assert_eq!(latency.percentiles(), None);
        for micros in 1..=100_000 {
            latency.record(Duration::from_micros(micros));
        }
        let Percentiles { p50, p90, p99, max } = latency.percentiles().unwrap();
        for (found, exact) in [(p50, 50.0), (p90, 90.0), (p99, 99.0), (max, 100.0)] {
            assert!((found / exact - 1.0).abs() < 0.001, "{found} for {exact}");
        }
        latency.record(Duration::MAX);
        assert!(latency.percentiles().unwrap().max >= 3_600_000.0);
    }
}
