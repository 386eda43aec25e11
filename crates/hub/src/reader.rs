//! One reader: a cursor into each of its channels' logs, and how to wake it.

use smallvec::SmallVec;
use std::task::Waker;

/// How far a reader has read in one log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    pub(super) log: u32,
    /// Where the reader stands in that log's list.
    pub(super) index_in_channel: u32,
    /// It goes on from a message of the order, and misses none, whenever it was said.
    pub(super) resumed: bool,
    /// Place of the next message in that log.
    pub(super) next: u64,
    /// Frame bytes of the log before that place.
    pub(super) read: u64,
}

impl Cursor {
    pub(super) fn log(&self) -> usize {
        self.log as usize
    }
}

#[derive(Debug, Default)]
pub(super) struct Subscriber {
    /// Nearly all have one, which a delivery finds here.
    pub(super) cursors: SmallVec<[Cursor; 1]>,
    /// Bytes that it was behind when it began, as far as they still wait.
    pub(super) replay: u64,
    /// It was detached because it lagged too far behind.
    pub(super) overrun: bool,
    waker: Option<Waker>,
    /// It was woken and has not come since: once is enough.
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

    /// Its task is about to run.
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
