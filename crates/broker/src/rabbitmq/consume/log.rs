//! Delivery mode `log`: reads the stream that all replicas share, each session from where the last one
//! stopped.

use crate::ports::BrokerEvent;
use crate::rabbitmq::connection::SET_UP_TIMEOUT;
use crate::rabbitmq::consume::delivery_handler::{DeliverAs, DeliveryHandler};
use crate::rabbitmq::consume::entry::{
    DateSource, Entry, EntryFingerprint, EntryReader, has_distinguishing_properties,
};
use crate::rabbitmq::consume::log_identity::{
    FIRST_ENTRY_TIMEOUT, LogIdentity, MissingEntry, REJOIN_TIMEOUT, Rejoin,
};
use crate::rabbitmq::consume::progress::Progress;
use crate::rabbitmq::consume::start_position::{attach_before, tail_len};
use crate::rabbitmq::consume::stream::{PREFETCH, StreamConsumer, StreamOffset};
use crate::rabbitmq::session_error::SessionError;
use crate::rabbitmq::topology::Topology;
use crate::slewed_clock::SlewedClock;
use lapin::Connection;
use lapin::message::Delivery;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::timeout;
use warren_observe::events::TraceField;
use warren_protocol::body::Malformed;

/// Seconds by which the clocks of replicas may differ, when it is decided which messages of another log
/// are new.
const CLOCK_TOLERANCE: u64 = 5;
/// Number of failed starts after which a session starts with the next entry instead of the last one.
const MAX_FAILED_STARTS: u32 = 2;

pub(crate) struct LogSource {
    pub(crate) topology: Topology,
    pub(crate) entries: EntryReader,
    pub(crate) progress: Arc<Progress>,
    pub(crate) identity: LogIdentity,
    /// Bytes of history to fill at the start.
    pub(crate) history_bytes: u64,
    /// Longest time in seconds between a message and its duplicate.
    pub(crate) window: u64,
    pub(crate) max_message: usize,
    pub(crate) clock: Arc<SlewedClock>,
    /// True if canaries are sent. They prove that the log is read, even if it has no other entries.
    pub(crate) has_canaries: bool,
    pub(crate) state: ReadState,
}

/// State of reading one log, across sessions.
#[derive(Debug, Default)]
pub(crate) struct ReadState {
    /// Offset from which entries are delivered. Entries before it are read for ids and duplicates only.
    /// `None`: the next entry is the first to be delivered.
    deliver_from: Option<u64>,
    /// Last entry that was in the log when reading started.
    last_old_offset: Option<u64>,
    /// If this log replaces another one, the time in seconds since the Unix epoch from which its messages
    /// are new to subscribers, although they were published before reading started.
    new_since: Option<u64>,
    /// Time in seconds since the Unix epoch at which an entry was read last.
    last_read_at: u64,
    epoch_started: bool,
    /// True if an epoch was started because no entry arrived.
    assumed_empty: bool,
    /// True while entries are read one at a time, to find one that lapin cannot parse.
    one_by_one: bool,
    /// Starts that failed because of such an entry.
    failed_starts: u32,
}

impl LogSource {
    /// Reads until the session fails.
    pub(crate) async fn session(
        &mut self,
        connection: &Connection,
        handler: &mut DeliveryHandler,
        rebuild_requests: &mut watch::Receiver<u64>,
    ) -> Result<Infallible, SessionError> {
        let opening = self.open(connection, handler);
        let mut consumer = timeout(SET_UP_TIMEOUT, opening).await??;
        // Last entry of the session before, until the first entry of this one has been compared with it.
        let mut rejoin_after = self.entries.last;
        if rejoin_after.is_none() {
            consumer = match self.start(connection, consumer, handler, rebuild_requests).await {
                Err(error) if error.is_unreadable() => {
                    self.state.failed_starts += 1;
                    return Err(error);
                }
                started => started?,
            };
        }
        let mut any_read = false;
        loop {
            let next = async {
                match rejoin_after {
                    Some(last @ EntryFingerprint { hash: Some(_), .. }) => {
                        timeout(REJOIN_TIMEOUT, consumer.next()).await.map_err(|_| last)
                    }
                    _ => Ok(consumer.next().await),
                }
            };
            // What has arrived is read before a rebuild.
            let next = tokio::select! {
                biased;
                next = next => next,
                _ = rebuild_requests.changed() => return Err(SessionError::Rebuild),
            };
            let next = match next {
                Ok(next) => next,
                Err(missing) => return Err(self.explain_missing(connection, missing).await?),
            };
            let (offset, delivery) = match next {
                Err(error) if error.is_unreadable() => {
                    self.handle_unreadable(any_read, handler);
                    return Err(error);
                }
                next => next?,
            };
            any_read = true;
            self.identity.entry_read();
            self.state.last_read_at = self.clock.now();
            if let Some(last) = rejoin_after.take() {
                match Rejoin::of(last, offset, &delivery) {
                    Rejoin::SameEntry => continue,
                    Rejoin::NextEntry => {}
                    Rejoin::LaterEntry => {
                        handler.send(BrokerEvent::Gap).await;
                        handler.send(BrokerEvent::EpochStart(offset)).await;
                    }
                    Rejoin::OtherLog => return Err(self.log_replaced()),
                }
            }
            self.read(offset, &delivery, handler).await;
        }
    }

    /// Declares the topology and attaches a consumer: where the last session stopped, or else at the end.
    async fn open(
        &mut self,
        connection: &Connection,
        handler: &mut DeliveryHandler,
    ) -> Result<StreamConsumer, SessionError> {
        let channel = self.topology.declare(connection).await?;
        channel.close(200, "done".into()).await?;
        let from = match self.entries.last {
            None if self.state.failed_starts < MAX_FAILED_STARTS => StreamOffset::Last,
            None => StreamOffset::Next,
            Some(EntryFingerprint { offset, hash: Some(_) }) => StreamOffset::Offset(offset),
            Some(EntryFingerprint { offset, hash: None }) => StreamOffset::Offset(offset + 1),
        };
        let prefetch = if self.state.one_by_one { 1 } else { PREFETCH };
        let consumer =
            StreamConsumer::attach(connection, self.topology.stream(), from, prefetch).await?;
        if self.entries.last.is_some() || self.has_canaries {
            handler.mark_consuming();
        }
        Ok(consumer)
    }

    /// Moves a consumer from the end of the log back to where reading starts: so far that the history is
    /// filled, and further, so that its entries get the right ids and duplicates are recognized.
    async fn start(
        &mut self,
        connection: &Connection,
        mut consumer: StreamConsumer,
        handler: &mut DeliveryHandler,
        rebuild_requests: &mut watch::Receiver<u64>,
    ) -> Result<StreamConsumer, SessionError> {
        let ReadState { epoch_started: replaces_log, failed_starts, last_read_at, .. } = self.state;
        let new_since = replaces_log.then(|| last_read_at.saturating_sub(CLOCK_TOLERANCE));
        self.state = ReadState { new_since, failed_starts, last_read_at, ..ReadState::default() };
        if replaces_log {
            // No message of the log before may be taken for a part of this one.
            handler.send(BrokerEvent::Gap).await;
            handler.send(BrokerEvent::EpochStart(u64::MAX)).await;
        }
        let first = if self.has_canaries {
            tokio::select! {
                first = consumer.next() => first?,
                _ = rebuild_requests.changed() => return Err(SessionError::Rebuild),
            }
        } else {
            match timeout(FIRST_ENTRY_TIMEOUT, consumer.next()).await {
                Ok(first) => first?,
                Err(_) => {
                    self.start_epoch(0, handler).await;
                    self.state.assumed_empty = true;
                    handler.mark_consuming();
                    return Ok(consumer);
                }
            }
        };
        let end = first.0;
        if end == 0 || failed_starts > 0 {
            handler.mark_consuming();
            consumer.put_back(first);
            return Ok(consumer);
        }
        consumer.close().await?;
        self.state.last_old_offset = Some(end);
        let stream = self.topology.stream();
        let tail = tail_len(connection, stream, end, self.history_bytes).await?;
        if tail >= end {
            return StreamConsumer::attach(connection, stream, StreamOffset::First, PREFETCH).await;
        }
        self.state.deliver_from = Some(end - tail);
        attach_before(connection, stream, end - tail, self.window, &self.clock).await
    }

    async fn read(&mut self, offset: u64, delivery: &Delivery, handler: &mut DeliveryHandler) {
        let is_old = self.state.last_old_offset.is_some_and(|last| offset <= last);
        self.entries.date_source =
            if is_old { DateSource::EntriesBefore } else { DateSource::Clock };
        let entry = self.entries.read_log(delivery, offset);
        if has_distinguishing_properties(delivery)
            && let Some(last) = self.entries.last
        {
            self.identity.remember(last);
        }

        if self.state.deliver_from.is_some_and(|from| offset < from) {
            return;
        }
        let assumed_empty = std::mem::take(&mut self.state.assumed_empty);
        if !self.state.epoch_started || (assumed_empty && offset > 0) {
            self.start_epoch(offset, handler).await;
        }
        let is_duplicate = matches!(entry, Entry::Duplicate { .. });
        let published = self.entries.newest_timestamp();
        let is_new = !is_old || self.state.new_since.is_some_and(|since| published >= since);
        let deliver_as = if is_new { DeliverAs::Message } else { DeliverAs::Backfill };
        handler.handle(entry, delivery, deliver_as).await;
        if is_duplicate {
            self.progress.add_duplicate(offset);
        }
        self.progress.advance(offset);
        if !self.has_canaries && self.state.last_old_offset == Some(offset) {
            handler.mark_consuming();
        }
    }

    /// Starts an epoch whose first entry is at `offset`.
    async fn start_epoch(&mut self, offset: u64, handler: &mut DeliveryHandler) {
        self.state.epoch_started = true;
        self.progress.start_epoch(offset);
        handler.send(BrokerEvent::EpochStart(offset)).await;
    }

    /// Decides why the last entry does not arrive again. Returns the error that ends the session.
    async fn explain_missing(
        &mut self,
        connection: &Connection,
        last: EntryFingerprint,
    ) -> Result<SessionError, SessionError> {
        let stream = self.topology.stream();
        Ok(match self.identity.explain_missing(connection, stream, last).await? {
            MissingEntry::NodeBehind => SessionError::NodeBehind,
            MissingEntry::OtherLog => self.log_replaced(),
        })
    }

    /// Forgets all that was read, because another log has replaced the one that was read.
    fn log_replaced(&mut self) -> SessionError {
        self.entries = EntryReader::log(self.max_message, &self.clock);
        self.identity.reset();
        SessionError::OtherLog
    }

    /// Handles an entry that lapin could not parse, for which the connection was lost. The next sessions
    /// read one entry at a time. In those, it is the entry after the last one, and is skipped: otherwise
    /// it would end every session.
    fn handle_unreadable(&mut self, any_read: bool, handler: &DeliveryHandler) {
        if let Some(last) = self.entries.last
            && self.state.one_by_one
            && (any_read || last.hash.is_none())
        {
            let offset = last.offset + 1;
            self.entries.last = Some(EntryFingerprint { offset, hash: None });
            self.progress.add_unreadable(offset);
            self.state.one_by_one = false;
            handler.report_malformed(Malformed::Unreadable, TraceField::of(None));
        } else {
            self.state.one_by_one = true;
        }
    }
}
