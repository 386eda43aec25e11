//! What can stand in a line: numbers, names of our own, and text that is cut and cannot end the line.

use crate::phase::Phase;
use opentelemetry::TraceId;
use opentelemetry::trace::SpanContext;
use std::fmt::{self, Display, Write};
use std::net::SocketAddr;
use tracing::Value;
use tracing::field::display;

/// Bytes of a text that are shown.
const LONGEST: usize = 1024;

/// Text from elsewhere: another program's or a library's. What was said in a channel is never in one,
/// nor a name that a client chose.
#[derive(Debug)]
pub struct SanitizedText(String);

impl SanitizedText {
    /// The beginning of it, with a space for each character that ends a line or steers what shows it. The
    /// formats escape on their own what has a meaning to them.
    pub fn of(text: impl Display) -> Self {
        let mut cut = Cut(String::new());
        if write!(cut, "{text}").is_err() {
            cut.0.push('…');
        }
        Self(cut.0)
    }
}

impl Display for SanitizedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Takes [`LONGEST`] bytes, and then no more.
struct Cut(String);

impl Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for sign in text.chars() {
            if self.0.len() + sign.len_utf8() > LONGEST {
                return Err(fmt::Error);
            }
            self.0.push(if steers(sign) { ' ' } else { sign });
        }
        Ok(())
    }
}

/// Whether a character is none to be read: controls, the ends of lines and of paragraphs, and what turns
/// the direction of the text that follows.
fn steers(sign: char) -> bool {
    let directs = matches!(sign, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}');
    sign.is_control() || matches!(sign, '\u{2028}' | '\u{2029}') || directs
}

/// The id of the trace that a message is in, recorded or not, if it is in one.
#[derive(Clone, Copy, Debug)]
pub struct TraceField(Option<TraceId>);

impl TraceField {
    pub fn of(context: Option<&SpanContext>) -> Self {
        Self(context.filter(|context| context.is_valid()).map(SpanContext::trace_id))
    }
}

/// A type that a field can be declared with.
pub(super) trait Field {
    fn value(&self) -> impl Value;

    /// Something to try it with. `label`: of the counter, if it is that.
    #[cfg(test)]
    fn sample(label: &'static str) -> Self;
}

macro_rules! fields {
    ($($field:ty: |$value:ident| $shown:expr, |$label:ident| $sample:expr;)+) => {$(
        impl Field for $field {
            fn value(&self) -> impl Value {
                let $value = self;
                $shown
            }

            #[cfg(test)]
            fn sample($label: &'static str) -> Self {
                $sample
            }
        }
    )+};
}

fields! {
    // A name in this program; it may be the value of a label.
    &'static str: |name| *name, |label| label;
    usize: |number| *number, |_label| 7;
    u32: |number| *number, |_label| 7;
    SocketAddr: |address| display(address), |_label| ([127, 0, 0, 1], 7).into();
    Phase: |phase| phase.label(), |_label| Self::Draining;
    SanitizedText: |text| text.0.as_str(), |_label| Self::of("text");
    TraceField: |trace| trace.0.map(display), |_label| Self(Some(7_u128.into()));
}

/// The value of a label.
pub(super) trait Label {
    fn label(&self) -> &'static str;
}

impl Label for &'static str {
    fn label(&self) -> &'static str {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_has_none_that_steer() {
        assert_eq!(SanitizedText::of("a\r\nb\u{1b}[31m\u{9b}c\0").0, "a  b [31m c ");
        assert_eq!(
            SanitizedText::of("a\u{2028}b\u{202e}c\u{2069}d\u{85}e\u{200f}").0,
            "a b c d e "
        );
        let long = SanitizedText::of("é".repeat(LONGEST)).0;
        assert_eq!(long, "é".repeat(LONGEST / 2) + "…");
        assert_eq!(SanitizedText::of("x".repeat(LONGEST)).0, "x".repeat(LONGEST));
    }

    #[test]
    fn only_a_valid_context_has_a_trace() {
        let none = SpanContext::empty_context();
        assert!(TraceField::of(None).0.is_none() && TraceField::of(Some(&none)).0.is_none());
    }
}
