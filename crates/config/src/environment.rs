//! Reads the variables of Warren from the environment, and collects every error.

use super::EnvValue;
use std::ffi::OsString;
use std::fmt;

/// An invalid variable. Never contains its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub variable: String,
    pub problem: String,
}

/// All errors of an environment. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ConfigError { variable, problem } in &self.0 {
            writeln!(f, "{variable}: {problem}")?;
        }
        write!(f, "warren --help lists every variable")
    }
}

/// Text for a variable that Kubernetes set.
const SERVICE_LINK: &str = "this is what Kubernetes injects for a Service named warren: set \
    enableServiceLinks: false in the pod, or name the Service differently";

/// Parses values and collects errors.
#[derive(Debug, Default)]
pub(super) struct Environment {
    errors: Vec<ConfigError>,
}

impl Environment {
    pub(super) const PREFIX: &str = "WARREN_";

    /// Name of the variable of a field.
    pub(super) fn name(field: &str) -> String {
        format!("{}{}", Self::PREFIX, field.to_uppercase())
    }

    /// Selects the variables that are among `known`. Any other variable with our prefix is an error.
    pub(super) fn sort(
        vars: impl IntoIterator<Item = (OsString, OsString)>,
        known: &[String],
    ) -> (Self, Vec<(String, String)>) {
        let mut environment = Self::default();
        let mut ours = Vec::new();
        for (name, value) in vars {
            if !name.as_encoded_bytes().starts_with(Self::PREFIX.as_bytes()) {
                continue;
            }
            // A name that is not UTF-8 is not one of ours. The lossy form is good enough for the error.
            let name = name.to_string_lossy().into_owned();
            if !known.contains(&name) {
                environment.unknown(name);
            } else if let Ok(value) = value.into_string() {
                ours.push((name, value));
            } else {
                environment.error(name, "the value is not valid UTF-8");
            }
        }
        // The order of the environment is arbitrary.
        environment.errors.sort_by(|a, b| a.variable.cmp(&b.variable));
        (environment, ours)
    }

    fn unknown(&mut self, name: String) {
        let link =
            ["PORT", "SERVICE_"].iter().any(|start| name[Self::PREFIX.len()..].starts_with(start));
        self.error(name, if link { SERVICE_LINK } else { "there is no such variable" });
    }

    /// Parses the value of a field, or computes its default. `None` after an error.
    pub(super) fn value<T: EnvValue>(
        &mut self,
        field: &str,
        value: Option<String>,
        default: impl FnOnce() -> Option<T>,
    ) -> Option<T> {
        let name = Self::name(field);
        if self.errors.iter().any(|error| error.variable == name) {
            return None;
        }
        let problem = match value.as_deref() {
            None => match default() {
                Some(value) => return Some(value),
                None => "has no usable default on this machine; set it to",
            },
            Some("") => "is set but empty; unset it, or set it to",
            Some(value) => match T::parse(value) {
                Some(value) => return Some(value),
                None if value.starts_with("tcp://") => {
                    self.error(name, format!("{SERVICE_LINK}; it accepts {}", T::ACCEPTS));
                    return None;
                }
                None => "accepts",
            },
        };
        self.error(name, format!("{problem} {}", T::ACCEPTS));
        None
    }

    /// Records that envy rejected all variables. It never does for optional text.
    pub(super) fn unreadable<T: Default>(&mut self, _: &envy::Error) -> T {
        self.error(format!("{}*", Self::PREFIX), "cannot be read");
        T::default()
    }

    fn error(&mut self, variable: String, problem: impl Into<String>) {
        self.errors.push(ConfigError { variable, problem: problem.into() });
    }

    /// The settings, if there were no errors.
    pub(super) fn finish<T>(self, build: impl FnOnce() -> Option<T>) -> Result<T, ConfigErrors> {
        if self.errors.is_empty()
            && let Some(built) = build()
        {
            return Ok(built);
        }
        Err(ConfigErrors(self.errors))
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    fn errors(vars: &[(&str, &str)]) -> Vec<(String, String)> {
        let vars = vars.iter().map(|(name, value)| (name.into(), value.into()));
        let errors = Config::from_vars(vars).unwrap_err().0;
        errors.into_iter().map(|error| (error.variable, error.problem)).collect()
    }

    #[test]
    fn defaults_are_valid_and_other_variables_are_ignored() {
        let vars = [("PATH", "/bin"), ("WARRENTY", "void")];
        let config = Config::from_vars(vars.map(|(name, value)| (name.into(), value.into())));
        let config = config.unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.max_message.0, 65536);
        assert!(config.amqp_url.is_none() && !config.replica.0.is_empty());
    }

    #[test]
    fn all_errors_are_reported_with_name_and_accepted_form() {
        let errors = errors(&[
            ("WARREN_LISTEN", "here"),
            ("WARREN_PING_INTERVAL", "25"),
            ("WARREN_MAX_MESSAGE", ""),
            ("WARREN_AMQP_URI", "amqp://user:secret@host"),
            ("WARREN_AMQP_URL", "http://user:secret@host"),
        ]);
        let names: Vec<_> = errors.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "WARREN_AMQP_URI",
                "WARREN_LISTEN",
                "WARREN_AMQP_URL",
                "WARREN_PING_INTERVAL",
                "WARREN_MAX_MESSAGE",
            ]
        );
        assert!(errors[3].1.contains("30s") && errors[4].1.contains("64KiB"));
        assert!(errors.iter().all(|(_, problem)| !problem.contains("secret")));
    }

    #[test]
    fn service_links_are_recognised() {
        for (name, value) in [
            ("WARREN_PORT", "tcp://10.0.0.1:8080"),
            ("WARREN_SERVICE_HOST", "10.0.0.1"),
            ("WARREN_PORT_8080_TCP_PROTO", "tcp"),
            ("WARREN_LISTEN", "tcp://10.0.0.1:8080"),
        ] {
            assert!(errors(&[(name, value)])[0].1.contains("enableServiceLinks: false"), "{name}");
        }
    }

    #[test]
    fn value_that_is_not_utf8_is_an_error_of_its_variable() {
        let value = OsString::from_vec(b"\xff".to_vec());
        let errors = Config::from_vars([("WARREN_REPLICA".into(), value)]).unwrap_err();
        assert_eq!(errors.0.len(), 1);
        assert!(errors.to_string().starts_with("WARREN_REPLICA: the value is not valid UTF-8"));
    }
}
