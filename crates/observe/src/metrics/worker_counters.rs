//! Counters of each thread, which a scrape adds up, so that threads do not contend for them.

use super::declare::MAIN;
use super::table::Table;
use prometheus::{Counter, Histogram, IntCounter, IntGauge};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::{Handle, RuntimeMetrics};
use tokio::time::{Instant, sleep};

/// Interval at which the lag of a thread is measured.
const LAG_INTERVAL: Duration = Duration::from_millis(200);

/// The metrics of one thread, which has a runtime of its own.
#[derive(Debug)]
pub struct WorkerCounters {
    /// The main thread, which serves no clients.
    main: bool,
    lag: Histogram,
    busy: Counter,
    parks: IntCounter,
    tasks: IntGauge,
    queued: IntGauge,
    runtime: RuntimeMetrics,
    values: Values,
}

/// Counters and gauges of a worker. Only its own thread writes them, without a lock and in a cache line of
/// their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Values {
    writes: AtomicU64,
    deliveries: AtomicU64,
    bytes: AtomicU64,
    channels: AtomicU64,
    subscriptions: AtomicU64,
    history: AtomicU64,
    backlog: AtomicU64,
    slow: AtomicU64,
}

/// State of a worker's hub and clients, taken once a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkerSnapshot {
    pub channels: usize,
    pub subscriptions: usize,
    pub history: usize,
    /// The largest backlog of a client, in bytes.
    pub backlog: u64,
    /// Clients whose backlog exceeds half of the limit.
    pub slow: usize,
}

impl WorkerCounters {
    /// Begins the series of the current thread.
    pub(crate) fn new(table: &Table, name: &str) -> Self {
        Self {
            main: name == MAIN,
            lag: table.loop_lag.begin(name),
            busy: table.runtime_busy.begin(name),
            parks: table.runtime_parks.begin(name),
            tasks: table.runtime_tasks.begin(name),
            queued: table.runtime_queued.begin(name),
            runtime: Handle::current().metrics(),
            values: Values::default(),
        }
    }

    pub(crate) fn is_main(&self) -> bool {
        self.main
    }

    /// Measures the lag of the thread that runs this, and never returns.
    pub async fn measure(&self) {
        loop {
            let due = Instant::now() + LAG_INTERVAL;
            sleep(LAG_INTERVAL).await;
            self.lag.observe(due.elapsed().as_secs_f64());
        }
    }

    /// Adds writes, and the messages and bytes that they carried. Called by its own thread only.
    pub fn written(&self, writes: usize, messages: usize, bytes: usize) {
        let Values { writes: all_writes, deliveries, bytes: all_bytes, .. } = &self.values;
        for (sum, more) in [(all_writes, writes), (deliveries, messages), (all_bytes, bytes)] {
            sum.store(sum.load(Ordering::Relaxed) + more as u64, Ordering::Relaxed);
        }
    }

    /// Replaces the gauges. Called by its own thread only.
    pub fn set_snapshot(&self, snapshot: WorkerSnapshot) {
        let Values { channels, subscriptions, history, backlog, slow, .. } = &self.values;
        for (gauge, value) in [
            (channels, snapshot.channels as u64),
            (subscriptions, snapshot.subscriptions as u64),
            (history, snapshot.history as u64),
            (backlog, snapshot.backlog),
            (slow, snapshot.slow as u64),
        ] {
            gauge.store(value, Ordering::Relaxed);
        }
    }
}

/// Adds up the values of all threads.
pub(crate) fn update<'a>(table: &Table, threads: impl Iterator<Item = &'a WorkerCounters> + Clone) {
    let each = |value: fn(&Values) -> &AtomicU64| {
        threads.clone().map(move |thread| value(&thread.values).load(Ordering::Relaxed))
    };
    catch_up(&table.writes, each(|values| &values.writes).sum());
    catch_up(&table.deliveries, each(|values| &values.deliveries).sum());
    catch_up(&table.delivered_bytes, each(|values| &values.bytes).sum());
    let set = |gauge: &IntGauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    set(&table.channels, each(|values| &values.channels).sum());
    set(&table.subscriptions, each(|values| &values.subscriptions).sum());
    // All workers share the same messages, and each counts all of them.
    set(&table.history, each(|values| &values.history).max().unwrap_or_default());
    set(&table.backlog, each(|values| &values.backlog).max().unwrap_or_default());
    set(&table.slow_clients, each(|values| &values.slow).sum());
    for thread in threads {
        let runtime = &thread.runtime;
        let busy = runtime.worker_total_busy_duration(0).as_secs_f64();
        thread.busy.inc_by((busy - thread.busy.get()).max(0.0));
        catch_up(&thread.parks, runtime.worker_park_count(0));
        set(&thread.tasks, runtime.num_alive_tasks() as u64);
        set(&thread.queued, runtime.global_queue_depth() as u64);
    }
}

/// Raises a counter to a sum that never decreases.
fn catch_up(counter: &IntCounter, sum: u64) {
    counter.inc_by(sum.saturating_sub(counter.get()));
}
