//! Environment variables sorted into ours and others', and every mistake in ours.

use super::Setting;
use std::ffi::OsString;
use std::fmt;

/// What is wrong with one variable. Never holds its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub variable: String,
    pub problem: String,
}

/// All that is wrong with the environment; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl std::error::Error for Mistakes {}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Mistake { variable, problem } in &self.0 {
            writeln!(f, "{variable}: {problem}")?;
        }
        write!(f, "warren --help lists every variable")
    }
}

/// What is said of a variable that Kubernetes made.
const SERVICE_LINK: &str = "this is what Kubernetes injects for a Service named warren: set \
    enableServiceLinks: false in the pod, or name the Service differently";

/// Gathers values and mistakes.
#[derive(Debug, Default)]
pub(super) struct Environment {
    mistakes: Vec<Mistake>,
}

impl Environment {
    pub(super) const PREFIX: &str = "WARREN_";

    /// The variable that fills a field.
    pub(super) fn name(field: &str) -> String {
        format!("{}{}", Self::PREFIX, field.to_uppercase())
    }

    /// Keeps the variables that are among `known`; what else has our prefix is a mistake.
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
            // A name that is not UTF-8 cannot be one of ours; it is shown as far as it can be.
            let name = name.to_string_lossy().into_owned();
            if !known.contains(&name) {
                environment.unknown(name);
            } else if let Ok(value) = value.into_string() {
                ours.push((name, value));
            } else {
                environment.mistake(name, "the value is not valid UTF-8");
            }
        }
        // The order of the environment is arbitrary.
        environment.mistakes.sort_by(|a, b| a.variable.cmp(&b.variable));
        (environment, ours)
    }

    fn unknown(&mut self, name: String) {
        let link =
            ["PORT", "SERVICE_"].iter().any(|start| name[Self::PREFIX.len()..].starts_with(start));
        self.mistake(name, if link { SERVICE_LINK } else { "there is no such variable" });
    }

    /// Parses the value of a field, or computes its default. `None` after a mistake.
    pub(super) fn value<T: Setting>(
        &mut self,
        field: &str,
        value: Option<String>,
        default: impl FnOnce() -> Option<T>,
    ) -> Option<T> {
        let name = Self::name(field);
        if self.mistakes.iter().any(|mistake| mistake.variable == name) {
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
                    self.mistake(name, format!("{SERVICE_LINK}; it accepts {}", T::ACCEPTS));
                    return None;
                }
                None => "accepts",
            },
        };
        self.mistake(name, format!("{problem} {}", T::ACCEPTS));
        None
    }

    /// envy refused the variables as a whole, which optional text never makes it do.
    pub(super) fn unreadable<T: Default>(&mut self, _: &envy::Error) -> T {
        self.mistake(format!("{}*", Self::PREFIX), "cannot be read");
        T::default()
    }

    fn mistake(&mut self, variable: String, problem: impl Into<String>) {
        self.mistakes.push(Mistake { variable, problem: problem.into() });
    }

    /// The settings, if nothing was wrong.
    pub(super) fn finish<T>(self, build: impl FnOnce() -> Option<T>) -> Result<T, Mistakes> {
        if self.mistakes.is_empty()
            && let Some(built) = build()
        {
            return Ok(built);
        }
        Err(Mistakes(self.mistakes))
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    fn mistakes(vars: &[(&str, &str)]) -> Vec<(String, String)> {
        let vars = vars.iter().map(|(name, value)| (name.into(), value.into()));
        let mistakes = Config::from_vars(vars).unwrap_err().0;
        mistakes.into_iter().map(|mistake| (mistake.variable, mistake.problem)).collect()
    }

    #[test]
    fn nothing_set_is_fine_and_others_variables_are_ignored() {
        let vars = [("PATH", "/bin"), ("WARRENTY", "void")];
        let config = Config::from_vars(vars.map(|(name, value)| (name.into(), value.into())));
        let config = config.unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.max_message.0, 65536);
        assert!(config.amqp_url.is_none() && !config.replica.0.is_empty());
    }

    #[test]
    fn all_mistakes_at_once_by_name_and_with_what_is_accepted() {
        let mistakes = mistakes(&[
            ("WARREN_LISTEN", "here"),
            ("WARREN_PING_INTERVAL", "25"),
            ("WARREN_MAX_MESSAGE", ""),
            ("WARREN_AMQP_URI", "amqp://user:secret@host"),
            ("WARREN_AMQP_URL", "http://user:secret@host"),
        ]);
        let names: Vec<_> = mistakes.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "WARREN_AMQP_URI",
                "WARREN_LISTEN",
                "WARREN_AMQP_URL",
                "WARREN_MAX_MESSAGE",
                "WARREN_PING_INTERVAL",
            ]
        );
        assert!(mistakes[4].1.contains("30s") && mistakes[3].1.contains("64KiB"));
        assert!(mistakes.iter().all(|(_, problem)| !problem.contains("secret")));
    }

    #[test]
    fn service_links_are_recognised() {
        for (name, value) in [
            ("WARREN_PORT", "tcp://10.0.0.1:8080"),
            ("WARREN_SERVICE_HOST", "10.0.0.1"),
            ("WARREN_PORT_8080_TCP_PROTO", "tcp"),
            ("WARREN_LISTEN", "tcp://10.0.0.1:8080"),
        ] {
            assert!(
                mistakes(&[(name, value)])[0].1.contains("enableServiceLinks: false"),
                "{name}"
            );
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_a_mistake_of_their_variable() {
        let value = OsString::from_vec(b"\xff".to_vec());
        let mistakes = Config::from_vars([("WARREN_REPLICA".into(), value)]).unwrap_err();
        assert_eq!(mistakes.0.len(), 1);
        assert!(mistakes.to_string().starts_with("WARREN_REPLICA: the value is not valid UTF-8"));
    }
}
