//! Texts of a server, for reports and logs.

/// The first `max_chars` characters of a text, with control characters replaced by spaces.
///
/// A server's text in a report can then neither fill a terminal nor control it.
pub fn one_line(text: &str, max_chars: usize) -> String {
    let text = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    text.take(max_chars).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_spaces_and_the_rest_is_cut() {
        assert_eq!(one_line("\x1b[2Jno\r\n", 80), "[2Jno");
        assert_eq!(one_line(&"é".repeat(100), 10), "é".repeat(10));
    }
}
