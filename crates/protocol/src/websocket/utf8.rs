//! Incremental UTF-8 validation: an invalid byte is refused before the rest arrives.

/// Validation state of a growing buffer.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// Bytes known to be valid.
    valid: usize,
}

/// The text is not valid UTF-8, whatever follows.
#[derive(Debug)]
pub(super) struct Invalid;

impl Utf8 {
    /// Validates the bytes added to `text` since the last call. An incomplete character at the end is
    /// left for the next call.
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
    fn character_in_pieces_is_valid() {
        let text = "κόσμε🐇".as_bytes();
        let mut utf8 = Utf8::default();
        for end in 1..=text.len() {
            utf8.check(&text[..end]).unwrap();
        }
        assert_eq!(utf8.valid, text.len());
    }

    #[test]
    fn surrogate_is_refused_at_its_second_byte() {
        let mut utf8 = Utf8::default();
        utf8.check(b"ok\xed").unwrap();
        utf8.check(b"ok\xed\xa0").unwrap_err();
    }
}
