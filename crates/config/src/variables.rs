//! The one declaration of every variable.

use super::environment::{Environment, Mistakes};
use super::kinds::{
    AmqpUrls, Compression, DeliveryMode, Exchange, LogFilter, LogFormat, Origins, Replica, Workers,
};
use super::units::{Bytes, Moment, Rate, Span};
use super::{Setting, Variable};
use serde::Deserialize;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

/// From each row: the raw field that envy fills, the parsed field of [`Config`], and documentation.
/// A default is either written as a value would be, or computed and described.
macro_rules! variables {
    ($($(#[doc = $meaning:literal])+ $field:ident: $kind:ty = $default:tt,)*) => {
        /// Settings of one replica, checked.
        #[derive(Clone, Debug)]
        pub struct Config {
            $($(#[doc = $meaning])+ pub $field: $kind,)*
        }

        /// As envy reads them: text, or absent.
        #[derive(Default, Deserialize)]
        struct Raw {
            $($field: Option<String>,)*
        }

        /// Every variable, in the order of the documentation.
        pub(super) fn all() -> Vec<Variable> {
            vec![$(Variable {
                name: Environment::name(stringify!($field)),
                default: default!(describe $default),
                accepts: <$kind as Setting>::ACCEPTS,
                meaning: concat!($($meaning),+).trim_ascii(),
            }),*]
        }

        impl Config {
            /// Reads the settings from environment variables; those without our prefix are ignored.
            ///
            /// # Errors
            /// All [`Mistakes`] that were made, not only the first.
            pub fn from_vars(
                vars: impl IntoIterator<Item = (OsString, OsString)>,
            ) -> Result<Self, Mistakes> {
                let names: Vec<_> = all().into_iter().map(|variable| variable.name).collect();
                let (mut environment, vars) = Environment::sort(vars, &names);
                let raw: Raw = envy::prefixed(Environment::PREFIX)
                    .from_iter(vars)
                    .unwrap_or_else(|error| environment.unreadable(&error));
                $(let $field = environment.value::<$kind>(
                    stringify!($field),
                    raw.$field,
                    default!(value $default, $kind),
                );)*
                environment.finish(|| Some(Self { $($field: $field?),* }))
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
        || <$kind as Setting>::parse($text)
    };
    (value ($words:literal, $value:expr), $kind:ty) => {
        || Some($value)
    };
}

variables! {
    /// Address for clients: WebSocket, HTTP and the chat page.
    listen: SocketAddr = "127.0.0.1:8080",
    /// Address for health checks and metrics; keep it from clients.
    admin_listen: SocketAddr = "127.0.0.1:9090",
    /// Worker threads, each of which serves its own connections.
    workers: Workers = ("the cores this process may use", Workers::available()),
    /// Name of this replica, in messages, metrics and on RabbitMQ's management page.
    replica: Replica = ("the host name, else a random name", Replica::of_this_host()),
    /// Where RabbitMQ is. Several addresses, separated by commas, are tried in turn.
    /// Unset: an embedded broker that joins only the clients of this one process.
    amqp_url: Option<AmqpUrls> = ("unset", None),
    /// Exchange that joins the replicas.
    exchange: Exchange = "messages",
    /// How messages are read from RabbitMQ. `log`: from a stream that all replicas share; nothing is
    /// lost while a replica or a client is away. `live`: from a queue of the replica's own, on an
    /// exchange that is not durable and may be shared with programs that declare it so; what is
    /// published while a replica is away from RabbitMQ is lost to its clients, and they are told.
    delivery: DeliveryMode = "log",
    /// How long the log keeps a message, at least; older ones go when a segment of it is full.
    log_max_age: Span = "24h",
    /// How large the log may grow before its oldest messages go. 0B: no limit.
    log_max_bytes: Bytes = "1GiB",
    /// Recent messages kept in memory by this replica, for all its channels.
    history_bytes: Bytes = "64MiB",
    /// Unwritten bytes at which a client counts as too slow and is closed.
    client_backlog: Bytes = "1MiB",
    /// Least time between two deliveries of a worker: messages that come in between share a write. It
    /// bounds what is added to their latency; one that comes after such a pause is delivered at once.
    /// 0ms: only what waits already shares a write.
    coalesce: Moment = "0ms",
    /// Largest message from a client.
    max_message: Bytes = "64KiB",
    /// Messages of this size and more are compressed for clients that take them so, as all browsers do.
    /// `on`: whatever gets shorter. `off`: none, and clients cannot compress theirs, either.
    compression: Compression = "1KiB",
    /// Above it a handshake gets 503 with Retry-After. 0: what the file limit allows.
    max_connections: usize = "0",
    /// Messages that a client may publish, with a burst of twice as many a second.
    client_rate: Rate = "50/s",
    /// Browser origins that may connect, separated by commas, such as https://example.org; `*` for all.
    allowed_origins: Origins = ("same host only", Origins::SameHost),
    /// How long a client may be silent before it is pinged; after two such intervals it is closed.
    ping_interval: Span = "25s",
    /// How long a message may wait for RabbitMQ before its sender gets an error.
    publish_timeout: Span = "10s",
    /// Messages that may wait for RabbitMQ, together; beyond it senders get an error at once.
    publish_buffer: Bytes = "16MiB",
    /// How often a replica proves that it hears itself. 0s: never.
    canary_interval: Duration = "5s",
    /// From SIGTERM, when the replica turns unready, to the first closed connection.
    drain_delay: Duration = "5s",
    /// Over which connections are closed, evenly.
    drain_period: Duration = "20s",
    /// What is logged: a level, or directives such as `info,warren::client_closed=off`.
    log: LogFilter = "info",
    /// How it is logged.
    log_format: LogFormat = ("text on a terminal, json elsewhere", LogFormat::of_standard_error()),
}
