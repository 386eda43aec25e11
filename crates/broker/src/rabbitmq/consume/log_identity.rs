//! Recognition of the log after a reconnect: the same log, another one, or a node's outdated copy.

use crate::rabbitmq::consume::entry::{EntryFingerprint, entry_hash};
use crate::rabbitmq::consume::stream::{PREFETCH, StreamConsumer, StreamOffset};
use crate::rabbitmq::session_error::SessionError;
use lapin::Connection;
use lapin::message::Delivery;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::timeout;

/// Offsets between two fingerprints that are kept.
const FINGERPRINT_INTERVAL: u64 = 256;
/// Limit of fingerprints that are kept.
const MAX_FINGERPRINTS: usize = 1 << 12;
/// Least number of attempts without the last entry, after which the log counts as another one.
const MIN_ATTEMPTS: usize = 3;
/// Time limit for the entry that was read last to arrive again.
pub(crate) const REJOIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Time limit for a log to show that it is not empty.
pub(crate) const FIRST_ENTRY_TIMEOUT: Duration = Duration::from_secs(1);

/// Position of a session's first entry relative to the last entry of the session before.
#[derive(Debug)]
pub(crate) enum Rejoin {
    SameEntry,
    NextEntry,
    /// Entries between the two have been deleted for their age.
    LaterEntry,
    OtherLog,
}

/// Verdict on a log in which the last entry is missing.
#[derive(Debug)]
pub(crate) enum MissingEntry {
    /// The node's copy of the log is behind.
    NodeBehind,
    OtherLog,
}

/// Fingerprints of entries that were read, to recognize the log again.
#[derive(Debug)]
pub(crate) struct LogIdentity {
    /// Entries with distinguishing properties, ascending.
    fingerprints: VecDeque<EntryFingerprint>,
    /// Number of RabbitMQ's nodes.
    nodes: usize,
    /// Consecutive attempts in which the last entry was missing and no fingerprint could decide.
    undecided: usize,
}

impl LogIdentity {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { fingerprints: VecDeque::new(), nodes, undecided: 0 }
    }

    /// Keeps the fingerprint of an entry with distinguishing properties, at intervals.
    pub(crate) fn remember(&mut self, fingerprint: EntryFingerprint) {
        let due =
            |last: &EntryFingerprint| fingerprint.offset >= last.offset + FINGERPRINT_INTERVAL;
        if self.fingerprints.back().is_none_or(due) {
            self.fingerprints.push_back(fingerprint);
        }
        if self.fingerprints.len() > MAX_FINGERPRINTS {
            self.fingerprints.pop_front();
        }
    }

    /// Resets the count of undecided attempts, because an entry was read.
    pub(crate) fn entry_read(&mut self) {
        self.undecided = 0;
    }

    /// Decides why the entry `last` does not arrive. The newest fingerprint that the log should contain
    /// tells; without one, the number of attempts does.
    pub(crate) async fn explain_missing(
        &mut self,
        connection: &Connection,
        stream: &str,
        last: EntryFingerprint,
    ) -> Result<MissingEntry, SessionError> {
        let mut end = None;
        let mut consumer =
            StreamConsumer::attach(connection, stream, StreamOffset::Last, PREFETCH).await?;
        let find_end = async {
            while end.is_none_or(|end| end < last.offset) {
                end = Some(consumer.next().await?.0);
            }
            Ok::<_, SessionError>(())
        };
        if let Ok(found) = timeout(FIRST_ENTRY_TIMEOUT, find_end).await {
            found?;
            // The node has caught up in the meantime.
            return Ok(MissingEntry::NodeBehind);
        }
        consumer.close().await?;
        let known = self.fingerprints.iter().rev();
        let known = known.copied().find(|known| end.is_some_and(|end| known.offset <= end));
        if let Some(known) = known {
            let from = StreamOffset::Offset(known.offset);
            let mut consumer = StreamConsumer::attach(connection, stream, from, 1).await?;
            let (offset, delivery) = timeout(REJOIN_TIMEOUT, consumer.next()).await??;
            let same = offset == known.offset && known.hash == Some(entry_hash(&delivery));
            return Ok(if same { MissingEntry::NodeBehind } else { MissingEntry::OtherLog });
        }
        self.undecided += 1;
        let undecided = self.undecided < self.nodes.max(MIN_ATTEMPTS);
        Ok(if undecided { MissingEntry::NodeBehind } else { MissingEntry::OtherLog })
    }

    /// Forgets the log, because it is replaced by another one.
    pub(crate) fn reset(&mut self) {
        self.fingerprints.clear();
        self.undecided = 0;
    }
}

impl Rejoin {
    /// Compares a session's first entry with the last entry of the session before.
    pub(crate) fn of(last: EntryFingerprint, offset: u64, delivery: &Delivery) -> Self {
        match last.hash {
            Some(hash) if offset == last.offset && hash == entry_hash(delivery) => Self::SameEntry,
            None if offset == last.offset + 1 => Self::NextEntry,
            _ if offset > last.offset => Self::LaterEntry,
            _ => Self::OtherLog,
        }
    }
}
