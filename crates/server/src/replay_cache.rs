//! Stretches of the log that clients come back for: read once for all who ask, and kept a while.

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

/// Bytes of frames that are kept for the next who asks, and how long.
const KEPT: usize = 32 << 20;
const KEPT_FOR: Duration = Duration::from_secs(30);
/// Pages that may be on their way at a time; who asks for another one waits for its turn.
const MAX_FLIGHTS: usize = 256;

/// Messages of one stretch, in the form that goes to clients.
#[derive(Debug)]
pub struct LogPage {
    /// Which log it is of.
    pub epoch: u64,
    /// The first position that it has; what was before it is gone if this is not where it begins.
    pub from: u64,
    /// The first position that it does not have.
    pub to: u64,
    pub messages: Vec<Arc<EncodedMessage>>,
}

/// On its way, or there.
type InflightRead = Shared<BoxFuture<'static, Result<Arc<LogPage>, LogError>>>;

/// See the module.
pub struct ReplayCache {
    log: Arc<ReplayConsumers>,
    runtime: Handle,
    pages: Mutex<Pages>,
    /// A page has landed: one more may be on its way.
    landed: Notify,
}

#[derive(Default)]
struct Pages {
    epoch: u64,
    flights: HashMap<u64, InflightRead>,
    /// Whole pages that are there, oldest first, with their size and when they were read.
    kept: VecDeque<(u64, usize, Instant)>,
    bytes: usize,
}

impl fmt::Debug for ReplayCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayCache").field("log", &self.log).finish_non_exhaustive()
    }
}

impl ReplayCache {
    /// Reads on the current runtime, which outlives those who ask.
    pub fn new(log: Arc<ReplayConsumers>) -> Arc<Self> {
        let (pages, landed) = (Mutex::default(), Notify::new());
        Arc::new(Self { log, runtime: Handle::current(), pages, landed })
    }

    pub fn log(&self) -> &ReplayConsumers {
        &self.log
    }

    /// The page with this position, if this replica has read so far; else as far as there is something.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn page(self: Arc<Self>, position: u64) -> Result<Arc<LogPage>, LogError> {
        let page = self.turn(position / PAGE_LEN).await.await?;
        if page.to > position {
            return Ok(page);
        }
        // It was on its way when there was less to be read.
        self.turn(position / PAGE_LEN).await.await
    }

    /// The way of a page here, once it may be.
    async fn turn(self: &Arc<Self>, number: u64) -> InflightRead {
        let mut waited = false;
        loop {
            if let Some((flight, new)) = self.flight(number) {
                if waited && !new {
                    // The turn was for one that is on its way already.
                    self.landed.notify_one();
                }
                return flight;
            }
            self.landed.notified().await;
            waited = true;
        }
    }

    /// The way of a page here, and whether it has just begun; nothing while there are enough.
    fn flight(self: &Arc<Self>, number: u64) -> Option<(InflightRead, bool)> {
        let epoch = self.log.head().borrow().map_or(0, |head| head.epoch);
        let mut pages = self.pages();
        if pages.epoch != epoch {
            *pages = Pages { epoch, ..Pages::default() };
        }
        // What the log has dropped meanwhile must not be taken for its present state.
        while pages.kept.front().is_some_and(|(.., since)| since.elapsed() > KEPT_FOR) {
            pages.drop_oldest();
        }
        if let Some(flight) = pages.flights.get(&number) {
            return Some((flight.clone(), false));
        }
        if pages.flights.len() - pages.kept.len() >= MAX_FLIGHTS {
            return None;
        }
        let flight = self.clone().load(number, epoch).boxed().shared();
        pages.flights.insert(number, flight.clone());
        // It goes on if those who asked first hang up.
        self.runtime.spawn(flight.clone());
        Some((flight, true))
    }

    async fn load(self: Arc<Self>, number: u64, epoch: u64) -> Result<Arc<LogPage>, LogError> {
        let read = self.log.stretch(number).await.map(|stretch| {
            let (epoch, from, to) = (stretch.epoch, stretch.from, stretch.to);
            // Each as it is, or as it goes out: not all of them both ways.
            let messages = stretch.messages.into_iter();
            let messages =
                messages.map(|message| Arc::new(EncodedMessage::new(&message))).collect();
            Arc::new(LogPage { epoch, from, to, messages })
        });
        let mut pages = self.pages();
        if pages.epoch == epoch {
            pages.landed(number, read.as_deref().ok());
        }
        drop(pages);
        self.landed.notify_one();
        read
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    /// Keeps a page that is whole, and as many others as there is room for.
    fn landed(&mut self, number: u64, page: Option<&LogPage>) {
        let whole = page.filter(|page| page.to == (number + 1) * PAGE_LEN);
        let Some(page) = whole.filter(|page| page.epoch == self.epoch) else {
            self.flights.remove(&number);
            return;
        };
        const BOOKKEEPING: usize = 256;
        let size = page.messages.iter().map(|message| message.frame.len() + BOOKKEEPING).sum();
        self.kept.push_back((number, size, Instant::now()));
        self.bytes += size;
        while self.bytes > KEPT {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((oldest, size, _)) = self.kept.pop_front() {
            self.bytes -= size;
            self.flights.remove(&oldest);
        }
    }
}
