//! Reading the log again, for clients that come back: few readers, each of which goes on with the next
//! stretch where it can.

use crate::rabbitmq::connection::{self, Connector, SET_UP_TIMEOUT};
use crate::rabbitmq::entry::{self, Entry, EntryReader};
use crate::rabbitmq::progress::Progress;
use crate::rabbitmq::session_error::SessionError;
use crate::rabbitmq::shared_state::SharedState;
use crate::rabbitmq::stream::{Stream, StreamOffset, look_back};
use crate::{LogError, LogHead, LogPage, PAGE_LEN};
use lapin::Connection;
use lapin::message::Delivery;
use std::fmt;
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout};
use warren_observe::reporter::Reporter;

/// Readers at a time.
const READERS: usize = 4;
/// Entries in flight to a reader: what waits in memory, however large messages are.
const PREFETCH: u16 = 100;
/// How long the next entry may take, which is there already.
const ENTRY_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a stretch is begun that cannot be read, for no cause that is found.
const ATTEMPTS: u32 = 3;
/// How long the first offset of the log is taken to stay; and how long a log takes to show its end.
const FIRST_KNOWN: Duration = Duration::from_secs(1);
/// How long a reader is kept that nobody asks.
const IDLE: Duration = Duration::from_secs(5);

/// See the module.
pub struct ReplayConsumers {
    stream: String,
    progress: Arc<Progress>,
    shared: Arc<SharedState>,
    /// Seconds before a message in which a first copy of it may be.
    window: u64,
    max_message: usize,
    slots: Semaphore,
    connector: Mutex<(Connector, Option<Arc<Connection>>)>,
    idle: Lock<Vec<Reader>>,
    used: watch::Sender<Instant>,
    /// The first offset of the log, and when that was so.
    first: Mutex<Option<(Option<u64>, Instant)>>,
}

/// A consumer somewhere in the log.
struct Reader {
    stream: Stream,
    entries: EntryReader,
    epoch: u64,
    /// The next offset that it will give.
    next: u64,
    /// It has read enough before to know second copies, and the ids of what says little.
    informed: bool,
    _counted: Counted,
}

impl fmt::Debug for ReplayConsumers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayConsumers").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl ReplayConsumers {
    pub(crate) fn new(
        stream: &str,
        connector: Connector,
        progress: Arc<Progress>,
        shared: Arc<SharedState>,
        window: u64,
        max_message: usize,
    ) -> Self {
        Self {
            stream: stream.to_owned(),
            progress,
            shared,
            window,
            max_message,
            slots: Semaphore::new(READERS),
            connector: Mutex::new((connector, None)),
            idle: Lock::default(),
            used: watch::Sender::new(Instant::now()),
            first: Mutex::default(),
        }
    }

    /// How far this replica has read the log; nothing before it has begun to.
    pub fn head(&self) -> watch::Receiver<Option<LogHead>> {
        self.progress.watch()
    }

    /// The first position that the log still has; `None` if it is empty.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn first(&self) -> Result<Option<u64>, LogError> {
        let Some(LogHead { position, .. }) = self.progress.head() else { return Ok(None) };
        let _slot = self.slot().await?;
        self.make_room().await;
        // Asked for again and again, it is looked up once a second: what is gone by then is noticed.
        let mut known = self.first.lock().await;
        if let Some((first, at)) = *known
            && at.elapsed() < FIRST_KNOWN
        {
            return Ok(first);
        }
        let first = self.first_offset(position).await;
        let first = first.map_err(|ended| LogError(ended.to_string()))?;
        let first = first.filter(|first| *first <= position);
        *known = Some((first, Instant::now()));
        Ok(first)
    }

    /// The first offset that the log has now; `None` if it is empty.
    async fn first_offset(&self, position: u64) -> Result<Option<u64>, SessionError> {
        let _counted = Counted::new(&self.shared.reporter);
        let connection = self.connection().await?;
        let mut stream = Stream::attach(&connection, &self.stream, StreamOffset::First, 1).await?;
        // A log that nothing was read from may be empty.
        let patience = if position == 0 { FIRST_KNOWN } else { ENTRY_TIMEOUT };
        let first = match timeout(patience, stream.next()).await {
            Ok(next) => Some(next?.0),
            Err(_) if position == 0 => None,
            Err(late) => return Err(late.into()),
        };
        stream.close().await?;
        Ok(first)
    }

    /// Whether the log has something at `position` or behind it.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn reaches(&self, position: u64) -> Result<bool, LogError> {
        let _slot = self.slot().await?;
        self.make_room().await;
        let look = async {
            let _counted = Counted::new(&self.shared.reporter);
            let connection = self.connection().await?;
            let mut stream =
                Stream::attach(&connection, &self.stream, StreamOffset::Last, PREFETCH).await?;
            let reached = async {
                while stream.next().await?.0 < position {}
                Ok::<_, SessionError>(())
            };
            let reached = timeout(FIRST_KNOWN, reached).await;
            stream.close().await?;
            reached.map_or(Ok(false), |reached| reached.map(|()| true))
        };
        look.await.map_err(|ended: SessionError| LogError(ended.to_string()))
    }

    /// Reads the stretch of this number, as far as this replica has read the log itself.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn stretch(&self, number: u64) -> Result<LogPage, LogError> {
        let start = number * PAGE_LEN;
        let head = self.progress.head();
        let Some(LogHead { epoch, position }) = head.filter(|head| head.position >= start) else {
            let epoch = head.map_or(0, |head| head.epoch);
            return Ok(LogPage { epoch, from: start, to: start, messages: Vec::new() });
        };
        let end = (start + PAGE_LEN).min(position + 1);
        let _slot = self.slot().await?;
        self.shared.reporter.replay_page();
        if let Some(reader) = self.take_idle(start, epoch).await
            && let Ok(stretch) = self.read(reader, start, end).await
        {
            return Ok(stretch);
        }
        // There was none, or its connection is lost.
        let mut attempts = ATTEMPTS;
        loop {
            let unreadable_offsets = self.progress.unreadable_offsets_in(start, end);
            let read = async {
                if !unreadable_offsets.is_empty() {
                    return self.read_around(start, end, epoch, &unreadable_offsets).await;
                }
                let reader = self.attach(start, epoch).await?;
                self.read(reader, start, end).await
            };
            match read.await {
                Ok(stretch) => return Ok(stretch),
                Err(ended) if ended.is_unreadable() => {
                    // The connection may as well be lost by what another reader came upon.
                    let next = unreadable_offsets.last().map_or(start, |hole| hole + 1);
                    if !self.find_hole(next, end).await {
                        attempts -= 1;
                    }
                    if attempts == 0 {
                        return Err(LogError(ended.to_string()));
                    }
                }
                Err(ended) => return Err(LogError(ended.to_string())),
            }
        }
    }

    /// Looks for an entry that lapin cannot read, one by one and on a connection of its own, which
    /// nothing else can end; whether there is one.
    async fn find_hole(&self, start: u64, end: u64) -> bool {
        let connecting = async { self.connector.lock().await.0.connect().await };
        let Ok(connection) = timeout(SET_UP_TIMEOUT, connecting).await else { return false };
        let mut next = start;
        let look = async {
            let from = StreamOffset::Offset(start);
            let mut stream = Stream::attach(&connection, &self.stream, from, 1).await?;
            while next < end {
                next = timeout(ENTRY_TIMEOUT, stream.next()).await??.0 + 1;
            }
            Ok::<_, SessionError>(())
        };
        let looked = look.await;
        connection::close(connection).await;
        let found = looked.is_err_and(|ended| ended.is_unreadable());
        if found {
            self.progress.hole(next);
        }
        found
    }

    /// Reads a stretch without what lapin cannot read.
    async fn read_around(
        &self,
        start: u64,
        end: u64,
        epoch: u64,
        unreadable_offsets: &[u64],
    ) -> Result<LogPage, SessionError> {
        let mut entries = EntryReader::log(self.max_message, &self.shared.clock);
        entries.past = true;
        let mut messages = Vec::new();
        let (mut next, mut first) = (start, None);
        for hole in unreadable_offsets.iter().copied().chain([end]) {
            if next < hole {
                let connection = self.connection().await?;
                let (from, count) = (StreamOffset::Offset(next), (hole - next) as u16);
                let mut stream = Stream::attach_for(&connection, &self.stream, from, count).await?;
                while next < hole {
                    let (offset, delivery) = timeout(ENTRY_TIMEOUT, stream.next()).await??;
                    next = offset + 1;
                    first.get_or_insert(offset);
                    let second = self.progress.is_second(offset);
                    if let Entry::Message(message) = entries.read(&delivery, Some(offset), second) {
                        messages.push(message);
                    }
                }
                stream.close().await?;
            }
            next = hole + 1;
        }
        self.check_epoch(epoch)?;
        let from = match first {
            Some(first) if first > start => self.from(start, first).await?,
            _ => start,
        };
        Ok(LogPage { epoch, from, to: end, messages })
    }

    /// Leave to use a reader.
    async fn slot(&self) -> Result<SemaphorePermit<'_>, LogError> {
        self.used.send_replace(Instant::now());
        self.slots.acquire().await.map_err(|closed| LogError(closed.to_string()))
    }

    /// Ends readers that nobody has asked for a while, for as long as anybody may ask.
    pub(crate) async fn sweep(self: Arc<Self>) {
        let mut used = self.used.subscribe();
        while used.changed().await.is_ok() {
            loop {
                let until = *used.borrow_and_update() + IDLE;
                sleep_until(until).await;
                if !used.has_changed().unwrap_or(false) {
                    break;
                }
            }
            let idle = std::mem::take(&mut *self.idle());
            for reader in idle {
                let _ = timeout(SET_UP_TIMEOUT, reader.stream.close()).await;
            }
            // A reader that is in use keeps it until it is done.
            self.connector.lock().await.1 = None;
        }
    }

    /// An idle reader that has got to `start`. If there is none, there is room for a new one.
    async fn take_idle(&self, start: u64, epoch: u64) -> Option<Reader> {
        let there = {
            let mut idle = self.idle();
            let there = |reader: &Reader| reader.epoch == epoch && reader.next == start;
            idle.iter().position(there).map(|place| idle.remove(place))
        };
        if there.is_none() {
            self.make_room().await;
        }
        there
    }

    /// Ends idle readers, so that there is room for one more.
    async fn make_room(&self) {
        let surplus: Vec<_> = {
            let mut idle = self.idle();
            let surplus = idle.len().saturating_sub(self.slots.available_permits());
            idle.drain(..surplus).collect()
        };
        for reader in surplus {
            // A connection that is lost has no consumers.
            let _ = timeout(SET_UP_TIMEOUT, reader.stream.close()).await;
        }
    }

    async fn attach(&self, start: u64, epoch: u64) -> Result<Reader, SessionError> {
        let attach = async {
            let connection = self.connection().await?;
            Stream::attach(&connection, &self.stream, StreamOffset::Offset(start), PREFETCH).await
        };
        let stream = timeout(SET_UP_TIMEOUT, attach).await??;
        Ok(self.reader(stream, start, epoch, start == 0))
    }

    fn reader(&self, stream: Stream, next: u64, epoch: u64, informed: bool) -> Reader {
        let mut entries = EntryReader::log(self.max_message, &self.shared.clock);
        entries.past = true;
        let _counted = Counted::new(&self.shared.reporter);
        Reader { stream, entries, epoch, next, informed, _counted }
    }

    async fn connection(&self) -> Result<Arc<Connection>, SessionError> {
        let mut connector = self.connector.lock().await;
        let (connector, present) = &mut *connector;
        if let Some(connection) =
            present.as_ref().filter(|connection| connection.status().connected())
        {
            return Ok(connection.clone());
        }
        let connection = timeout(SET_UP_TIMEOUT, connector.connect()).await?;
        connector.succeeded();
        Ok(present.insert(Arc::new(connection)).clone())
    }

    /// Reads from `start` to before `end`, all of which is there.
    async fn read(
        &self,
        mut reader: Reader,
        start: u64,
        end: u64,
    ) -> Result<LogPage, SessionError> {
        let mut raw = reader.collect(end).await?;
        if !reader.informed && self.is_in_doubt(&reader, &raw) {
            reader = self.inform(reader, start).await?;
            raw = reader.collect(end).await?;
        }
        let mut from = raw.first().map_or(end, |(offset, _)| *offset);
        self.check_epoch(reader.epoch)?;
        let mut messages = Vec::new();
        for (offset, delivery) in raw {
            let second = self.progress.is_second(offset);
            if let Entry::Message(message) = reader.entries.read(&delivery, Some(offset), second) {
                messages.push(message);
            }
        }
        let epoch = reader.epoch;
        if from > start {
            // RabbitMQ passes over an offset now and then; it may as well be gone.
            reader.stream.close().await?;
            from = self.from(start, from).await?;
        } else {
            self.idle().push(reader);
        }
        Ok(LogPage { epoch, from, to: end, messages })
    }

    /// From where on there is everything behind `start`, where `first` is what was read first.
    async fn from(&self, start: u64, first: u64) -> Result<u64, SessionError> {
        let whole = self.first_offset(first).await?.is_some_and(|of_log| of_log <= start);
        Ok(if whole { start } else { first })
    }

    /// The log is still the one that was asked about.
    fn check_epoch(&self, epoch: u64) -> Result<(), SessionError> {
        let present = self.progress.head().map(|head| head.epoch);
        if present == Some(epoch) { Ok(()) } else { Err(SessionError::OtherLog) }
    }

    /// Whether what stands before these entries may decide what they are.
    fn is_in_doubt(&self, reader: &Reader, raw: &Raw) -> bool {
        let Some((first, delivery)) = raw.first() else { return false };
        let unnamed = !entry::says_something(delivery) && !reader.entries.is_anchored();
        let duplicates = self.progress.is_second(*first).is_some();
        let repeats = || raw.iter().any(|(_, delivery)| entry::may_be_second(delivery));
        unnamed || (!duplicates && repeats())
    }

    /// A reader that comes to `start` after it has read what is needed to judge what follows.
    async fn inform(&self, reader: Reader, start: u64) -> Result<Reader, SessionError> {
        let Reader { stream, epoch, .. } = reader;
        stream.close().await?;
        let connection = self.connection().await?;
        let stream =
            look_back(&connection, &self.stream, start, self.window, &self.shared.clock).await?;
        let mut reader = self.reader(stream, start, epoch, true);
        loop {
            let (offset, delivery) = timeout(ENTRY_TIMEOUT, reader.stream.next()).await??;
            if offset >= start {
                reader.stream.put_back((offset, delivery));
                return Ok(reader);
            }
            reader.entries.read(&delivery, Some(offset), None);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Reader>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// The next entries, up to before `end`.
    async fn collect(&mut self, end: u64) -> Result<Raw, SessionError> {
        let mut raw = Vec::new();
        while self.next < end {
            let entry = timeout(ENTRY_TIMEOUT, self.stream.next()).await??;
            if entry.0 >= end {
                // What was asked for is gone.
                self.next = entry.0;
                self.stream.put_back(entry);
                break;
            }
            self.next = entry.0 + 1;
            raw.push(entry);
        }
        Ok(raw)
    }
}

/// Entries with their offsets.
type Raw = Vec<(u64, Delivery)>;

/// Counts readers that there are.
struct Counted(Arc<Reporter>);

impl Counted {
    fn new(reporter: &Arc<Reporter>) -> Self {
        reporter.replay_consumers(1);
        Self(reporter.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.replay_consumers(-1);
    }
}
