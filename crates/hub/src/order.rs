//! The order over all channels: what of it is kept, and where one is in it.

use super::{Hub, Sequence, WaiterId};
use std::sync::Arc;
use std::task::Waker;
use warren_protocol::message;

impl Hub {
    /// The place behind the message with this id, if it is still kept and nothing is missing since.
    pub fn find(&self, id: &str) -> Option<Sequence> {
        let place = self.since(message::position_of(id)?.checked_add(1)?)?;
        let last = place.0.checked_sub(1).filter(|last| *last >= self.beginning)?;
        let (_, found) = self.order.get(last.checked_sub(self.first)? as usize)?;
        (&*found.id == id).then_some(place)
    }

    /// The place of the first message from position `next` on, if everything from there on is kept.
    pub fn join(&self, next: u64) -> Option<Sequence> {
        if self.kept_from? > next { None } else { self.since(next) }
    }

    /// The place of the first message of the present order from position `next` on.
    fn since(&self, next: u64) -> Option<Sequence> {
        self.kept_from?;
        let begin = self.beginning.saturating_sub(self.first) as usize;
        let (mut low, mut high) = (begin.min(self.order.len()), self.order.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.order[middle].1.position < Some(next) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        Some(Sequence(self.first + low as u64))
    }

    /// Whether there is time to read from `place` before it is dropped: it is not among the oldest.
    pub fn is_safe(&self, place: Sequence) -> bool {
        let before = place.0.saturating_sub(self.first) as usize;
        let older = self.kept / self.order.len().max(1) * before;
        let room = self.limits.history.saturating_sub(self.kept) + older;
        room >= self.limits.history / 4
    }

    /// Position behind all that was appended; `None` where positions mean nothing, yet or ever.
    pub fn end(&self) -> Option<u64> {
        let newest = self.newest_position().map(|newest| newest + 1);
        self.kept_from.max(newest)
    }

    /// The first position from which on everything is kept, if positions mean anything here.
    pub fn kept_from(&self) -> Option<u64> {
        self.kept_from
    }

    /// Which order positions are of: another number when another one began.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Where the present order begins in memory.
    pub fn beginning(&self) -> Sequence {
        Sequence(self.beginning)
    }

    /// Id of the newest message, a place to come back to.
    pub fn newest(&self) -> Option<&Arc<str>> {
        self.newest_position()?;
        self.order.back().map(|(_, broadcast)| &broadcast.id)
    }

    /// Has `waker` woken when a message of this position or a higher one is appended, or another order
    /// begins, unless the ticket is given up before; `None` if one was appended already.
    pub fn wait_for_position(&mut self, position: u64, waker: &Waker) -> Option<WaiterId> {
        let reached = self.newest_position().is_some_and(|newest| newest >= position);
        (!reached).then(|| self.arrivals.wait(position, waker.clone()))
    }

    /// Whoever holds this ticket waits no longer.
    pub fn cancel_wait(&mut self, ticket: WaiterId) {
        self.arrivals.cancel_wait(ticket);
    }

    pub(super) fn newest_position(&self) -> Option<u64> {
        let (_, newest) = self.order.back()?;
        newest.position.filter(|_| self.next_sequence() > self.beginning)
    }

    /// The sequence number that the next message gets.
    pub(super) fn next_sequence(&self) -> u64 {
        self.first + self.order.len() as u64
    }
}
