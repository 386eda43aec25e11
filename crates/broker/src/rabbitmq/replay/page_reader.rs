//! A stream consumer that reads one page of the log after the other.

use crate::rabbitmq::consume::entry::{DateSource, EntryReader, has_distinguishing_properties};
use crate::rabbitmq::consume::stream::StreamConsumer;
use crate::rabbitmq::properties;
use crate::rabbitmq::session_error::SessionError;
use crate::rabbitmq::shared_state::SharedState;
use lapin::message::Delivery;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use warren_observe::reporter::Reporter;

/// Time limit for the next entry, which is already in the log.
pub(crate) const ENTRY_TIMEOUT: Duration = Duration::from_secs(10);

/// Entries that were not decoded yet, with their offsets.
pub(crate) type RawEntries = Vec<(u64, Delivery)>;

pub(crate) struct PageReader {
    pub(crate) consumer: StreamConsumer,
    pub(crate) entries: EntryReader,
    pub(crate) epoch: u64,
    /// Offset of the next entry.
    pub(crate) next: u64,
    pub(crate) context: Context,
    _open: OpenConsumer,
}

/// Knowledge of the entries before the first one of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    /// All entries that matter for ids and duplicates have been read.
    Complete,
    Missing,
}

impl PageReader {
    pub(crate) fn new(
        consumer: StreamConsumer,
        next: u64,
        epoch: u64,
        context: Context,
        entries: EntryReader,
        shared: &SharedState,
    ) -> Self {
        let open = OpenConsumer::new(&shared.reporter);
        Self { consumer, entries, epoch, next, context, _open: open }
    }

    /// Reads the next entries, up to but excluding `end`.
    pub(crate) async fn collect(&mut self, end: u64) -> Result<RawEntries, SessionError> {
        let mut raw = Vec::new();
        while self.next < end {
            let entry = timeout(ENTRY_TIMEOUT, self.consumer.next()).await??;
            if entry.0 >= end {
                // The rest of the page is deleted.
                self.next = entry.0;
                self.consumer.put_back(entry);
                break;
            }
            self.next = entry.0 + 1;
            raw.push(entry);
        }
        Ok(raw)
    }

    /// True if entries before these may change their ids or show that one is a duplicate. `is_duplicate`
    /// is the verdict on the first of them, if that is known.
    pub(crate) fn needs_context(&self, raw: &RawEntries, is_duplicate: Option<bool>) -> bool {
        let Some((_, first)) = raw.first() else { return false };
        let needs_anchor = !has_distinguishing_properties(first) && !self.entries.is_anchored();
        let any_may_repeat = || raw.iter().any(|(_, entry)| properties::may_be_duplicate(entry));
        self.context == Context::Missing
            && (needs_anchor || (is_duplicate.is_none() && any_may_repeat()))
    }
}

/// A reader of entries for replays.
pub(crate) fn entry_reader(max_message: usize, shared: &SharedState) -> EntryReader {
    let mut entries = EntryReader::log(max_message, &shared.clock);
    entries.date_source = DateSource::EntriesBefore;
    entries
}

/// Counts an open consumer in the metrics.
pub(crate) struct OpenConsumer(Arc<Reporter>);

impl OpenConsumer {
    pub(crate) fn new(reporter: &Arc<Reporter>) -> Self {
        reporter.replay_consumers(1);
        Self(reporter.clone())
    }
}

impl Drop for OpenConsumer {
    fn drop(&mut self) {
        self.0.replay_consumers(-1);
    }
}
