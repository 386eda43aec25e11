//! Why a session with RabbitMQ ended; the next one follows.

use super::topology::TopologyError;
use tokio::time::error::Elapsed;

#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error(transparent)]
    Amqp(#[from] lapin::Error),
    #[error("RabbitMQ did not answer in time")]
    Silent(#[from] Elapsed),
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

impl Ended {
    /// Whether what messages go to is not there any more, so that our own queue is unbound, too.
    pub(super) fn topology_is_gone(&self) -> bool {
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
