//! Positions: which part of the shared order is in memory, and where a cursor points in it.

use super::{Hub, Sequence, WaiterId};
use std::sync::Arc;
use std::task::Waker;
use warren_protocol::message;

impl Hub {
    /// Sequence after the message with this id. `None` if the message, or any message after it, is
    /// not in memory.
    pub fn find(&self, id: &str) -> Option<Sequence> {
        let next = self.sequence_at(message::position_of(id)?.checked_add(1)?)?;
        let found = next.0.checked_sub(1).filter(|found| *found >= self.epoch_start)?;
        let (_, message) = self.messages.get(found.checked_sub(self.first)? as usize)?;
        (&*message.id == id).then_some(next)
    }

    /// Sequence of the first message at `position` or after it. `None` unless everything from
    /// `position` on is in memory.
    pub fn join(&self, position: u64) -> Option<Sequence> {
        if self.complete_from? > position { None } else { self.sequence_at(position) }
    }

    /// Sequence of the first message of this epoch at `position` or after it.
    fn sequence_at(&self, position: u64) -> Option<Sequence> {
        self.complete_from?;
        let begin = self.epoch_start.saturating_sub(self.first) as usize;
        let (mut low, mut high) = (begin.min(self.messages.len()), self.messages.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.messages[middle].1.position < Some(position) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        Some(Sequence(self.first + low as u64))
    }

    /// True if a reader that starts at `sequence` has time to read before eviction reaches it: a
    /// quarter of the history is between the two.
    pub fn is_safe_from_eviction(&self, sequence: Sequence) -> bool {
        let before = sequence.0.saturating_sub(self.first) as usize;
        let older = self.history_bytes / self.messages.len().max(1) * before;
        let room = self.limits.history.saturating_sub(self.history_bytes) + older;
        room >= self.limits.history / 4
    }

    /// Position after everything appended in this epoch; `None` before the first epoch.
    pub fn next_position(&self) -> Option<u64> {
        let newest = self.newest_position().map(|newest| newest + 1);
        self.complete_from.max(newest)
    }

    /// First position from which everything is in memory; `None` before the first epoch.
    pub fn complete_from(&self) -> Option<u64> {
        self.complete_from
    }

    /// Number of the current epoch. Positions of different epochs cannot be compared.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Sequence at which the current epoch started.
    pub fn epoch_start(&self) -> Sequence {
        Sequence(self.epoch_start)
    }

    /// Id of the newest message of this epoch: a cursor to resume from.
    pub fn newest_id(&self) -> Option<&Arc<str>> {
        self.newest_position()?;
        self.messages.back().map(|(_, message)| &message.id)
    }

    /// Registers `waker`, to be woken when a message at `position` or after it is committed, or when
    /// another epoch starts. `None` if such a message is in memory already.
    pub fn wait_for_position(&mut self, position: u64, waker: &Waker) -> Option<WaiterId> {
        let reached = self.newest_position().is_some_and(|newest| newest >= position);
        (!reached).then(|| self.position_waiters.insert(position, waker.clone()))
    }

    /// Removes a waker registered by [`Hub::wait_for_position`].
    pub fn cancel_wait(&mut self, waiter: WaiterId) {
        self.position_waiters.cancel(waiter);
    }

    pub(super) fn newest_position(&self) -> Option<u64> {
        let (_, newest) = self.messages.back()?;
        newest.position.filter(|_| self.next_sequence() > self.epoch_start)
    }

    /// Sequence number of the next message to be appended.
    pub(super) fn next_sequence(&self) -> u64 {
        self.first + self.messages.len() as u64
    }
}
