//! The latencies of deliveries; plain data.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// The longest latency that is recorded as it is, in microseconds: an hour.
const MAX_MICROS: u64 = 3_600_000_000;
/// Significant digits of each: percentiles are exact within a thousandth.
const DIGITS: u8 = 3;

/// A histogram of latencies; `None` only if its memory could not be allocated.
#[derive(Debug)]
pub(crate) struct Latency(Option<Histogram<u64>>);

/// The time from publishing to delivery, in milliseconds. Half of the deliveries took at most `p50`, and so on.
#[derive(Clone, Copy, Debug, Serialize, PartialEq)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Default for Latency {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, MAX_MICROS, DIGITS).ok())
    }
}

impl Latency {
    pub(crate) fn record(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(MAX_MICROS);
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(micros);
        }
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// The percentiles; `None` if there was no delivery.
    pub(crate) fn percentiles(&self) -> Option<Percentiles> {
        let histogram = self.0.as_ref().filter(|histogram| !histogram.is_empty())?;
        let milliseconds = |micros: u64| micros as f64 / 1e3;
        let at = |quantile| milliseconds(histogram.value_at_quantile(quantile));
        Some(Percentiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: milliseconds(histogram.max()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact_within_a_thousandth() {
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
