//! How far this replica has read the log, and what it found, for those who read it again.

use crate::LogHead;
use crate::rabbitmq::entry::EntryFingerprint;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Second copies remembered; there are few.
const MAX_SECONDS: usize = 1 << 16;
/// Unreadable entries remembered.
const MAX_HOLES: usize = 1 << 16;

/// See the module.
#[derive(Debug)]
pub(crate) struct Progress {
    head: watch::Sender<Option<LogHead>>,
    duplicates: Mutex<DuplicateIndex>,
    /// Offsets that lapin cannot read.
    unreadable_offsets: Mutex<BTreeSet<u64>>,
}

/// Which entries were second copies.
#[derive(Debug, Default)]
struct DuplicateIndex {
    /// The first offset that was judged.
    from: u64,
    /// Offsets of second copies, ascending.
    duplicate_offsets: VecDeque<u64>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            head: watch::Sender::new(None),
            duplicates: Mutex::default(),
            unreadable_offsets: Mutex::default(),
        }
    }

    pub(crate) fn head(&self) -> Option<LogHead> {
        *self.head.borrow()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Option<LogHead>> {
        self.head.subscribe()
    }

    /// A log is read, and judged from this offset on: another one, if there was one before.
    pub(crate) fn begin(&self, from: u64) {
        *self.duplicates() = DuplicateIndex { from, duplicate_offsets: VecDeque::new() };
        self.unreadable_offsets().clear();
        self.head.send_modify(|head| {
            let epoch = head.map_or(0, |head| head.epoch + 1);
            *head = Some(LogHead { epoch, position: from.saturating_sub(1) });
        });
    }

    /// An entry was read.
    pub(crate) fn read(&self, mark: EntryFingerprint, second: bool) {
        if second {
            let mut duplicates = self.duplicates();
            duplicates.duplicate_offsets.push_back(mark.offset);
            if duplicates.duplicate_offsets.len() > MAX_SECONDS
                && let Some(forgotten) = duplicates.duplicate_offsets.pop_front()
            {
                duplicates.from = forgotten + 1;
            }
        }
        self.head.send_modify(|head| {
            if let Some(head) = head {
                head.position = mark.offset;
            }
        });
    }

    /// Whether an entry that this replica has read is a second copy, if that is still known.
    pub(crate) fn is_second(&self, offset: u64) -> Option<bool> {
        let duplicates = self.duplicates();
        (offset >= duplicates.from)
            .then(|| duplicates.duplicate_offsets.binary_search(&offset).is_ok())
    }

    /// An entry cannot be read.
    pub(crate) fn hole(&self, offset: u64) {
        let mut unreadable_offsets = self.unreadable_offsets();
        unreadable_offsets.insert(offset);
        if unreadable_offsets.len() > MAX_HOLES {
            unreadable_offsets.pop_first();
        }
    }

    /// Offsets from `start` to before `end` that cannot be read.
    pub(crate) fn unreadable_offsets_in(&self, start: u64, end: u64) -> Vec<u64> {
        self.unreadable_offsets().range(start..end).copied().collect()
    }

    fn unreadable_offsets(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.unreadable_offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn duplicates(&self) -> MutexGuard<'_, DuplicateIndex> {
        self.duplicates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
