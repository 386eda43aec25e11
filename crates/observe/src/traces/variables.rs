//! Reads `OTEL_*` variables one by one, and collects their errors.

use std::collections::HashMap;
use std::ffi::OsString;
use std::time::Duration;
use warren_config::{ConfigError, ConfigErrors};

/// The variables of OpenTelemetry. A variable that is empty counts as unset, as the specification requires,
/// and so does one of spaces.
#[derive(Debug, Default)]
pub(super) struct OtelVariables {
    values: HashMap<String, OsString>,
    errors: Vec<ConfigError>,
}

impl OtelVariables {
    pub(super) const PREFIX: &str = "OTEL_";

    pub(super) fn new(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let ours = |(name, value): (OsString, OsString)| {
            let name = name.into_string().ok().filter(|name| name.starts_with(Self::PREFIX))?;
            let empty = value.to_str().is_some_and(|value| value.trim().is_empty());
            (!empty).then_some((name, value))
        };
        Self { values: vars.into_iter().filter_map(ours).collect(), errors: Vec::new() }
    }

    /// The first of these variables that is set, with its name.
    pub(super) fn first(&mut self, names: &[&str]) -> Option<(String, String)> {
        let name = names.iter().find(|name| self.values.contains_key(**name))?;
        match self.values[*name].to_str() {
            Some(value) => Some(((*name).to_owned(), value.trim().to_owned())),
            None => {
                self.error(name, "the value is not valid UTF-8");
                None
            }
        }
    }

    pub(super) fn one(&mut self, name: &str) -> Option<String> {
        self.first(&[name]).map(|(_, value)| value)
    }

    /// A number of at min `min`.
    pub(super) fn number(&mut self, names: &[&str], default: u64, min: u64) -> u64 {
        let Some((name, value)) = self.first(names) else { return default };
        match value.parse() {
            Ok(number) if number >= min => number,
            _ => {
                self.error(&name, format!("accepts a whole number from {min} up"));
                default
            }
        }
    }

    pub(super) fn milliseconds(&mut self, names: &[&str], default: u64, min: u64) -> Duration {
        Duration::from_millis(self.number(names, default, min))
    }

    /// `key=value` pairs, separated by commas; values are percent-encoded.
    pub(super) fn pairs(&mut self, names: &[&str]) -> (String, Vec<(String, String)>) {
        let Some((name, list)) = self.first(names) else { return Default::default() };
        let mut pairs = Vec::new();
        for pair in list.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let pair = pair.split_once('=').map(|(key, value)| (key.trim(), decode(value.trim())));
            match pair {
                Some((key, Some(value))) if !key.is_empty() => pairs.push((key.to_owned(), value)),
                _ => {
                    self.error(
                        &name,
                        "accepts key=value pairs, separated by commas, with percent-encoded values",
                    );
                    break;
                }
            }
        }
        (name, pairs)
    }

    /// Records an error. Its text never contains the value, which may be a secret.
    pub(super) fn error(&mut self, variable: &str, problem: impl Into<String>) {
        self.errors.push(ConfigError { variable: variable.to_owned(), problem: problem.into() });
    }

    pub(super) fn finish<T>(self, value: T) -> Result<T, ConfigErrors> {
        if self.errors.is_empty() { Ok(value) } else { Err(ConfigErrors(self.errors)) }
    }
}

/// Decodes percent-encoded text.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push((high << 4 | low) as u8);
    }
    String::from_utf8(bytes).ok()
}
