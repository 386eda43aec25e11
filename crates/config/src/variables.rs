//! The one declaration of every variable.

use super::environment::{ConfigErrors, Environment};
use super::units::{ByteSize, HumanDuration, Rate, ShortDuration};
use super::values::{
    AmqpUrls, Compression, DeliveryMode, Exchange, LogFilter, LogFormat, Origins, Replica, Workers,
};
use super::{EnvValue, Section, Variable};
use serde::Deserialize;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

/// Makes of each row the raw field that envy fills, the parsed field of [`Config`], and the documentation.
/// A default is either written like a value of the variable, or computed and described in words.
macro_rules! variables {
    ($($title:literal {
        $($(#[doc = $meaning:literal])+ $field:ident: $kind:ty = $default:tt,)+
    })+) => {
        /// Settings of one replica, validated.
        #[derive(Clone, Debug)]
        pub struct Config {
            $($($(#[doc = $meaning])+ pub $field: $kind,)+)+
        }

        /// The variables as envy reads them: text, or absent.
        #[derive(Default, Deserialize)]
        struct Raw {
            $($($field: Option<String>,)+)+
        }

        /// Every variable by theme, in the order of the documentation.
        pub(super) fn sections() -> Vec<Section> {
            vec![$(Section {
                title: $title,
                variables: vec![$(Variable {
                    name: Environment::name(stringify!($field)),
                    default: default!(describe $default),
                    accepts: <$kind as EnvValue>::ACCEPTS,
                    meaning: concat!($($meaning),+).trim_ascii(),
                }),+],
            }),+]
        }

        impl Config {
            /// Reads the settings from environment variables. Variables without our prefix are ignored.
            ///
            /// # Errors
            /// All [`ConfigErrors`], not only the first.
            pub fn from_vars(
                vars: impl IntoIterator<Item = (OsString, OsString)>,
            ) -> Result<Self, ConfigErrors> {
                let known = sections().into_iter().flat_map(|section| section.variables);
                let known: Vec<_> = known.map(|variable| variable.name).collect();
                let (mut environment, vars) = Environment::sort(vars, &known);
                let raw: Raw = envy::prefixed(Environment::PREFIX)
                    .from_iter(vars)
                    .unwrap_or_else(|error| environment.unreadable(&error));
                $($(let $field = environment.value::<$kind>(
                    stringify!($field),
                    raw.$field,
                    default!(value $default, $kind),
                );)+)+
                environment.finish(|| Some(Self { $($($field: $field?,)+)+ }))
            }
        }
    };
}

macro_rules! default {
    (describe $text:literal) => {
        $text
    };
    (describe ($words:literal, $value:expr)) => {
        $words
    };
    (value $text:literal, $kind:ty) => {
        || <$kind as EnvValue>::parse($text)
    };
    (value ($words:literal, $value:expr), $kind:ty) => {
        || Some($value)
    };
}

variables! {
    "Replica" {
        /// Address for clients: WebSocket, HTTP and the chat page.
        listen: SocketAddr = "127.0.0.1:8080",
        /// Address for health checks and metrics. Do not expose it to clients.
        admin_listen: SocketAddr = "127.0.0.1:9090",
        /// Worker threads. Each serves its own connections.
        workers: Workers = ("the cores this process may use", Workers::available()),
        /// Name of this replica in messages, in metrics and on RabbitMQ's management page.
        replica: Replica = ("the host name, else a random name", Replica::of_this_host()),
    }
    "RabbitMQ" {
        /// Addresses of RabbitMQ nodes, separated by commas, which are tried in turn.
        /// Unset: an embedded broker, which joins only the clients of this one process.
        amqp_url: Option<AmqpUrls> = ("unset", None),
        /// Exchange that joins the replicas.
        exchange: Exchange = "messages",
        /// Way in which messages are read from RabbitMQ. `log`: from a stream that all replicas share; nothing is
        /// lost while a replica or a client is away. `live`: from a queue of each replica, on an exchange
        /// that is not durable and may be shared with programs that declare it so; messages that are
        /// published while a replica is not connected to RabbitMQ are lost to its clients, which are told.
        delivery: DeliveryMode = "log",
        /// Minimum time that the log keeps a message. Older messages are deleted when a segment of the
        /// log is full.
        log_max_age: HumanDuration = "24h",
        /// Size of the log at which its oldest messages are deleted. 0B: no limit.
        log_max_bytes: ByteSize = "1GiB",
        /// Interval at which a replica verifies that it receives what it publishes. 0s: never.
        canary_interval: Duration = "5s",
    }
    "Connections" {
        /// Number of connections at which handshakes are refused with 503 and Retry-After. 0: the number
        /// that the file limit allows.
        max_connections: usize = "0",
        /// Browser origins that may connect, separated by commas, such as `https://example.org`; `*` for all.
        allowed_origins: Origins = ("same host only", Origins::SameHost),
        /// Time without data from a client after which it is pinged. After two such intervals its
        /// connection is closed.
        ping_interval: HumanDuration = "25s",
    }
    "Publishing" {
        /// Maximum size of a message from a client.
        max_message: ByteSize = "64KiB",
        /// Messages that a client may publish. A burst may have twice the messages of one second.
        client_rate: Rate = "50/s",
        /// Time that a message may wait for RabbitMQ before its sender gets an error.
        publish_timeout: HumanDuration = "10s",
        /// Total size of the messages that may wait for RabbitMQ. Beyond it, senders get an error at once.
        publish_buffer: ByteSize = "16MiB",
    }
    "Delivery" {
        /// Memory for the recent messages of all channels of this replica.
        history_bytes: ByteSize = "64MiB",
        /// Bytes not yet written to a client at which it is too slow and its connection is closed.
        client_backlog: ByteSize = "1MiB",
        /// Minimum time between two deliveries of a worker. Messages that arrive in between share a write.
        /// Also the most that is added to their latency; a message that arrives after such a pause is
        /// delivered at once. 0ms: only messages that are already waiting share a write.
        coalesce: ShortDuration = "0ms",
        /// Minimum size of the messages that are compressed for clients that support it, as all browsers
        /// do. `on`: all messages that become shorter. `off`: none, and clients cannot compress theirs
        /// either.
        compression: Compression = "1KiB",
    }
    "Shutdown" {
        /// Time from SIGTERM, when the replica becomes unready, to the first closed connection.
        drain_delay: Duration = "5s",
        /// Time over which open connections are closed, spread evenly.
        drain_period: Duration = "20s",
    }
    "Log output" {
        /// Level of the lines that are written, or directives such as `info,warren::client_closed=off`.
        log: LogFilter = "info",
        /// Format of the lines.
        log_format: LogFormat = ("text on a terminal, json elsewhere", LogFormat::of_standard_error()),
    }
}
