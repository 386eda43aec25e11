//! Plain data about the log: its head, its pages, and why it cannot be read.

use warren_protocol::message::Message;

/// Positions in a page. Pages start at multiples of it, so that clients that were away for different
/// times share them.
pub const PAGE_LEN: u64 = 256;

/// Last entry of the log that this replica has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogHead {
    /// Changes when the log is deleted and created again.
    pub epoch: u64,
    pub position: u64,
}

/// Messages of one page of the log.
#[derive(Debug)]
pub struct LogPage {
    pub epoch: u64,
    /// First position that the page covers. If it is not the start of the page, earlier entries are
    /// deleted.
    pub from: u64,
    /// First position after the page: its end, or the end of the log.
    pub to: u64,
    /// All messages between `from` and `to`, in order, each with its position.
    pub messages: Vec<Message>,
}

/// The log cannot be read, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log cannot be read now: {0}")]
pub struct LogError(pub String);
