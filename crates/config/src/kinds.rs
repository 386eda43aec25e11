//! The types of variables that are not units.

use super::{Bytes, Setting};
use amq_protocol_uri::AMQPUri;
use std::fmt;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::str::FromStr;
use tracing_subscriber::EnvFilter;

impl Setting for SocketAddr {
    const ACCEPTS: &str = "an IP address and a port, such as 0.0.0.0:8080 or [::]:8080";

    fn parse(value: &str) -> Option<Self> {
        value.parse().ok()
    }
}

impl Setting for usize {
    const ACCEPTS: &str = "a whole number";

    fn parse(value: &str) -> Option<Self> {
        value.parse().ok()
    }
}

/// Worker threads.
#[derive(Clone, Copy, Debug)]
pub struct Workers(pub usize);

impl Workers {
    /// As many as the process may run on, by affinity and by the cgroup's quota.
    pub(super) fn available() -> Self {
        Self(std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
    }
}

impl Setting for Workers {
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

impl Setting for Replica {
    const ACCEPTS: &str = "a name of 1 to 100 letters, digits, dots, dashes or underscores";

    fn parse(value: &str) -> Option<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        let valid = (1..=100).contains(&value.len()) && value.chars().all(fits);
        valid.then(|| Self(value.to_owned()))
    }
}

/// Name of the exchange.
#[derive(Clone, Debug)]
pub struct Exchange(pub String);

impl Setting for Exchange {
    const ACCEPTS: &str = "an exchange name of 1 to 127 bytes that does not begin with amq.";

    fn parse(value: &str) -> Option<Self> {
        let valid = (1..=127).contains(&value.len())
            && !value.starts_with("amq.")
            && !value.contains(char::is_control);
        valid.then(|| Self(value.to_owned()))
    }
}

/// Address of one RabbitMQ node. Its password is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct AmqpUrl(AMQPUri);

impl AmqpUrl {
    /// For connecting only: this holds the password.
    pub fn uri(&self) -> &AMQPUri {
        &self.0
    }
}

impl fmt::Display for AmqpUrl {
    /// Host and port: enough to tell nodes apart, and no secret.
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
        // The parser takes an IPv6 address for no host at all, and would go to localhost instead.
        let authority = value.split_once("://").map_or(value, |(_, rest)| rest);
        let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            uri.authority.host = address.to_owned();
        }
        // A trailing slash means the default virtual host to everyone who writes one.
        if uri.vhost.is_empty() {
            uri.vhost = "/".to_owned();
        }
        Ok(Self(uri))
    }
}

/// The nodes of a RabbitMQ cluster; at least one.
#[derive(Clone, Debug)]
pub struct AmqpUrls(pub Vec<AmqpUrl>);

impl Setting for Option<AmqpUrls> {
    const ACCEPTS: &str = "amqp:// or amqps:// addresses, separated by commas";

    fn parse(value: &str) -> Option<Self> {
        let urls: Result<_, _> = value.split(',').map(|url| url.trim().parse()).collect();
        Some(Some(AmqpUrls(urls.ok()?)))
    }
}

/// How messages are read from RabbitMQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMode {
    /// From a stream that all replicas share, each from where it stopped.
    Log,
    /// From an exclusive queue that lives as long as the connection.
    Live,
}

impl Setting for DeliveryMode {
    const ACCEPTS: &str = "log or live";

    fn parse(value: &str) -> Option<Self> {
        match value {
            "log" => Some(Self::Log),
            "live" => Some(Self::Live),
            _ => None,
        }
    }
}

/// From how many bytes on messages are compressed; `None`: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression(pub Option<usize>);

impl Setting for Compression {
    const ACCEPTS: &str = "on, off, or a size such as 500B or 1KiB";

    fn parse(value: &str) -> Option<Self> {
        match value {
            "on" => Some(Self(Some(0))),
            "off" => Some(Self(None)),
            size => Bytes::parse(size).map(|Bytes(size)| Self(Some(size))),
        }
    }
}

/// Browser origins that may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Those whose host and port are the ones that were asked for.
    SameHost,
    Any,
    /// These, in lower case, and the same host.
    Listed(Vec<String>),
}

impl Setting for Origins {
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
            // Browsers leave the default port out.
            let default = if scheme == "https" { ":443" } else { ":80" };
            valid.then(|| format!("{scheme}://{}", host.strip_suffix(default).unwrap_or(host)))
        };
        value.split(',').map(origin).collect::<Option<_>>().map(Self::Listed)
    }
}

/// What is logged.
#[derive(Clone, Debug)]
pub struct LogFilter(pub String);

impl Setting for LogFilter {
    const ACCEPTS: &str = "error, warn, info, debug, trace or off, or directives such as info,warren::client_closed=off";

    fn parse(value: &str) -> Option<Self> {
        // A lone word that is no level would be taken for the name of a module, and log nothing.
        let levels = ["error", "warn", "info", "debug", "trace", "off"];
        let valid = value.split(',').all(|directive| {
            directive.contains('=') || levels.contains(&directive.to_ascii_lowercase().as_str())
        });
        (valid && EnvFilter::try_new(value).is_ok()).then(|| Self(value.to_owned()))
    }
}

/// How it is logged.
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

impl Setting for LogFormat {
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
    fn several_nodes_and_no_password() {
        let urls = urls("amqp://me:secret@one:5673/, amqps://me:s%2Fcret@[::1]").unwrap();
        assert_eq!(format!("{urls:?}"), "[AmqpUrl(one:5673), AmqpUrl(::1:5671)]");
        let brackets = self::urls("amqp://me:hun[ter2]x@localhost:1").unwrap();
        assert_eq!(brackets[0].to_string(), "localhost:1");
        assert_eq!(urls[0].uri().vhost, "/");
        assert_eq!(urls[1].uri().authority.userinfo.password, "s/cret");
    }

    #[test]
    fn what_is_no_amqp_address() {
        for bad in ["http://host", "host:5672", "amqp://a,", "amqp://h?heartbeat=x", "tcp://h:1"] {
            assert_eq!(urls(bad), None, "{bad}");
        }
    }

    #[test]
    fn origins() {
        let listed = Origins::parse("https://Example.org:443/, http://localhost:3000").unwrap();
        let Origins::Listed(listed) = listed else { panic!() };
        assert_eq!(listed, ["https://example.org", "http://localhost:3000"]);
        for bad in ["example.org", "https://", "https://a/b", "https://*.a", "https://a,,"] {
            assert_eq!(Origins::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn log_filters() {
        for good in ["info", "WARN", "warren=debug,lapin=off", "info,warren::client_closed=off"] {
            assert!(LogFilter::parse(good).is_some(), "{good}");
        }
        for bad in ["loud", "info,loud", "warren=loud"] {
            assert!(LogFilter::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn compression() {
        for (value, least) in [("on", Some(0)), ("off", None), ("2KiB", Some(2048))] {
            assert_eq!(Compression::parse(value), Some(Compression(least)));
        }
        for bad in ["", "On", "yes", "1024", "1KB"] {
            assert_eq!(Compression::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn names() {
        for bad in ["a b", "a/b", "ü"] {
            assert!(Replica::parse(bad).is_none(), "{bad}");
        }
        assert!(Exchange::parse("amq.fanout").is_none());
        assert!(Workers::parse("0").is_none());
    }
}
