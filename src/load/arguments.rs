//! What follows `warren load` on the command line.

use super::pace::Pace;
use super::said::LEAST;
use super::target::Target;
use std::ffi::OsString;
use std::time::Duration;
use warren_config::{ByteSize, EnvValue, HumanDuration, Rate};
use warren_protocol::message::Channel;

/// How it is called, for `warren --help`.
pub const USAGE: &str = "warren load URL... [--clients N] [--publishers N] [--rate 20/s | --outstanding N]\n            \
     [--size 256B] [--duration 10s] [--channel NAME] [--json]";

/// Each client has a number for each of them.
const MAX_PUBLISHERS: usize = 1000;
/// Above what servers of this kind can be asked for.
const MAX_CLIENTS: usize = 1_000_000;
const MAX_OUTSTANDING: usize = 10_000;
const MAX_SIZE: usize = 8 << 20;

/// What is to be done.
#[derive(Debug)]
pub struct Plan {
    /// Clients are spread evenly over these, and over all the addresses that their names have.
    pub targets: Vec<Target>,
    /// How many there are, publishers included.
    pub clients: usize,
    /// How many of the clients publish, in turn.
    pub publishers: usize,
    pub pace: Pace,
    /// ByteSize of a message's text.
    pub size: usize,
    /// How long to publish.
    pub duration: Duration,
    /// None: one that nobody else has.
    pub channel: Option<String>,
    /// Whether the report is to be JSON.
    pub json: bool,
}

/// An argument that is none. It does not say the argument, which may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Usage {
    #[error("whom to ask? Usage: {USAGE}")]
    NoTarget,
    #[error(
        "an address is ws://, wss://, http:// or https:// with a host, such as \
         wss://chat.example.org/ws: no user, no parameters"
    )]
    Target,
    #[error("--clients takes a number from 1 to {MAX_CLIENTS}")]
    Clients,
    #[error(
        "--publishers takes a number from 1 to {MAX_PUBLISHERS}, and at most that of the clients"
    )]
    Publishers,
    #[error("--rate takes {}", Rate::ACCEPTS)]
    Rate,
    #[error("--outstanding takes a number from 1 to {MAX_OUTSTANDING}")]
    Outstanding,
    #[error("--rate and --outstanding exclude each other")]
    TwoPaces,
    #[error("--size takes {}, from {LEAST}B to 8MiB", ByteSize::ACCEPTS)]
    Size,
    #[error("--duration takes {}", HumanDuration::ACCEPTS)]
    Duration,
    #[error("--channel takes a name of 1 to 255 bytes, without control characters")]
    Channel,
    #[error("there is no such option. Usage: {USAGE}")]
    Option,
}

impl Plan {
    /// Reads the arguments behind `load`.
    ///
    /// # Errors
    /// [`Usage`] for the first one that cannot be read, or if there is no target.
    pub fn from_arguments(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Usage> {
        let mut plan = Self {
            targets: Vec::new(),
            clients: 1000,
            publishers: 0,
            pace: Pace::Rate(20.0),
            size: 256,
            duration: Duration::from_secs(10),
            channel: None,
            json: false,
        };
        let (mut publishers, mut rate, mut outstanding) = (None, None, None);
        // What is not UTF-8 is no target, no option and no value of one either.
        let mut arguments =
            arguments.into_iter().map(|argument| argument.into_string().unwrap_or_default());
        while let Some(argument) = arguments.next() {
            // `--rate=2/s` is `--rate 2/s`.
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) if name.starts_with('-') => (name, Some(value.to_owned())),
                _ => (argument.as_str(), None),
            };
            if name == "--json" && value.is_none() {
                plan.json = true;
                continue;
            }
            let value = || value.or_else(|| arguments.next());
            let number = |value: Option<String>, most| {
                value?.parse().ok().filter(|number| (1..=most).contains(number))
            };
            match name {
                "--clients" => plan.clients = number(value(), MAX_CLIENTS).ok_or(Usage::Clients)?,
                "--publishers" => {
                    publishers = Some(number(value(), MAX_PUBLISHERS).ok_or(Usage::Publishers)?);
                }
                "--rate" => {
                    let given = value().and_then(|rate| Rate::parse(&rate)).ok_or(Usage::Rate)?;
                    rate = Some(Pace::Rate(given.per_second.into()));
                }
                "--outstanding" => {
                    let given = number(value(), MAX_OUTSTANDING).ok_or(Usage::Outstanding)?;
                    outstanding = Some(Pace::Outstanding(given));
                }
                "--size" => {
                    let size = value().and_then(|size| ByteSize::parse(&size)).map(|size| size.0);
                    let size = size.filter(|size| (LEAST..=MAX_SIZE).contains(size));
                    plan.size = size.ok_or(Usage::Size)?;
                }
                "--duration" => {
                    let duration = value().and_then(|duration| HumanDuration::parse(&duration));
                    plan.duration = duration.ok_or(Usage::Duration)?.0;
                }
                "--channel" => {
                    let channel = value().filter(|name| Channel::new(name).is_ok());
                    plan.channel = Some(channel.ok_or(Usage::Channel)?);
                }
                option if option.starts_with('-') => return Err(Usage::Option),
                target => plan.targets.push(Target::parse(target).ok_or(Usage::Target)?),
            }
        }
        plan.pace = match (rate, outstanding) {
            (Some(_), Some(_)) => return Err(Usage::TwoPaces),
            (rate, outstanding) => rate.or(outstanding).unwrap_or(plan.pace),
        };
        // Ten of them may publish 500 messages a second by default, if nobody says otherwise.
        plan.publishers = publishers.unwrap_or(plan.clients.min(10));
        if plan.publishers > plan.clients {
            return Err(Usage::Publishers);
        }
        if plan.targets.is_empty() { Err(Usage::NoTarget) } else { Ok(plan) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(arguments: &[&str]) -> Result<Plan, Usage> {
        Plan::from_arguments(arguments.iter().map(OsString::from))
    }

    #[test]
    fn defaults() {
        let plan = plan(&["ws://a"]).unwrap();
        assert_eq!((plan.clients, plan.publishers, plan.size), (1000, 10, 256));
        assert_eq!((plan.pace, plan.duration), (Pace::Rate(20.0), Duration::from_secs(10)));
        assert!(plan.channel.is_none() && !plan.json);
    }

    #[test]
    fn targets_and_options_in_any_order() {
        let given = plan(&[
            "--json",
            "ws://a:1",
            "--clients=5",
            "--outstanding",
            "16",
            "https://b",
            "--size",
            "1KiB",
            "--duration",
            "1m",
            "--channel",
            "load",
            "--publishers",
            "2",
        ]);
        let given = given.unwrap();
        assert_eq!((given.targets.len(), given.clients, given.publishers), (2, 5, 2));
        assert_eq!((given.pace, given.size), (Pace::Outstanding(16), 1024));
        assert_eq!((given.duration.as_secs(), given.channel.as_deref()), (60, Some("load")));
        assert!(given.json);
        assert_eq!(plan(&["ws://a", "--clients", "3"]).unwrap().publishers, 3);
        assert_eq!(plan(&["ws://a", "--rate", "30/m"]).unwrap().pace, Pace::Rate(0.5));
    }

    #[test]
    fn mistakes() {
        for (arguments, mistake) in [
            (&[][..], Usage::NoTarget),
            (&["--json"], Usage::NoTarget),
            (&["ws://user:hunter2@a"], Usage::Target),
            (&["ws://a", "--clients", "0"], Usage::Clients),
            (&["ws://a", "--clients", "2", "--publishers", "3"], Usage::Publishers),
            (&["ws://a", "--publishers", "0"], Usage::Publishers),
            (&["ws://a", "--rate", "20"], Usage::Rate),
            (&["ws://a", "--outstanding"], Usage::Outstanding),
            (&["ws://a", "--rate", "1/s", "--outstanding", "1"], Usage::TwoPaces),
            (&["ws://a", "--size", "63B"], Usage::Size),
            (&["ws://a", "--duration", "10"], Usage::Duration),
            (&["ws://a", "--channel", ""], Usage::Channel),
            (&["ws://a", "--loud"], Usage::Option),
            (&["ws://a", "--json=1"], Usage::Option),
        ] {
            assert_eq!(plan(arguments).unwrap_err(), mistake, "{arguments:?}");
        }
    }
}
