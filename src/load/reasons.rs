//! Why servers refuse, and how often. The words are theirs: neither how many there are nor what is in them
//! is known.

use std::collections::BTreeMap;
use warren_client::http::quote;

/// Reasons that are told one by one.
const MAX_REASONS: usize = 20;
/// Of what a server says, so much is repeated.
const MAX_QUOTE: usize = 80;

/// The beginning of a text from a server, on one line.
pub(super) fn brief(text: &str) -> String {
    quote(text, MAX_QUOTE)
}

/// Counts a reason, as far as it is told by its name.
pub(super) fn count(reasons: &mut BTreeMap<String, u64>, reason: &str) {
    let reason = brief(reason);
    let known = reasons.contains_key(&reason) || reasons.len() < MAX_REASONS;
    let reason = if known { reason } else { "other reasons".to_owned() };
    *reasons.entry(reason).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_babbles_does_not_fill_the_report() {
        let mut reasons = BTreeMap::new();
        for number in 0..100 {
            count(&mut reasons, &format!("{number:02}\x1b[2J{}", "x".repeat(1000)));
        }
        count(&mut reasons, &format!("00\x1b[2J{}", "x".repeat(1000)));
        assert_eq!((reasons.len(), reasons["other reasons"]), (MAX_REASONS + 1, 80));
        assert_eq!(reasons.values().max(), Some(&80));
        assert_eq!(reasons.values().filter(|times| **times == 2).count(), 1);
        for reason in reasons.keys() {
            assert!(reason.len() <= MAX_QUOTE && !reason.contains(char::is_control), "{reason}");
        }
    }
}
