//! What follows `warren check` on the command line.

use std::ffi::OsString;
use std::time::Duration;
use warren_config::{EnvValue, HumanDuration};

/// How it is called, for `warren --help`.
pub const USAGE: &str = "warren check HOST:PORT... [--replicas N] [--timeout 30s]";

/// Replicas that are looked for, at most.
pub(super) const MAX_REPLICAS: usize = 256;

/// What is to be checked.
#[derive(Debug)]
pub struct Plan {
    /// Names or addresses with a port. All the addresses of a name count.
    pub targets: Vec<String>,
    /// With how many different replicas it is satisfied. It waits for them. None: whoever is there
    /// is checked, and has to be there at once.
    pub replicas: Option<usize>,
    /// How long all of it may take.
    pub timeout: Duration,
}

/// An argument that is none. It does not say the argument, which may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Usage {
    #[error("what to check? Usage: {USAGE}")]
    NoTarget,
    #[error(
        "an address is a host and a port, such as warren-admin:8080 or [::1]:8080: no scheme, no \
         user, no path"
    )]
    Target,
    #[error("--replicas takes a number from 1 to {MAX_REPLICAS}")]
    Replicas,
    #[error("--timeout takes {}", HumanDuration::ACCEPTS)]
    Timeout,
    #[error("there are only --replicas and --timeout. Usage: {USAGE}")]
    Option,
}

impl Plan {
    /// Reads the arguments behind `check`.
    ///
    /// # Errors
    /// [`Usage`] for the first one that cannot be read, or if there is no target.
    pub fn from_arguments(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Usage> {
        let mut plan =
            Self { targets: Vec::new(), replicas: None, timeout: Duration::from_secs(30) };
        // What is not UTF-8 is no target, no option and no value of one either.
        let mut arguments =
            arguments.into_iter().map(|argument| argument.into_string().unwrap_or_default());
        while let Some(argument) = arguments.next() {
            // `--replicas=2` is `--replicas 2`.
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) if name.starts_with('-') => (name, Some(value.to_owned())),
                _ => (argument.as_str(), None),
            };
            let value = || value.or_else(|| arguments.next());
            match name {
                "--replicas" => {
                    let number = value().and_then(|number| number.parse().ok());
                    let number = number.filter(|number| (1..=MAX_REPLICAS).contains(number));
                    plan.replicas = Some(number.ok_or(Usage::Replicas)?);
                }
                "--timeout" => {
                    let timeout = value().and_then(|timeout| HumanDuration::parse(&timeout));
                    plan.timeout = timeout.ok_or(Usage::Timeout)?.0;
                }
                option if option.starts_with('-') => return Err(Usage::Option),
                target if is_target(target) => plan.targets.push(target.to_owned()),
                _ => return Err(Usage::Target),
            }
        }
        if plan.targets.is_empty() { Err(Usage::NoTarget) } else { Ok(plan) }
    }
}

fn is_target(target: &str) -> bool {
    let host = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    target.rsplit_once(':').is_some_and(|(name, port)| {
        !name.is_empty() && name.chars().all(host) && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(arguments: &[&str]) -> Result<Plan, Usage> {
        Plan::from_arguments(arguments.iter().map(OsString::from))
    }

    #[test]
    fn targets_and_options_in_any_order() {
        let defaults = plan(&["a:1"]).unwrap();
        assert_eq!((defaults.replicas, defaults.timeout), (None, Duration::from_secs(30)));
        let given = plan(&["a.b-c_d:80", "--replicas", "3", "[::1]:8080", "--timeout", "5m"]);
        let given = given.unwrap();
        assert_eq!(given.targets, ["a.b-c_d:80", "[::1]:8080"]);
        assert_eq!((given.replicas, given.timeout), (Some(3), Duration::from_secs(300)));
        let given = plan(&["--replicas=3", "a:1", "--timeout=5m"]).unwrap();
        assert_eq!((given.replicas, given.timeout), (Some(3), Duration::from_secs(300)));
    }

    #[test]
    fn mistakes() {
        for (arguments, mistake) in [
            (&[][..], Usage::NoTarget),
            (&["--replicas", "2"], Usage::NoTarget),
            (&["a:1", "--replicas"], Usage::Replicas),
            (&["a:1", "--replicas", "0"], Usage::Replicas),
            (&["a:1", "--replicas", "257"], Usage::Replicas),
            (&["a:1", "--timeout", "30"], Usage::Timeout),
            (&["a:1", "--timeout", "0s"], Usage::Timeout),
            (&["a:1", "--replicas="], Usage::Replicas),
            (&["a:1", "--timeout=", "5m"], Usage::Timeout),
            (&["a:1", "--loud"], Usage::Option),
            (&["a:1", "--loud=1"], Usage::Option),
        ] {
            assert_eq!(plan(arguments).unwrap_err(), mistake, "{arguments:?}");
        }
        for target in ["", "a", ":80", "a:", "a:0", "a:65536", "http://a:80", "u:p@a:80", "a b:80"]
        {
            assert_eq!(plan(&[target]).unwrap_err(), Usage::Target, "{target}");
        }
    }
}
