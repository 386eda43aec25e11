//! The values of metric labels: one enum for each label.

use std::fmt::Debug;
use warren_protocol::body::Malformed;
use warren_protocol::error::PublishError;
use warren_protocol::websocket::{CLOSE_LABELS, CLOSES, CloseReason, GONE};

/// The labels of one metric. No value comes from a client, a message or another program.
pub trait Label: Copy + Debug + PartialEq + 'static {
    /// Names of the labels, in their order.
    const NAMES: &'static [&'static str];
    /// Every value, in the order of the documentation.
    const ALL: &'static [Self];

    /// Values of all labels, in the order of the names. The last one alone identifies the series.
    fn values(self) -> Vec<&'static str> {
        vec![self.value()]
    }

    /// Value of the last label, as lines of the log output have it.
    fn value(self) -> &'static str;
}

/// Declares enums, each with the name of its label and the value of each variant.
macro_rules! labels {
    ($($(#[$attribute:meta])+ $name:ident = $label:literal {
        $($(#[$about:meta])* $variant:ident = $value:expr,)+
    })+) => {$(
        $(#[$attribute])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$about])* $variant,)+
        }

        impl $name {
            /// Value of the label.
            pub const fn value(self) -> &'static str {
                match self {
                    $(Self::$variant => $value,)+
                }
            }
        }

        impl $crate::labels::Label for $name {
            const NAMES: &'static [&'static str] = &[$label];
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn value(self) -> &'static str {
                self.value()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.value())
            }
        }
    )+};
}
pub(crate) use labels;

labels! {
    /// The version of the program.
    Version = "version" {
        Current = env!("CARGO_PKG_VERSION"),
    }

    /// The protocol of a connection.
    Transport = "transport" {
        WebSocket = "websocket",
        Sse = "sse",
    }

    /// The protocol by which a client publishes.
    PublishTransport = "transport" {
        WebSocket = "websocket",
        Http = "http",
    }

    /// Reason why a handshake was refused.
    HandshakeRefusal = "cause" {
        BadRequest = "bad_request",
        NoWebSocket = "no_websocket",
        OriginNotAllowed = "origin_not_allowed",
        ShuttingDown = "shutting_down",
        TooManyConnections = "too_many_connections",
    }

    /// Reason why a message was not accepted for publishing.
    MessageRejection = "cause" {
        BadRequest = "bad_request",
        OriginNotAllowed = "origin_not_allowed",
        RateLimited = "rate_limited",
        ShuttingDown = "shutting_down",
        TimedOut = "timed_out",
        TooLarge = "too_large",
    }

    /// Result of a publish.
    PublishOutcome = "outcome" {
        Confirmed = "confirmed",
        TimedOut = PublishError::TimedOut.code(),
        Refused = PublishError::Refused.code(),
        BufferFull = PublishError::BufferFull.code(),
        ShuttingDown = PublishError::Closing.code(),
    }

    /// Reason why a message on the exchange cannot be delivered.
    MalformedReason = "reason" {
        NotUtf8 = Malformed::NotUtf8.label(),
        TooLarge = Malformed::TooLarge.label(),
        BadChannel = Malformed::BadChannel.label(),
        Control = Malformed::Control.label(),
        Unreadable = Malformed::Unreadable.label(),
    }

    /// Result of a resume.
    ResumeOutcome = "outcome" {
        /// Recovered from memory.
        Memory = "memory",
        /// Recovered by a replay of the log.
        Log = "log",
        /// The message is no longer kept.
        Expired = "expired",
        /// The id is of another log, broker or run.
        Unknown = "unknown",
        /// The cursor is no id.
        Malformed = "malformed",
        /// With delivery mode `live`, nothing is kept.
        Live = "live",
        /// The log could not be read.
        Unreadable = "unreadable",
    }

    /// The purpose of a session with RabbitMQ that a replica always keeps.
    SessionRole = "role" {
        Publish = "publish",
        Consume = "consume",
    }

    /// The purpose of a connection to RabbitMQ.
    ConnectionRole = "role" {
        Publish = "publish",
        Consume = "consume",
        Replay = "replay",
    }

    /// Reason why a span did not reach the collector.
    SpanDropCause = "cause" {
        QueueFull = "queue_full",
        NotExported = "not_exported",
    }
}

impl From<PublishError> for PublishOutcome {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::BufferFull => Self::BufferFull,
            PublishError::TimedOut => Self::TimedOut,
            PublishError::Refused => Self::Refused,
            PublishError::Closing => Self::ShuttingDown,
        }
    }
}

impl From<Malformed> for MalformedReason {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::NotUtf8 => Self::NotUtf8,
            Malformed::TooLarge => Self::TooLarge,
            Malformed::BadChannel => Self::BadChannel,
            Malformed::Control => Self::Control,
            Malformed::Unreadable => Self::Unreadable,
        }
    }
}

/// End of a connection. The values are those of the table of close codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// With a close frame.
    Closed(CloseReason),
    /// Without one: the client vanished.
    Gone,
}

impl Label for ConnectionEnd {
    const NAMES: &'static [&'static str] = &["code", "reason"];
    const ALL: &'static [Self] = &{
        let mut all = [Self::Gone; CLOSES.len() + 1];
        let mut index = 0;
        while index < CLOSES.len() {
            all[index] = Self::Closed(CLOSES[index].close);
            index += 1;
        }
        all
    };

    fn values(self) -> Vec<&'static str> {
        let index = match self {
            Self::Closed(reason) => reason as usize,
            Self::Gone => CLOSES.len(),
        };
        let (code, reason) = CLOSE_LABELS[index];
        vec![code, reason]
    }

    fn value(self) -> &'static str {
        match self {
            Self::Closed(reason) => reason.row().label,
            Self::Gone => GONE,
        }
    }
}

/// A thread of the replica. Its series begin when the thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worker {}

impl Label for Worker {
    const NAMES: &'static [&'static str] = &["worker"];
    const ALL: &'static [Self] = &[];

    fn value(self) -> &'static str {
        match self {}
    }
}
