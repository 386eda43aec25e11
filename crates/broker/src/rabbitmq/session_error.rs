//! Reasons for the end of a session with RabbitMQ. Another session follows each but the last.

use tokio::time::error::Elapsed;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// RabbitMQ refused to declare or bind something.
    #[error("{attempt}: {source}")]
    Topology { attempt: String, source: lapin::Error },
    #[error(transparent)]
    Amqp(#[from] lapin::Error),
    #[error("RabbitMQ gave no answer in time")]
    Timeout(#[from] Elapsed),
    #[error("the stream was deleted and created again, or has lost its last entries")]
    OtherLog,
    #[error("this node's copy of the stream is behind what was read from another node")]
    NodeBehind,
    #[error("queue '{0}' is not a stream; delete it, or set another WARREN_EXCHANGE")]
    NotAStream(String),
    #[error("RabbitMQ cancelled the consumer: its queue is gone")]
    Cancelled,
    #[error("RabbitMQ returned a message as unroutable: no queue is bound to the exchange")]
    Unroutable,
    #[error("a rebuild of all sessions was requested")]
    Rebuild,
    /// The broker closes; no other session follows.
    #[error("closed")]
    Closed,
}

impl SessionError {
    /// True if lapin could not parse a frame and gave up the connection.
    pub(crate) fn is_unreadable(&self) -> bool {
        matches!(self, Self::Amqp(error) if matches!(error.kind(), lapin::ErrorKind::ParsingError(_)))
    }

    /// True if the exchange or the queues behind it are gone. Then the consumer's queue is unbound, too.
    pub(crate) fn is_topology_gone(&self) -> bool {
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
