//! The types of fields: numbers, labels, and text that is cut and cannot begin a line.

use crate::labels::Label;
use opentelemetry::TraceId;
use opentelemetry::trace::SpanContext;
use std::fmt::{self, Display, Write};
use std::net::SocketAddr;
use tracing::Value;
use tracing::field::display;

/// Bytes of a text that are shown.
const MAX_TEXT: usize = 1024;

/// Text of another program or a library. Never contains the text of a message, nor a name that a client
/// chose.
#[derive(Debug)]
pub struct SanitizedText(String);

impl SanitizedText {
    /// Takes the beginning of a text, with a space for each character that ends a line or controls a
    /// terminal. The formats escape the characters that have a meaning in them.
    pub fn of(text: impl Display) -> Self {
        let mut limited = LimitedText(String::new());
        if write!(limited, "{text}").is_err() {
            limited.0.push('…');
        }
        Self(limited.0)
    }
}

impl Display for SanitizedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Accepts [`MAX_TEXT`] bytes, and fails after that.
struct LimitedText(String);

impl Write for LimitedText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.0.len() + character.len_utf8() > MAX_TEXT {
                return Err(fmt::Error);
            }
            self.0.push(if is_control_or_bidi(character) { ' ' } else { character });
        }
        Ok(())
    }
}

/// Checks for a control character, a separator of lines or paragraphs, or a change of text direction.
fn is_control_or_bidi(character: char) -> bool {
    let bidi = matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}');
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') || bidi
}

/// Id of the trace of a message, recorded or not, if it has one.
#[derive(Clone, Copy, Debug)]
pub struct TraceField(Option<TraceId>);

impl TraceField {
    pub fn of(context: Option<&SpanContext>) -> Self {
        Self(context.filter(|context| context.is_valid()).map(SpanContext::trace_id))
    }
}

/// A type that a field can be declared with.
pub(super) trait Field: Sized {
    fn value(&self) -> impl Value;

    /// Values for tests: of a label, all.
    #[cfg(test)]
    fn samples() -> Vec<Self>;
}

/// One of the values for tests.
#[cfg(test)]
pub(super) fn sample<F: Field>(index: usize) -> F {
    let mut samples = F::samples();
    samples.swap_remove(index % samples.len())
}

impl<L: Label> Field for L {
    fn value(&self) -> impl Value {
        Label::value(*self)
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        Self::ALL.to_vec()
    }
}

macro_rules! fields {
    ($($field:ty: |$value:ident| $shown:expr, $sample:expr;)+) => {$(
        impl Field for $field {
            fn value(&self) -> impl Value {
                let $value = self;
                $shown
            }

            #[cfg(test)]
            fn samples() -> Vec<Self> {
                vec![$sample]
            }
        }
    )+};
}

fields! {
    // A text that is compiled into this program.
    &'static str: |text| *text, "text";
    usize: |number| *number, 7;
    u32: |number| *number, 7;
    SocketAddr: |address| display(address), ([127, 0, 0, 1], 7).into();
    SanitizedText: |text| text.0.as_str(), Self::of("text");
    TraceField: |trace| trace.0.map(display), Self(Some(7_u128.into()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters_and_has_no_control_characters() {
        assert_eq!(SanitizedText::of("a\r\nb\u{1b}[31m\u{9b}c\0").0, "a  b [31m c ");
        assert_eq!(
            SanitizedText::of("a\u{2028}b\u{202e}c\u{2069}d\u{85}e\u{200f}").0,
            "a b c d e "
        );
        let long = SanitizedText::of("é".repeat(MAX_TEXT)).0;
        assert_eq!(long, "é".repeat(MAX_TEXT / 2) + "…");
        assert_eq!(SanitizedText::of("x".repeat(MAX_TEXT)).0, "x".repeat(MAX_TEXT));
    }

    #[test]
    fn invalid_context_has_no_trace() {
        let none = SpanContext::empty_context();
        assert!(TraceField::of(None).0.is_none() && TraceField::of(Some(&none)).0.is_none());
    }
}
