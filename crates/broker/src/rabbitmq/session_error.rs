//! Why a session with RabbitMQ ended; the next one follows.

use crate::rabbitmq::topology::{DeclareError, TopologyError};
use tokio::time::error::Elapsed;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error(transparent)]
    Amqp(#[from] lapin::Error),
    #[error("RabbitMQ did not answer in time")]
    Timeout(#[from] Elapsed),
    #[error("the log is not what it was: it was deleted and made anew, or has lost its end")]
    OtherLog,
    #[error("the log of this node is behind what was read from another")]
    NodeBehind,
    #[error("the queue '{0}' is not a stream")]
    NoStream(String),
    #[error("RabbitMQ cancelled the consumer: its queue is gone")]
    Cancelled,
    #[error("a message could not be routed: no queue is bound to the exchange")]
    Unroutable,
    #[error("a rebuild was asked for")]
    Rebuild,
    /// It was to end, and no other follows.
    #[error("done")]
    Done,
}

impl From<DeclareError> for SessionError {
    fn from(error: DeclareError) -> Self {
        match error {
            DeclareError::Topology(error) => Self::Topology(error),
            DeclareError::Amqp(error) => Self::Amqp(error),
        }
    }
}

impl SessionError {
    /// Whether lapin could not read what came, and gave the connection up for it.
    pub(crate) fn is_unreadable(&self) -> bool {
        matches!(self, Self::Amqp(error) if matches!(error.kind(), lapin::ErrorKind::ParsingError(_)))
    }

    /// Whether what messages go to is not there any more, so that our own queue is unbound, too.
    pub(crate) fn topology_is_gone(&self) -> bool {
        const NOT_FOUND: u16 = 404;
        match self {
            Self::Unroutable => true,
            Self::Amqp(error) => match error.kind() {
                lapin::ErrorKind::ProtocolError(error) => error.get_id() == NOT_FOUND,
                _ => false,
            },
            _ => false,
        }
    }
}
