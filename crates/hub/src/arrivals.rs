//! Who waits for a position of the order to be reached.

use std::collections::BTreeMap;
use std::task::Waker;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct PositionWaiters {
    waiting: BTreeMap<WaiterId, Waker>,
    /// Of the next ticket.
    number: u64,
}

/// One who waits; to be given back by who is no longer interested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaiterId {
    position: u64,
    number: u64,
}

impl PositionWaiters {
    pub(super) fn wait(&mut self, position: u64, waker: Waker) -> WaiterId {
        let ticket = WaiterId { position, number: self.number };
        self.number += 1;
        self.waiting.insert(ticket, waker);
        ticket
    }

    pub(super) fn cancel_wait(&mut self, ticket: WaiterId) {
        self.waiting.remove(&ticket);
    }

    /// Wakes those who wait for this position or one before it.
    pub(super) fn reached(&mut self, position: u64) {
        while let Some(first) = self.waiting.first_entry()
            && first.key().position <= position
        {
            first.remove().wake();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
