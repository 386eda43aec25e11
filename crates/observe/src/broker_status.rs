//! State of the broker, for readiness and metrics.

use std::fmt;
use std::sync::Arc;

/// State of the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerStatus {
    /// Messages can be published.
    pub publishing: bool,
    /// Messages are being read.
    pub consuming: bool,
    /// The replica receives what it publishes.
    pub hearing: bool,
    /// RabbitMQ blocks publishers because of an alarm.
    pub blocked: bool,
    /// Last error of the consumer, without secrets.
    pub problem: Option<Arc<str>>,
}

/// Reason why a replica should get no new clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unready {
    NotConsuming,
    NotPublishing,
    NotHearing,
}

impl BrokerStatus {
    /// The reason why the broker is not ready, if it is not. A blocked broker is ready, because it still
    /// delivers.
    pub fn unready(&self) -> Option<Unready> {
        if !self.consuming {
            Some(Unready::NotConsuming)
        } else if !self.publishing {
            Some(Unready::NotPublishing)
        } else if !self.hearing {
            Some(Unready::NotHearing)
        } else {
            None
        }
    }
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotConsuming => "not reading from RabbitMQ",
            Self::NotPublishing => "not connected to RabbitMQ for publishing",
            Self::NotHearing => "does not hear its own messages",
        })
    }
}
