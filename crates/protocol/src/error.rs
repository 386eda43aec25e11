//! Errors that publishers receive.

/// A message was not confirmed. The publisher may send it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    #[error("too many messages wait for RabbitMQ; try again later")]
    BufferFull,
    #[error("RabbitMQ did not confirm the message in time; it may or may not get out")]
    TimedOut,
    #[error("RabbitMQ refused the message")]
    Refused,
    #[error("this replica is shutting down")]
    Closing,
}

impl PublishError {
    /// Error code in answers to clients, and metric label.
    pub const fn code(self) -> &'static str {
        match self {
            Self::BufferFull => "buffer_full",
            Self::TimedOut => "publish_timeout",
            Self::Refused => "publish_refused",
            Self::Closing => "shutting_down",
        }
    }
}
