//! Counts by reason. Reasons are texts of a server, so their number and length are limited.

use std::collections::BTreeMap;
use warren_client::one_line;

/// Reasons that are counted one by one.
const MAX_REASONS: usize = 20;
/// Characters of a server's text that are reported.
const MAX_CHARS: usize = 80;

/// The beginning of a text from a server, on one line.
pub(crate) fn brief(text: &str) -> String {
    one_line(text, MAX_CHARS)
}

/// Counts a reason, under `other reasons` if there are too many.
pub(crate) fn count(reasons: &mut BTreeMap<String, u64>, reason: &str) {
    let reason = brief(reason);
    let known = reasons.contains_key(&reason) || reasons.len() < MAX_REASONS;
    let reason = if known { reason } else { "other reasons".to_owned() };
    *reasons.entry(reason).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_long_reasons_do_not_fill_the_report() {
        let mut reasons = BTreeMap::new();
        for number in 0..100 {
            count(&mut reasons, &format!("{number:02}\x1b[2J{}", "x".repeat(1000)));
        }
        count(&mut reasons, &format!("00\x1b[2J{}", "x".repeat(1000)));
        assert_eq!((reasons.len(), reasons["other reasons"]), (MAX_REASONS + 1, 80));
        assert_eq!(reasons.values().max(), Some(&80));
        assert_eq!(reasons.values().filter(|times| **times == 2).count(), 1);
        for reason in reasons.keys() {
            assert!(reason.len() <= MAX_CHARS && !reason.contains(char::is_control), "{reason}");
        }
    }
}
