//! What each thread counts for itself, so that none waits for another: put together at a scrape.

use super::declare::MAIN;
use super::table::Table;
use prometheus::{Counter, Histogram, IntCounter, IntGauge};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::{Handle, RuntimeMetrics};
use tokio::time::{Instant, sleep};

/// How often a thread is asked how late it is.
const ASK: Duration = Duration::from_millis(200);

/// One thread with a runtime of its own.
#[derive(Debug)]
pub struct WorkerCounters {
    /// It serves no clients.
    main: bool,
    lag: Histogram,
    busy: Counter,
    parks: IntCounter,
    tasks: IntGauge,
    queued: IntGauge,
    runtime: RuntimeMetrics,
    figures: Figures,
}

/// What a worker does for its clients. Only its own thread writes them: no lock, and no line of cache
/// that goes back and forth.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Figures {
    writes: AtomicU64,
    deliveries: AtomicU64,
    bytes: AtomicU64,
    channels: AtomicU64,
    subscriptions: AtomicU64,
    history: AtomicU64,
    backlog: AtomicU64,
    slow: AtomicU64,
}

/// What a worker finds when it looks at its clients and its hub, once a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkerSnapshot {
    pub channels: usize,
    pub subscriptions: usize,
    pub history: usize,
    /// Bytes that wait for the slowest client.
    pub backlog: u64,
    /// Clients for which more than half of what may wait does.
    pub slow: usize,
}

impl WorkerCounters {
    /// The present thread, under this name.
    pub(crate) fn new(table: &Table, name: &str) -> Self {
        Self {
            main: name == MAIN,
            lag: table.loop_lag.begin(name),
            busy: table.runtime_busy.begin(name),
            parks: table.runtime_parks.begin(name),
            tasks: table.runtime_tasks.begin(name),
            queued: table.runtime_queued.begin(name),
            runtime: Handle::current().metrics(),
            figures: Figures::default(),
        }
    }

    pub(crate) fn is_main(&self) -> bool {
        self.main
    }

    /// Measures for ever how late this thread, to which it is to be spawned, gets around to things.
    pub async fn measure(&self) {
        loop {
            let due = Instant::now() + ASK;
            sleep(ASK).await;
            self.lag.observe(due.elapsed().as_secs_f64());
        }
    }

    /// So many writes that took so many messages, and bytes in all. From its own thread only.
    pub fn written(&self, writes: usize, messages: usize, bytes: usize) {
        let Figures { writes: all_writes, deliveries, bytes: all_bytes, .. } = &self.figures;
        for (sum, more) in [(all_writes, writes), (deliveries, messages), (all_bytes, bytes)] {
            sum.store(sum.load(Ordering::Relaxed) + more as u64, Ordering::Relaxed);
        }
    }

    pub fn surveyed(&self, survey: WorkerSnapshot) {
        let Figures { channels, subscriptions, history, backlog, slow, .. } = &self.figures;
        for (figure, value) in [
            (channels, survey.channels as u64),
            (subscriptions, survey.subscriptions as u64),
            (history, survey.history as u64),
            (backlog, survey.backlog),
            (slow, survey.slow as u64),
        ] {
            figure.store(value, Ordering::Relaxed);
        }
    }
}

/// Puts together what the threads have.
pub(crate) fn update<'a>(table: &Table, threads: impl Iterator<Item = &'a WorkerCounters> + Clone) {
    let each = |figure: fn(&Figures) -> &AtomicU64| {
        threads.clone().map(move |thread| figure(&thread.figures).load(Ordering::Relaxed))
    };
    catch_up(&table.writes, each(|figures| &figures.writes).sum());
    catch_up(&table.deliveries, each(|figures| &figures.deliveries).sum());
    catch_up(&table.delivered_bytes, each(|figures| &figures.bytes).sum());
    let set = |gauge: &IntGauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    set(&table.channels, each(|figures| &figures.channels).sum());
    set(&table.subscriptions, each(|figures| &figures.subscriptions).sum());
    // The workers keep the same messages, and each accounts for all of them.
    set(&table.history, each(|figures| &figures.history).max().unwrap_or_default());
    set(&table.backlog, each(|figures| &figures.backlog).max().unwrap_or_default());
    set(&table.slow_clients, each(|figures| &figures.slow).sum());
    for thread in threads {
        let runtime = &thread.runtime;
        let busy = runtime.worker_total_busy_duration(0).as_secs_f64();
        thread.busy.inc_by((busy - thread.busy.get()).max(0.0));
        catch_up(&thread.parks, runtime.worker_park_count(0));
        set(&thread.tasks, runtime.num_alive_tasks() as u64);
        set(&thread.queued, runtime.global_queue_depth() as u64);
    }
}

/// Has a counter show a sum that only rises.
fn catch_up(counter: &IntCounter, sum: u64) {
    counter.inc_by(sum.saturating_sub(counter.get()));
}
