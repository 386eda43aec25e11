//! Everything that an operator is told in the log. Each event is declared once, and has one line and one
//! counter: `Reporter::tell` does both, and nothing else does either.
//!
//! `table` is the one declaration: name, level, message, fields, counter and meaning. The type
//! [`Event`], its lines and docs/logs.md follow from it. `field` is what can stand in a line, and
//! `journal` makes one line of many events of a kind.

mod declare;
mod docs;
mod field;
mod journal;
mod table;
#[cfg(test)]
mod tests;

pub use declare::{Declaration, Section};
pub use docs::markdown;
pub use field::{SanitizedText, TraceField};
pub use table::{Event, OWN, SECTIONS};

pub(crate) use journal::Journal;
