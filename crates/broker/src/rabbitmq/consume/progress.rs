//! Position up to which this replica has read the log, and what replays need to know about the entries.

use crate::log_page::LogHead;
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Limit of duplicates that are remembered. They are rare.
const MAX_DUPLICATES: usize = 1 << 16;
/// Limit of unreadable entries that are remembered.
const MAX_UNREADABLE: usize = 1 << 16;

/// Shared by the consumer, which writes it, and the replays.
#[derive(Debug)]
pub(crate) struct Progress {
    head: watch::Sender<Option<LogHead>>,
    duplicates: Mutex<DuplicateIndex>,
    /// Offsets of entries that lapin cannot parse.
    unreadable_offsets: Mutex<BTreeSet<u64>>,
}

/// Offsets of duplicates.
#[derive(Debug, Default)]
struct DuplicateIndex {
    /// First offset that the index covers.
    from: u64,
    /// Ascending.
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

    /// Last entry that was read; `None` before the first epoch.
    pub(crate) fn head(&self) -> Option<LogHead> {
        *self.head.borrow()
    }

    pub(crate) fn watch_head(&self) -> watch::Receiver<Option<LogHead>> {
        self.head.subscribe()
    }

    /// Starts a new epoch with the entry at `from`.
    pub(crate) fn start_epoch(&self, from: u64) {
        *self.lock_duplicates() = DuplicateIndex { from, duplicate_offsets: VecDeque::new() };
        self.lock_unreadable().clear();
        self.head.send_modify(|head| {
            let epoch = head.map_or(0, |head| head.epoch + 1);
            *head = Some(LogHead { epoch, position: from.saturating_sub(1) });
        });
    }

    /// Moves the head to an entry that was read.
    pub(crate) fn advance(&self, offset: u64) {
        self.head.send_modify(|head| {
            if let Some(head) = head {
                head.position = offset;
            }
        });
    }

    /// Records a duplicate. Call it before [`Progress::advance`].
    pub(crate) fn add_duplicate(&self, offset: u64) {
        let mut duplicates = self.lock_duplicates();
        duplicates.duplicate_offsets.push_back(offset);
        if duplicates.duplicate_offsets.len() > MAX_DUPLICATES
            && let Some(forgotten) = duplicates.duplicate_offsets.pop_front()
        {
            duplicates.from = forgotten + 1;
        }
    }

    /// True if an entry that this replica has read is a duplicate; `None` if that is not known any more.
    pub(crate) fn is_duplicate(&self, offset: u64) -> Option<bool> {
        let duplicates = self.lock_duplicates();
        (offset >= duplicates.from)
            .then(|| duplicates.duplicate_offsets.binary_search(&offset).is_ok())
    }

    /// Records an entry that lapin cannot parse.
    pub(crate) fn add_unreadable(&self, offset: u64) {
        let mut unreadable_offsets = self.lock_unreadable();
        unreadable_offsets.insert(offset);
        if unreadable_offsets.len() > MAX_UNREADABLE {
            unreadable_offsets.pop_first();
        }
    }

    /// Offsets in a range that cannot be read, ascending.
    pub(crate) fn unreadable_offsets(&self, range: Range<u64>) -> Vec<u64> {
        self.lock_unreadable().range(range).copied().collect()
    }

    fn lock_unreadable(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.unreadable_offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_duplicates(&self) -> MutexGuard<'_, DuplicateIndex> {
        self.duplicates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
