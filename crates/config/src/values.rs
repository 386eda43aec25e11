//! The types of variables: addresses, names, modes and lists.

use super::{ByteSize, EnvValue};
use amq_protocol_uri::AMQPUri;
use std::fmt;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::str::FromStr;
use tracing_subscriber::EnvFilter;

impl EnvValue for SocketAddr {
    const ACCEPTS: &str = "an IP address and a port, such as 0.0.0.0:8080 or [::]:8080";

    fn parse(value: &str) -> Option<Self> {
        value.parse().ok()
    }
}

impl EnvValue for usize {
    const ACCEPTS: &str = "a whole number";

    fn parse(value: &str) -> Option<Self> {
        value.parse().ok()
    }
}

/// Number of worker threads.
#[derive(Clone, Copy, Debug)]
pub struct Workers(pub usize);

impl Workers {
    /// The number of cores that the process may use, by affinity and by the quota of its cgroup.
    pub(super) fn available() -> Self {
        Self(std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
    }
}

impl EnvValue for Workers {
    const ACCEPTS: &str = "a whole number from 1 to 512";

    fn parse(value: &str) -> Option<Self> {
        let workers = value.parse().ok()?;
        (1..=512).contains(&workers).then_some(Self(workers))
    }
}

/// Name of a replica.
#[derive(Clone, Debug)]
pub struct Replica(pub String);

impl Replica {
    pub(super) fn of_this_host() -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self::parse(&host).filter(|name| name.0 != "localhost").unwrap_or_else(Self::random)
    }

    fn random() -> Self {
        Self(format!("replica-{:06x}", fastrand::u32(..1 << 24)))
    }
}

impl EnvValue for Replica {
    const ACCEPTS: &str = "a name of 1 to 100 letters, digits, dots, dashes or underscores";

    fn parse(value: &str) -> Option<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        let valid = (1..=100).contains(&value.len()) && value.chars().all(fits);
        valid.then(|| Self(value.to_owned()))
    }
}

/// Name of an exchange.
#[derive(Clone, Debug)]
pub struct Exchange(pub String);

impl EnvValue for Exchange {
    const ACCEPTS: &str = "an exchange name of 1 to 127 bytes that does not begin with amq.";

    fn parse(value: &str) -> Option<Self> {
        let valid = (1..=127).contains(&value.len())
            && !value.starts_with("amq.")
            && !value.contains(char::is_control);
        valid.then(|| Self(value.to_owned()))
    }
}

/// Address of one RabbitMQ node. Its password is never displayed.
#[derive(Clone, PartialEq, Eq)]
pub struct AmqpUrl(AMQPUri);

impl AmqpUrl {
    /// The address with its password, for connecting only.
    pub fn uri(&self) -> &AMQPUri {
        &self.0
    }
}

impl fmt::Display for AmqpUrl {
    /// Host and port, without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.authority.host, self.0.authority.port)
    }
}

impl fmt::Debug for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AmqpUrl({self})")
    }
}

impl FromStr for AmqpUrl {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        let mut uri: AMQPUri = value.parse().map_err(|_| ())?;
        // The parser ignores an IPv6 address and uses localhost instead.
        let authority = value.split_once("://").map_or(value, |(_, rest)| rest);
        let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            uri.authority.host = address.to_owned();
        }
        // A trailing slash is commonly written for the default virtual host.
        if uri.vhost.is_empty() {
            uri.vhost = "/".to_owned();
        }
        Ok(Self(uri))
    }
}

/// The nodes of a RabbitMQ cluster. Never empty.
#[derive(Clone, Debug)]
pub struct AmqpUrls(pub Vec<AmqpUrl>);

impl EnvValue for Option<AmqpUrls> {
    const ACCEPTS: &str = "amqp:// or amqps:// addresses, separated by commas";

    fn parse(value: &str) -> Option<Self> {
        let urls: Result<_, _> = value.split(',').map(|url| url.trim().parse()).collect();
        Some(Some(AmqpUrls(urls.ok()?)))
    }
}

/// The way in which a replica reads messages from RabbitMQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMode {
    /// From a stream that all replicas share. Each resumes where it stopped.
    Log,
    /// From an exclusive queue, which exists as long as the connection.
    Live,
}

impl EnvValue for DeliveryMode {
    const ACCEPTS: &str = "log or live";

    fn parse(value: &str) -> Option<Self> {
        match value {
            "log" => Some(Self::Log),
            "live" => Some(Self::Live),
            _ => None,
        }
    }
}

/// Minimum size in bytes of the messages that are compressed. `None`: no compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression(pub Option<usize>);

impl EnvValue for Compression {
    const ACCEPTS: &str = "on, off, or a size such as 500B or 1KiB";

    fn parse(value: &str) -> Option<Self> {
        match value {
            "on" => Some(Self(Some(0))),
            "off" => Some(Self(None)),
            size => ByteSize::parse(size).map(|ByteSize(size)| Self(Some(size))),
        }
    }
}

/// Browser origins that may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Origins with the host and port of the request.
    SameHost,
    Any,
    /// Listed origins, in lower case, and those of the same host.
    Listed(Vec<String>),
}

impl EnvValue for Origins {
    const ACCEPTS: &str = "* or origins such as https://example.org, separated by commas";

    fn parse(value: &str) -> Option<Self> {
        if value == "*" {
            return Some(Self::Any);
        }
        let origin = |origin: &str| {
            let origin = origin.trim().trim_end_matches('/').to_ascii_lowercase();
            let (scheme, host) = origin.split_once("://")?;
            let fits = |c: char| !c.is_whitespace() && !"/?#@*".contains(c);
            let valid = !scheme.is_empty() && !host.is_empty() && host.chars().all(fits);
            // Browsers omit the default port.
            let default = if scheme == "https" { ":443" } else { ":80" };
            valid.then(|| format!("{scheme}://{}", host.strip_suffix(default).unwrap_or(host)))
        };
        value.split(',').map(origin).collect::<Option<_>>().map(Self::Listed)
    }
}

/// Filter of the log output.
#[derive(Clone, Debug)]
pub struct LogFilter(pub String);

impl EnvValue for LogFilter {
    const ACCEPTS: &str = "error, warn, info, debug, trace or off, or directives such as info,warren::client_closed=off";

    fn parse(value: &str) -> Option<Self> {
        // A word that is not a level would be parsed as the name of a module, and disable all other lines.
        let levels = ["error", "warn", "info", "debug", "trace", "off"];
        let valid = value.split(',').all(|directive| {
            directive.contains('=') || levels.contains(&directive.to_ascii_lowercase().as_str())
        });
        (valid && EnvFilter::try_new(value).is_ok()).then(|| Self(value.to_owned()))
    }
}

/// Format of the log output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl LogFormat {
    pub(super) fn of_standard_error() -> Self {
        if std::io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

impl EnvValue for LogFormat {
    const ACCEPTS: &str = "text or json";

    fn parse(value: &str) -> Option<Self> {
        match value {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(value: &str) -> Option<Vec<AmqpUrl>> {
        Some(Option::<AmqpUrls>::parse(value)??.0)
    }

    #[test]
    fn urls_of_several_nodes_do_not_display_passwords() {
        let urls = urls("amqp://me:secret@one:5673/, amqps://me:s%2Fcret@[::1]").unwrap();
        assert_eq!(format!("{urls:?}"), "[AmqpUrl(one:5673), AmqpUrl(::1:5671)]");
        let brackets = self::urls("amqp://me:hun[ter2]x@localhost:1").unwrap();
        assert_eq!(brackets[0].to_string(), "localhost:1");
        assert_eq!(urls[0].uri().vhost, "/");
        assert_eq!(urls[1].uri().authority.userinfo.password, "s/cret");
    }

    #[test]
    fn invalid_amqp_addresses_are_rejected() {
        for bad in ["http://host", "host:5672", "amqp://a,", "amqp://h?heartbeat=x", "tcp://h:1"] {
            assert_eq!(urls(bad), None, "{bad}");
        }
    }

    #[test]
    fn origins_are_normalized_or_rejected() {
        let listed = Origins::parse("https://Example.org:443/, http://localhost:3000").unwrap();
        let Origins::Listed(listed) = listed else { panic!() };
        assert_eq!(listed, ["https://example.org", "http://localhost:3000"]);
        for bad in ["example.org", "https://", "https://a/b", "https://*.a", "https://a,,"] {
            assert_eq!(Origins::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn log_filter_needs_levels_or_directives() {
        for good in ["info", "WARN", "warren=debug,lapin=off", "info,warren::client_closed=off"] {
            assert!(LogFilter::parse(good).is_some(), "{good}");
        }
        for bad in ["loud", "info,loud", "warren=loud"] {
            assert!(LogFilter::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn compression_is_on_off_or_a_size() {
        for (value, least) in [("on", Some(0)), ("off", None), ("2KiB", Some(2048))] {
            assert_eq!(Compression::parse(value), Some(Compression(least)));
        }
        for bad in ["", "On", "yes", "1024", "1KB"] {
            assert_eq!(Compression::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn invalid_names_and_counts_are_rejected() {
        for bad in ["a b", "a/b", "ü"] {
            assert!(Replica::parse(bad).is_none(), "{bad}");
        }
        assert!(Exchange::parse("amq.fanout").is_none());
        assert!(Workers::parse("0").is_none());
    }
}
