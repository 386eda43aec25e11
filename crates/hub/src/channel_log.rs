//! The recent messages of one channel, and its subscribers.

use std::collections::VecDeque;
use std::collections::vec_deque::Iter;
use std::sync::Arc;
use warren_protocol::encoded::EncodedMessage;
use warren_protocol::message::Channel;

/// A message with its sequence number in the hub.
pub(super) type Entry = (u64, Arc<EncodedMessage>);

/// A window over everything ever appended to one channel. Indexes and byte counts run from the first
/// entry this log ever held, so that they stay valid when old entries are evicted.
#[derive(Debug)]
pub(super) struct ChannelLog {
    pub(super) channel: Channel,
    entries: VecDeque<Entry>,
    /// Index of the first entry still kept.
    first: u64,
    /// Frame bytes ever appended.
    bytes: u64,
    /// Keys of the subscribers in the hub's slab.
    pub(super) subscribers: Vec<usize>,
    /// Frame bytes appended since the last commit.
    uncommitted_bytes: u64,
}

impl ChannelLog {
    pub(super) fn new(channel: Channel) -> Self {
        Self {
            channel,
            entries: VecDeque::new(),
            first: 0,
            bytes: 0,
            subscribers: Vec::new(),
            uncommitted_bytes: 0,
        }
    }

    /// Appends an entry. Returns true if it is the first since the last commit.
    pub(super) fn push(&mut self, sequence: u64, message: Arc<EncodedMessage>) -> bool {
        let first = self.uncommitted_bytes == 0;
        self.bytes += message.frame.len() as u64;
        self.uncommitted_bytes += message.frame.len() as u64;
        self.entries.push_back((sequence, message));
        first
    }

    /// Makes everything appended so far count as committed.
    pub(super) fn commit(&mut self) {
        self.uncommitted_bytes = 0;
    }

    /// Frame bytes ever appended and committed.
    pub(super) fn committed_bytes(&self) -> u64 {
        self.bytes - self.uncommitted_bytes
    }

    /// Frame bytes ever appended.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Drops the oldest entry.
    pub(super) fn pop(&mut self) {
        if self.entries.pop_front().is_some() {
            self.first += 1;
        }
        // Memory that a burst needed is given back.
        if self.entries.capacity() > 4 * self.entries.len().max(16) {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// True if the log has neither entries nor subscribers.
    pub(super) fn is_idle(&self) -> bool {
        self.is_empty() && self.subscribers.is_empty()
    }

    /// Index of the first entry with this sequence number or a higher one.
    pub(super) fn index_at(&self, sequence: u64) -> u64 {
        self.first + self.entries.partition_point(|(at, _)| *at < sequence) as u64
    }

    /// Index after the last entry.
    pub(super) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Index of the first of the last `count` entries.
    pub(super) fn index_of_last(&self, count: usize) -> u64 {
        self.first + self.entries.len().saturating_sub(count) as u64
    }

    /// Frame bytes ever appended before the entry at `index`.
    pub(super) fn bytes_before(&self, index: u64) -> u64 {
        let rest = self.from(index).into_iter().flatten();
        self.bytes - rest.map(|(_, message)| message.frame.len() as u64).sum::<u64>()
    }

    pub(super) fn get(&self, index: u64) -> Option<&Entry> {
        self.entries.get(index.checked_sub(self.first)? as usize)
    }

    /// Entries from `index` on; `None` if some of them were evicted.
    pub(super) fn from(&self, index: u64) -> Option<Iter<'_, Entry>> {
        let start = index.checked_sub(self.first)? as usize;
        Some(self.entries.range(start.min(self.entries.len())..))
    }
}
