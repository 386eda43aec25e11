//! Whether the bond to the other replicas holds, for readiness and metrics.

use std::fmt;
use std::sync::Arc;

/// How the broker is. What is false tells why the replica is not ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerStatus {
    /// Messages can be published.
    pub publishing: bool,
    /// Messages are being read.
    pub consuming: bool,
    /// A message published here came back here, lately.
    pub hearing: bool,
    /// The broker asked publishers to wait, because of an alarm of its own.
    pub blocked: bool,
    /// Why messages are not being read, as far as known. Holds no secret.
    pub problem: Option<Arc<str>>,
}

/// Why a replica should get no new clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unready {
    NotConsuming,
    NotPublishing,
    NotHearing,
}

impl BrokerStatus {
    /// Why the broker is not ready, if it is not. A blocked broker is: it still delivers.
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
