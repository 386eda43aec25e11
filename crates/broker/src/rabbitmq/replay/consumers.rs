//! Access to the log for replays: its range, and its pages.

use crate::log_page::{LogError, LogHead, LogPage, PAGE_LEN};
use crate::rabbitmq::connection::{self, Connector, SET_UP_TIMEOUT};
use crate::rabbitmq::consume::entry::{Entry, EntryReader};
use crate::rabbitmq::consume::progress::Progress;
use crate::rabbitmq::consume::start_position::attach_before;
use crate::rabbitmq::consume::stream::{StreamConsumer, StreamOffset};
use crate::rabbitmq::replay::page_reader::{
    Context, ENTRY_TIMEOUT, OpenConsumer, PageReader, entry_reader,
};
use crate::rabbitmq::replay::pool::ConsumerPool;
use crate::rabbitmq::session_error::SessionError;
use crate::rabbitmq::shared_state::SharedState;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout};

/// Entries that RabbitMQ sends ahead to a consumer. They are in memory, however large they are.
const REPLAY_PREFETCH: u16 = 100;
/// Number of attempts to read a page if no unreadable entry is found in it.
const ATTEMPTS: u32 = 3;
/// Time for which the first position of the log is cached.
const FIRST_POSITION_TTL: Duration = Duration::from_secs(1);
/// Time limit for the end of the log to arrive, or for an empty log to show an entry.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads the log for clients that resume. A few consumers at a time, each of which continues with the
/// next page if that is asked for.
pub struct ReplayConsumers {
    stream: String,
    progress: Arc<Progress>,
    shared: Arc<SharedState>,
    /// Longest time in seconds between a message and its duplicate.
    window: u64,
    max_message: usize,
    pool: ConsumerPool,
    /// First position of the log, and when it was read.
    first_position: Mutex<Option<(Option<u64>, Instant)>>,
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
            pool: ConsumerPool::new(connector),
            first_position: Mutex::default(),
        }
    }

    /// Last entry that this replica has read; `None` before the first epoch.
    pub fn head(&self) -> watch::Receiver<Option<LogHead>> {
        self.progress.watch_head()
    }

    /// First position that the log still has; `None` if it is empty.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub async fn first_position(&self) -> Result<Option<u64>, LogError> {
        let Some(LogHead { position, .. }) = self.progress.head() else { return Ok(None) };
        let _permit = self.pool.acquire().await?;
        self.pool.make_room().await;
        // Locked while the log is read, so that many callers cause one reading.
        let mut cached = self.first_position.lock().await;
        if let Some((first, read_at)) = *cached
            && read_at.elapsed() < FIRST_POSITION_TTL
        {
            return Ok(first);
        }
        let first = self.read_first_offset(position).await.map_err(log_error)?;
        let first = first.filter(|first| *first <= position);
        *cached = Some((first, Instant::now()));
        Ok(first)
    }

    /// Reads the first offset of the log; `None` if it is empty. `position` is one that was read before.
    async fn read_first_offset(&self, position: u64) -> Result<Option<u64>, SessionError> {
        let _open = OpenConsumer::new(&self.shared.reporter);
        let mut consumer = self.attach(StreamOffset::First, 1).await?;
        // Position 0 also means that nothing was read yet, and the log may be empty.
        let time_limit = if position == 0 { END_TIMEOUT } else { ENTRY_TIMEOUT };
        let first = match timeout(time_limit, consumer.next()).await {
            Ok(next) => Some(next?.0),
            Err(_) if position == 0 => None,
            Err(elapsed) => return Err(elapsed.into()),
        };
        consumer.close().await?;
        Ok(first)
    }

    /// True if the log has an entry at `position` or after it.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub async fn reaches(&self, position: u64) -> Result<bool, LogError> {
        let _permit = self.pool.acquire().await?;
        self.pool.make_room().await;
        self.read_to(position).await.map_err(log_error)
    }

    async fn read_to(&self, position: u64) -> Result<bool, SessionError> {
        let _open = OpenConsumer::new(&self.shared.reporter);
        let mut consumer = self.attach(StreamOffset::Last, REPLAY_PREFETCH).await?;
        let reach = async {
            while consumer.next().await?.0 < position {}
            Ok::<_, SessionError>(())
        };
        let reached = timeout(END_TIMEOUT, reach).await;
        consumer.close().await?;
        reached.map_or(Ok(false), |reached| reached.map(|()| true))
    }

    /// Reads a page, up to the last entry that this replica has read.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub async fn read_page(&self, number: u64) -> Result<LogPage, LogError> {
        let start = number * PAGE_LEN;
        let head = self.progress.head();
        let Some(LogHead { epoch, position }) = head.filter(|head| head.position >= start) else {
            let epoch = head.map_or(0, |head| head.epoch);
            return Ok(LogPage { epoch, from: start, to: start, messages: Vec::new() });
        };
        let page = start..(start + PAGE_LEN).min(position + 1);
        let _permit = self.pool.acquire().await?;
        self.shared.reporter.replay_page();
        // An idle reader may turn out to have lost its connection.
        if let Some(reader) = self.pool.take_idle(start, epoch).await
            && let Ok(read) = self.read(reader, page.clone()).await
        {
            return Ok(read);
        }
        let mut attempts = ATTEMPTS;
        loop {
            let unreadable = self.progress.unreadable_offsets(page.clone());
            let read = async {
                if !unreadable.is_empty() {
                    return self.read_around(page.clone(), epoch, &unreadable).await;
                }
                let reader = self.open_reader(start, epoch).await?;
                self.read(reader, page.clone()).await
            };
            match read.await {
                Ok(read) => return Ok(read),
                Err(error) if error.is_unreadable() => {
                    // Another replay on the same connection may have caused it.
                    let next = unreadable.last().map_or(start, |offset| offset + 1);
                    if !self.find_unreadable(next..page.end).await {
                        attempts -= 1;
                    }
                    if attempts == 0 {
                        return Err(log_error(error));
                    }
                }
                Err(error) => return Err(log_error(error)),
            }
        }
    }

    /// Reads a page with a reader that is at its start. All its entries up to the end are in the log,
    /// unless they have been deleted.
    async fn read(
        &self,
        mut reader: PageReader,
        page: Range<u64>,
    ) -> Result<LogPage, SessionError> {
        let mut raw = reader.collect(page.end).await?;
        let is_duplicate = raw.first().and_then(|(first, _)| self.progress.is_duplicate(*first));
        if reader.needs_context(&raw, is_duplicate) {
            reader = self.reopen_with_context(reader, page.start).await?;
            raw = reader.collect(page.end).await?;
        }
        let mut from = raw.first().map_or(page.end, |(offset, _)| *offset);
        self.check_epoch(reader.epoch)?;
        let mut messages = Vec::new();
        for (offset, delivery) in raw {
            let is_duplicate = self.progress.is_duplicate(offset);
            if let Entry::Message(message) =
                reader.entries.reread_log(&delivery, offset, is_duplicate)
            {
                messages.push(message);
            }
        }
        let epoch = reader.epoch;
        if from > page.start {
            reader.consumer.close().await?;
            from = self.covered_from(page.start, from).await?;
        } else {
            self.pool.keep(reader);
        }
        Ok(LogPage { epoch, from, to: page.end, messages })
    }

    /// Reads a page without the entries that lapin cannot parse: one consumer for each part between them,
    /// which receives no entry beyond its part.
    async fn read_around(
        &self,
        page: Range<u64>,
        epoch: u64,
        unreadable: &[u64],
    ) -> Result<LogPage, SessionError> {
        let mut entries = self.entry_reader();
        let mut messages = Vec::new();
        let (mut next, mut first) = (page.start, None);
        for part_end in unreadable.iter().copied().chain([page.end]) {
            if next < part_end {
                let connection = self.pool.connection().await?;
                let (from, count) = (StreamOffset::Offset(next), (part_end - next) as u16);
                let mut consumer =
                    StreamConsumer::attach_limited(&connection, &self.stream, from, count).await?;
                while next < part_end {
                    let (offset, delivery) = timeout(ENTRY_TIMEOUT, consumer.next()).await??;
                    next = offset + 1;
                    first.get_or_insert(offset);
                    let is_duplicate = self.progress.is_duplicate(offset);
                    if let Entry::Message(message) =
                        entries.reread_log(&delivery, offset, is_duplicate)
                    {
                        messages.push(message);
                    }
                }
                consumer.close().await?;
            }
            next = part_end + 1;
        }
        self.check_epoch(epoch)?;
        let from = match first {
            Some(first) if first > page.start => self.covered_from(page.start, first).await?,
            _ => page.start,
        };
        Ok(LogPage { epoch, from, to: page.end, messages })
    }

    /// Searches a range for an entry that lapin cannot parse, one entry at a time. Returns true if one
    /// was found and recorded.
    async fn find_unreadable(&self, range: Range<u64>) -> bool {
        let Ok(connection) = self.pool.separate_connection().await else { return false };
        let mut next = range.start;
        let search = async {
            let from = StreamOffset::Offset(range.start);
            let mut consumer = StreamConsumer::attach(&connection, &self.stream, from, 1).await?;
            while next < range.end {
                next = timeout(ENTRY_TIMEOUT, consumer.next()).await??.0 + 1;
            }
            Ok::<_, SessionError>(())
        };
        let searched = search.await;
        connection::close(connection).await;
        let found = searched.is_err_and(|error| error.is_unreadable());
        if found {
            self.progress.add_unreadable(next);
        }
        found
    }

    /// First position that a page covers which starts at `start`, if the first entry read is `first`.
    /// RabbitMQ sometimes skips an offset, so that entries before `first` are not necessarily deleted.
    async fn covered_from(&self, start: u64, first: u64) -> Result<u64, SessionError> {
        let complete = self.read_first_offset(first).await?.is_some_and(|offset| offset <= start);
        Ok(if complete { start } else { first })
    }

    /// Fails if another log has replaced the one of this epoch.
    fn check_epoch(&self, epoch: u64) -> Result<(), SessionError> {
        let current = self.progress.head().map(|head| head.epoch);
        if current == Some(epoch) { Ok(()) } else { Err(SessionError::OtherLog) }
    }

    async fn open_reader(&self, start: u64, epoch: u64) -> Result<PageReader, SessionError> {
        let attach = self.attach(StreamOffset::Offset(start), REPLAY_PREFETCH);
        let consumer = timeout(SET_UP_TIMEOUT, attach).await??;
        let context = if start == 0 { Context::Complete } else { Context::Missing };
        Ok(self.page_reader(consumer, start, epoch, context))
    }

    /// Replaces a reader by one that has also read the entries before `start` that matter.
    async fn reopen_with_context(
        &self,
        reader: PageReader,
        start: u64,
    ) -> Result<PageReader, SessionError> {
        let PageReader { consumer, epoch, .. } = reader;
        consumer.close().await?;
        let connection = self.pool.connection().await?;
        let (window, clock) = (self.window, &self.shared.clock);
        let consumer = attach_before(&connection, &self.stream, start, window, clock).await?;
        let mut reader = self.page_reader(consumer, start, epoch, Context::Complete);
        loop {
            let (offset, delivery) = timeout(ENTRY_TIMEOUT, reader.consumer.next()).await??;
            if offset >= start {
                reader.consumer.put_back((offset, delivery));
                return Ok(reader);
            }
            reader.entries.read_log(&delivery, offset);
        }
    }

    fn page_reader(
        &self,
        consumer: StreamConsumer,
        next: u64,
        epoch: u64,
        context: Context,
    ) -> PageReader {
        PageReader::new(consumer, next, epoch, context, self.entry_reader(), &self.shared)
    }

    fn entry_reader(&self) -> EntryReader {
        entry_reader(self.max_message, &self.shared)
    }

    async fn attach(
        &self,
        from: StreamOffset,
        prefetch: u16,
    ) -> Result<StreamConsumer, SessionError> {
        let connection = self.pool.connection().await?;
        StreamConsumer::attach(&connection, &self.stream, from, prefetch).await
    }

    /// Closes idle consumers and the connection whenever they were not used for a while. Never returns.
    pub(crate) async fn close_idle(self: Arc<Self>) {
        self.pool.close_idle().await;
    }
}

fn log_error(error: SessionError) -> LogError {
    LogError(error.to_string())
}
