//! Reading the `log`: one stream for all replicas, each from where it stopped.

use crate::BrokerEvent;
use crate::rabbitmq::connection::SET_UP_TIMEOUT;
use crate::rabbitmq::consume::delivery_handler::DeliveryHandler;
use crate::rabbitmq::entry::{self, Entry, EntryFingerprint, EntryReader};
use crate::rabbitmq::progress::Progress;
use crate::rabbitmq::session_error::SessionError;
use crate::rabbitmq::stream::{PREFETCH, Stream, StreamOffset, look_back};
use crate::rabbitmq::topology::Topology;
use crate::slewed_clock::SlewedClock;
use lapin::Connection;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use warren_observe::events::TraceField;
use warren_protocol::body::Malformed;

/// Entries at the end of the log that show how large messages are.
const SAMPLE: u64 = 500;
/// What a message takes in memory beyond its body, about.
const OVERHEAD: u64 = 500;
/// Entries that are read at most to fill the memory when a replica starts: two seconds' worth.
const MOST: u64 = 50_000;
/// Seconds by which the clocks of replicas may differ without a message being taken for an older one.
const CLOCKS: u64 = 5;
/// Entries from one that is remembered to the next, and how many are.
const FINGERPRINT_INTERVAL: u64 = 256;
const MAX_FINGERPRINTS: usize = 1 << 12;
/// Attempts in which a log did not have what was read last, where nothing else tells what it is.
const WITHOUT: usize = 3;
/// How long what was read last may take to come again.
const REJOIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a log may take to show that it is not empty, where nothing proves that it is read.
const FIRST_WORD: Duration = Duration::from_secs(1);

pub(crate) struct Log {
    pub(crate) topology: Topology,
    pub(crate) entries: EntryReader,
    pub(crate) progress: Arc<Progress>,
    /// Memory to be filled, in bytes.
    pub(crate) memory: u64,
    /// Seconds before a message in which a first copy of it may be.
    pub(crate) window: u64,
    pub(crate) max_message: usize,
    pub(crate) clock: Arc<SlewedClock>,
    /// Whether canaries prove that the log is read.
    pub(crate) proven: bool,
    /// Nodes that can be asked.
    pub(crate) nodes: usize,
    /// Some of the entries that were read and say something of their own, ascending, to know the log
    /// again.
    pub(crate) marks: VecDeque<EntryFingerprint>,
    pub(crate) state: State,
}

/// How far reading has come.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Where deliveries begin: what is before is only looked at. `None`: with the next entry.
    start: Option<u64>,
    /// Entries up to this one were there before this replica was.
    past: Option<u64>,
    /// But those published since then, in seconds since 1970, were not heard: of another log that took
    /// the place of the one before.
    unheard_since: Option<u64>,
    /// When something was read last.
    read_at: u64,
    begun: bool,
    /// It was taken for empty.
    guessed: bool,
    /// The log has an entry that lapin cannot read: one at a time, to find which.
    careful: bool,
    /// How often such an entry was in the way of beginning.
    repelled: u32,
    /// Nodes in a row whose log did not have what was read last.
    without: usize,
}

impl Log {
    /// Reads on from where the last session stopped, until something ends it.
    pub(crate) async fn session(
        &mut self,
        connection: &Connection,
        handler: &mut DeliveryHandler,
        rebuilds: &mut watch::Receiver<u64>,
    ) -> Result<(), SessionError> {
        let opening = self.open(connection, handler);
        let mut stream = timeout(SET_UP_TIMEOUT, opening).await??;
        let mut rejoined = self.entries.last;
        if rejoined.is_none() {
            stream = match self.begin(connection, stream, handler, rebuilds).await {
                Err(ended) if ended.is_unreadable() => {
                    self.state.repelled += 1;
                    return Err(ended);
                }
                began => began?,
            };
        }
        let mut read_any = false;
        loop {
            let next = async {
                match rejoined {
                    Some(EntryFingerprint { check: Some(_), .. }) => {
                        timeout(REJOIN_TIMEOUT, stream.next()).await.ok()
                    }
                    _ => Some(stream.next().await),
                }
            };
            let next = tokio::select! {
                biased;
                next = next => next,
                _ = rebuilds.changed() => return Err(SessionError::Rebuild),
            };
            let Some(next) = next else { return Err(self.without(connection).await?) };
            let (offset, delivery) = match next {
                Err(ended) if ended.is_unreadable() => {
                    self.unreadable(read_any, handler);
                    return Err(ended);
                }
                next => next?,
            };
            read_any = true;
            self.state.without = 0;
            self.entries.past = self.state.past.is_some_and(|past| offset <= past);
            self.state.read_at = self.clock.now();
            if let Some(last) = rejoined.take() {
                match self.rejoin(last, offset, &delivery)? {
                    Rejoined::AtLast => continue,
                    Rejoined::Behind => {}
                    Rejoined::After => {
                        handler.deliver(BrokerEvent::Gap).await;
                        handler.deliver(BrokerEvent::EpochStart(offset)).await;
                    }
                }
            }
            self.read(offset, &delivery, handler).await;
        }
    }

    /// Declares the log and begins to read it: at its end, if it was not read before.
    async fn open(
        &mut self,
        connection: &Connection,
        handler: &mut DeliveryHandler,
    ) -> Result<Stream, SessionError> {
        let channel = self.topology.declare(connection).await?;
        channel.close(200, "done".into()).await?;
        let from = match self.entries.last {
            None if self.state.repelled < 2 => StreamOffset::Last,
            None => StreamOffset::Next,
            Some(EntryFingerprint { offset, check: Some(_) }) => StreamOffset::Offset(offset),
            Some(EntryFingerprint { offset, check: None }) => StreamOffset::Offset(offset + 1),
        };
        let prefetch = if self.state.careful { 1 } else { PREFETCH };
        let stream = Stream::attach(connection, self.topology.stream(), from, prefetch).await?;
        if self.entries.last.is_some() || self.proven {
            handler.reading();
        }
        Ok(stream)
    }

    /// Goes back from the end of the log, as far as fills the memory, and as far again as it takes to
    /// know what is read there.
    async fn begin(
        &mut self,
        connection: &Connection,
        mut stream: Stream,
        handler: &mut DeliveryHandler,
        rebuilds: &mut watch::Receiver<u64>,
    ) -> Result<Stream, SessionError> {
        let State { begun, repelled, read_at, .. } = self.state;
        let unheard_since = begun.then(|| read_at.saturating_sub(CLOCKS));
        self.state = State { unheard_since, repelled, read_at, ..State::default() };
        if begun {
            // It was another log. Nothing that was said in it is taken for part of this one.
            handler.deliver(BrokerEvent::Gap).await;
            handler.deliver(BrokerEvent::EpochStart(u64::MAX)).await;
        }
        let first = if self.proven {
            tokio::select! {
                first = stream.next() => first?,
                _ = rebuilds.changed() => return Err(SessionError::Rebuild),
            }
        } else {
            match timeout(FIRST_WORD, stream.next()).await {
                Ok(first) => first?,
                Err(_) => {
                    // It is empty, as far as can be told.
                    self.start_at(0, handler).await;
                    self.state.guessed = true;
                    handler.reading();
                    return Ok(stream);
                }
            }
        };
        let end = first.0;
        if end == 0 || repelled > 0 {
            handler.reading();
            stream.put_back(first);
            return Ok(stream);
        }
        stream.close().await?;
        self.state.past = Some(end);
        let name = self.topology.stream();
        let tail = self.tail(connection, end).await?;
        if tail >= end {
            return Stream::attach(connection, name, StreamOffset::First, PREFETCH).await;
        }
        self.state.start = Some(end - tail);
        look_back(connection, name, end - tail, self.window, &self.clock).await
    }

    /// How many entries before `end` fill the memory.
    async fn tail(&self, connection: &Connection, end: u64) -> Result<u64, SessionError> {
        let from = StreamOffset::Offset(end.saturating_sub(SAMPLE));
        let mut stream = Stream::attach(connection, self.topology.stream(), from, PREFETCH).await?;
        let (mut entries, mut bytes) = (0, 0);
        loop {
            let (offset, delivery) = timeout(SET_UP_TIMEOUT, stream.next()).await??;
            entries += 1;
            bytes += OVERHEAD + delivery.data.len() as u64;
            if offset >= end {
                break;
            }
        }
        stream.close().await?;
        Ok((self.memory / (bytes / entries)).clamp(SAMPLE, MOST))
    }

    /// Whether what comes first continues what came last.
    fn rejoin(
        &mut self,
        last: EntryFingerprint,
        offset: u64,
        delivery: &lapin::message::Delivery,
    ) -> Result<Rejoined, SessionError> {
        let next = last.offset + 1;
        match last.check {
            Some(check) if offset == last.offset && check == entry::check(delivery) => {
                Ok(Rejoined::AtLast)
            }
            None if offset == next => Ok(Rejoined::Behind),
            // Deleted for their age while this replica was away.
            _ if offset > last.offset => Ok(Rejoined::After),
            _ => Err(self.other()),
        }
    }

    /// What was read last does not come again: this node is behind, or the log is another one. An entry
    /// that is known from before tells which; without one, several attempts do.
    async fn without(&mut self, connection: &Connection) -> Result<SessionError, SessionError> {
        let Some(last) = self.entries.last else { return Ok(SessionError::OtherLog) };
        let name = self.topology.stream();
        let mut end = None;
        let mut stream = Stream::attach(connection, name, StreamOffset::Last, PREFETCH).await?;
        let look = async {
            while end.is_none_or(|end| end < last.offset) {
                end = Some(stream.next().await?.0);
            }
            Ok::<_, SessionError>(())
        };
        if let Ok(looked) = timeout(FIRST_WORD, look).await {
            looked?;
            return Ok(SessionError::NodeBehind);
        }
        stream.close().await?;
        let known = self.marks.iter().rev().find(|mark| end.is_some_and(|end| mark.offset <= end));
        if let Some(mark) = known.copied() {
            let from = StreamOffset::Offset(mark.offset);
            let mut stream = Stream::attach(connection, name, from, 1).await?;
            let (offset, delivery) = timeout(REJOIN_TIMEOUT, stream.next()).await??;
            let same = offset == mark.offset && mark.check == Some(entry::check(&delivery));
            return Ok(if same { SessionError::NodeBehind } else { self.other() });
        }
        self.state.without += 1;
        let attempts = self.nodes.max(WITHOUT);
        Ok(if self.state.without < attempts { SessionError::NodeBehind } else { self.other() })
    }

    /// What was read is of another log than what is there now.
    fn other(&mut self) -> SessionError {
        self.entries = EntryReader::log(self.max_message, &self.clock);
        self.marks.clear();
        self.state.without = 0;
        SessionError::OtherLog
    }

    async fn read(
        &mut self,
        offset: u64,
        delivery: &lapin::message::Delivery,
        handler: &mut DeliveryHandler,
    ) {
        let entry = self.entries.read(delivery, Some(offset), None);
        if entry::says_something(delivery) {
            self.remember(offset);
        }

        if self.state.start.is_some_and(|start| offset < start) {
            return;
        }
        let guessed = std::mem::take(&mut self.state.guessed);
        if !self.state.begun || (guessed && offset > 0) {
            self.start_at(offset, handler).await;
        }
        let second = matches!(entry, Entry::Second(_));
        let unheard = self.state.unheard_since.is_some_and(|since| self.entries.stamp() >= since);
        handler.take(entry, delivery, self.entries.past && !unheard).await;
        self.progress.read(EntryFingerprint { offset, check: None }, second);
        if !self.proven && self.state.past.is_some_and(|past| offset == past) {
            handler.reading();
        }
    }

    /// Keeps a mark now and then.
    fn remember(&mut self, offset: u64) {
        if self.marks.back().is_some_and(|mark| offset < mark.offset + FINGERPRINT_INTERVAL) {
            return;
        }
        self.marks.extend(self.entries.last);
        if self.marks.len() > MAX_FINGERPRINTS {
            self.marks.pop_front();
        }
    }

    /// Everything from here on is delivered.
    async fn start_at(&mut self, offset: u64, handler: &mut DeliveryHandler) {
        self.state.begun = true;
        self.progress.begin(offset);
        handler.deliver(BrokerEvent::EpochStart(offset)).await;
    }

    /// lapin could not read what came, and the connection is lost. Read one by one, it is the entry
    /// behind the last that could be read: it is passed over, as it would come again for ever.
    fn unreadable(&mut self, read_any: bool, handler: &mut DeliveryHandler) {
        if let Some(last) = self.entries.last
            && self.state.careful
            && (read_any || last.check.is_none())
        {
            self.entries.last = Some(EntryFingerprint { offset: last.offset + 1, check: None });
            self.progress.hole(last.offset + 1);
            self.state.careful = false;
            handler.refuse(Malformed::Unreadable, TraceField::of(None));
        } else {
            self.state.careful = true;
        }
    }
}

/// How the log was found again.
enum Rejoined {
    /// With the entry that was read last.
    AtLast,
    /// With the one behind it.
    Behind,
    /// Some are gone.
    After,
}
