//! One subscriber: its subscriptions, and the waker of its task.

use smallvec::SmallVec;
use std::task::Waker;

/// One subscriber's cursor into one channel log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscription {
    /// Key of the channel log in the hub's slab.
    pub(super) log: u32,
    /// Index of the subscriber in that log's list of subscribers.
    pub(super) index_in_channel: u32,
    /// True if the subscriber resumed from a cursor. Backfilled messages are then new to it.
    pub(super) resumed: bool,
    /// Index of the next entry to read in that log.
    pub(super) next: u64,
    /// Frame bytes of that log before the next entry.
    pub(super) bytes_read: u64,
}

impl Subscription {
    pub(super) fn log(&self) -> usize {
        self.log as usize
    }
}

/// A receiver of messages, usually one connection.
#[derive(Debug, Default)]
pub(super) struct Subscriber {
    /// Nearly all subscribers have one subscription, which a delivery finds inline.
    pub(super) subscriptions: SmallVec<[Subscription; 1]>,
    /// Bytes of requested history or replay not yet read. They do not count as lag.
    pub(super) replay_bytes: u64,
    /// True once the subscriber was detached because it lagged too far behind.
    pub(super) overrun: bool,
    waker: Option<Waker>,
    /// True from a wake-up until the task registers its waker again.
    woken: bool,
}

impl Subscriber {
    pub(super) fn set_waker(&mut self, waker: &Waker) {
        self.woken = false;
        match &mut self.waker {
            Some(known) => known.clone_from(waker),
            None => self.waker = Some(waker.clone()),
        }
    }

    /// True if the task was woken and has not run since.
    pub(super) fn is_woken(&self) -> bool {
        self.woken
    }

    pub(super) fn wake(&mut self) {
        if !self.woken
            && let Some(waker) = &self.waker
        {
            self.woken = true;
            waker.wake_by_ref();
        }
    }
}
