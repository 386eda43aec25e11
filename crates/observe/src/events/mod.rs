//! The catalogue of events: what operators are informed of in the log output.
//!
//! `table` is the one declaration: name, level, message, fields, counter and meaning. The type
//! [`Event`], its lines and docs/logs.md follow from it. `field` has the types of fields, and
//! `rate_limiter` makes one line of many like events. The [`Reporter`](crate::reporter::Reporter)
//! writes the line of an event and counts it; nothing else does either.

mod declare;
mod field;
mod rate_limiter;
mod table;

pub use declare::{Declaration, Section, Series};
pub use field::{SanitizedText, TraceField};
pub use table::{Event, EventName, SECTIONS};

pub(crate) use rate_limiter::LogRateLimiter;
pub(crate) use table::event_table;
