//! Durations, sizes and rates: `250ms`, `64KiB`, `50/s`.
//!
//! One form for each value, and no bare numbers, so that a wrong unit is an error and not another value.

use super::EnvValue;
use std::time::Duration;

/// Splits `12abc` into 12 and `abc`.
fn number_and_unit(value: &str) -> Option<(u64, &str)> {
    let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (digits, unit) = value.split_at(end);
    Some((digits.parse().ok()?, unit))
}

impl EnvValue for Duration {
    const ACCEPTS: &str = "a duration such as 250ms, 30s, 5m or 24h";

    fn parse(value: &str) -> Option<Self> {
        let (number, unit) = number_and_unit(value)?;
        let seconds = match unit {
            "ms" => return Some(Self::from_millis(number)),
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        // At most a century, so that no sum of two overflows.
        let seconds =
            number.checked_mul(seconds).filter(|seconds| *seconds <= 100 * 366 * 86400)?;
        Some(Self::from_secs(seconds))
    }
}

/// A duration of at least 10 ms, for periods that must not be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HumanDuration(pub Duration);

impl EnvValue for HumanDuration {
    const ACCEPTS: &str = "a duration of at least 10ms, such as 250ms, 30s or 5m";

    fn parse(value: &str) -> Option<Self> {
        Duration::parse(value).filter(|duration| *duration >= Duration::from_millis(10)).map(Self)
    }
}

/// A duration of at most one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortDuration(pub Duration);

impl EnvValue for ShortDuration {
    const ACCEPTS: &str = "a duration of at most 1s, such as 0ms or 5ms";

    fn parse(value: &str) -> Option<Self> {
        Duration::parse(value).filter(|duration| *duration <= Duration::from_secs(1)).map(Self)
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(pub usize);

impl EnvValue for ByteSize {
    const ACCEPTS: &str = "a size such as 500B, 64KiB, 16MiB or 1GiB";

    fn parse(value: &str) -> Option<Self> {
        let (number, unit) = number_and_unit(value)?;
        let shift = match unit {
            "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return None,
        };
        let bytes = number.checked_mul(1 << shift).filter(|bytes| *bytes <= 1 << 46)?;
        usize::try_from(bytes).ok().map(Self)
    }
}

/// A limit of events in a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub per_second: f32,
}

impl EnvValue for Rate {
    const ACCEPTS: &str = "a rate above zero such as 50/s or 30/m";

    fn parse(value: &str) -> Option<Self> {
        let (number, unit) = number_and_unit(value)?;
        let seconds = match unit {
            "/s" => 1.0,
            "/m" => 60.0,
            _ => return None,
        };
        (1..=1_000_000).contains(&number).then_some(Self { per_second: number as f32 / seconds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_needs_a_unit_and_has_a_limit() {
        assert_eq!(Duration::parse("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(Duration::parse("0s"), Some(Duration::ZERO));
        assert_eq!(Duration::parse("24h"), Some(Duration::from_secs(86400)));
        for bad in ["", "5", "s", "-1s", "1.5s", "5 s", "5S", "99999999999999999999s", "999999999h"]
        {
            assert_eq!(Duration::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn human_duration_is_at_least_10ms() {
        assert_eq!(HumanDuration::parse("10ms"), Some(HumanDuration(Duration::from_millis(10))));
        assert_eq!(HumanDuration::parse("0s"), None);
    }

    #[test]
    fn short_duration_is_at_most_1s() {
        assert_eq!(ShortDuration::parse("0s"), Some(ShortDuration(Duration::ZERO)));
        assert_eq!(ShortDuration::parse("1000ms"), Some(ShortDuration(Duration::from_secs(1))));
        assert_eq!(ShortDuration::parse("1001ms"), None);
    }

    #[test]
    fn size_needs_a_binary_unit() {
        assert_eq!(ByteSize::parse("64KiB"), Some(ByteSize(65536)));
        assert_eq!(ByteSize::parse("0B"), Some(ByteSize(0)));
        for bad in ["", "64", "64KB", "64kib", "1.5MiB", "18446744073709551615GiB"] {
            assert_eq!(ByteSize::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn rate_needs_a_period_and_is_not_zero() {
        assert_eq!(Rate::parse("30/m"), Some(Rate { per_second: 0.5 }));
        for bad in ["", "50", "0/s", "50/h", "1000001/s"] {
            assert_eq!(Rate::parse(bad), None, "{bad}");
        }
    }
}
