//! The command line.

use crate::pace::Pace;
use crate::protocol::MIN_SIZE;
use crate::target::Target;
use clap::Parser;
use std::ffi::OsString;
use std::time::Duration;
use warren_cli::{Exit, count, setting};
use warren_config::{ByteSize, EnvValue, HumanDuration, Rate};
use warren_protocol::message::Channel;

/// Above what one server of this kind serves.
const MAX_CLIENTS: usize = 1_000_000;
/// Each client keeps a sequence number for each of them.
const MAX_PUBLISHERS: usize = 1000;
const MAX_OUTSTANDING: usize = 10_000;
const MAX_SIZE: usize = 8 << 20;
/// Publishers, unless told otherwise: by default, ten may publish 500 messages a second.
const PUBLISHERS: usize = 10;

const EXIT_CODES: &str = "Exit codes: 0 if messages were confirmed and none was lost, 1 otherwise, 64 for an \
    invalid argument.\nCtrl-C ends it with a report of what happened so far.";

/// Opens many WebSockets to Warren, publishes through some of them, and reports the outcome:
/// what was accepted, confirmed, delivered and lost, and the latencies.
///
/// It publishes to a channel of its own, unless told otherwise.
#[derive(Debug, Parser)]
#[command(name = "warren-load", version, after_help = EXIT_CODES, verbatim_doc_comment)]
struct Arguments {
    /// Addresses of the replicas or of their load balancer, such as wss://chat.example.org.
    /// The path is /ws unless given. Clients are spread evenly over all addresses, and over
    /// those that a name resolves to.
    #[arg(verbatim_doc_comment, value_name = "URL", required = true, value_parser = Target::parse)]
    targets: Vec<Target>,
    /// WebSockets to open, including those of the publishers.
    #[arg(long, overrides_with = "clients", value_name = "N", default_value = "1000", value_parser = count::<MAX_CLIENTS>)]
    clients: usize,
    /// WebSockets that publish, in turn [default: 10, or all clients if there are fewer].
    #[arg(long, overrides_with = "publishers", value_name = "N", value_parser = count::<MAX_PUBLISHERS>)]
    publishers: Option<usize>,
    /// Messages a second of all publishers together, such as 50/s or 30/m.
    #[arg(
        long, overrides_with = "rate",
        value_name = "RATE",
        default_value = "20/s",
        value_parser = setting::<Rate>,
        conflicts_with = "outstanding"
    )]
    rate: Rate,
    /// Instead of a rate: messages in flight. The next is sent when all clients have one.
    #[arg(long, overrides_with = "outstanding", value_name = "N", value_parser = count::<MAX_OUTSTANDING>)]
    outstanding: Option<usize>,
    /// Size of a message's text, from 64B to 8MiB.
    #[arg(long, overrides_with = "size", value_name = "SIZE", default_value = "256B", value_parser = size)]
    size: usize,
    /// Time to publish.
    #[arg(long, overrides_with = "duration", value_name = "DURATION", default_value = "10s", value_parser = setting::<HumanDuration>)]
    duration: HumanDuration,
    /// Channel to publish to; its other subscribers receive the messages, too [default: a new one].
    #[arg(long, overrides_with = "channel", value_name = "NAME", value_parser = channel)]
    channel: Option<String>,
    /// Prints the report as one line of JSON.
    #[arg(long, overrides_with = "json")]
    json: bool,
}

/// A run, as the arguments describe it.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) targets: Vec<Target>,
    /// Clients, publishers included.
    pub(crate) clients: usize,
    pub(crate) publishers: usize,
    pub(crate) pace: Pace,
    /// Bytes of a message's text.
    pub(crate) size: usize,
    /// Time to publish.
    pub(crate) duration: Duration,
    /// `None`: a channel that no one else uses.
    pub(crate) channel: Option<String>,
    pub(crate) json: bool,
}

impl Plan {
    /// Reads the arguments, of which the first is the name of the program.
    ///
    /// # Errors
    /// [`Exit`] if they are invalid, and for `--help` and `--version`.
    pub(crate) fn from_arguments(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, Exit> {
        let Arguments {
            targets,
            clients,
            publishers,
            rate,
            outstanding,
            size,
            duration,
            channel,
            json,
        } = warren_cli::parse(arguments)?;
        let publishers = publishers.unwrap_or(clients.min(PUBLISHERS));
        if publishers > clients {
            return Err(Exit::usage::<Arguments>(
                "--publishers must not be larger than --clients: publishers are clients, too",
            ));
        }
        let pace = match outstanding {
            Some(outstanding) => Pace::Outstanding(outstanding),
            None => Pace::Rate(rate.per_second.into()),
        };
        let duration = duration.0;
        Ok(Self { targets, clients, publishers, pace, size, duration, channel, json })
    }
}

fn size(value: &str) -> Result<usize, String> {
    let size = ByteSize::parse(value).map(|size| size.0);
    let size = size.filter(|size| (MIN_SIZE..=MAX_SIZE).contains(size));
    size.ok_or_else(|| format!("expected {}, from {MIN_SIZE}B to 8MiB", ByteSize::ACCEPTS))
}

fn channel(value: &str) -> Result<String, String> {
    match Channel::new(value) {
        Ok(_) => Ok(value.to_owned()),
        Err(_) => Err("expected a name of 1 to 255 bytes without control characters".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(arguments: &[&str]) -> Result<Plan, Exit> {
        Plan::from_arguments([&["warren-load"], arguments].concat())
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
    fn invalid_arguments_are_named_without_their_values() {
        for (arguments, says) in [
            (&[][..], "<URL>..."),
            (&["--json"], "<URL>..."),
            (&["ws://user:hunter2@a"], "no user"),
            (&["ws://a", "--clients", "0"], "'--clients <N>': expected a number from 1 to 1000000"),
            (&["ws://a", "--clients", "2", "--publishers", "3"], "--publishers must not"),
            (&["ws://a", "--publishers", "0"], "'--publishers <N>'"),
            (&["ws://a", "--rate", "20"], "'--rate <RATE>': expected a rate"),
            (&["ws://a", "--outstanding"], "a value is required for '--outstanding <N>'"),
            (&["ws://a", "--rate", "1/s", "--outstanding", "1"], "cannot be used with"),
            (&["ws://a", "--size", "63B"], "from 64B to 8MiB"),
            (&["ws://a", "--duration", "10"], "'--duration <DURATION>': expected a duration"),
            (&["ws://a", "--channel", ""], "'--channel <NAME>'"),
            (&["ws://a", "--loud"], "unexpected argument '--loud'"),
            (&["ws://a", "--client", "1"], "a similar argument exists: '--clients'"),
            (&["ws://a", "--json=1"], "'--json'"),
        ] {
            let exit = plan(arguments).unwrap_err();
            assert_eq!(exit.code, 64, "{arguments:?}");
            assert!(exit.text.contains(says) && !exit.text.contains("hunter2"), "{}", exit.text);
        }
    }
}
