//! How far this replica has read the log, and what it found, for those who read it again.

use super::entry::Mark;
use crate::LogHead;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Second copies remembered; there are few.
const MAX_SECONDS: usize = 1 << 16;
/// Unreadable entries remembered.
const MAX_HOLES: usize = 1 << 16;

/// See the module.
#[derive(Debug)]
pub(super) struct Progress {
    head: watch::Sender<Option<LogHead>>,
    judged: Mutex<Judged>,
    /// Offsets that lapin cannot read.
    holes: Mutex<BTreeSet<u64>>,
}

/// Which entries were second copies.
#[derive(Debug, Default)]
struct Judged {
    /// The first offset that was judged.
    from: u64,
    /// Offsets of second copies, ascending.
    seconds: VecDeque<u64>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { head: watch::Sender::new(None), judged: Mutex::default(), holes: Mutex::default() }
    }

    pub(super) fn head(&self) -> Option<LogHead> {
        *self.head.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Option<LogHead>> {
        self.head.subscribe()
    }

    /// A log is read, and judged from this offset on: another one, if there was one before.
    pub(super) fn begin(&self, from: u64) {
        *self.judged() = Judged { from, seconds: VecDeque::new() };
        self.holes().clear();
        self.head.send_modify(|head| {
            let epoch = head.map_or(0, |head| head.epoch + 1);
            *head = Some(LogHead { epoch, position: from.saturating_sub(1) });
        });
    }

    /// An entry was read.
    pub(super) fn read(&self, mark: Mark, second: bool) {
        if second {
            let mut judged = self.judged();
            judged.seconds.push_back(mark.offset);
            if judged.seconds.len() > MAX_SECONDS
                && let Some(forgotten) = judged.seconds.pop_front()
            {
                judged.from = forgotten + 1;
            }
        }
        self.head.send_modify(|head| {
            if let Some(head) = head {
                head.position = mark.offset;
            }
        });
    }

    /// Whether an entry that this replica has read is a second copy, if that is still known.
    pub(super) fn is_second(&self, offset: u64) -> Option<bool> {
        let judged = self.judged();
        (offset >= judged.from).then(|| judged.seconds.binary_search(&offset).is_ok())
    }

    /// An entry cannot be read.
    pub(super) fn hole(&self, offset: u64) {
        let mut holes = self.holes();
        holes.insert(offset);
        if holes.len() > MAX_HOLES {
            holes.pop_first();
        }
    }

    /// Offsets from `start` to before `end` that cannot be read.
    pub(super) fn holes_in(&self, start: u64, end: u64) -> Vec<u64> {
        self.holes().range(start..end).copied().collect()
    }

    fn holes(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.holes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judged(&self) -> MutexGuard<'_, Judged> {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
