//! The configuration: environment variables, each declared once.
//!
//! `variables.rs` is the one declaration: name, type, default and meaning of each variable. The parser,
//! `warren --help` and docs/configuration.md follow from it. All errors are found at once. None of their
//! texts contains a value, because a value may be a secret.

mod docs;
mod environment;
mod units;
mod values;
mod variables;

pub use docs::{help, markdown};
pub use environment::{ConfigError, ConfigErrors};
pub use units::{ByteSize, HumanDuration, Rate};
pub use values::{
    AmqpUrl, AmqpUrls, Compression, DeliveryMode, Exchange, LogFilter, LogFormat, Origins, Replica,
    Workers,
};
pub use variables::Config;

/// A type of variable.
pub trait EnvValue: Sized {
    /// The form of a value, for errors and documentation: "a duration such as 30s".
    const ACCEPTS: &str;

    /// Parses a value, which is never empty. `None` if it does not have the form.
    fn parse(value: &str) -> Option<Self>;
}

/// Variables of one theme.
#[derive(Debug)]
pub(crate) struct Section {
    title: &'static str,
    variables: Vec<Variable>,
}

/// One variable, as the documentation shows it.
#[derive(Debug)]
pub(crate) struct Variable {
    /// Name with the prefix.
    name: String,
    /// Default as one would write it, or in words if it depends on the machine.
    default: &'static str,
    accepts: &'static str,
    meaning: &'static str,
}
