//! The command line of `warren check`.

use clap::Args;
use std::time::Duration;
use warren_cli::{count, setting};
use warren_config::HumanDuration;

/// Replicas in one check, at most.
pub(super) const MAX_REPLICAS: usize = 256;

const EXIT_CODES: &str =
    "Exit codes: 0 if the check passed, 1 if it failed, 64 for an invalid argument.";

/// Verifies that a message published at each replica arrives at all of them.
///
/// It subscribes at every address to a channel of its own, publishes one message through each,
/// and fails if a message does not arrive everywhere exactly once.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES, verbatim_doc_comment)]
pub struct Plan {
    /// Addresses of the replicas' client ports. All addresses that a name resolves to are checked.
    #[arg(value_name = "HOST:PORT", required = true, value_parser = target)]
    pub targets: Vec<String>,
    /// Waits until this many different replicas answer. Without it, all addresses have to answer
    /// at once.
    #[arg(long, overrides_with = "replicas", verbatim_doc_comment, value_name = "N", value_parser = count::<MAX_REPLICAS>)]
    pub replicas: Option<usize>,
    /// Time limit for the whole check.
    #[arg(long, overrides_with = "timeout", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
}

fn duration(value: &str) -> Result<Duration, String> {
    setting::<HumanDuration>(value).map(|duration| duration.0)
}

fn target(value: &str) -> Result<String, &'static str> {
    let host = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    let valid = value.rsplit_once(':').is_some_and(|(name, port)| {
        !name.is_empty() && name.chars().all(host) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    valid.then(|| value.to_owned()).ok_or(
        "expected a host and a port, such as warren-admin:8080 or [::1]:8080, with no scheme, no user and \
         no path",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use warren_cli::Exit;

    #[derive(Debug, Parser)]
    struct Check {
        #[command(flatten)]
        plan: Plan,
    }

    fn plan(arguments: &[&str]) -> Result<Plan, Exit> {
        warren_cli::parse([&["check"], arguments].concat()).map(|Check { plan }| plan)
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
    fn repeated_option_takes_its_last_value() {
        let plan = plan(&["a:1", "--timeout", "30s", "--replicas", "2", "b:2", "--timeout=5s"]);
        let plan = plan.unwrap();
        assert_eq!((plan.timeout, plan.replicas), (Duration::from_secs(5), Some(2)));
        assert_eq!(plan.targets, ["a:1", "b:2"]);
    }

    #[test]
    fn invalid_arguments_are_named_without_their_values() {
        let replicas = "'--replicas <N>': expected a number from 1 to 256";
        let timeout = "'--timeout <DURATION>': expected a duration";
        for (arguments, says) in [
            (&[][..], "<HOST:PORT>..."),
            (&["--replicas", "2"], "<HOST:PORT>..."),
            (&["a:1", "--replicas"], "a value is required for '--replicas <N>'"),
            (&["a:1", "--replicas", "0"], replicas),
            (&["a:1", "--replicas", "257"], replicas),
            (&["a:1", "--timeout", "30"], timeout),
            (&["a:1", "--timeout", "0s"], timeout),
            (&["a:1", "--replicas="], replicas),
            (&["a:1", "--timeout=", "5m"], timeout),
            (&["a:1", "--loud"], "unexpected argument '--loud'"),
            (&["a:1", "--loud=1"], "unexpected argument '--loud'"),
            (&["a:1", "--replica", "1"], "a similar argument exists: '--replicas'"),
        ] {
            let exit = plan(arguments).unwrap_err();
            assert!(exit.code == 64 && exit.text.contains(says), "{arguments:?}: {}", exit.text);
        }
        for target in ["", "a", ":80", "a:", "a:0", "a:65536", "http://a:80", "u:p@a:80", "a b:80"]
        {
            let exit = plan(&[target]).unwrap_err();
            assert!(
                exit.code == 64 && exit.text.contains("<HOST:PORT>..."),
                "{target}: {}",
                exit.text
            );
        }
    }
}
