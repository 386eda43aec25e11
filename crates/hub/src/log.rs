//! The recent messages of one channel, and who listens to it.

use std::collections::VecDeque;
use std::collections::vec_deque::Iter;
use std::sync::Arc;
use warren_protocol::encoded::EncodedMessage;
use warren_protocol::message::Channel;

/// A message with its sequence number over all channels.
pub(super) type Entry = (u64, Arc<EncodedMessage>);

#[derive(Debug)]
pub(super) struct ChannelLog {
    pub(super) channel: Channel,
    entries: VecDeque<Entry>,
    /// Place of the first entry, counted from the first that this log ever held.
    first: u64,
    /// Frame bytes that were ever appended.
    bytes: u64,
    pub(super) readers: Vec<usize>,
    /// Frame bytes appended and not announced.
    uncommitted_bytes: u64,
}

impl ChannelLog {
    pub(super) fn new(channel: Channel) -> Self {
        Self {
            channel,
            entries: VecDeque::new(),
            first: 0,
            bytes: 0,
            readers: Vec::new(),
            uncommitted_bytes: 0,
        }
    }

    /// Adds an entry; whether it is the first that is not announced.
    pub(super) fn push(&mut self, sequence: u64, broadcast: Arc<EncodedMessage>) -> bool {
        let first = self.uncommitted_bytes == 0;
        self.bytes += broadcast.frame.len() as u64;
        self.uncommitted_bytes += broadcast.frame.len() as u64;
        self.entries.push_back((sequence, broadcast));
        first
    }

    /// All that there is has been announced.
    pub(super) fn commit(&mut self) {
        self.uncommitted_bytes = 0;
    }

    /// Frame bytes that were ever appended and announced.
    pub(super) fn committed_bytes(&self) -> u64 {
        self.bytes - self.uncommitted_bytes
    }

    /// Drops the oldest entry.
    pub(super) fn pop(&mut self) {
        if self.entries.pop_front().is_some() {
            self.first += 1;
        }
        // After a burst the room is given back.
        if self.entries.capacity() > 4 * self.entries.len().max(16) {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }

    /// Nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Nobody listens, either.
    pub(super) fn is_idle(&self) -> bool {
        self.is_empty() && self.readers.is_empty()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Place of the first message with this sequence number or a higher one.
    pub(super) fn since(&self, sequence: u64) -> u64 {
        self.first + self.entries.partition_point(|(at, _)| *at < sequence) as u64
    }

    /// Place behind the last message.
    pub(super) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Place from which on there are the last `count` messages.
    pub(super) fn last(&self, count: usize) -> u64 {
        self.first + self.entries.len().saturating_sub(count) as u64
    }

    /// Frame bytes that were ever appended before `place`.
    pub(super) fn bytes_before(&self, place: u64) -> u64 {
        let behind = self.from(place).into_iter().flatten();
        self.bytes - behind.map(|(_, broadcast)| broadcast.frame.len() as u64).sum::<u64>()
    }

    pub(super) fn get(&self, place: u64) -> Option<&Entry> {
        self.entries.get(place.checked_sub(self.first)? as usize)
    }

    /// Entries from `place` on; `None` when some of them are gone.
    pub(super) fn from(&self, place: u64) -> Option<Iter<'_, Entry>> {
        let start = place.checked_sub(self.first)? as usize;
        Some(self.entries.range(start.min(self.entries.len())..))
    }
}
