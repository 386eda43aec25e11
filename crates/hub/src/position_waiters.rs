//! Tasks that wait until the hub has reached a position.

use std::collections::BTreeMap;
use std::task::Waker;

/// Wakers by the position they wait for.
#[derive(Debug, Default)]
pub(super) struct PositionWaiters {
    wakers: BTreeMap<WaiterId, Waker>,
    next_number: u64,
}

/// Identifies one registered waker, to cancel it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaiterId {
    position: u64,
    number: u64,
}

impl PositionWaiters {
    pub(super) fn insert(&mut self, position: u64, waker: Waker) -> WaiterId {
        let id = WaiterId { position, number: self.next_number };
        self.next_number += 1;
        self.wakers.insert(id, waker);
        id
    }

    pub(super) fn cancel(&mut self, id: WaiterId) {
        self.wakers.remove(&id);
    }

    /// Wakes all that wait for `position` or an earlier one.
    pub(super) fn wake_up_to(&mut self, position: u64) {
        while let Some(first) = self.wakers.first_entry()
            && first.key().position <= position
        {
            first.remove().wake();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wakers.is_empty()
    }
}
