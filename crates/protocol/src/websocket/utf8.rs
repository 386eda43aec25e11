//! UTF-8 checked while it arrives, so that a bad byte is refused before the rest is read.

/// How far a growing buffer is known to be valid UTF-8.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    valid: usize,
}

/// The text can never become valid, whatever follows.
#[derive(Debug)]
pub(super) struct Invalid;

impl Utf8 {
    /// Checks what `text` has gained since the last call. A character cut in half is left for the next.
    pub(super) fn check(&mut self, text: &[u8]) -> Result<(), Invalid> {
        match std::str::from_utf8(&text[self.valid..]) {
            Ok(_) => self.valid = text.len(),
            Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
            Err(_) => return Err(Invalid),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_may_arrive_byte_by_byte() {
        let text = "κόσμε🐇".as_bytes();
        let mut utf8 = Utf8::default();
        for end in 1..=text.len() {
            utf8.check(&text[..end]).unwrap();
        }
        assert_eq!(utf8.valid, text.len());
    }

    #[test]
    fn a_surrogate_is_refused_at_its_second_byte() {
        let mut utf8 = Utf8::default();
        utf8.check(b"ok\xed").unwrap();
        utf8.check(b"ok\xed\xa0").unwrap_err();
    }
}
