//! Everything that can be set, from the environment alone.
//!
//! `variables.rs` is the one declaration: name, type, default and meaning of each variable. The
//! parser, `warren --help` and docs/configuration.md follow from it. All mistakes are found at once
//! and none of the messages holds a value, since a value may be a secret.

mod docs;
mod environment;
mod kinds;
mod units;
mod variables;

pub use docs::{help, markdown};
pub use environment::{Mistake, Mistakes};
pub use kinds::{
    AmqpUrl, AmqpUrls, Compression, DeliveryMode, Exchange, LogFilter, LogFormat, Origins, Replica,
    Workers,
};
pub use units::{Bytes, Rate, Span};
pub use variables::Config;

/// A type that a variable can have.
pub trait Setting: Sized {
    /// What a value looks like, for messages and documentation: "a duration such as 30s".
    const ACCEPTS: &str;

    /// Reads a value, which is never empty; `None` if it is not of the form.
    fn parse(value: &str) -> Option<Self>;
}

/// One variable, as documentation shows it.
#[derive(Debug)]
pub struct Variable {
    /// With the prefix.
    pub name: String,
    /// As it would be written, or in words where it depends on the machine.
    pub default: &'static str,
    pub accepts: &'static str,
    pub meaning: &'static str,
}
