//! Pages of the log that resuming clients need: read once for all of them, and kept for a while.

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use warren_broker::{LogError, PAGE_LEN, ReplayConsumers};
use warren_protocol::encoded::EncodedMessage;

/// Bytes of frames kept for later reads.
const MAX_KEPT_BYTES: usize = 32 << 20;
/// Time that a page is kept.
const KEEP_TIME: Duration = Duration::from_secs(30);
/// Pages that may be read at a time. Reads of others wait.
const MAX_INFLIGHT: usize = 256;

/// A page of the log, in the form that clients receive.
#[derive(Debug)]
pub struct EncodedPage {
    /// Epoch of the log.
    pub epoch: u64,
    /// First position in it. If the page starts before, what was there is no longer in the log.
    pub from: u64,
    /// First position after it.
    pub to: u64,
    pub messages: Vec<Arc<EncodedMessage>>,
}

/// A read in progress, or its result.
type InflightRead = Shared<BoxFuture<'static, Result<Arc<EncodedPage>, LogError>>>;

/// A read of a page.
enum StartedRead {
    /// Begun just now.
    New(InflightRead),
    /// Begun earlier, for another client.
    Shared(InflightRead),
}

/// Pages of the log that are being read or kept.
pub struct ReplayCache {
    log: Arc<ReplayConsumers>,
    runtime: Handle,
    pages: Mutex<Pages>,
    /// Signals that a read is done, and another one may start.
    read_done: Notify,
}

#[derive(Default)]
struct Pages {
    epoch: u64,
    reads: HashMap<u64, InflightRead>,
    /// Complete pages, oldest first, with their bytes and when they were read.
    kept: VecDeque<(u64, usize, Instant)>,
    bytes: usize,
}

impl fmt::Debug for ReplayCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayCache").field("log", &self.log).finish_non_exhaustive()
    }
}

impl ReplayCache {
    /// Reads on the current runtime, which must outlive the workers.
    pub fn new(log: Arc<ReplayConsumers>) -> Arc<Self> {
        let (pages, read_done) = (Mutex::default(), Notify::new());
        Arc::new(Self { log, runtime: Handle::current(), pages, read_done })
    }

    pub fn log(&self) -> &ReplayConsumers {
        &self.log
    }

    /// The page with this position. It may end before the position, if this replica has not read that far.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn page(self: Arc<Self>, position: u64) -> Result<Arc<EncodedPage>, LogError> {
        let page = self.read(position / PAGE_LEN).await.await?;
        if page.to > position {
            return Ok(page);
        }
        // The read began when there was less to read.
        self.read(position / PAGE_LEN).await.await
    }

    /// The read of a page, once it may start.
    async fn read(self: &Arc<Self>, number: u64) -> InflightRead {
        let mut waited = false;
        loop {
            if let Some(read) = self.try_read(number) {
                if waited && matches!(read, StartedRead::Shared(_)) {
                    // Another read may start in place of this one.
                    self.read_done.notify_one();
                }
                let (StartedRead::New(read) | StartedRead::Shared(read)) = read;
                return read;
            }
            self.read_done.notified().await;
            waited = true;
        }
    }

    /// The read of a page. `None` while too many others are in progress.
    fn try_read(self: &Arc<Self>, number: u64) -> Option<StartedRead> {
        let epoch = self.log.head().borrow().map_or(0, |head| head.epoch);
        let mut pages = self.pages();
        if pages.epoch != epoch {
            *pages = Pages { epoch, ..Pages::default() };
        }
        // An old page may have messages that the log has dropped meanwhile.
        while pages.kept.front().is_some_and(|(.., since)| since.elapsed() > KEEP_TIME) {
            pages.drop_oldest();
        }
        if let Some(read) = pages.reads.get(&number) {
            return Some(StartedRead::Shared(read.clone()));
        }
        if pages.reads.len() - pages.kept.len() >= MAX_INFLIGHT {
            return None;
        }
        let read = self.clone().load(number, epoch).boxed().shared();
        pages.reads.insert(number, read.clone());
        // The read goes on if the client that needed it first hangs up.
        self.runtime.spawn(read.clone());
        Some(StartedRead::New(read))
    }

    async fn load(self: Arc<Self>, number: u64, epoch: u64) -> Result<Arc<EncodedPage>, LogError> {
        let read = self.log.read_page(number).await.map(|page| {
            let (epoch, from, to) = (page.epoch, page.from, page.to);
            // Encoded one by one, so that a page is never in memory in both forms.
            let messages = page.messages.into_iter();
            let messages =
                messages.map(|message| Arc::new(EncodedMessage::new(&message))).collect();
            Arc::new(EncodedPage { epoch, from, to, messages })
        });
        let mut pages = self.pages();
        if pages.epoch == epoch {
            pages.read_done(number, read.as_deref().ok());
        }
        drop(pages);
        self.read_done.notify_one();
        read
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    /// Keeps a page that is complete, and as many earlier ones as there is room for.
    fn read_done(&mut self, number: u64, page: Option<&EncodedPage>) {
        let complete = page.filter(|page| page.to == (number + 1) * PAGE_LEN);
        let Some(page) = complete.filter(|page| page.epoch == self.epoch) else {
            self.reads.remove(&number);
            return;
        };
        const BOOKKEEPING: usize = 256;
        let size = page.messages.iter().map(|message| message.frame.len() + BOOKKEEPING).sum();
        self.kept.push_back((number, size, Instant::now()));
        self.bytes += size;
        while self.bytes > MAX_KEPT_BYTES {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((oldest, size, _)) = self.kept.pop_front() {
            self.bytes -= size;
            self.reads.remove(&oldest);
        }
    }
}
