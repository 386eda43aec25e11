//! Parts of the log, as they are read again.

use warren_protocol::message::Message;

/// Positions in a stretch. Stretches begin at its multiples, so that clients who were away for
/// different times ask for the same ones.
pub const PAGE_LEN: u64 = 256;

/// Messages of one stretch of the log.
#[derive(Debug)]
pub struct LogPage {
    /// Which log it is of.
    pub epoch: u64,
    /// The first position that it has; what was before it is gone if this is not where it begins.
    pub from: u64,
    /// The first position that it does not have: its end, or as far as there was something.
    pub to: u64,
    /// Every message in between, in order, each with its position.
    pub messages: Vec<Message>,
}

/// Why the log could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log cannot be read now: {0}")]
pub struct LogError(pub String);
